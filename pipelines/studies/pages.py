"""What studies put into pages of docs/: tables, and text between marks."""

import re
from collections.abc import Sequence

from scipy.stats import t as student

from models.measures.intervals import Interval
from models.recommenders.base import F64


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """In Markdown; all columns but the first are figures."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def filled(page: str, text: str, mark: str = "study") -> str:
    """The page with this between `<!-- study -->` and `<!-- /study -->`."""
    return re.sub(
        rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)",
        lambda marks: f"{marks[1]}\n{text}\n{marks[2]}",
        page,
        flags=re.DOTALL,
    )


def interval(values: F64) -> Interval:
    """Mean over runs with different seeds and its 95 % interval (Student's t): one run is one observation."""
    mean = float(values.mean())
    error = float(student.isf(0.025, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)
    return Interval(mean, mean - error, mean + error)


def written(found: Interval, digits: int = 3, unit: str = "") -> str:
    """
    >>> written(Interval(-1.25, -2.0, 0.5), 1, " %")
    '−1.2 % (−2.0 to 0.5)'
    """
    value, low, high = (f"{bound:.{digits}f}".replace("-", "−") for bound in found)
    return f"{value}{unit} ({low} to {high})"
