"""Charts as SVG text: lines, bars, dots with intervals. No library, no script; text is escaped, so that it cannot become markup.

Colours are attributes, so that a chart is a file of its own; a page's style sheet changes them by their classes (`text`, `grid`,
`axis`, `s0`, `s1`, …) where it is dark. What a chart shows is also said: a title, and a description that a screen reader reads.
"""

import math
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

COLOURS = ("#1d4ed8", "#c2410c", "#6b7280", "#047857")
_INK, _GRID, _AXIS, _DASHES = "#1f2937", "#e5e7eb", "#6b7280", ("", "7 4", "2 3", "9 3 2 3")

Format = Callable[[float], str]


class Shape(NamedTuple):
    """In the units of the view box; a page scales them."""

    width: int
    height: int
    font: int


STUDY, PAGE = Shape(720, 300, 12), Shape(440, 280, 13)  # of a wide page; of one that may be a phone's


class Line(NamedTuple):
    """One line."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


class Mark(NamedTuple):
    """A figure and its interval, where it has one."""

    value: float
    low: float | None = None
    high: float | None = None


def percent(value: float) -> str:
    """
    >>> percent(12.5)
    '12.5 %'
    """
    return f"{value:g} %".replace("-", "−")


def plain(value: float) -> str:
    """
    >>> plain(12000), plain(0.25)
    ('12,000', '0.25')
    """
    return (f"{value:,.4g}" if abs(value) < 1_000 else f"{value:,.0f}").replace("-", "−")


def line_chart(title: str, lines: Sequence[Line]) -> str:
    """A file of its own, with its title in it; `y` in percent. Both axes begin where the data do, the vertical one at 0."""
    return lines_chart(title, None, lines, shape=STUDY, file=True) + "\n"


def lines_chart(
    title: str,
    about: str | None,
    lines: Sequence[Line],
    *,
    x_label: str = "",
    x: Format = plain,
    y: Format = percent,
    shape: Shape = PAGE,
    file: bool = False,
) -> str:
    """Lines over one horizontal axis, told apart by colour and dashes; the vertical axis begins at 0."""
    low, high = min(min(line.x) for line in lines), max(max(line.x) for line in lines)
    top = ticks(0, max(max(line.y) for line in lines) or 1)[-1]
    drawing = _Drawing(title, about, shape, [line.name for line in lines], x_label=x_label, file=file)
    drawing.vertical(ticks(0, top), top, y)
    for value in ticks(low, high):
        if low <= value <= high:
            drawing.below(drawing.across((value - low) / ((high - low) or 1)), x(value))
    for number, line in enumerate(lines):
        points = " ".join(
            f"{drawing.across((at - low) / ((high - low) or 1)):.1f},{drawing.down(value / top):.1f}"
            for at, value in zip(line.x, line.y, strict=True)
        )
        dashes = f' stroke-dasharray="{_DASHES[number % 4]}"' if number % 4 else ""
        drawing.add(
            f'<polyline class="s{number % 4}" points="{points}" fill="none" stroke="{_colour(number)}" stroke-width="2"{dashes}/>'
        )
    return drawing.svg()


def bar_chart(
    title: str,
    about: str | None,
    labels: Sequence[str],
    series: Sequence[tuple[str, Sequence[float]]],
    *,
    x_label: str = "",
    y: Format = percent,
    shape: Shape = PAGE,
) -> str:
    """Bars in groups, a group for each label; where labels would touch, some are left out."""
    top = ticks(0, max((value for _, values in series for value in values), default=0) or 1)[-1]
    drawing = _Drawing(title, about, shape, [name for name, _ in series], x_label=x_label)
    drawing.vertical(ticks(0, top), top, y)
    n, k = max(len(labels), 1), len(series)
    group = (drawing.right - drawing.left) / n
    width = 0.8 * group / k
    every = max(1, math.ceil((max(map(len, labels), default=1) + 0.7) * 0.62 * shape.font / group))
    for place, label in enumerate(labels):
        begin = drawing.left + group * (place + 0.1)
        if place % every == 0:
            drawing.below(drawing.left + group * (place + 0.5), label)
        for number, (_, values) in enumerate(series):
            height = drawing.down(0) - drawing.down(values[place] / top)
            drawing.add(
                f'<rect class="s{number % 4}" x="{begin + number * width:.1f}" y="{drawing.down(0) - height:.1f}" '
                f'width="{width:.1f}" height="{height:.1f}" fill="{_colour(number)}"/>'
            )
    return drawing.svg()


def dot_chart(
    title: str,
    about: str | None,
    names: Sequence[str],
    rows: Sequence[tuple[str, Sequence[Mark | None]]],
    *,
    x_label: str = "",
    x: Format = plain,
    zero: bool = True,
    font: int = PAGE.font,
) -> str:
    """A row for each label: a dot for each name, on a line as long as its interval. `zero`: 0 is on the axis, with a line."""
    marks = [mark for _, some in rows for mark in some if mark is not None]
    bounds = [bound for mark in marks for bound in mark if bound is not None] or [0.0, 1.0]
    steps = ticks(min(bounds + [0.0] * zero), max(bounds + [0.0] * zero), 4)
    low, high = steps[0], steps[-1]
    apart = font if any(mark.low is not None for mark in marks) else 0  # dots alone can share a line
    tall = 2.0 * font + apart * (len(names) - 0.5)  # of a row
    shape = Shape(PAGE.width, int(tall * len(rows)) + font * 6, font)
    wide = min(0.45 * shape.width, 0.62 * font * max((len(label) for label, _ in rows), default=0) + 1.4 * font)
    drawing = _Drawing(title, about, shape, names if len(names) > 1 else (), x_label=x_label, left=wide)
    span = (high - low) or 1.0
    for value in steps:
        at = drawing.across((value - low) / span)
        drawing.rule(at, drawing.top, at, drawing.bottom, axis=zero and value == 0)
        drawing.below(at, x(value))
    for place, (label, some) in enumerate(rows):
        middle = drawing.top + tall * (place + 0.5)
        drawing.text(drawing.left - 0.9 * font, middle + font / 3, _shortened(label, wide, font), "end")
        for number, mark in enumerate(some):
            if mark is None:
                continue
            height = middle + apart * (number - (len(some) - 1) / 2)
            at = drawing.across((mark.value - low) / span)
            colour = f'class="s{number % 4}" {{}}="{_colour(number)}"'
            if mark.low is not None and mark.high is not None:
                begin, end = (drawing.across((bound - low) / span) for bound in (mark.low, mark.high))
                drawing.add(
                    f'<line {colour.format("stroke")} x1="{begin:.1f}" x2="{end:.1f}" y1="{height:.1f}" y2="{height:.1f}" '
                    f'stroke-width="2"/>'
                )
            drawing.add(_dot(number, at, height, colour.format("fill")))
    return drawing.svg()


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`, at most `most` steps of 1, 2, 2.5 or 5 times a power of ten.

    >>> ticks(0, 87), ticks(-0.3, 0.7)
    ([0.0, 20.0, 40.0, 60.0, 80.0, 100.0], [-0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8])
    """
    if high - low <= 1e-9 * max(1.0, abs(low), abs(high)):  # one point
        high = low + max(1.0, abs(low))
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]


class _Drawing:
    """Axes, a legend and what is added, as one SVG."""

    def __init__(
        self,
        title: str,
        about: str | None,
        shape: Shape,
        names: Sequence[str],
        *,
        x_label: str = "",
        left: float | None = None,
        file: bool = False,
    ) -> None:
        width, height, font = shape
        self._shape, self._font = shape, font
        legend = font * 1.6 * _n_rows(names, shape)
        self.left = left if left is not None else 4.2 * font
        self.right = width - 1.6 * font
        self.top = font * 0.9 + legend + (2 * font if file else 0)
        self.bottom = height - font * (3.9 if x_label else 2.5)
        named = f"<title>{escape(title)}</title>" + (f"<desc>{escape(about)}</desc>" if about is not None else "")
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" class="chart" role="img" viewBox="0 0 {width} {height}" '
            f'font-family="system-ui, sans-serif" font-size="{font}">{named}'
        ]
        if file:
            self.add(f'<rect width="{width}" height="{height}" fill="#ffffff"/>')
            self.text(self.left, 1.5 * font, title)
        self._legend(names, 2 * font if file else 0)
        if x_label:
            self.text((self.left + self.right) / 2, height - 0.6 * font, x_label, "middle")

    def across(self, share: float) -> float:
        return self.left + share * (self.right - self.left)

    def down(self, share: float) -> float:
        return self.bottom - share * (self.bottom - self.top)

    def add(self, part: str) -> None:
        self._parts.append(part)

    def text(self, x: float, y: float, text: str, anchor: str = "start") -> None:
        self.add(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_INK}">{escape(text)}</text>')

    def rule(self, x1: float, y1: float, x2: float, y2: float, *, axis: bool = False) -> None:
        kind, colour = ("axis", _AXIS) if axis else ("grid", _GRID)
        self.add(f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>')

    def below(self, x: float, label: str) -> None:
        """A label of the horizontal axis."""
        self.text(x, self.bottom + 1.6 * self._font, label, "middle")

    def vertical(self, steps: Sequence[float], top: float, y: Format) -> None:
        """The vertical axis from 0 to `top`."""
        for value in steps:
            at = self.down(value / top)
            self.rule(self.left, at, self.right, at, axis=value == 0)
            self.text(self.left - 0.5 * self._font, at + self._font / 3, y(value), "end")

    def svg(self) -> str:
        return "\n".join([*self._parts, "</svg>"])

    def _legend(self, names: Sequence[str], above: float) -> None:
        x, y, font = float(self._font), above + self._font * 1.2, self._font
        for number, name in enumerate(names):
            width = _width(name, font)
            if number and x + width > self._shape.width:
                x, y = float(font), y + 1.6 * font
            self.add(_dot(number, x, y - font / 3, f'class="s{number % 4}" fill="{_colour(number)}"'))
            self.text(x + 0.8 * font, y, name)
            x += width


def _n_rows(names: Sequence[str], shape: Shape) -> int:
    rows, x = 1 if names else 0, float(shape.font)
    for number, name in enumerate(names):
        width = _width(name, shape.font)
        if number and x + width > shape.width:
            rows, x = rows + 1, float(shape.font)
        x += width
    return rows


def _width(name: str, font: int) -> float:
    """Of an entry of the legend, about."""
    return 2.6 * font + 0.64 * font * len(name)


def _dot(number: int, x: float, y: float, colour: str) -> str:
    """Another form for each series: colour alone tells nobody who does not see it."""
    if number % 2:
        return f'<rect {colour} x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9"/>'
    return f'<circle {colour} cx="{x:.1f}" cy="{y:.1f}" r="5"/>'


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _shortened(label: str, width: float, font: int) -> str:
    most = max(4, int(width / (0.62 * font)) - 1)
    return label if len(label) <= most else label[: most - 1] + "…"
