"""What a benchmark leaves behind: tables to read (Markdown, so that they can be pasted), goals with what became of them, JSON."""

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench import machine

OUT = Path("artifacts/bench")


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A figure and its bound. `found` is None where it was not measured; `rounds` is what it was in each round."""

    name: str
    found: float | None
    least: float | None = None
    most: float | None = None
    unit: str = ""
    rounds: Sequence[float] = ()

    @property
    def verdict(self) -> str:
        if self.found is None:
            return "not measured"
        above = self.least is None or self.found >= self.least
        below = self.most is None or self.found <= self.most
        return "met" if above and below else "missed"

    def row(self) -> list[str]:
        bound = f"≥ {number(self.least)}" if self.least is not None else f"≤ {number(self.most)}"
        spread = f"{number(min(self.rounds))} … {number(max(self.rounds))}" if len(self.rounds) > 1 else ""
        return [self.name, f"{bound}{self.unit}", f"{number(self.found)}{self.unit}", spread, self.verdict]


def number(value: float | None) -> str:
    """Three digits that count; whole numbers in full.

    >>> number(1.8349), number(0.05), number(43210.7), number(None)
    ('1.83', '0.05', '43,211', '–')
    """
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table: the first column to the left, the others to the right."""
    lines = [list(head), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def laid(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return f"| {' | '.join(cells)} |"

    rule = "|".join("-" * (width + 1) + (":" if column else "-") for column, width in enumerate(widths))
    return "\n".join([laid(lines[0]), f"|{rule}|", *map(laid, lines[1:])])


def goals(found: Sequence[Goal]) -> str:
    return table(("goal", "wanted", "found", "in the rounds", ""), (goal.row() for goal in found))


def publish(name: str, tables: Mapping[str, str], judged: Sequence[Goal], /, **content: Any) -> None:
    """Prints tables, by what stands above each, and goals; keeps the whole run as JSON, with the machine that it ran on.

    `tests.bench.document` takes the tables from there into docs/performance.md.
    """
    shown = {**tables, **({"Goals": goals(judged)} if judged else {})}
    for above, text in shown.items():
        print(f"\n{above}\n\n{text}")
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{time.strftime('%Y-%m-%dT%H%M%S')}-{name}.json"
    described = {
        "benchmark": name,
        "ended": time.strftime("%Y-%m-%d %H:%M"),
        "machine": machine.described(),
        "goals": [{**asdict(goal), "verdict": goal.verdict} for goal in judged],
        "tables": shown,
        **content,
    }
    path.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n")
    print(f"\nkept in {path}", flush=True)
