"""The page: whole without a network, sound as HTML, readable by machine and eye, and nobody's title becomes markup."""

import itertools
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from pipelines import analyze
from pipelines.analysis import versions, words
from pipelines.analysis.page import page

from .conftest import answer
from .test_versions import ALS, model

VOID = {"meta", "br", "link", "img", "input", "hr"}
HOSTILE = (
    "</title><script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--",
    "& < > ' \"",
    "]]></style>",
    "\u202e{{x}}",
)


class Sound(HTMLParser):
    """Elements in their order; tags that do not match are an error."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.text = [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), (tag, attrs)
        self.elements.append((tag, dict(attrs), tuple(self.open)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs), tuple(self.open)))

    def handle_endtag(self, tag):
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def all(self, *tags):
        return [(tag, attrs, inside) for tag, attrs, inside in self.elements if tag in tags]


@pytest.fixture
def figures(world):
    world.add("recommendations", [answer(n, f"u{n}", [f"m{m}" for m in range(n % 7, n % 7 + 10)]) for n in range(30)])
    observed = world.observed(trained=[{}])
    judged = analyze.judge(observed, "als", ALS)
    plain = model("v1", observed.dataset, {})
    damped = model("v2", observed.dataset, {}, popularity_damping=0.9)
    found = analyze.analyze(observed, judged)
    return {"made_at": "2026-11-27T08:00:00Z", **found, "comparison": versions.compare(observed, plain, damped)}


@pytest.fixture
def sound(figures):
    return Sound(page(figures))


def test_the_page_asks_nobody_and_runs_nothing(figures):
    text = page(figures)
    assert not re.findall(r"(?:src|href|url\(|@import|action)\s*[=(]?\s*[\"'(]?(?:https?:)?//", text)
    assert "<script" not in text
    assert "default-src 'none'" in text
    assert set(re.findall(r"https?://[^\"<\s]+", text)) == {"http://www.w3.org/2000/svg"}


def test_where_popularity_is_from_is_a_sentence_also_where_it_is_from_nowhere(figures):
    assert "<p>Popularity is not known: the catalogue has no popularity, and nothing is before the window.</p>" in page(
        figures
    )
    assert "<p>Popularity is from: catalogue.</p>" in page({**figures, "popularity_source": "catalogue"})


def test_what_the_comparison_notes_stands_beside_it(figures):
    (note,) = figures["comparison"]["notes"]
    assert f"<strong>{note}</strong>" in page(figures)


def test_the_page_has_a_language_a_title_and_a_width_for_phones(sound):
    assert sound.all("html")[0][1]["lang"] == "en"
    assert len(sound.all("title")) == 1 + len(sound.all("svg"))
    assert any(attrs.get("name") == "viewport" for _, attrs, _ in sound.all("meta"))


def test_headings_are_in_order_and_sections_are_named_by_them(sound):
    levels = [int(tag[1]) for tag, _, _ in sound.all("h1", "h2", "h3")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    ids = [attrs["id"] for _, attrs, _ in sound.elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {attrs["aria-labelledby"] for _, attrs, _ in sound.all("section")} == set(ids)


def test_every_drawing_says_what_it_shows(sound):
    drawings = sound.all("svg")
    assert len(drawings) == 7
    assert all(attrs["role"] == "img" for _, attrs, _ in drawings)
    assert len(sound.all("desc")) == len(drawings)
    assert len(sound.all("figcaption")) == len(drawings)


def test_every_table_has_heads_with_a_scope_and_is_behind_details(sound):
    assert len(sound.all("table")) == 8
    assert all("details" in inside for _, _, inside in sound.all("table"))
    assert {attrs.get("scope") for _, attrs, _ in sound.all("th")} == {"col", "row"}


def test_the_summary_is_first_and_in_plain_words(sound):
    said = " ".join(sound.text)
    first = said.index("The top 10 % of movies receive")
    assert first < said.index("How concentrated")
    assert "From v1 to v2, for the same 60 users" in said


@pytest.mark.parametrize("hostile", HOSTILE)
def test_no_title_genre_or_id_becomes_markup(figures, hostile):
    tame = Sound(page(figures))
    for row in figures["top_movies"]:
        row["title"] = row["movie_id"] = hostile
    for row in figures["genres"]:
        row["genre"] = hostile
    figures["source"] = figures["recommended"]["source"] = figures["quality"]["recipe"] = hostile
    figures["comparison"]["versions"] = [hostile, hostile]
    wild = Sound(page(figures))
    assert [tag for tag, _, _ in wild.elements] == [tag for tag, _, _ in tame.elements]
    assert [sorted(attrs) for _, attrs, _ in wild.elements] == [sorted(attrs) for _, attrs, _ in tame.elements]
    assert hostile in "".join(wild.text)


def test_groups_that_are_too_small_are_said_to_be(sound, figures):
    assert all(row["too_small"] for row in figures["quality"]["groups"])
    assert "women (too few)" in " ".join(sound.text)
    assert any(
        line.startswith("Too few tested users to conclude anything about: men (28)") for line in words.summary(figures)
    )


def colours(block):
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    r, g, b = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


def contrast(one, other):
    """WCAG 2.2, 1.4.3."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_and_lines_stand_out_by_day_and_by_night(theme):
    style = files("pipelines.analysis").joinpath("page.css").read_text()
    found = colours(style.split("@media (prefers-color-scheme: dark)")[theme].split("* {")[0])
    assert all(
        contrast(found[ink], found[paper]) >= 4.5 for ink in ("ink", "soft", "link") for paper in ("paper", "wash")
    )
    assert all(contrast(found[series], found["paper"]) >= 3 for series in ("s0", "s1", "s2", "s3"))


def test_the_same_figures_give_the_same_page(figures):
    assert page(figures) == page(figures)
