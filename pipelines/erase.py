"""A user removed from what the pipeline keeps: the archive's Parquet, DVC's files, and the topics behind the archive.

A log cannot forget one user: a partition is cut behind the user's last message, once everything below is archived without the user and
whoever reads the partition has read as far. A compacted topic gets a tombstone. Each step may be run again: it does what is left to do.
"""

import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from confluent_kafka import ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, TopicPartition

from models import wire
from models.config import Applied
from models.dead_letters import payload
from models.erasure import CUT, GROUPS, HEADER, HELD, PROFILES, TRAINED_ON, trained_on
from models.errors import BadArtifact, BadMessage, CanarecError
from models.recommenders import store
from models.wire import UNREADABLE
from pipelines import archive as archives
from pipelines import columns, parquet, tiles, versions
from pipelines.places import Places
from streams.clients import Cluster, messages, whole
from streams.messages import offset, partition, topic

ASKED = ("recommendation-requests", "recommendations", "provenance")  # they name a user and a request
AT_ONCE = 2_000

Place = tuple[str, int]  # topic of the contract, partition
Say = Callable[[str], None]


@dataclass(slots=True)
class Traces:
    """Where a user was found. `seen`: every offset of theirs by place; `profiles`: live ones, by partition and key."""

    seen: dict[Place, set[int]] = field(default_factory=dict)
    requests: set[str] = field(default_factory=set)
    profiles: dict[tuple[int, bytes], set[int]] = field(default_factory=dict)  # their offsets

    def add(self, place: Place, offsets: Iterable[int]) -> None:
        if found := set(offsets):
            self.seen.setdefault(place, set()).update(found)

    def deleted(self, at: tuple[int, bytes]) -> None:
        """A tombstone: what was below it is the broker's to compact."""
        place, gone = (PROFILES, at[0]), self.profiles.pop(at, set())
        self.seen[place] = self.seen.get(place, set()) - gone
        if not self.seen[place]:
            del self.seen[place]

    def of(self, name: str) -> int:
        return sum(len(found) for (topic_, _), found in self.seen.items() if topic_ == name)


# -- finding ---------------------------------------------------------------------------------------


def in_topics(
    cluster: Cluster, applied: Applied, user_id: str, known: Iterable[str] = (), say: Say = lambda name: None
) -> Traces:
    """What the topics hold of the user; `known`: ids of their requests from elsewhere, since feedback may name nothing else."""
    traces = Traces(requests=set(known))
    names = {applied.topic(name): name for name in HELD}
    order = sorted(HELD, key=lambda name: name in ("recommendation-feedback", "recommendation-quality", "dead-letters"))
    consumer = cluster.consumer()
    try:
        for name in order:  # requests and answers first: their ids are looked for in the others
            say(name)
            for some in messages(cluster, whole(consumer, [applied.topic(name)]), at_once=AT_ONCE):
                for message in some:
                    _look(traces, names[topic(message)], message, user_id)
    finally:
        consumer.close()
    return traces


def _look(traces: Traces, name: str, message: Message, user_id: str) -> None:
    value, key, at = message.value(), message.key(), (partition(message), message.key() or b"")
    if name == PROFILES:
        if value is None:
            traces.deleted(at)
        elif _is_of(name, key, value, user_id, traces.requests):
            traces.profiles.setdefault(at, set()).add(offset(message))
            traces.add((name, partition(message)), [offset(message)])
        return
    if _is_of(name, key, value, user_id, traces.requests):
        traces.add((name, partition(message)), [offset(message)])
        request_id = _about(value)[1] if name in ASKED else None
        if request_id is not None:
            traces.requests.add(request_id)


def _is_of(name: str, key: bytes | None, value: bytes | None, user_id: str, requests: set[str]) -> bool:
    """Whether a message is about the user: by its key, its `user_id`, its request, or, of a movie service's line, its second field."""
    if key == user_id.encode():
        return True
    if name == "movielog":
        return (value or b"").split(b",")[1:2] == [user_id.encode()]
    if name == "dead-letters":
        try:
            value = payload(value)
        except BadMessage:
            return False
        if _is_of("movielog", None, value, user_id, requests):
            return True
    user, request_id = _about(value)
    return user == user_id or request_id in requests


class _Ids(msgspec.Struct):
    user_id: str | int | None = None
    request_id: str | int | None = None


_decode = msgspec.json.Decoder(_Ids).decode


def _about(value: bytes | None) -> tuple[str | None, str | None]:
    """The user and the request that a message names, also one that was refused for something else."""
    try:
        found = _decode(value or b"")
        ids = found.user_id, found.request_id
        return ids[0] if ids[0] is None else str(ids[0]), ids[1] if ids[1] is None else str(ids[1])
    except UNREADABLE:
        return wire.readable_user_id(value), wire.readable_request_id(value)


def in_archive(archive: Path, user_id: str, known: Iterable[str] = ()) -> Traces:
    """What the archive holds of the user, earlier lives of topics left aside (they are rewritten all the same)."""
    traces = Traces(requests=set(known))
    for name in sorted(archives.ARCHIVED, key=lambda each: each == "recommendation-feedback"):
        for path in archives.files(archive, name):
            with parquet.opened(path) as file, parquet.reading(path):
                if "user_id" not in file.schema_arrow.names:
                    continue
                names = [*("partition", "offset", "user_id"), *(["request_id"] if _asks(file.schema_arrow) else [])]
                rows = file.read(names)
            rows = rows.filter(_of_user(rows, user_id, traces.requests))
            for number, at in zip(rows["partition"].to_pylist(), rows["offset"].to_pylist(), strict=True):
                traces.add((name, number), [at])
            if "request_id" in names:
                traces.requests.update(rows["request_id"].to_pylist())
    return traces


def _asks(schema: pa.Schema) -> bool:
    return "request_id" in schema.names


def _of_user(rows: pa.Table | pa.RecordBatch, user_id: str, requests: set[str]) -> pa.Array:
    mine = pc.fill_null(pc.equal(rows["user_id"], user_id), False)
    if requests and _asks(rows.schema):
        mine = pc.or_(mine, pc.is_in(rows["request_id"], value_set=pa.array(sorted(requests), pa.string())))
    return mine


# -- models ----------------------------------------------------------------------------------------


def trained(places: Places, traces: Iterable[Traces]) -> tuple[list[str], list[str]]:
    """The versions at hand that were trained on any of this; and those, here or in the remote alone, that do not say."""
    seen: dict[Place, set[int]] = {}
    for each in traces:
        for place, offsets in each.seen.items():
            if place[0] in TRAINED_ON:
                seen.setdefault(place, set()).update(offsets)
    marked, unknown, met = set[str](), set[str](), set[str]()
    for folder in (places.models, places.rejected):
        for version in store.list_versions(folder):
            met.add(version)
            try:
                spans = store.read_metadata(folder, version).data_version.get("offsets")
            except BadArtifact:
                spans = None
            if not spans:
                unknown.add(version)
            elif trained_on(spans, seen):
                marked.add(version)
    unknown.update(set(versions.pushed(places)) - met)
    return sorted(marked), sorted(unknown - marked)


# -- removing --------------------------------------------------------------------------------------


def from_archive(archive: Path, user_id: str, requests: set[str]) -> int:
    """Rewrites every file that has rows of the user, under its name and for the same offsets; the rows that are gone. Also of earlier lives.

    Damaged files that were set aside are removed: nobody can say what is in them. Errors: BadArtifact, OSError (a full disk).
    """
    gone = 0
    with tiles.alone(archive):
        for name in archives.ARCHIVED:
            folders = [folder for folder in (archive / name).glob("[0-9]*") if folder.is_dir()]
            folders += [folder for folder in (archive / ".lives" / name).glob("*/[0-9]*") if folder.is_dir()]
            for folder in folders:
                for path in sorted(folder.glob("[0-9]*-*.parquet")):
                    gone += _rewritten(path, name, user_id, requests)
                for path in [*folder.glob("_*.parquet.damaged"), *folder.glob(".*.partial")]:
                    path.unlink()
    return gone


def _rewritten(path: Path, name: str, user_id: str, requests: set[str]) -> int:
    with parquet.opened(path) as file:
        said, schema = parquet.described(path, file), file.schema_arrow
        if "user_id" not in schema.names:
            return 0
        with parquet.reading(path):
            names = ["user_id", *(["request_id"] if _asks(schema) else [])]
            gone = int(pc.sum(_of_user(file.read(names), user_id, requests)).as_py() or 0)
        if not gone:
            return 0
        with parquet.Writing(path.parent, name, said["partition"], said["first"]) as writing:
            writing.add(None, said["refused"])
            with parquet.reading(path):
                for rows in file.iter_batches(parquet.GROUP_ROWS):
                    writing.add(_as_now(rows.filter(pc.invert(_of_user(rows, user_id, requests))), name), {})
            writing.finish(said["last"], said["committed_until"])
    return gone


def _as_now(rows: pa.RecordBatch, name: str) -> pa.RecordBatch:
    """With the columns that files have today; those that an earlier version did not know are null."""
    schema = columns.layout(name).schema
    there = set(rows.schema.names)
    arrays = [rows[each.name] if each.name in there else pa.nulls(len(rows), each.type) for each in schema]
    return pa.record_batch(arrays, schema=schema)


def from_pipeline(places: Places, user_id: str) -> int:
    """Removes data sets and gate records that name the user, in the pipeline's folder and in DVC's cache; how many files.

    The next training makes them anew, from the archive. The caller holds the retraining's lock.
    """
    folders = [places.pipeline, places.home / ".dvc" / "cache"]
    gone = [path for folder in folders for path in folder.rglob("*") if path.is_file() and names_user(path, user_id)]
    for path in gone:
        if path == places.dataset:
            path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink()
    return len(gone)


def names_user(path: Path, user_id: str) -> bool:
    """Whether a file is a data set with the user in it, or JSON in which the user's id is a `user_id`."""
    with path.open("rb") as file:
        head = file.read(2)
    try:
        if head == b"PK":
            with np.load(path, allow_pickle=False) as found:
                if not {"users", "user_ends"} <= set(found.files):
                    return False
                text, ends = found["users"].tobytes(), found["user_ends"].tolist()
            bounds = zip([0, *ends], ends, strict=False)
            return any(text[first:after] == user_id.encode() for first, after in bounds)
        return head[:1] in (b"{", b"[") and _names(json.loads(path.read_bytes()), user_id)
    except (ValueError, KeyError, zipfile.BadZipFile):
        return False


def _names(value: object, user_id: str) -> bool:
    if isinstance(value, Mapping):
        return value.get("user_id") == user_id or any(_names(each, user_id) for each in value.values())
    return isinstance(value, list) and any(_names(each, user_id) for each in value)


def tombstones(cluster: Cluster, applied: Applied, user_id: str, traces: Traces) -> int:
    """Deletes the user's profile, under every key and in every partition that has it; how many there were.

    One tombstone at least, where any other client would put it: workers that run forget the user's history by it.
    """
    name, failed = applied.topic(PROFILES), list[KafkaError]()

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = cluster.producer(acks="all", message_timeout_ms=30_000)
    marked: list[tuple[str, str | bytes | None]] = [(HEADER, b"1"), ("schema", b"1")]
    places = [(number, key) for number, key in sorted(traces.profiles) if key]
    for number, key in places:
        producer.produce(name, None, key, number, on_delivery=delivered, headers=marked)
    if not any(key == user_id.encode() for _, key in places):
        producer.produce(name, None, user_id.encode(), on_delivery=delivered, headers=marked)
    if producer.flush(35) or failed:
        raise CanarecError(f"{name}: Kafka did not take the tombstone ({failed[0].str() if failed else 'no answer'})")
    return len(places)


@dataclass(frozen=True, slots=True)
class Held:
    """A partition that cannot be cut yet, and why."""

    name: str
    partition: int
    messages: int  # of the user
    why: str


def cut(
    cluster: Cluster,
    applied: Applied,
    archive: Path,
    traces: Traces,
    rows: Mapping[int, int] | None,
    *,
    regardless: bool = False,
) -> tuple[int, list[Held]]:
    """Cuts each partition behind the user's last message, if nothing is lost by it; messages of the user that are gone, and what must wait.

    rows: how far the provenance CSV of this home reaches; None: there is none. `regardless`: also before whoever reads a partition
    has read as far.
    """
    gone, held, cuts = 0, [], []
    committed = {} if regardless else _committed(cluster, applied)
    for (name, number), offsets in sorted(traces.seen.items()):
        if name not in CUT:
            continue
        after = max(offsets) + 1
        if (why := _too_early(archive, name, number, after, committed, rows, regardless=regardless)) is not None:
            held.append(Held(name, number, len(offsets), why))
        else:
            cuts.append(TopicPartition(applied.topic(name), number, after))
            gone += len(offsets)
    if cuts:
        admin = cluster.admin()  # kept: its questions end with it
        for place, future in admin.delete_records(cuts).items():
            try:
                future.result(30)
            except TimeoutError:
                raise CanarecError(
                    f"{place.topic}/{place.partition}: is not cut: Kafka did not answer in time"
                ) from None
            except KafkaException as error:
                raise CanarecError(
                    f"{place.topic}/{place.partition}: is not cut: {error.args[0].str()} (it needs Delete on the topic)"
                ) from None
    return gone, held


def _too_early(
    archive: Path,
    name: str,
    number: int,
    after: int,
    committed: Mapping[Place, Mapping[str, int]],
    rows: Mapping[int, int] | None,
    *,
    regardless: bool,
) -> str | None:
    if name in archives.ARCHIVED:
        hole = tiles.Partition(archive, name, number).hole(after)
        if hole is not None:
            return f"offsets {hole[0]} to {hole[1] - 1} are not in the archive"
    if regardless:
        return None
    for group, at in sorted(committed.get((name, number), {}).items()):
        if at < after:
            return f"the group {group} has read up to {at}, and not to {after}"
    if name == "provenance" and rows is not None and rows.get(number, 0) < after:
        return f"the CSV has the records below {rows.get(number, 0)}, and not those below {after}"
    return None


def _committed(cluster: Cluster, applied: Applied) -> dict[Place, dict[str, int]]:
    """How far each of canarec's groups has read, where it has begun."""
    names = {applied.topic(name): name for name in CUT}
    admin = cluster.admin()
    found: dict[Place, dict[str, int]] = {}
    for group in map(applied.group, GROUPS):
        (asked,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]).values()
        try:
            reached = asked.result(30).topic_partitions or []
        except KafkaException as error:
            if error.args[0].code() == KafkaError.GROUP_ID_NOT_FOUND:
                continue
            raise
        for place in reached:
            if place.topic in names and place.offset >= 0:
                found.setdefault((names[place.topic], place.partition), {})[group] = place.offset
    return found


def events(archive: Path, name: str) -> Iterator[pa.Table]:
    """The archive's rows of an event topic, a file at a time."""
    wanted = ["user_id", "movie_id", "timestamp", "minute" if name == "watch-events" else "rating"]
    for path in archives.files(archive, name):
        with parquet.opened(path) as file, parquet.reading(path):
            yield file.read(wanted)


def left(traces: Traces, held: Sequence[Held]) -> list[str]:
    """What is still in the topics, in lines."""
    why = {(each.name, each.partition): each.why for each in held}
    return [
        f"{name}/{number}: {len(offsets)} messages: {why.get((name, number), 'they came while it was erased')}"
        for (name, number), offsets in sorted(traces.seen.items())
        if name in CUT
    ]
