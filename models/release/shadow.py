"""The shadow: the candidate scores requests that stable answers. What of them is compared, and what came of it. Sends nothing.

Both versions score the same requests together, once each, so their times are of like work: neither pays for a smaller batch.
"""

import math
from collections import deque
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from models.answer import Decision
from models.config import Canary
from models.events import ShadowFigures, Timing, Variant
from models.release.rollout import phase
from models.release.split import BUCKETS, bucket

Outcome = Literal["ok", "error", "empty"]  # of the candidate; empty: no movie where stable has one
TIMED = 10_000  # scorings that a p99 is of, the newest ones


@dataclass(frozen=True, slots=True)
class Compared:
    """One request, by both."""

    outcome: Outcome
    overlap: float | None  # None where either model failed, or neither has a list
    scoring_ms: Mapping[Variant, float | None]


def compare(stable: Decision, canary: Decision) -> Compared:
    """The same request, as either model alone would answer it (`models.answer.scored_by`)."""
    if canary.failure is not None:
        outcome: Outcome = "error"
    else:
        outcome = "empty" if stable.movies and not canary.movies else "ok"
    failed = stable.failure is not None or canary.failure is not None
    times: dict[Variant, float | None] = {"stable": stable.scoring_ms, "canary": canary.scoring_ms}
    return Compared(outcome, None if failed else overlap(stable.movies, canary.movies), times)


def in_shadow(canary: Canary) -> bool:
    """Whether the candidate is on its step of 0 %, paused or not."""
    return phase(canary) in ("shadow", "shadow_paused")


def is_compared(request_id: str, canary: Canary, share: float) -> bool:
    """Whether a request is one of the share that is compared: by its hash, so that nothing else decides which.

    >>> [is_compared(f"r{number}", Canary(percentage=0), 0.5) for number in range(6)]
    [False, False, True, True, False, True]
    """
    return bucket(f"shadow:{request_id}", canary.salt) < BUCKETS * share


def overlap(one: Collection[str], other: Collection[str]) -> float | None:
    """|A ∩ B| / max(|A|, |B|), 0 to 1: at full length the share of n that both name. None for two empty lists.

    >>> overlap(["a", "b", "c", "d"], ["d", "x", "a", "y"]), overlap(["a", "b"], ["a"]), overlap([], [])
    (0.5, 0.5, None)
    """
    longer = max(len(one), len(other))
    return len(set(one) & set(other)) / longer if longer else None


class Comparison:
    """What has been found of two models so far."""

    def __init__(self, since: str) -> None:
        self.since = since
        self.dropped = 0
        self._outcomes: dict[Outcome, int] = {"ok": 0, "error": 0, "empty": 0}
        self._overlap, self._overlaps = 0.0, 0
        self._times: dict[Variant, _Times] = {"stable": _Times(), "canary": _Times()}

    def add(self, found: Iterable[Compared]) -> None:
        for one in found:
            self._outcomes[one.outcome] += 1
            if one.overlap is not None:
                self._overlap, self._overlaps = self._overlap + one.overlap, self._overlaps + 1
            for variant, ms in one.scoring_ms.items():
                self._times[variant].add(ms)

    @property
    def requests(self) -> int:
        return sum(self._outcomes.values())

    def figures(self) -> ShadowFigures:
        """What an event tells."""
        return ShadowFigures(
            since=self.since,
            requests=self.requests,
            errors=self._outcomes["error"],
            empty=self._outcomes["empty"],
            dropped=self.dropped,
            overlap=round(self._overlap / self._overlaps, 6) if self._overlaps else None,
            scoring_ms={variant: times.timing() for variant, times in self._times.items() if times.n},
        )


class _Times:
    def __init__(self) -> None:
        self.n, self._total = 0, 0.0
        self._newest: deque[float] = deque(maxlen=TIMED)

    def add(self, ms: float | None) -> None:
        if ms is not None:
            self.n, self._total = self.n + 1, self._total + ms
            self._newest.append(ms)

    def timing(self) -> Timing:
        newest = sorted(self._newest)
        return Timing(round(self._total / self.n, 4), newest[math.ceil(0.99 * len(newest)) - 1])  # nearest rank
