"""Follows one trial through the topics: canary-events for when it began, then answers, feedback, watches and profiles, in time order.

A look reads up to a moment before which everything is known to be there, and hands it to `models.release.trial`, slice by slice of
time, so that memory stays bounded also where a week is read again after a restart. What a look has read, the next one does not.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

import msgspec
from confluent_kafka import Message

from models import wire
from models.config import Applied
from models.errors import BadMessage
from models.events import Feedback, Profile, Watch
from models.measures.reports import to_blame
from models.release.chain import Chain
from models.release.evidence import Evidence
from models.release.story import Story
from models.release.trial import Record, Trial
from models.wire import UNREADABLE, Limits
from pipelines.times import Times
from pipelines.windows import StandingAlerts
from streams.clients import Cluster, messages, partitions, watermarks
from streams.messages import Place, kafka_ms, offset, partition, topic

AT_ONCE = 50_000  # messages that are put in order together
SHORTEST_MS = 1_000
SKEW_MS = 500  # between this clock and the brokers'
ANSWERS, FEEDBACK, WATCHES, PROFILES = "provenance", "recommendation-feedback", "watch-events", "user-profiles"
FOLLOWED = (PROFILES, ANSWERS, FEEDBACK, WATCHES)  # at the same millisecond in this order
EVENTS = "canary-events"

Offsets = Mapping[Place, int]
_Event = Record | Feedback | Watch | Profile
Checksums = Callable[[str], tuple[str | None, list[str]]]
"""Of a version: the digest of its factors, None where it is not at hand; and what is wrong with its files."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look has found: evidence, from which messages, up to which moment, and whether workers answer by this very split."""

    evidence: Evidence
    since_ms: int
    until_ms: int
    offsets: Mapping[str, Mapping[str, int]]  # topic of the contract → partition → next
    in_force: bool


class Ledger:
    """`canary-events` from its beginning: the chain and the story."""

    def __init__(self, cluster: Cluster, applied: Applied) -> None:
        self._cluster, self._topic = cluster, applied.topic(EVENTS)
        self._positions: dict[Place, int] = {}
        self.chain, self.story = Chain(), Story()
        self.problems: list[str] = []  # each with the place of its message

    def read_on(self) -> None:
        """What has come since the last call."""
        consumer = self._cluster.consumer()
        try:
            ahead = {}
            for number in partitions(consumer, self._topic):
                first, end = watermarks(consumer, self._topic, number)
                if not self._positions and first > 0:
                    self.chain.whole = False
                ahead[self._topic, number] = (max(first, self._positions.get((self._topic, number), 0)), end)
        finally:
            consumer.close()
        for batch in messages(self._cluster, ahead):
            for message in batch:
                event, wrong = self.chain.add(message.value())
                self.story.add(event, kafka_ms(message))
                self.problems += [f"partition {partition(message)}, offset {offset(message)}: {line}" for line in wrong]
        self._positions = {place: end for place, (_, end) in ahead.items()}


class Following:
    """The trial that config.json and `canary-events` name. `crashes`: of processes, since a moment. Not for two threads at once."""

    def __init__(
        self, cluster: Cluster, checksums: Checksums, crashes: Callable[[int], int] = lambda since_ms: 0
    ) -> None:
        self._cluster, self._checksums, self._crashes = cluster, checksums, crashes
        self._alerts = StandingAlerts(cluster)
        self._times: Times | None = None
        self.ledger: Ledger | None = None
        self._of: tuple[Any, ...] | None = None
        self._trial: _Reading | None = None

    def look(self, applied: Applied, now_ms: int) -> Seen | None:
        """The evidence so far; None without a candidate, and until its versions are in force. CanarecError where Kafka does not answer."""
        try:
            return self._look(applied, self.read(applied).story, now_ms)
        except BaseException:
            self._of = None  # half read: the next look begins anew
            raise

    def read(self, applied: Applied) -> Ledger:
        """`canary-events` up to now."""
        ledger, self.ledger = self.ledger or Ledger(self._cluster, applied), None
        ledger.read_on()
        self.ledger = ledger
        return ledger

    def _look(self, applied: Applied, story: Story, now_ms: int) -> Seen | None:
        canary, release, metrics = applied.config.canary, applied.config.release, applied.config.metrics
        run = None if canary.candidate is None else story.run(canary.stable, canary.candidate)
        if canary.candidate is None or run is None:
            return None
        limits, topics = applied.config.events.limits(), applied.config.topics
        of = (
            run.since_ms,
            canary.stable,
            canary.candidate,
            canary.unit,
            release.decides_from,
            metrics,
            limits,
            topics,
        )
        if self._of != of or self._trial is None:
            self._times = self._times or Times(self._cluster)
            trial = Trial(canary, release, 1_000 * metrics.horizon_s, since_ms=run.since_ms)
            self._trial = _Reading(self._cluster, self._times, applied, trial, limits, run.since_ms)
            self._of = of
        reading = self._trial
        reading.read_on(now_ms)
        until_ms, step_ms = reading.until_ms, story.step_since_ms(canary)
        if run.left and applied.sha256 not in reading.trial.configurations(until_ms, None):
            return None  # nobody lives who answers by it
        evidence = reading.trial.evidence(
            canary.percentage,
            held_s=0.0 if step_ms is None else max(0, until_ms - step_ms) / 1_000,
            shadow=run.shadow,
            crashes=self._crashes(run.since_ms),
            configurations=reading.trial.configurations(until_ms, story.changed_ms),
            wrong_checksums=[
                line
                for version in dict.fromkeys((canary.stable, canary.candidate))
                for line in self._wrong(version, reading.trial.files(version))
            ],
        )
        alerts = to_blame(self._alerts.at(applied, now_ms), canary.candidate)
        evidence = msgspec.structs.replace(evidence, alerts=alerts)
        return Seen(evidence, run.since_ms, until_ms, reading.offsets(), step_ms is not None)

    def _wrong(self, version: str, answered_from: tuple[str, ...]) -> Iterator[str]:
        mine, problems = self._checksums(version)
        for problem in problems:
            yield f"{version}: {problem}"
        files = sorted({*answered_from, *([mine] if mine is not None else [])})
        if len(files) > 1:
            yield f"{version} is more than one file: {', '.join(sha[:8] for sha in files)}"


@dataclass(slots=True)
class _Reading:
    """The topics of one trial, and how far they are read."""

    cluster: Cluster
    times: Times
    applied: Applied
    trial: Trial
    limits: Limits
    since_ms: int
    until_ms: int = 0
    positions: dict[Place, int] = field(default_factory=dict)

    def read_on(self, now_ms: int) -> None:
        """Up to the last tick before which all is there. Where a transaction stays open, no further than the last time."""
        places = self.times.places(self.applied.topic(name) for name in FOLLOWED)
        ends = self.times.settled(places)
        until_ms = self.trial.tick(now_ms - SKEW_MS)
        if ends is None or until_ms <= self.until_ms:
            return
        self._begin([place for place in places if place not in self.positions], ends)
        stop = self._at(until_ms, self.positions, ends)
        for start, end in self._slices(self.positions, stop, max(self.since_ms, self.until_ms), until_ms):
            self._hand(start, end)
        self.positions = dict(stop)
        self.until_ms = self.trial.reach(until_ms)

    def offsets(self) -> dict[str, dict[str, int]]:
        """What the evidence was made from: everything below these, from the trial's beginning on."""
        names = {self.applied.topic(name): name for name in FOLLOWED}
        found: dict[str, dict[str, int]] = {name: {} for name in FOLLOWED}
        for (of, number), position in sorted(self.positions.items()):
            found[names[of]][str(number)] = position
        return found

    def _begin(self, met: list[Place], ends: Offsets) -> None:
        """Of partitions that are met first: at the trial's beginning; profiles from before it are taken in."""
        if not met:
            return
        start = self._at(self.since_ms, dict.fromkeys(met, 0), ends)
        profiles = self.applied.topic(PROFILES)
        before = {place: (0, after) for place, after in start.items() if place[0] == profiles}
        for batch in messages(self.cluster, before):
            for message in batch:
                self._apply(0, self._parsed(message))
        self.positions.update(start)

    def _at(self, at_ms: int, above: Offsets, below: Offsets) -> Offsets:
        """The first offset of that time or later, of the places in `above`, between these two."""
        found = self.times.at(at_ms, {place: below[place] for place in above})
        return {place: max(above[place], first) for place, first in found.items()}

    def _slices(self, start: Offsets, stop: Offsets, from_ms: int, until_ms: int) -> Iterator[tuple[Offsets, Offsets]]:
        total = sum(stop[place] - start[place] for place in stop)
        if total <= AT_ONCE or until_ms - from_ms <= SHORTEST_MS:
            if total:
                yield start, stop
            return
        middle_ms = (from_ms + until_ms) // 2
        middle = self._at(middle_ms, start, stop)
        yield from self._slices(start, middle, from_ms, middle_ms)
        yield from self._slices(middle, stop, middle_ms, until_ms)

    def _hand(self, start: Offsets, stop: Offsets) -> None:
        """A slice, in order of time."""
        rank = {self.applied.topic(name): number for number, name in enumerate(FOLLOWED)}
        found = []
        for batch in messages(self.cluster, {place: (start[place], stop[place]) for place in stop}):
            for message in batch:
                if (event := self._parsed(message)) is not None:
                    at = (kafka_ms(message), rank[topic(message)], partition(message), offset(message))
                    found.append((at, event))
        found.sort(key=itemgetter(0))
        for (at_ms, *_), event in found:
            self.trial.reach(at_ms)
            self._apply(at_ms, event)

    def _parsed(self, message: Message) -> _Event | None:
        """What others write there is not ours to judge: None. It is a dead letter of the worker."""
        of, value = topic(message), message.value()
        try:
            if of == self.applied.topic(ANSWERS):
                return _record(value)
            if of == self.applied.topic(FEEDBACK):
                return wire.feedback(value)
            if of == self.applied.topic(WATCHES):
                return wire.watch(value, kafka_ms(message), self.limits)
            return Profile(wire.key_id(message.key()), None) if value is None else wire.profile(value)
        except BadMessage:
            return None

    def _apply(self, at_ms: int, event: _Event | None) -> None:
        match event:
            case Record():
                self.trial.answered(at_ms, event)
            case Feedback():
                self.trial.said(at_ms, event)
            case Watch():
                self.trial.watched(at_ms, event)
            case Profile():
                self.trial.profile(event.user_id, event.gender)


def _record(value: bytes | None) -> Record | None:
    try:
        record = msgspec.json.decode(value or b"", type=Record)
    except UNREADABLE:
        return None
    record.recommendations = [sys.intern(movie) for movie in record.recommendations]  # 20 of few, many times
    return record
