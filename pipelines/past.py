"""Watch and rating events between offsets: from the archive where it reaches, else from the topics. Reads; counts and keeps nothing.

A place is (topic of the contract, partition), a range (first, next). What a topic has dropped and the archive does not have is not there.
A damaged file of the archive counts as one that is not there; whoever makes a data set of it, or joins it with others, sets it aside.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import KafkaError, KafkaException, TopicCollection

from models import wire
from models.config import Applied
from models.errors import BadArtifact, BadMessage
from models.measures.feedback import watched_ms
from models.news import Digests, New, digests
from models.recommenders.base import I64
from models.release.arms import Seen
from pipelines import parquet, tiles
from streams.clients import Cluster, messages, watermarks
from streams.messages import kafka_ms, topic

WATCHES, RATINGS = "watch-events", "rating-events"

Ranges = Mapping[tuple[str, int], tuple[int, int]]


def read(cluster: Cluster, applied: Applied, ranges: Ranges) -> Iterator[tuple[list[New], int]]:
    """The good events of the topics, some at a time, and how many messages were none. CanarecError where Kafka is silent."""
    names = {applied.topic(name): name for name, _ in ranges}
    limits = applied.config.events.limits()
    for some in messages(cluster, {(applied.topic(name), p): span for (name, p), span in ranges.items()}):
        events = []
        for message in some:
            parse = wire.watch if names[topic(message)] == WATCHES else wire.rating
            at_ms = kafka_ms(message)
            try:
                event = parse(message.value(), at_ms, limits)
            except BadMessage:
                continue  # a dead letter of the worker
            events.append(New(at_ms, event.user_id, event.movie_id))
        yield events, len(some) - len(events)


def watches(cluster: Cluster, applied: Applied, ranges: Ranges) -> Iterator[Seen]:
    """The good watches of ranges by Kafka's own topic names, each with the moment at which it counts. CanarecError where Kafka is silent."""
    limits = applied.config.events.limits()
    for some in messages(cluster, ranges):
        for message in some:
            came_ms = kafka_ms(message)
            try:
                watch = wire.watch(message.value(), came_ms, limits)
            except BadMessage:
                continue  # a dead letter of the worker
            yield Seen(watched_ms(watch.timestamp_ms, came_ms), watch.user_id, watch.movie_id)


def users(cluster: Cluster, applied: Applied, ranges: Ranges, archive: Path) -> I64:
    """The digests of whoever has an event there, ascending."""
    found = Digests()
    missing: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for place, (first, after) in ranges.items():
        missing[place] = []
        for part, rows in _archived(archive, place, first, after, ["user_id"]):
            if rows is None:
                missing[place].append(part)
            else:
                found.add(digests(pc.unique(rows["user_id"]).to_pylist()))
    for portion in _each(missing):
        for events, _ in read(cluster, applied, there(cluster, applied, portion)):
            found.add(digests(event.user_id for event in events))
    return found.all()


def events_of(
    cluster: Cluster, applied: Applied, ranges: Ranges, archive: Path, user_ids: frozenset[str]
) -> Iterator[list[New]]:
    """The events there of some users."""
    wanted = pa.array(sorted(user_ids), pa.string())
    missing: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for place, (first, after) in ranges.items():
        missing[place] = []
        for part, rows in _archived(archive, place, first, after, ["user_id", "movie_id", "logged_at"]):
            if rows is None:
                missing[place].append(part)
                continue
            own = rows.filter(pc.is_in(rows["user_id"], value_set=wanted))
            at_ms = own["logged_at"].cast(pa.int64()).to_pylist()
            yield list(map(New, at_ms, own["user_id"].to_pylist(), own["movie_id"].to_pylist()))
    for portion in _each(missing):
        for events, _ in read(cluster, applied, there(cluster, applied, portion)):
            yield [event for event in events if event.user_id in user_ids]


def is_anothers(cluster: Cluster, archive: Path, name: str, topic: str) -> bool:
    """Whether the archive of `name` is of another topic than the one that Kafka calls `topic` now: one that was deleted since.

    Not where Kafka has no such topic: then the archive is all that is left. Errors: KafkaException where it does not answer.
    """
    archived = tiles.identity(archive, name)
    if archived is None:
        return False
    admin = cluster.admin()  # ends with its last reference, and its questions with it
    try:
        found = str(admin.describe_topics(TopicCollection([topic]))[topic].result(10).topic_id)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return False
        raise
    return found != str(archived["topic_id"])


def there(cluster: Cluster, applied: Applied, ranges: Ranges) -> dict[tuple[str, int], tuple[int, int]]:
    """What of the ranges the topics still hold, committed."""
    consumer = cluster.consumer()
    try:
        found = {}
        for (name, partition), (first, after) in ranges.items():
            low, end = watermarks(consumer, applied.topic(name), partition)
            if max(first, low) < min(after, end):
                found[name, partition] = (max(first, low), min(after, end))
        return found
    finally:
        consumer.close()


def _archived(
    archive: Path, place: tuple[str, int], first: int, after: int, columns: list[str]
) -> Iterator[tuple[tuple[int, int], pa.Table | None]]:
    """The range in parts, each with its rows of the archive, or None where that has none."""
    at = first
    for tile in tiles.Partition(archive, *place).tiles():
        start, stop = max(at, tile.first), min(after, tile.last + 1)
        if start >= stop:
            continue
        if start > at:
            yield (at, start), None
        yield (start, stop), _rows(tile, start, stop, columns)
        at = stop
    if at < after:
        yield (at, after), None


def _rows(tile: tiles.Tile, first: int, after: int, columns: list[str]) -> pa.Table | None:
    try:
        with parquet.opened(tile.path) as file:
            rows = file.read(columns=[*columns, "offset"])
    except (BadArtifact, FileNotFoundError, pa.ArrowInvalid, OSError):  # damaged, or compacted away just now
        return None
    if (first, after) == (tile.first, tile.last + 1):
        return rows
    return rows.filter(pc.and_(pc.greater_equal(rows["offset"], first), pc.less(rows["offset"], after)))


def _each(missing: Mapping[tuple[str, int], list[tuple[int, int]]]) -> Iterator[dict[tuple[str, int], tuple[int, int]]]:
    """The missing parts, at most one of each place at a time: usually that is all."""
    for number in range(max(map(len, missing.values()), default=0)):
        yield {place: parts[number] for place, parts in missing.items() if number < len(parts)}
