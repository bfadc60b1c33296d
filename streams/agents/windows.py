"""Writes the windows: one process of an installation at a time, each record and each progress in one transaction.

Computes nothing: what a window says is handed in (`Windows`). The owner is whoever has partition 0 of `feedback-loop-metrics` in the group
`windows`; nobody reads that topic by it. All owners use one transactional id, so a new one ends what the last one left open, and a
commit bears the group's generation. Nothing is kept aside:

    committed offset   of answers, feedback and watches: the oldest that an open window still needs
    its metadata       {"told": next, "windows": {"300": end}}: which answers recommendation-quality has told of, which windows are written

Never believed alone: the newest records say the same (docs/decisions/0005).
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from models.config import Applied, Metrics
from models.errors import CanarecError
from models.events import Variant
from models.measures.alerts import Level
from models.measures.reports import (
    FAIRNESS,
    LOOPS,
    QUALITY,
    Fairness,
    FeedbackLoop,
    Levels,
    MadeOf,
    Quality,
    Record,
    Report,
    at_ms,
)
from models.measures.windows import VARIANTS, Span
from models.wire import UNREADABLE
from streams.clients import Cluster
from streams.clock import BrokerClock
from streams.committed import committed, committed_before
from streams.home import Home
from streams.leave import leave
from streams.messages import Place, ThrownOut, not_thrown_out
from streams.names import home_id
from streams.transactions import Out, Transactions

log = structlog.get_logger()

OWNER = "owner"  # the transactional id's, whichever process it is
SKEW_MS = 500  # between this clock and the brokers'
LOOK_S = 0.25
CONFIG_S = 2.0
NICE = 10  # answers come first
RETRY_S = 2.0  # a group that has thrown us out has told us so by then
STABLE_S = 20.0
BACK_MS = 86_400_000  # where nobody knows of any window, those of a day
LOOPS_TAIL, QUALITY_TAIL = 10_000, 10  # records of each partition

_encode = msgspec.json.Encoder().encode


class Windows(Protocol):
    """What windows say (`pipelines.windows.Closing`)."""

    answers: list[Place]

    def next_answer(self, at_ms: int) -> int | None: ...

    def made_of(self, of: Span) -> MadeOf | None: ...

    def reports(self, of: Span, made_of: MadeOf, before: Mapping[Variant, Sequence[Level]]) -> list[Report]: ...

    def quality(
        self, of: Span, made_of: MadeOf, told: Mapping[Place, int]
    ) -> Iterator[tuple[Place, int, list[Quality]]]: ...

    def needed(self, at_ms: int) -> dict[Place, int]: ...


class Topics(Protocol):
    """How records that were written are read (`pipelines.windows`), oldest first."""

    def newest(self, cluster: Cluster, applied: Applied, kind: type[Record], at_most: int) -> list[Record]:
        """Of so many messages of each partition."""

    def since(self, cluster: Cluster, applied: Applied, kind: type[Record], since_ms: int) -> list[Record]:
        """Those from some time on."""


@dataclass(slots=True)
class Progress:
    """How far everything is written, and what stands in the records so far that later ones need."""

    ends: dict[int, int] = field(default_factory=dict)  # of each length, in milliseconds
    told: dict[Place, int] = field(default_factory=dict)
    levels: Levels = field(default_factory=Levels)
    status: dict[tuple[str, int, str], str] = field(default_factory=dict)

    def note(self, place: Place) -> str:
        """What stands beside the committed offset of a partition of answers."""
        windows = {str(length): end for length, end in self.ends.items()}
        return msgspec.json.encode({"told": self.told.get(place, 0), "windows": windows}).decode()

    def read(self, place: Place, note: str) -> None:
        """The inverse; what is further already stays."""
        try:
            found = msgspec.json.decode(note or "{}", type=_Note)
        except UNREADABLE:
            return
        self.told[place] = max(self.told.get(place, 0), found.told)
        for length, end in found.windows.items():
            self.ends[int(length)] = max(self.ends.get(int(length), 0), end)

    def add(self, loop: FeedbackLoop, windows: int) -> bool:
        """A window that is written; `windows` of its length and variant are kept. True: an alert begins or ends with it."""
        end_ms = self.written(loop)
        self.levels.add(loop)
        self.levels.forget(loop.window_s, end_ms - 1_000 * loop.window_s * windows)
        return self.judged("feedback loop", loop)

    def written(self, loop: FeedbackLoop) -> int:
        """Takes note of a window that is; its end."""
        end_ms = at_ms(loop.window_end)
        self.ends[loop.window_s] = max(self.ends.get(loop.window_s, 0), end_ms)
        return end_ms

    def judged(self, what: str, record: FeedbackLoop | Fairness) -> bool:
        """Takes the record's status; whether it became an alert, or is none any more."""
        of = (what, record.window_s, record.variant)
        before, self.status[of] = self.status.get(of, "ok"), record.status
        return before != record.status and "alert" in (before, record.status)

    def needed_from(self, metrics: Metrics, now_ms: int) -> int:
        """Records from then on tell of every window that may be written next, and of those that it is compared with."""
        ends = {length: self.ends.get(length, now_ms - BACK_MS) for length in metrics.windows_s}
        return min(end - 1_000 * length * (metrics.fall_windows + 1) for length, end in ends.items())


class _Note(msgspec.Struct):
    told: int = 0
    windows: dict[str, int] = {}


def run(home: Home, bootstrap_servers: str, windows: Callable[[Cluster, Applied], Windows], topics: Topics) -> int:
    """Writes until SIGTERM; the exit code."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    os.nice(NICE)
    cluster = home.cluster(bootstrap_servers)
    home.workers.mkdir(parents=True, exist_ok=True)
    name = home_id(
        home.workers / "home-id"
    )  # one writer a home, by its lock: a static member, whose place waits for it
    try:
        Writing(cluster, home.load, partial(windows, cluster), topics, ending, name).run()
    except ThrownOut as error:
        log.error("windows: thrown out of the group", error=str(error))
        return 1
    return 0


class Writing:
    """The process: waits for its turn, then writes each window when it closes, until the end."""

    def __init__(
        self,
        cluster: Cluster,
        load: Callable[[], Applied],
        windows: Callable[[Applied], Windows],
        topics: Topics,
        ending: threading.Event,
        name: str,
    ) -> None:
        self._cluster, self._load, self._windows, self._topics = cluster, load, windows, topics
        self._ending, self._name = ending, name
        self._clock = BrokerClock()
        self._owner = False
        self._generation: Any = None

    def run(self) -> None:
        """Whatever fails is done again: Kafka has everything."""
        applied = self._load()
        consumer = self._consumer(applied)
        try:
            while not self._ending.is_set():
                _poll(consumer, LOOK_S)
                if self._owner:
                    try:
                        self._own(consumer)
                    except (CanarecError, KafkaException, TimeoutError, BufferError) as error:
                        log.warning("windows wait", error=str(error))
                        self._pause(consumer, RETRY_S)
        finally:
            member_id = consumer.memberid()
            consumer.close()
            if member_id:
                leave(self._cluster, applied.group("windows"), member_id)

    def _consumer(self, applied: Applied) -> Consumer:
        consumer = self._cluster.consumer(
            group_id=applied.group("windows"),
            group_instance_id=self._name,
            client_id=self._name,
            session_timeout_ms=6_000,
            heartbeat_interval_ms=500,
            max_poll_interval_ms=3_600_000,  # a window of an hour may take many minutes
            partition_assignment_strategy="range",
        )
        consumer.subscribe(
            [applied.topic(LOOPS)], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._revoked
        )
        return consumer

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._generation = consumer.consumer_group_metadata()
        consumer.assign(places)
        if places:
            consumer.pause(places)  # the group is for the turn only
        self._owner = any(place.partition == 0 for place in places)
        log.info("windows: " + ("at work" if self._owner else "standing by"))

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._owner = False

    def _pause(self, consumer: Consumer, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._ending.is_set():
            _poll(consumer, 0.1)

    # -- the owner --------------------------------------------------------------------------------

    def _own(self, consumer: Consumer) -> None:
        """One stretch of ownership, with one configuration."""
        applied = self._load()
        outputs = [applied.topic(name) for name in (LOOPS, FAIRNESS, QUALITY)]
        transactions = Transactions(self._cluster, applied.group("windows"), OWNER, 1, outputs, self._clock)
        transactions.ensure()  # what a predecessor left open is ended
        windows = self._windows(applied)
        progress = self._progress(consumer, applied, windows, transactions)
        writer = Writer(applied, windows, transactions, progress, lambda: self._generation)
        looked = time.monotonic()
        while self._owner and not self._ending.is_set():
            if writer.write(self._clock.now_ms() - SKEW_MS):
                _poll(consumer, 0)
            else:
                _poll(consumer, LOOK_S)
            if time.monotonic() - looked > CONFIG_S:
                looked = time.monotonic()
                if _of_windows(self._load()) != _of_windows(applied):
                    return

    def _progress(self, consumer: Consumer, applied: Applied, windows: Windows, transactions: Transactions) -> Progress:
        """From the committed offsets' metadata and from the newest records, whichever is further."""
        progress = Progress()
        group = applied.group("windows")
        for one in _committed(consumer, self._cluster, group, transactions, windows.answers):
            progress.read((one.topic, one.partition), one.metadata or "")
        metrics = applied.config.metrics
        if not progress.ends.keys() >= set(metrics.windows_s):  # the brokers forget offsets, by default after a week
            for loop in self._topics.newest(self._cluster, applied, FeedbackLoop, LOOPS_TAIL):
                progress.written(loop)
        since_ms = progress.needed_from(metrics, self._clock.now_ms())
        for loop in self._topics.since(self._cluster, applied, FeedbackLoop, since_ms):
            progress.add(loop, metrics.fall_windows)
        for fairness in self._topics.since(self._cluster, applied, Fairness, since_ms):
            progress.judged("fairness", fairness)
        for told in (one.source for one in self._topics.newest(self._cluster, applied, Quality, QUALITY_TAIL)):
            place = (told.topic, told.partition)
            progress.told[place] = max(progress.told.get(place, 0), told.offset + 1)
        return progress


def _poll(consumer: Consumer, seconds: float) -> None:
    """Serves the group; there is nothing to read."""
    not_thrown_out(consumer.poll(seconds))


def _of_windows(applied: Applied) -> tuple[Any, ...]:
    """What of a configuration windows depend on."""
    return applied.config.metrics, applied.config.events, applied.config.topics


def _committed(
    consumer: Consumer, cluster: Cluster, group: str, transactions: Transactions, places: Sequence[Place]
) -> list[TopicPartition]:
    try:
        return committed(consumer, places, STABLE_S)
    except KafkaException:
        before = committed_before(cluster, group, places)
        log.error("windows: a transaction hangs on the committed offsets: ending it")
        transactions.end_hanging(OWNER, before, consumer.consumer_group_metadata())
        return before


class Writer:
    """Writes what is due. Any error: nobody knows what was committed; begin anew from the topics."""

    def __init__(
        self,
        applied: Applied,
        windows: Windows,
        transactions: Transactions,
        progress: Progress,
        generation: Callable[[], Any],
    ) -> None:
        self._applied, self._windows, self._transactions = applied, windows, transactions
        self._progress, self._generation = progress, generation
        self._metrics = applied.config.metrics

    def write(self, until_ms: int) -> bool:
        """The window that closes next, if it has closed at `until_ms`. False: none was written."""
        of = self._due(until_ms)
        made_of = None if of is None else self._windows.made_of(of)
        if of is None or made_of is None:
            return False
        if of.window_s == self._metrics.windows_s[0]:
            for place, after, found in self._windows.quality(of, made_of, self._progress.told):
                self._progress.told[place] = after
                if found:
                    self._commit(of, [self._quality(one) for one in found])
        windows = self._metrics.fall_windows
        before = {v: self._progress.levels.before(of.window_s, v, of.start_ms, windows) for v in VARIANTS}
        reports = self._windows.reports(of, made_of, before)
        told = [one for report in reports for one in self._changes(report)]
        self._progress.ends[of.window_s] = of.end_ms
        self._commit(of, [out for report in reports for out in self._outs(report)])
        for event, fields in told:
            log.warning(event, window_s=of.window_s, **fields)
        return True

    def _due(self, until_ms: int) -> Span | None:
        """The window with answers that closes first; passes by those without."""
        while True:
            of = min((self._next(length, until_ms) for length in self._metrics.windows_s), key=lambda s: s.closes_ms)
            if of.closes_ms > until_ms:
                return None
            answered_ms = self._windows.next_answer(of.answers_from_ms)
            if answered_ms is not None and answered_ms < of.end_ms:
                return of
            closed_ms = (
                until_ms - of.lateness_ms if answered_ms is None else min(answered_ms, until_ms - of.lateness_ms)
            )
            self._progress.ends[of.window_s] = max(of.end_ms, _floor(closed_ms, of.window_s))

    def _next(self, length: int, until_ms: int) -> Span:
        if length not in self._progress.ends:
            first_ms = self._windows.next_answer(until_ms - BACK_MS)
            self._progress.ends[length] = _floor(until_ms if first_ms is None else first_ms, length)
        start_ms = _floor(self._progress.ends[length], length)
        return Span(length, start_ms, 1_000 * self._metrics.horizon_s, round(1_000 * self._metrics.lateness_s))

    def _commit(self, of: Span, outputs: list[Out]) -> None:
        oldest_ms = min(self._progress.ends.get(length, of.start_ms) for length in self._metrics.windows_s)
        ends = self._windows.needed(oldest_ms - of.horizon_ms)
        notes = {place: self._progress.note(place) for place in self._windows.answers}
        self._transactions.commit(ends, outputs, self._generation(), notes)

    def _outs(self, report: Report) -> Iterator[Out]:
        key = report.loop.variant.encode()
        yield Out(self._applied.topic(LOOPS), _encode(report.loop), key)
        yield Out(self._applied.topic(FAIRNESS), _encode(report.fairness), key)

    def _quality(self, found: Quality) -> Out:
        return Out(self._applied.topic(QUALITY), _encode(found), found.user_id.encode())

    def _changes(self, report: Report) -> Iterator[tuple[str, dict[str, Any]]]:
        """Takes a report into the progress; alerts that begin or end with it."""
        loop, fairness = report
        figures = {
            "feedback loop": {"ctr": loop.ctr, "hit_rate": loop.hit_rate},
            "fairness": {"ratio": fairness.satisfaction_ratio, "low": fairness.ci_low, "high": fairness.ci_high},
        }
        begun = self._progress.add(loop, self._metrics.fall_windows), self._progress.judged("fairness", fairness)
        for (what, fields), changed, status in zip(figures.items(), begun, (loop.status, fairness.status), strict=True):
            if changed:
                word = "alert" if status == "alert" else "alert is over"
                yield f"{what} {word}", {"variant": loop.variant, "window_end": loop.window_end, **fields}


def _floor(at_ms: int, length: int) -> int:
    return at_ms // (1_000 * length) * (1_000 * length)
