"""What became of this worker's answers, live: click-through, hit rate and satisfaction as gauges; and whether their windows are written.

Every worker reads all feedback and counts what belongs to its own answers, so the sum over workers is the truth but for what
a restart forgets. Windows are written by another process: that it does not is seen here.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

import structlog
from confluent_kafka import Message

from models import wire
from models.answer import Decision
from models.config import Applied, Metrics
from models.errors import BadMessage
from models.events import Feedback, Rating, Watch
from models.measures.clocks import LOOKED_AT, Clocks
from models.measures.feedback import Outcomes, watched_ms
from models.measures.late import Late
from streams import alerts, metrics
from streams.clients import Cluster
from streams.histories import Known
from streams.messages import kafka_ms
from streams.tail import FROM_NOW_ON, Followed, Tail

log = structlog.get_logger()

CAPACITY = 100_000  # answers waited for at once


class LiveOutcomes:
    """Outcomes behind a lock: the scoring thread, the readers and the clock all write."""

    def __init__(self, cluster: Cluster, applied: Applied, known: Known, *, on_fatal: Callable[[], None]) -> None:
        self._known = known
        self._clocks, self._warned_of_clocks = Clocks(), False
        self._lock = threading.Lock()
        chosen = applied.config.metrics
        self._outcomes = Outcomes(chosen.horizon_s * 1000, CAPACITY)
        self._windows = chosen.windows_s, chosen.lateness_s
        self._late = Late(*self._windows)
        topic = applied.topic("recommendation-feedback")
        self.tail = Tail(
            cluster,
            {topic: Followed(_parse, self._apply), **alerts.followed(applied, self._written)},
            name="feedback",
            starts=lambda tail: {**dict.fromkeys(tail.places, FROM_NOW_ON), **alerts.starts(tail, applied)},
            on_fatal=on_fatal,
        )
        known.watched.append(self._watched)

    def answered(self, decisions: Sequence[Decision], now_ms: int) -> None:
        with self._lock:
            if decisions:
                self._late.answered(now_ms)
            for decision in decisions:
                request = decision.question.request
                profile = self._known.profiles.get(request.user_id)
                group = profile.gender if profile else None
                self._outcomes.answered(
                    request.request_id, request.user_id, decision.variant, decision.movies, group, now_ms
                )

    def configure(self, chosen: Metrics) -> None:
        """Another horizon, for the answers that still wait for theirs too; other windows, for answers from now on."""
        with self._lock:
            self._outcomes.horizon_ms = chosen.horizon_s * 1000
            if self._windows != (chosen.windows_s, chosen.lateness_s):
                self._windows = chosen.windows_s, chosen.lateness_s
                self._late = Late(*self._windows)
                metrics.WINDOWS_LATE.clear()

    def show(self) -> None:
        """Sets the gauges, and counts what did not count."""
        now_ms = int(time.time() * 1000)
        with self._lock:
            self._outcomes.expire(now_ms)
            late = self._late.since_s(now_ms)
            summary = self._outcomes.summary()
            ignored, self._outcomes.ignored = self._outcomes.ignored, Counter()
        for reason, count in ignored.items():
            metrics.FEEDBACK_IGNORED.labels(reason).inc(count)
        for window_s, seconds in late.items():
            metrics.WINDOWS_LATE.labels(str(window_s)).set(seconds)
        for variant, found in summary.items():
            if found.shown:
                metrics.CTR.labels(variant).set(found.selections / found.shown)
            if found.past_horizon:
                metrics.HIT_RATE.labels(variant).set(found.hits / found.past_horizon)
            for group, satisfaction in found.satisfaction.items():
                metrics.SATISFACTION.labels(group, variant).set(satisfaction.mean)
                metrics.SATISFACTION_USERS.labels(group, variant).set(satisfaction.users)
            if found.satisfaction_ratio is not None:
                metrics.SATISFACTION_RATIO.labels(variant).set(found.satisfaction_ratio)

    def _written(self, window_s: int, end_ms: int) -> None:
        with self._lock:
            self._late.written(window_s, end_ms)

    def _apply(self, found: list[tuple[Feedback, int]]) -> None:
        with self._lock:
            for feedback, at in found:
                self._outcomes.selected(feedback, at)

    def _watched(self, events: Sequence[Watch | Rating]) -> None:
        now_ms, old, behind_ms = int(time.time() * 1000), 0, None
        with self._lock:
            for event in events:
                if type(event) is Watch:
                    at_ms = watched_ms(event.timestamp_ms, now_ms)
                    self._outcomes.watched(event.user_id, event.movie_id, at_ms)
                    if (before := self._outcomes.came_before(event.user_id, at_ms, now_ms)) is not None:
                        old += before
                        behind_ms = self._clocks.add(before=before, behind_ms=now_ms - event.timestamp_ms) or behind_ms
        metrics.WATCHES_OLD.inc(old)
        if behind_ms is not None and not self._warned_of_clocks:
            self._warned_of_clocks = True
            log.warning(
                "watches come after answers and are older by their own time: no hits",
                of=LOOKED_AT,
                behind_s=behind_ms / 1000,
                hint="a clock that is behind, a log in local time, or an old log that is imported",
            )


def _parse(messages: list[Message]) -> list[tuple[Feedback, int]]:
    found = []
    for message in messages:
        try:
            found.append((wire.feedback(message.value()), kafka_ms(message)))
        except BadMessage:
            continue  # a dead letter of the agent on this topic
    return found
