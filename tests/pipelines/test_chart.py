"""Charts are well-formed, say what they show, and put what they are given where it belongs."""

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.chart import Line, Mark, bar_chart, dot_chart, lines_chart, ticks

SVG = "{http://www.w3.org/2000/svg}"
TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="\ufffe\uffff"), max_size=30)
FLOATS = st.floats(-1e9, 1e9)


def drawn(chart):
    return ET.fromstring(chart)


def texts(chart):
    return [text.text for text in drawn(chart).iter(f"{SVG}text")]


@given(TEXT, TEXT, TEXT)
def test_whatever_stands_in_a_label_is_text(title, name, label):
    for chart in (
        lines_chart(title, name, [Line(label, [0, 1], [0, 1])], x_label=label),
        bar_chart(title, name, [label, label], [(name, [1, 2])]),
        dot_chart(title, name, [name, label], [(label, [Mark(1), Mark(2, 1, 3)])]),
    ):
        found = drawn(chart)
        assert (found.find(f"{SVG}title").text or "") == title
        assert (found.find(f"{SVG}desc").text or "") == name
        assert {part.tag.removeprefix(SVG) for part in found.iter()} <= {
            *("svg", "title", "desc", "text", "line", "polyline", "rect", "circle")
        }


def test_a_chart_is_an_image_with_a_name():
    found = drawn(bar_chart("Shares", "a: 1", ["a"], [("x", [1])]))
    assert found.get("role") == "img"
    assert found[0].tag == f"{SVG}title"


@given(FLOATS, FLOATS)
def test_ticks_hold_the_range_in_few_round_steps(one, other):
    low, high = min(one, other), max(one, other)
    found = ticks(low, high)
    near = 1e-6 * max(1, abs(low), abs(high))
    assert found[0] <= low + near
    assert found[-1] >= high - near
    assert 2 <= len(found) <= 8
    assert found == sorted(set(found))


def test_bars_are_as_high_as_their_values():
    found = drawn(bar_chart("t", None, ["a", "b"], [("x", [5, 10])]))
    heights = [float(bar.get("height")) for bar in found.findall(f"{SVG}rect")]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)


def test_all_bars_stand_on_the_axis():
    found = drawn(bar_chart("t", None, ["a", "b"], [("x", [5, 10]), ("y", [0, 3])]))
    bars = [bar for bar in found.findall(f"{SVG}rect") if bar.get("width") != "9"]  # of the legend
    assert len({round(float(bar.get("y")) + float(bar.get("height")), 1) for bar in bars}) == 1


def test_an_interval_goes_through_its_dot():
    found = drawn(dot_chart("t", None, ["x"], [("a", [Mark(2, 1, 4)])]))
    dot, line = found.find(f"{SVG}circle"), next(line for line in found.iter(f"{SVG}line") if "s0" in line.get("class"))
    assert float(line.get("x1")) < float(dot.get("cx")) < float(line.get("x2"))
    assert line.get("y1") == dot.get("cy")


def test_a_dot_at_zero_keeps_away_from_its_label():
    found = drawn(dot_chart("t", None, ["x"], [("Documentary", [Mark(0)]), ("Drama", [Mark(1)])]))
    dot, label = (
        found.find(f"{SVG}circle"),
        next(text for text in found.iter(f"{SVG}text") if text.text == "Documentary"),
    )
    assert float(label.get("x")) < float(dot.get("cx")) - 2 * float(dot.get("r"))


def test_a_figure_that_there_is_not_has_no_dot():
    found = drawn(dot_chart("t", None, ["x"], [("a", [None])]))
    assert found.find(f"{SVG}circle") is None


def test_labels_that_would_touch_are_left_out():
    labels = [f"label number {n}" for n in range(30)]
    shown = texts(bar_chart("t", None, labels, [("x", [1.0] * 30)]))
    assert labels[0] in shown
    assert sum(label in shown for label in labels) < 10


def test_lines_and_dots_differ_by_more_than_colour():
    lines = drawn(lines_chart("t", None, [Line("a", [0, 1], [0, 1]), Line("b", [0, 1], [1, 0])]))
    assert len({line.get("stroke-dasharray") for line in lines.findall(f"{SVG}polyline")}) == 2
    dots = drawn(dot_chart("t", None, ["a", "b"], [("r", [Mark(1), Mark(2)])]))
    assert {part.tag for part in dots.iter()} >= {f"{SVG}circle", f"{SVG}rect"}


def test_nothing_to_draw_is_an_empty_chart():
    assert drawn(bar_chart("t", None, [], [("x", [])])) is not None
    assert drawn(dot_chart("t", None, ["x"], [])) is not None
    assert drawn(lines_chart("t", None, [Line("a", [1], [0])])) is not None
