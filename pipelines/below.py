"""The events of some users below recorded offsets: the histories that answers were made from, again.

From the archive where it has the offsets, since a column file is read faster than a topic, and otherwise from the topics; each once,
however many records ask. What neither has is known by its place, so that nothing is made again from half a history.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException, Message

from models import wire
from models.errors import BadArtifact, BadMessage
from models.events import Rating, Watch
from models.ids import Ids
from models.recommenders.base import F64, I32, I64
from models.wire import UNREADABLE, Limits
from pipelines import parquet, tiles
from pipelines.past import is_anothers
from streams.clients import Cluster, messages, watermarks
from streams.messages import kafka_ms, offset, place

NAMES = WATCHES, RATINGS = "watch-events", "rating-events"

Offsets = Mapping[str, Mapping[str, int]]  # topic → partition → next offset, as a provenance record has them
Place = tuple[str, int]  # a topic as Kafka calls it, and a partition
Span = tuple[int, int]  # first and next offset
Progress = Callable[[int, int], None]  # offsets done, of how many

_ANY = Limits(rating_min=float("-inf"), rating_max=float("inf"), minute_max=2**31 - 1)
_BY_LIMITS = frozenset({"bad_rating", "bad_minute"})


class Seen(NamedTuple):
    """An event, and where it stands."""

    place: Place
    offset: int
    movie_id: str
    time_ms: int
    rating: float | None  # None of a watch
    minute: int | None  # None of a rating


@dataclass(frozen=True, slots=True)
class Below:
    """Events by user. One that the scale of its time refused is here too: which scale counts, a record's configuration says."""

    ids: Ids  # of movies
    rows: Mapping[str, Span]  # of each user, in the columns
    places: Mapping[Place, int]  # numbers of them
    place: I32
    offset: I64
    movie: I32
    time_ms: I64
    rating: F64  # NaN: a watch
    minute: I32  # −1: a rating
    holes: Mapping[Place, Span]  # the first range that neither topic nor archive has

    def movies(self, user_id: str, offsets: Offsets, limits: Limits) -> I32:
        """The movies in a user's history, made of every event below the offsets and of no other; ascending numbers.

        BadArtifact where some of these events are gone.
        """
        first, after = self.rows.get(user_id, (0, 0))
        ends = self._ends(offsets)
        keep = self.offset[first:after] < ends[self.place[first:after]]
        keep &= self._within(first, after, limits)
        return np.unique(self.movie[first:after][keep])

    def between(self, user_id: str, one: Offsets, other: Offsets, limits: Limits) -> list[Seen]:
        """The user's events below `other` and not below `one`, by their time."""
        first, after = self.rows.get(user_id, (0, 0))
        at, places = self.offset[first:after], self.place[first:after]
        keep = (at < self._ends(other)[places]) & (at >= self._ends(one)[places]) & self._within(first, after, limits)
        names = list(self.places)
        found = []
        for row in (first + np.flatnonzero(keep)).tolist():
            rating, minute = float(self.rating[row]), int(self.minute[row])
            found.append(
                Seen(
                    names[self.place[row]],
                    int(self.offset[row]),
                    self.ids.text(int(self.movie[row])),
                    int(self.time_ms[row]),
                    None if np.isnan(rating) else rating,
                    None if minute < 0 else minute,
                )
            )
        return sorted(found, key=lambda seen: (seen.time_ms, seen.place, seen.offset))

    def _ends(self, offsets: Offsets) -> I64:
        ends = np.zeros(max(1, len(self.places)), np.int64)
        for name, by_partition in offsets.items():
            for number, after in by_partition.items():
                where = (name, int(number))
                if where in self.holes and self.holes[where][0] < after:
                    first, until = self.holes[where]
                    raise BadArtifact(
                        f"{name}/{number}: the events from offset {first} to {until - 1} are neither in the topic nor in the archive"
                    )
                if where in self.places:
                    ends[self.places[where]] = after
        return ends

    def _within(self, first: int, after: int, limits: Limits) -> npt.NDArray[np.bool_]:
        rating, minute = self.rating[first:after], self.minute[first:after]
        on_scale = np.isnan(rating) | ((rating >= limits.rating_min) & (rating <= limits.rating_max))
        return on_scale & (minute <= limits.minute_max)


def read(
    cluster: Cluster,
    archive: Path,
    users: Collection[str],
    ends: Mapping[Place, int],
    names: Mapping[str, str],
    ids: Ids,
    *,
    progress: Progress = lambda done, total: None,
) -> Below:
    """The events of these users below `ends`; `ids` numbers their movies.

    names: what Kafka calls a topic → what the archive and the contract call it.

    Kafka is asked only for what the archive lacks; of a topic that was made anew since it was archived, that is all. Errors: CanarecError, KafkaException where it does not answer.
    """
    reading = _Reading(archive, frozenset(users), names, sum(ends.values()), progress)
    anothers = {topic for topic in {name for name, _ in ends} if is_anothers(cluster, archive, names[topic], topic)}
    missing = {
        where: [(0, after)] if where[0] in anothers else reading.archived(where, after) for where, after in ends.items()
    }
    reading.topics(cluster, {where: spans for where, spans in missing.items() if spans})
    return reading.indexed(list(ends), ids)


class _Columns(NamedTuple):
    """Events of one place in any order of users."""

    user_id: list[str]
    movie_id: list[str]
    offset: Sequence[int]
    time_ms: Sequence[int]
    value: Sequence[float]  # a rating, or a minute


class _About(msgspec.Struct):
    user_id: str | int | None = None


class _Reading:
    def __init__(
        self, archive: Path, users: frozenset[str], names: Mapping[str, str], total: int, progress: Progress
    ) -> None:
        self._archive, self._users, self._names = archive, users, names
        self._wanted = pa.array(sorted(users), pa.string())
        self._about = msgspec.json.Decoder(_About).decode
        self._total, self._done, self._progress = total, 0, progress
        self._found: list[tuple[Place, _Columns]] = []
        self._narrowly: dict[Place, list[tuple[Span, Path]]] = {}
        self._holes: dict[Place, Span] = {}

    # -- the archive ------------------------------------------------------------------------------

    def archived(self, where: Place, after: int) -> list[Span]:
        """Takes what the archive has below `after`; the ranges that it lacks."""
        missing, at = [], 0
        for tile in tiles.Partition(self._archive, self._names[where[0]], where[1]).tiles():
            if tile.first >= after:
                break
            span = (tile.first, min(after, tile.last + 1))
            if span[0] > at:
                missing.append((at, span[0]))
            if not self._take(where, span, tile.path):
                missing.append(span)
            at = span[1]
        return [*missing, (at, after)] if at < after else missing

    def _take(self, where: Place, span: Span, path: Path, *, narrow: bool = False) -> bool:
        """`narrow`: also a file from which a narrower scale than a record's may have kept events away."""
        value = "minute" if self._names[where[0]] == WATCHES else "rating"
        try:
            with parquet.opened(path) as file:
                if not narrow and not _BY_LIMITS.isdisjoint(parquet.described(path, file)["refused"]):
                    self._narrowly.setdefault(where, []).append((span, path))
                    return False
                rows = file.read(columns=["offset", "user_id", "movie_id", "timestamp", value])
        except (BadArtifact, FileNotFoundError, pa.ArrowInvalid, OSError):  # damaged, or compacted away just now
            return False
        rows = rows.filter(pc.and_(pc.is_in(rows["user_id"], value_set=self._wanted), pc.less(rows["offset"], span[1])))
        self._add(
            where,
            _Columns(
                rows["user_id"].to_pylist(),
                rows["movie_id"].to_pylist(),
                rows["offset"].to_numpy(),
                rows["timestamp"].cast(pa.int64()).to_numpy(),
                rows[value].to_numpy(),
            ),
            span[1] - span[0],
        )
        return True

    # -- the topics -------------------------------------------------------------------------------

    def topics(self, cluster: Cluster, missing: Mapping[Place, list[Span]]) -> None:
        """Takes from Kafka what the archive lacks; what Kafka lacks, too, is a hole."""
        if not missing:
            return
        consumer = cluster.consumer()
        try:
            ranges: list[dict[Place, Span]] = []
            for where, spans in missing.items():
                low, end = _there(consumer, where)
                for turn, (first, after) in enumerate(spans):
                    begin, stop = max(first, low), min(after, end)
                    if first < begin or stop < after:
                        gone = (first, min(begin, after)) if first < begin else (max(first, stop), after)
                        self._instead(where, (first, after), gone)
                    if begin < stop:
                        ranges += [{}] * (turn + 1 - len(ranges))
                        ranges[turn] = {**ranges[turn], where: (begin, stop)}
        finally:
            consumer.close()
        for portion in ranges:
            for some in messages(cluster, portion):
                self._parse(some)

    def _instead(self, where: Place, span: Span, gone: Span) -> None:
        """Of what the topic has no more, a file that was archived by another scale is better than nothing."""
        for known, path in self._narrowly.get(where, ()):
            if known == span and self._take(where, span, path, narrow=True):
                return
        if where not in self._holes or gone < self._holes[where]:
            self._holes[where] = gone

    def _parse(self, some: Sequence[Message]) -> None:
        found: dict[Place, list[Watch | Rating]] = {}
        offsets: dict[Place, list[int]] = {}
        for message in some:
            if self._named(message.value()) not in self._users:
                continue  # nearly all are of others
            where = place(message)
            parse = wire.watch if self._names[where[0]] == WATCHES else wire.rating
            try:
                event = parse(message.value(), kafka_ms(message), _ANY)
            except BadMessage:
                continue  # a dead letter of the worker
            found.setdefault(where, []).append(event)
            offsets.setdefault(where, []).append(offset(message))
        for where, events in found.items():
            self._add(
                where,
                _Columns(
                    [event.user_id for event in events],
                    [event.movie_id for event in events],
                    offsets[where],
                    [event.timestamp_ms for event in events],
                    [event.minute if isinstance(event, Watch) else event.rating for event in events],
                ),
                0,
            )
        self._step(len(some))

    def _named(self, value: bytes | None) -> str | None:
        try:
            user = self._about(value or b"").user_id
        except UNREADABLE:
            return None
        return str(user) if type(user) is int else user  # type: ignore[return-value]  # text, or None

    # -- both -------------------------------------------------------------------------------------

    def _add(self, where: Place, columns: _Columns, offsets: int) -> None:
        self._found.append((where, columns))
        self._step(offsets)

    def _step(self, offsets: int) -> None:
        self._done = min(self._total, self._done + offsets)
        self._progress(self._done, self._total)

    def indexed(self, places: Sequence[Place], ids: Ids) -> Below:
        """All of it by user."""
        numbers, users = {where: number for number, where in enumerate(places)}, Ids()
        parts: dict[str, list[Any]] = {
            name: [] for name in ("user", "place", "offset", "movie", "time", "rating", "minute")
        }
        for where, columns in self._found:
            n, value = len(columns.user_id), np.asarray(columns.value, np.float64)
            watched = self._names[where[0]] == WATCHES
            parts["user"].append(np.array(users.indices(columns.user_id), np.int32))
            parts["place"].append(np.full(n, numbers[where], np.int32))
            parts["offset"].append(np.asarray(columns.offset, np.int64))
            parts["movie"].append(np.array(ids.indices(columns.movie_id), np.int32))
            parts["time"].append(np.asarray(columns.time_ms, np.int64))
            parts["rating"].append(np.full(n, np.nan) if watched else value)
            parts["minute"].append(value.astype(np.int32) if watched else np.full(n, -1, np.int32))
        kinds = dict.fromkeys(parts, np.int32) | {"offset": np.int64, "time": np.int64, "rating": np.float64}
        whole = {name: np.concatenate([np.empty(0, kinds[name]), *some]) for name, some in parts.items()}
        order = np.lexsort((whole["offset"], whole["place"], whole["user"]))
        place, at = whole["place"][order], whole["offset"][order]
        once = np.ones(len(order), np.bool_)  # an offset has one event, whichever way it came
        once[1:] = (place[1:] != place[:-1]) | (at[1:] != at[:-1])
        whole = {name: column[order[once]] for name, column in whole.items()}
        bounds = np.searchsorted(whole["user"], np.arange(len(users) + 1)).tolist()
        return Below(
            ids,
            {users.text(number): (bounds[number], bounds[number + 1]) for number in range(len(users))},
            numbers,
            whole["place"],
            whole["offset"],
            whole["movie"],
            whole["time"],
            whole["rating"],
            whole["minute"],
            self._holes,
        )


def _there(consumer: Any, where: Place) -> Span:
    """What Kafka has of a partition; nothing where there is no such one any more."""
    try:
        return watermarks(consumer, *where, timeout_s=5)
    except KafkaException as error:
        if error.args[0].code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION):
            return 0, 0
        raise
