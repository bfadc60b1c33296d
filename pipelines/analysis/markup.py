"""Small pieces of a page: sections, tables, and figures as text. What is not called markup is text, and is escaped here."""

from collections.abc import Callable, Sequence
from html import escape
from typing import Any

from pipelines.analysis.words import GROUP_NAMES
from pipelines.chart import Mark

Figures = dict[str, Any]

_TOGETHER = "\u00a0"  # a space at which no line ends


def section(name: str, title: str, drawing: str, caption: str, numbers: str, *, shown: str = "The numbers") -> str:
    """`drawing`, `caption` and `numbers` are markup."""
    figure = f"<figure>\n{drawing}\n<figcaption>{caption}</figcaption>\n</figure>" if drawing else f"<p>{caption}</p>"
    return (
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{escape(title)}</h2>\n{figure}\n'
        f"<details><summary>{escape(shown)}</summary>\n{numbers}\n</details>\n</section>"
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Text in, markup out; the first cell of a row names it."""
    titles = "".join(f'<th scope="col">{escape(cell)}</th>' if cell else "<td></td>" for cell in head)
    body = "\n".join(
        f'<tr><th scope="row">{escape(row[0])}</th>' + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:]) + "</tr>"
        for row in rows
    )
    return f'<div class="scroll" tabindex="0">\n<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>'


def group(row: Figures) -> str:
    return GROUP_NAMES[row["group"]] + (" (too few)" if row["too_small"] else "")


def mark(found: Figures) -> Mark | None:
    """An interval, for a chart."""
    return None if found["value"] is None else Mark(found["value"], found["low"], found["high"])


def value(found: Any, show: Callable[[Any], str]) -> str:
    """A figure, or an interval; a dash where there is none."""
    if isinstance(found, dict):
        return interval(found, show)
    return "–" if found is None else show(found)


def plain(found: Figures, show: Callable[[float], str]) -> str:
    """Without its interval, to be read aloud."""
    return "unknown" if found["value"] is None else show(found["value"])


def interval(found: Figures, show: Callable[[float], str]) -> str:
    if found["value"] is None:
        return "–"
    if found["low"] is None or found["high"] is None:
        return show(found["value"])
    bounds = f"({show(found['low'])} to {show(found['high'])})"
    return f"{show(found['value'])} {bounds.replace(' ', _TOGETHER)}"


def whole(value: float) -> str:
    return f"{value:,.0f}"


def one_digit(value: float) -> str:
    return f"{value:,.1f}"


def two_digits(value: float) -> str:
    return f"{value:.2f}"


def three_digits(value: float) -> str:
    return f"{value:.3f}"


def day(moment: str | None) -> str:
    return escape((moment or "").replace("T", " ").replace("Z", " UTC")) or "the beginning"
