"""Scoring times of both arms, compared like with like. Counts; decides nothing.

A request that is scored alone takes longer than one of a batch, and the smaller arm has the smaller batches. So times are kept by
how many were scored together, and the stable version's are weighted as the candidate's are distributed (post-stratification):

    p99 of stable = the smallest time with Σ over strata of n_canary · F_stable ≥ 0.99 · Σ n_canary,      F the share up to that time

Only strata of which both arms have LEAST count. Times are kept in steps of one fiftieth: the error of a quantile is 2 % at most.
"""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from models.events import Variant

LEAST = 30  # of a stratum, in each arm
_STEP = math.log(1.02)
_SMALLEST_MS = 1e-4


class Timed(NamedTuple):
    """Scorings that could be compared, and their 99th percentile; None where none could."""

    scorings: int
    p99_ms: float | None


@dataclass(slots=True)
class Timings:
    """Times of both arms.

    >>> timings = Timings()
    >>> for each in range(100):
    ...     timings.add("stable", 1.0, together=1)
    ...     timings.add("stable", 0.1, together=64)
    ...     timings.add("canary", 1.0, together=1)
    >>> stable, canary = timings.compared()
    >>> stable.scorings, canary.scorings, stable.p99_ms == canary.p99_ms
    (100, 100, True)
    """

    _of: dict[int, dict[Variant, Counter[int]]] = field(default_factory=dict)  # stratum → arm → step → scorings

    def add(self, variant: Variant, scoring_ms: float, together: int) -> None:
        """One request's part of the time in which `together` were scored. Strata are powers of two."""
        arms = self._of.setdefault(max(1, together).bit_length(), {"stable": Counter(), "canary": Counter()})
        arms[variant][round(math.log(max(scoring_ms, _SMALLEST_MS)) / _STEP)] += 1

    def compared(self) -> tuple[Timed, Timed]:
        """Stable and candidate."""
        stable, canary = Counter[int](), Counter[int]()
        weighted: dict[int, float] = {}
        for _, arms in sorted(self._of.items()):
            n_stable, n_canary = arms["stable"].total(), arms["canary"].total()
            if min(n_stable, n_canary) < LEAST:
                continue
            stable += arms["stable"]
            canary += arms["canary"]
            for step, count in sorted(arms["stable"].items()):
                weighted[step] = weighted.get(step, 0.0) + count * n_canary / n_stable
        return Timed(stable.total(), _p99(weighted)), Timed(canary.total(), _p99(dict(canary)))


def _p99(weights: dict[int, float] | dict[int, int]) -> float | None:
    total, passed = sum(weights.values()), 0.0
    for step in sorted(weights):
        passed += weights[step]
        if passed >= 0.99 * total * (1 - 1e-12):
            return round(math.exp(step * _STEP), 6)
    return None
