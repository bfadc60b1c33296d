"""The shadow of a worker: while the candidate answers nobody, it scores some of the requests that stable answered.

In the scoring thread, once the answers have gone to their commit and while no batch waits for it; what there is no such time
for is dropped, and counted. Nothing here reaches an answer.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import structlog

from models import wire
from models.answer import Cut, Decision, Question, scored_by
from models.config import Applied
from models.events import ShadowFigures
from models.release.shadow import Compared, Comparison, compare, in_shadow, is_compared
from models.world import World
from streams import metrics

log = structlog.get_logger()

TELL_EVERY_S = 60.0
AT_ONCE = 8  # requests: some milliseconds, for which a batch that comes just then waits


@dataclass(frozen=True, slots=True)
class Sample:
    """Requests to be compared, as their batch saw them."""

    world: World
    questions: Sequence[Question]
    cut: Cut
    left_out: int  # chosen, but more than `AT_ONCE`


def sample(decisions: Sequence[Decision], cut: Cut, world: World) -> Sample | None:
    """Of what stable's model was asked for, the share that is compared. None outside the shadow, and where there is none."""
    canary, share = world.applied.config.canary, world.applied.config.release.shadow_share
    if not in_shadow(canary) or not share or not {canary.stable, canary.candidate} <= world.models.keys():
        return None
    rows = [
        row
        for row, decision in enumerate(decisions)
        if decision.scored_together is not None
        and decision.version == canary.stable
        and is_compared(decision.question.request.request_id, canary, share)
    ]
    some = rows[:AT_ONCE]
    left_out = len(rows) - len(some)
    return Sample(world, [decisions[row].question for row in some], cut.some(some), left_out) if rows else None


class Shadow:
    """What this worker has found. Begins anew where either model is another."""

    def __init__(self, pool: Executor) -> None:
        self._pool, self._lock = pool, threading.Lock()
        self._of: tuple[str, ...] = ()  # SHA-256 of the two models
        self._applied: Applied | None = None
        self._comparison: Comparison | None = None
        self._told_at, self._told = time.monotonic(), (0, 0)
        self._goes = 0

    def offer(self, found: Sample, *, idle: bool) -> None:
        """To be scored in the pool, or dropped where it has something else to do."""
        dropped = found.left_out + (0 if idle else len(found.questions))
        metrics.SHADOW.labels("dropped").inc(dropped)
        with self._lock:
            self._comparison_of(found).dropped += dropped
        if idle:
            self._pool.submit(self.compare, found)

    def compare(self, found: Sample) -> None:
        """Scores by both. Never raises: nobody would hear it."""
        canary = found.world.applied.config.canary
        try:
            # whoever comes second finds the histories in the processor's cache: they take turns
            versions = (canary.stable, canary.candidate or canary.stable)
            first = self._goes % 2
            self._goes += 1
            lists: list[list[Decision]] = [[], []]
            for arm in (first, 1 - first):
                lists[arm] = scored_by(versions[arm], found.questions, found.cut, found.world, time.perf_counter)
            compared = [compare(one, other) for one, other in zip(*lists, strict=True)]
            with self._lock:
                self._comparison_of(found).add(compared)
            _count(compared)
        except Exception:
            log.exception("requests cannot be compared in the shadow", candidate=canary.candidate)

    def due(self, current: Applied) -> tuple[Applied, ShadowFigures] | None:
        """What is to be told now, and by which configuration it was found: once a minute, and when the shadow has ended."""
        with self._lock:
            if self._applied is None or self._comparison is None:
                return None
            was, now = self._applied.config.canary, current.config.canary
            ended = not in_shadow(now) or (was.stable, was.candidate) != (now.stable, now.candidate)
            news = (self._comparison.requests, self._comparison.dropped)
            if news == self._told or not (ended or time.monotonic() - self._told_at >= TELL_EVERY_S):
                return None
            self._told_at, self._told = time.monotonic(), news
            return self._applied, self._comparison.figures()

    def _comparison_of(self, found: Sample) -> Comparison:
        """Under the lock."""
        canary = found.world.applied.config.canary
        of = tuple(found.world.models[v].model.sha256 for v in (canary.stable, canary.candidate) if v is not None)
        if self._comparison is None or of != self._of:
            self._of, self._comparison = of, Comparison(wire.rfc3339(int(time.time() * 1000)))
            self._told = (0, 0)
        self._applied = found.world.applied
        return self._comparison


def _count(compared: Sequence[Compared]) -> None:
    for one in compared:
        metrics.SHADOW.labels(one.outcome).inc()
        if one.overlap is not None:
            metrics.SHADOW_OVERLAP.observe(one.overlap)
        for variant, ms in one.scoring_ms.items():
            if ms is not None:
                metrics.SHADOW_SCORING.labels(variant).observe(ms / 1000)
