"""One window from the topics: which messages it is made from, what they say, and the same again from a record's offsets.

Reads; writes nothing and owns nothing. A window is computed when it closes, from Kafka, by the very function that recomputes it: what a crash
interrupts is computed again, and no figure depends on who read what in which order.
"""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, NamedTuple

import msgspec
from confluent_kafka import Message

from models import wire
from models.config import Applied, Metrics
from models.errors import BadMessage, CanarecError
from models.events import Feedback, Movie, Variant
from models.measures.alerts import Level, Thresholds
from models.measures.feedback import watched_ms
from models.measures.reports import (
    TOPIC_OF,
    Alert,
    Fairness,
    FeedbackLoop,
    Levels,
    MadeOf,
    Offsets,
    Quality,
    Record,
    Report,
    Series,
    at_ms,
    fresh_from,
    in_force,
    read,
    series,
)
from models.measures.said import Said
from models.measures.windows import Shelf, Shown, Span, Window, counts, group, has_popularity
from models.release.arms import Served
from models.wire import UNREADABLE, rfc3339
from pipelines.times import Ends, Times
from streams.clients import Cluster, messages, watermarks
from streams.messages import Place, kafka_ms, offset, partition, topic

ANSWERS, FEEDBACK, WATCHES, RATINGS = "provenance", "recommendation-feedback", "watch-events", "rating-events"
PROFILES, CATALOGUE = "user-profiles", "movie-catalog"
READ = (ANSWERS, FEEDBACK, WATCHES, RATINGS, PROFILES, CATALOGUE)
AT_ONCE = 2_000  # answers that are joined together
QUEUE_KB = 2_048  # that a reader holds ready
QUALITIES = 2_000  # records in a transaction
DAY_MS = 86_400_000
LATE_MS = 300_000  # a window that closed so long ago should be written

Ranges = Mapping[Place, tuple[int, int]]


def thresholds(metrics: Metrics) -> Thresholds:
    return Thresholds(metrics.ratio_min, metrics.ratio_max, metrics.group_users_min, metrics.fall, metrics.fall_windows)


def span(metrics: Metrics, window_s: int, start_ms: int) -> Span:
    return Span(window_s, start_ms, 1_000 * metrics.horizon_s, round(1_000 * metrics.lateness_s))


class Standing:
    """Profiles, catalogue and popularity as they stood at some offsets: folds that go on where they were."""

    def __init__(self, reading: "_Reading") -> None:
        self._reading = reading
        self._positions: dict[Place, int] = {}
        self.groups: dict[str, str] = {}
        self.movies: dict[str, Movie] = {}
        self._interactions: Counter[str] = Counter()
        self._shelf: Shelf | None = None

    def tables(self, offsets: Offsets) -> None:
        """Takes profiles and catalogue up to these offsets. Of a key the newest message counts, by the broker's time."""
        for key, value in self._newest(PROFILES, offsets).items():
            profile = None if value is None else wire.profile(value)
            found = None if profile is None else group(profile.gender)
            if found is None:
                self.groups.pop(key, None)
            else:
                self.groups[sys.intern(key)] = found
        for key, value in self._newest(CATALOGUE, offsets).items():
            self._shelf = None
            if value is None:
                self.movies.pop(key, None)
            else:
                self.movies[key] = wire.movie(value)

    def shelf(self, popularity_offsets: Offsets | None) -> Shelf:
        """The catalogue; with these events as its movies' popularity."""
        if popularity_offsets is not None:
            self._interactions.update(self._reading.interactions(self._ahead(popularity_offsets)))
            self._shelf = None
        self._shelf = self._shelf or Shelf(self.movies, None if popularity_offsets is None else self._interactions)
        return self._shelf

    def _newest(self, name: str, offsets: Offsets) -> dict[str, bytes | None]:
        newest: dict[str, tuple[tuple[int, int, int], bytes | None]] = {}
        parse = wire.profile if name == PROFILES else wire.movie
        for message in self._reading.messages(self._ahead({name: offsets[name]})):
            value, at = message.value(), (kafka_ms(message), partition(message), offset(message))
            try:
                if value is None:
                    key = wire.key_id(message.key())
                else:
                    record = parse(value)
                    key = record.movie_id if isinstance(record, Movie) else record.user_id
            except BadMessage:
                continue  # a dead letter of the worker
            if key not in newest or newest[key][0] < at:
                newest[key] = at, value
        return {key: value for key, (_, value) in newest.items()}

    def _ahead(self, offsets: Offsets) -> dict[Place, tuple[int, int]]:
        ranges = self._reading.ranges(offsets)
        ahead = {place: (self._positions.get(place, first), after) for place, (first, after) in ranges.items()}
        self._positions.update({place: max(begin, after) for place, (begin, after) in ahead.items()})
        return ahead


class _Reading:
    """The topics under the contract's names."""

    def __init__(self, cluster: Cluster, applied: Applied) -> None:
        self._cluster, self._applied = cluster, applied
        self._limits = applied.config.events.limits()

    def ranges(self, offsets: Offsets) -> dict[Place, tuple[int, int]]:
        return {
            (self._applied.topic(name), int(number)): (int(span[0]), int(span[1]))
            for name, by_partition in offsets.items()
            for number, span in by_partition.items()
        }

    def messages(self, ranges: Ranges) -> Iterator[Message]:
        if any(first < after for first, after in ranges.values()):  # a consumer costs more than nothing to read
            for batch in messages(self._cluster, ranges, at_once=AT_ONCE, queued_max_messages_kbytes=QUEUE_KB):
                yield from batch

    def stamped(self, ranges: Ranges, from_ms: int) -> Iterator[tuple[int, Message]]:
        """With times that never go back in a partition: at least `from_ms`, where the ranges begin, and at least those before.

        The first offset of a time or later is where a range begins or ends. A leader whose clock is behind the one before it stamps
        what comes later with an earlier time: by offset it is in one range, by its stamp it might be in none.
        """
        newest: dict[Place, int] = {}
        for message in self.messages(ranges):
            place = topic(message), partition(message)
            newest[place] = max(newest.get(place, from_ms), kafka_ms(message))
            yield newest[place], message

    def feedback(self, offsets: Offsets, from_ms: int) -> Iterator[tuple[int, Feedback]]:
        for came_ms, message in self.stamped(self.ranges({FEEDBACK: offsets[FEEDBACK]}), from_ms):
            try:
                yield came_ms, wire.feedback(message.value())
            except BadMessage:
                continue  # a dead letter of the worker

    def watches(self, offsets: Offsets, from_ms: int) -> Iterator[tuple[int, str, str]]:
        for came_ms, message in self.stamped(self.ranges({WATCHES: offsets[WATCHES]}), from_ms):
            try:
                watch = wire.watch(message.value(), kafka_ms(message), self._limits)
            except BadMessage:
                continue
            yield watched_ms(watch.timestamp_ms, came_ms), watch.user_id, watch.movie_id

    def interactions(self, ranges: Ranges) -> Iterator[str]:
        """The movie of each watch and rating."""
        ratings = self._applied.topic(RATINGS)
        for message in self.messages(ranges):
            parse = wire.rating if topic(message) == ratings else wire.watch
            try:
                yield parse(message.value(), kafka_ms(message), self._limits).movie_id
            except BadMessage:
                continue  # a dead letter of the worker: it has no effect

    def answers(self, ranges: Ranges, from_ms: int) -> Iterator[list[Shown]]:
        """Some at a time, in order within a partition."""
        some: list[Shown] = []
        for came_ms, message in self.stamped(ranges, from_ms):
            try:
                served = msgspec.json.decode(message.value() or b"", type=Served)
            except UNREADABLE:
                continue  # what others write there is not ours to judge
            some.append(Shown(came_ms, partition(message), offset(message), served))
            if len(some) >= AT_ONCE:
                yield some
                some = []
        yield some


def fold(reading: _Reading, of: Span, made_of: MadeOf, standing: Standing) -> Window:
    """The window from exactly these messages. `standing` must stand at or below them."""
    standing.tables(made_of.offsets)
    window = Window(of, standing.shelf(made_of.popularity_offsets), standing.groups)
    window.said(reading.feedback(made_of.offsets, of.start_ms))
    from_ms = of.answers_from_ms
    earlier = reading.ranges({ANSWERS: made_of.hit_offsets[ANSWERS]})
    # Only who was answered can follow an answer: an import of millions of watches is passed by.
    asked = {one.served.user_id for some in reading.answers(earlier, from_ms) for one in some}
    if asked:
        window.chosen(reading.feedback(made_of.hit_offsets, from_ms))
        window.watched(watch for watch in reading.watches(made_of.hit_offsets, from_ms) if watch[1] in asked)
    for some in reading.answers(reading.ranges({ANSWERS: made_of.offsets[ANSWERS]}), of.start_ms):
        window.answered(some)
    for some in reading.answers(earlier, from_ms):
        window.followed(some)
    return window


class Closing:
    """The windows of an installation, as they close. Not for two threads at once."""

    def __init__(self, cluster: Cluster, applied: Applied) -> None:
        self._cluster, self._applied, self._times = cluster, applied, Times(cluster)
        self._reading = _Reading(cluster, applied)
        self._standing = Standing(self._reading)
        self._places = self._times.places(applied.topic(name) for name in READ)
        self._ends: Ends = {}
        self.answers = [place for place in self._places if place[0] == applied.topic(ANSWERS)]

    def next_answer(self, at_ms: int) -> int | None:
        """When the first answer of that time or later was given; None where there is none yet."""
        return self._times.first(at_ms, self.answers)

    def made_of(self, of: Span) -> MadeOf | None:
        """The messages that count in a window whose closing is past; None while a transaction stays open over some of them."""
        ends = self._times.settled(self._places)
        if ends is None:
            return None
        self._ends = ends
        moments = (of.start_ms, of.end_ms, of.closes_ms, of.answers_from_ms, of.end_ms - of.horizon_ms)
        start, end, closing, earlier, later = (self._times.at(at_ms, ends) for at_ms in moments)
        beginning = dict.fromkeys(ends, 0)
        offsets = {
            **self._between(ANSWERS, start, end),
            **self._between(FEEDBACK, start, closing),
            **self._between(PROFILES, beginning, closing),
            **self._between(CATALOGUE, beginning, closing),
        }
        hit_offsets = {
            **self._between(ANSWERS, earlier, later),
            **self._between(FEEDBACK, earlier, end),
            **self._between(WATCHES, earlier, end),
        }
        self._standing.tables(offsets)
        popularity = None
        if not has_popularity(self._standing.movies):
            popularity = {
                **self._between(WATCHES, beginning, closing),
                **self._between(RATINGS, beginning, closing),
            }
        return MadeOf(offsets, hit_offsets, popularity)

    def reports(self, of: Span, made_of: MadeOf, before: Mapping[Variant, Sequence[Level]]) -> list[Report]:
        """The window's records, one pair for each variant. `before`: the levels of the windows that each is compared with."""
        window = fold(self._reading, of, made_of, self._standing)
        return window.records(made_of, thresholds(self._applied.config.metrics), before)

    def quality(
        self, of: Span, made_of: MadeOf, told: Mapping[Place, int]
    ) -> Iterator[tuple[Place, int, list[Quality]]]:
        """What became of the window's answers, from `told` on: place, the offset that is next then, records. Empty-handed places too."""
        said = Said(of)
        for came_ms, feedback in self._reading.feedback(made_of.offsets, of.start_ms):
            said.add(came_ms, feedback)
        ranges = self._reading.ranges({ANSWERS: made_of.offsets[ANSWERS]})
        for place, (first, after) in sorted(ranges.items()):
            reached = told.get(place, 0)
            begin = max(first, reached if reached <= self._ends[place] else 0)  # else of a topic that was made anew
            found: list[Quality] = []
            for some in self._reading.answers({place: (begin, after)} if begin < after else {}, of.start_ms):
                for one in some:
                    if (quality := said.quality(one, place[0])) is not None:
                        found.append(quality)
                        if len(found) >= QUALITIES:
                            yield place, one.offset + 1, found
                            found = []
            yield place, max(begin, after), found

    def needed(self, at_ms: int) -> dict[Place, int]:
        """The first offset of that time or later, of the topics that windows read by time; of what `made_of` has last found there."""
        names = {self._applied.topic(name) for name in (ANSWERS, FEEDBACK, WATCHES)}
        return self._times.at(at_ms, {place: end for place, end in self._ends.items() if place[0] in names})

    def _between(self, name: str, first: Mapping[Place, int], after: Mapping[Place, int]) -> Offsets:
        real = self._applied.topic(name)
        return {name: {str(p): (min(first[t, p], after[t, p]), after[t, p]) for t, p in self._places if t == real}}


class Before(NamedTuple):
    """The levels of windows that were written; of those that ended after `from_ms` nothing is missing."""

    levels: Levels
    from_ms: int


def recompute(
    cluster: Cluster, applied: Applied, told: FeedbackLoop | Fairness, before: Before | None = None
) -> FeedbackLoop | Fairness:
    """A record again, from the offsets that it names and its own horizon and thresholds.

    What the topics have dropped since, or compacted away, is missing in it. `before`: from which its `reference` comes out again; where it
    does not reach back far enough, that stays what the record says.
    """
    where = f"{told.window_start}, {told.variant}"
    if told.ignored is None or FEEDBACK not in told.hit_offsets:
        raise CanarecError(f"{where}: written by an earlier version, which counted otherwise")
    start_ms = at_ms(told.window_start)
    of = Span(told.window_s, start_ms, round(1_000 * told.horizon_s), round(1_000 * told.lateness_s))
    popularity = told.popularity_offsets if isinstance(told, FeedbackLoop) else None
    if before is not None and before.from_ms <= _reference_ms(told):
        levels = before.levels.before(told.window_s, told.variant, start_ms, told.thresholds.fall_windows)
    else:
        levels = [told.reference] if isinstance(told, FeedbackLoop) and told.reference is not None else []
    reading, made_of = _Reading(cluster, applied), MadeOf(told.offsets, told.hit_offsets, popularity)
    window = fold(reading, of, made_of, Standing(reading))
    for report in window.records(made_of, told.thresholds, {told.variant: levels}):
        if report.loop.variant == told.variant:
            return report.loop if isinstance(told, FeedbackLoop) else report.fairness
    raise CanarecError(f"{where}: no answer at its offsets (any more)")


def _reference_ms(told: FeedbackLoop | Fairness) -> int:
    """Where the windows begin that it is compared with."""
    return at_ms(told.window_start) - 1_000 * told.window_s * told.thresholds.fall_windows


class Unwritten(NamedTuple):
    """Windows of one length that should be written. `newest`: when the last one that is ended; None: none in the last day."""

    window_s: int
    newest: str | None


def unwritten(cluster: Cluster, applied: Applied, now_ms: int) -> list[Unwritten]:
    """Lengths with a window that has answers, closed LATE_MS ago or earlier, and is not written."""
    metrics, times, reading = applied.config.metrics, Times(cluster), _Reading(cluster, applied)
    since_ms = now_ms - max(DAY_MS, -fresh_from(0, metrics.windows_s[-1], metrics.lateness_s))
    ends: dict[int, int] = {}
    for loop in since(cluster, applied, FeedbackLoop, since_ms):
        ends[loop.window_s] = max(ends.get(loop.window_s, 0), at_ms(loop.window_end))
    places = list(_held(cluster, applied, ANSWERS))
    found = []
    for length in metrics.windows_s:
        from_ms = ends.get(length, since_ms)
        until_ms = (now_ms - LATE_MS - round(1_000 * metrics.lateness_s)) // (1_000 * length) * 1_000 * length
        if from_ms >= until_ms:
            continue
        held = times.committed(places)
        first, after = times.at(from_ms, held), times.at(until_ms, held)
        ranges = {place: (first[place], after[place]) for place in held}
        if any(counts(one.served) for some in reading.answers(ranges, from_ms) for one in some):
            found.append(Unwritten(length, rfc3339(ends[length]) if length in ends else None))
    return found


class Written(NamedTuple, Generic[Record]):
    """Records of a topic, oldest first. `from_ms`: the topic has dropped nothing that was appended since."""

    records: list[Record]
    from_ms: int


def newest(cluster: Cluster, applied: Applied, kind: type[Record], at_most: int) -> list[Record]:
    """The last records of their topic, of so many messages of each partition at most, oldest first."""
    held = _held(cluster, applied, TOPIC_OF[kind])
    return _records(cluster, {place: (max(low, high - at_most), high) for place, (low, high) in held.items()}, kind)


def since(cluster: Cluster, applied: Applied, kind: type[Record], since_ms: int) -> list[Record]:
    """The records that were appended to their topic at that time or later, oldest first. A window's are never appended before its end."""
    return written_since(cluster, applied, kind, since_ms).records


def written_since(cluster: Cluster, applied: Applied, kind: type[Record], since_ms: int) -> Written[Record]:
    """The same, and whether that is all."""
    held, times = _held(cluster, applied, TOPIC_OF[kind]), Times(cluster)
    first = times.at(max(0, since_ms), {place: high for place, (_, high) in held.items()})
    cut = [place for place, (low, _) in held.items() if first[place] <= low and low > 0]
    whole_from = [times.first(0, [place]) for place in cut]
    from_ms = max((sys.maxsize if at is None else at for at in whole_from), default=0)
    return Written(_records(cluster, {place: (first[place], high) for place, (_, high) in held.items()}, kind), from_ms)


def levels_before(cluster: Cluster, applied: Applied, records: Iterable[FeedbackLoop | Fairness]) -> Before | None:
    """What `reference` in these records comes from. None: none of them has one."""
    loops = [record for record in records if isinstance(record, FeedbackLoop)]
    if not loops:
        return None
    found = written_since(cluster, applied, FeedbackLoop, min(map(_reference_ms, loops)))
    before = Before(Levels(), found.from_ms)
    for loop in found.records:
        before.levels.add(loop)
    return before


class StandingAlerts:
    """The alerts of the newest windows, of those that closed not long ago, look after look. Not for two threads at once."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._of: tuple[Any, ...] | None = None
        self._next: dict[Place, int] = {}
        self._newest: dict[Series, FeedbackLoop | Fairness] = {}

    def at(self, applied: Applied, now_ms: int) -> list[Alert]:
        """A record that was read is not read again: there may be thousands of short windows since the last long one."""
        metrics = applied.config.metrics
        of = (metrics.windows_s, metrics.lateness_s, applied.config.topics)
        if of != self._of:
            self._of, self._next, self._newest = of, {}, {}
        since_ms = fresh_from(now_ms, metrics.windows_s[-1], metrics.lateness_s)
        kinds: tuple[type[FeedbackLoop] | type[Fairness], ...] = (FeedbackLoop, Fairness)
        for kind in kinds:
            held = _held(self._cluster, applied, TOPIC_OF[kind])
            new = {place: high for place, (low, high) in held.items() if not low <= self._next.get(place, -1) <= high}
            first = self._next | (Times(self._cluster).at(max(0, since_ms), new) if new else {})
            ahead = {place: (first[place], high) for place, (_, high) in held.items()}
            self._newest |= {series(record): record for record in _records(self._cluster, ahead, kind)}
            self._next |= {place: high for place, (_, high) in ahead.items()}
        return in_force(self._newest.values(), now_ms)


def _held(cluster: Cluster, applied: Applied, name: str) -> dict[Place, tuple[int, int]]:
    """What a topic holds: of each partition that is not empty the first offset and the next one."""
    real, consumer = applied.topic(name), cluster.consumer()
    try:
        if real not in consumer.list_topics(timeout=10).topics:
            return {}  # nobody has made it yet
        held = {place: watermarks(consumer, *place) for place in Times(cluster).places([real])}
    finally:
        consumer.close()
    return {place: (low, high) for place, (low, high) in held.items() if low < high}


def _records(cluster: Cluster, ranges: Ranges, kind: type[Record]) -> list[Record]:
    found = []
    for batch in messages(cluster, ranges) if ranges else ():
        for message in batch:
            record = read(message.value(), kind, kafka_ms(message))
            if record is not None:
                found.append((kafka_ms(message), partition(message), offset(message), record))
    return [record for *_, record in sorted(found, key=lambda one: one[:3])]
