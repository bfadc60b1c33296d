"""A line chart as a small SVG: no library, readable on light and dark pages. Percentages on the vertical axis."""

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 720, 300, 46, 34, 62
_COLOURS = ("#2563eb", "#dc2626", "#6b7280", "#059669")


class Line(NamedTuple):
    """One line; `y` in percent."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


def line_chart(title: str, lines: Sequence[Line]) -> str:
    """The SVG's text. Both axes begin where the data do, the vertical one at 0."""
    low, high = min(min(line.x) for line in lines), max(max(line.x) for line in lines)
    top = max(10.0, *(max(line.y) for line in lines))
    top = 10 * -(-top // 10)

    def place(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - low) / (high - low) * (WIDTH - LEFT - 16)
        return across, HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{LEFT}" y="20" font-size="14" fill="#111827">{escape(title)}</text>',
    ]
    for step in range(6):
        value = top * step / 5
        _, y = place(low, value)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 16}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e5e7eb"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#374151">{value:g} %</text>')
    for step in range(6):
        value = low + (high - low) * step / 5
        x, y = place(value, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle" fill="#374151">{value:,.4g}</text>')
    for number, line in enumerate(lines):
        colour = _COLOURS[number % len(_COLOURS)]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in zip(line.x, line.y, strict=True)))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>')
        x = LEFT + number * 220
        parts.append(f'<rect x="{x}" y="{HEIGHT - 20}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{x + 20}" y="{HEIGHT - 14}" fill="#111827">{escape(line.name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
