"""Kafka's topics as Parquet files: extended from the topics, read without a broker, natively by pandas, DuckDB and Spark.

Committed messages only, each offset once. What is archived decides what is read next: every offset below the topic's end that
no file and no gap covers. So a run that was killed is finished by the next one, a file that was lost or damaged is read again
while the topic still has it, and what retention was quicker to drop is a gap, recorded and told of. (How a file comes to be
whole, or is found not to be, and what two lives of one topic are, is `pipelines.tiles`' part.)
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from models.config import Applied
from models.errors import CanarecError
from models.wire import Limits
from pipelines import columns, parquet, tiles
from pipelines.tiles import Gap, Partition
from streams.clients import Cluster, partitions, watermarks
from streams.messages import kafka_ms

__all__ = ["ARCHIVED", "Gap", "Report", "compact", "extend", "files", "gaps", "refused", "spans", "table"]

ARCHIVED = tuple(columns.LAYOUTS)
MESSAGES_AT_ONCE = 10_000
PATIENCE_S = 30
_LOOKS = 10

Progress = Callable[[int, int], None]  # offsets done, of how many


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a run did. `findings`: what a user should know, one line each; all is well where there are none."""

    rows: int
    refused: Mapping[str, Mapping[str, int]]  # topic → reason → messages
    files: int  # written
    compacted: int  # small files that became part of larger ones
    gaps: tuple[Gap, ...]  # found in this run
    findings: tuple[str, ...]


# -- reading: needs no broker ------------------------------------------------------------------------


def table(
    archive: Path, topic: str, names: Sequence[str] | None = None, *, dictionaries: Sequence[str] = ()
) -> pa.Table:
    """All that is archived of a topic, by partition and offset; only the named columns, if any are named.

    `dictionaries`: text columns that come as dictionaries, which takes a fraction of the memory. What was never archived is
    empty. The same messages give the same table, however many files they lie in. Errors: BadArtifact for a damaged file.
    """
    schema = columns.layout(topic).schema
    schema = schema if names is None else pa.schema([schema.field(name) for name in names])
    for name in dictionaries:
        place = schema.get_field_index(name)
        schema = schema.set(place, pa.field(name, pa.dictionary(pa.int32(), pa.string())))
    parts = [schema.empty_table()]
    with ExitStack() as stack:
        for path, file in _opened(archive, topic, stack, dictionaries):
            with parquet.reading(path):
                part = file.read([name for name in schema.names if name in file.schema_arrow.names])
            parts.append(part.replace_schema_metadata(None))
    # a column that a file of an earlier version does not have is null there
    return pa.concat_tables(parts, promote_options="permissive").select(schema.names).unify_dictionaries()


def files(archive: Path, topic: str) -> list[Path]:
    """The files that count, by partition and offset: what to hand to another reader while the archive is being extended."""
    return [tile.path for partition in tiles.partitions(archive, topic) for tile in partition.tiles()]


def spans(archive: Path, topic: str) -> dict[int, tuple[int, int]]:
    """(first, next) offset of each partition's files; (0, 0) where nothing was archived. Holes between are in `gaps`."""
    return {partition.number: partition.span() for partition in tiles.partitions(archive, topic)}


def gaps(archive: Path) -> list[Gap]:
    """Every range that the archive does not have and will not get."""
    return [gap for topic in ARCHIVED for partition in tiles.partitions(archive, topic) for gap in partition.gaps()]


def refused(archive: Path, topic: str) -> dict[str, int]:
    """How many messages of the archived offsets are no rows, by reason."""
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        for path, file in _opened(archive, topic, stack):
            counts.update(parquet.described(path, file)["refused"])
    return dict(sorted(counts.items()))


def compact(archive: Path, topic: str) -> int:
    """Joins small files that lie beside each other; how many were replaced. `extend` does it at its end. Errors: those of `Partition.compact`."""
    with tiles.alone(archive):
        return sum(partition.compact() for partition in tiles.partitions(archive, topic))


def _opened(
    archive: Path, topic: str, stack: ExitStack, dictionaries: Sequence[str] = ()
) -> list[tuple[Path, pq.ParquetFile]]:
    """All files at one moment. Once open they stay readable; one that a compaction took before shows in the next look."""
    for look in range(_LOOKS):
        try:
            return [(path, stack.enter_context(parquet.opened(path, dictionaries))) for path in files(archive, topic)]
        except FileNotFoundError:
            stack.close()
            if look == _LOOKS - 1:
                raise
    raise AssertionError


# -- extending -------------------------------------------------------------------------------------


def extend(
    cluster: Cluster,
    applied: Applied,
    archive: Path,
    *,
    topics: Iterable[str] = ARCHIVED,
    progress: Progress = lambda done, total: None,
) -> Report:
    """Archives what the topics hold now and the archive does not.

    A topic that was made anew begins a new archive; the old one's files are kept aside (`tiles.identify`).
    Errors: OSError (a full disk): all that was written before is whole, the next run goes on there. CanarecError where a topic is
    missing, where another process is archiving, where a topic ends below what is archived of it, where Kafka sends nothing.
    """
    with tiles.alone(archive), closing(_Run(cluster, applied, archive, progress)) as run:
        for topic in topics:
            run.look_at(topic)
        run.read()
        run.compact()
        return run.report()


@dataclass(slots=True)
class _Todo:
    partition: Partition
    real: str  # the topic's name in Kafka
    end: int  # what is archived lies below it


class _Run:
    """One run of `extend`."""

    def __init__(self, cluster: Cluster, applied: Applied, archive: Path, progress: Progress) -> None:
        self._cluster, self._applied, self._archive, self._progress = cluster, applied, archive, progress
        self._limits: Limits = applied.config.events.limits()
        self._admin: AdminClient = cluster.admin()
        self._looking = cluster.consumer()
        self._todo: list[_Todo] = []
        self._topics: list[str] = []
        self._done = self._total = 0
        self._rows = self._files = self._compacted = 0
        self._refused: dict[str, Counter[str]] = {}
        self._gaps: list[Gap] = []
        self._findings: list[str] = []

    def close(self) -> None:
        self._looking.close()

    def look_at(self, topic: str) -> None:
        """Which Kafka topic it is, what is wrong with its files, and what is missing of it."""
        real = self._applied.topic(topic)
        numbers = partitions(self._looking, real)
        described = self._admin.describe_topics(TopicCollection([real]))[real].result(30)
        kept = tiles.identify(self._archive, topic, str(described.topic_id), len(numbers))
        if kept is not None:
            self._findings.append(
                f"{topic}: the topic is not the one that was archived, it was made anew or is another cluster's: "
                f"a new archive begins, the other one's files are in {kept}"
            )
        self._topics.append(topic)
        self._refused[topic] = Counter()
        for number in numbers:
            partition = Partition(self._archive, topic, number)
            for aside in partition.tidy():
                self._findings.append(f"{aside}: was damaged, and is set aside")
            end = watermarks(self._looking, real, number)[1]
            archived = partition.span()[1]
            if end < archived:
                raise CanarecError(
                    f"{real}/{number}: ends at {end}, but offsets up to {archived} are archived: Kafka has lost messages, or is "
                    f"still starting; if it stays so, move {self._archive / topic} away to begin anew"
                )
            self._todo.append(_Todo(partition, real, end))
            self._total += end - archived

    def read(self) -> None:
        """Fills every hole, or records that it cannot be filled."""
        for todo in self._todo:
            while (hole := todo.partition.hole(todo.end)) is not None:
                first, after = hole
                low = watermarks(self._looking, todo.real, todo.partition.number)[0]
                if first < low:
                    gap = todo.partition.lose(first, min(low, after))
                    todo.partition.record(gap)
                    self._gaps.append(gap)
                    self._findings.append(str(gap))
                elif self._fill(todo, first, after) == first:
                    raise CanarecError(
                        f"{todo.real}/{todo.partition.number}: Kafka gives nothing from offset {first} on, though it says that "
                        f"committed messages reach to {todo.end}: it may be starting; try again"
                    )

    def compact(self) -> None:
        """Joins small files. One that turns out to be damaged is a hole, which is filled at once; its neighbours wait for the next run."""
        for topic in self._topics:
            for partition in tiles.partitions(self._archive, topic):
                try:
                    self._compacted += partition.compact()
                except parquet.Damaged as error:
                    self._findings.append(f"{tiles.aside(error.path)}: was damaged ({error.why}), and is set aside")
                    self.read()

    def report(self) -> Report:
        return Report(
            rows=self._rows,
            refused={topic: dict(sorted(found.items())) for topic, found in self._refused.items()},
            files=self._files,
            compacted=self._compacted,
            gaps=tuple(self._gaps),
            findings=tuple(self._findings),
        )

    def _fill(self, todo: _Todo, first: int, after: int) -> int:
        """Archives offsets from `first` on; the first that is not archived then. Less than `after` where Kafka gives no more."""
        topic, number = todo.partition.topic, todo.partition.number
        at, stretch = first, _committed(self._cluster, (todo.real, number), first, after)
        with closing(stretch):
            while at < after:
                begun = at
                with todo.partition.writing(begun) as writing:
                    for messages, at in stretch:
                        rows, bad = columns.batch(topic, number, map(_raw, messages), self._limits)
                        writing.add(rows, bad)
                        self._refused[topic].update(bad)
                        self._rows += rows.num_rows
                        self._progress(min(self._done + at - first, self._total), self._total)
                        if writing.is_full:
                            break
                    if at == begun:
                        break
                    writing.finish(at - 1, todo.end)
                    self._files += 1
        self._done += at - first
        return at


def _raw(message: Message) -> columns.Raw:
    return message.offset(), kafka_ms(message), message.key(), message.value()  # type: ignore[return-value]  # consumed: it has an offset


def _committed(
    cluster: Cluster, place: tuple[str, int], first: int, after: int
) -> Generator[tuple[list[Message], int]]:
    """Committed messages from `first` to below `after`, some at a time, each time with the offset below which none is left.

    Control records and aborted messages are passed by, and counted as read. Ends early where retention was quicker. CanarecError where Kafka sends nothing for PATIENCE_S.
    """
    # not `clients.messages`: a consumer that goes back to the beginning by itself would pass by what retention dropped
    consumer = cluster.consumer(
        enable_partition_eof=True,
        auto_offset_reset="error",
        queued_min_messages=200_000,
        fetch_queue_backoff_ms=5,  # a full queue is looked at again soon: the default is a second
        fetch_message_max_bytes=4 << 20,
    )
    try:
        consumer.assign([TopicPartition(*place, first)])
        at, until = first, time.monotonic() + PATIENCE_S
        while at < after:
            found: list[Message] = []
            more = True
            head = consumer.poll(1.0)
            for message in [] if head is None else [head, *consumer.consume(MESSAGES_AT_ONCE, 0)]:
                error, offset = message.error(), message.offset() or 0
                if error is None:
                    if offset < after:
                        found.append(message)
                    at = min(offset + 1, after)
                elif error.code() == KafkaError._PARTITION_EOF:  # its offset is past the control records
                    at, more = min(max(at, offset), after), False
                elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                    more = False
                elif error.fatal() or not error.retriable():
                    raise KafkaException(error)
            if head is not None:
                until = time.monotonic() + PATIENCE_S
                yield found, at
            elif time.monotonic() > until:
                raise CanarecError(f"{place[0]}/{place[1]}: Kafka sent nothing for {PATIENCE_S} s")
            if not more:
                return
    finally:
        consumer.close()
