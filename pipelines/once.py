"""Publishes the lines of a file to a topic once, however often it is asked to, by any machine, wherever it was killed.

Nothing is stored but in Kafka. Each message names what it came from in its header `import`: a digest of the whole
content (`origin`) and its line there. Whoever begins, reads the topic and leaves out the lines that it already holds;
so the topic itself is the truth, and messages of others in between do not matter. When every line is acknowledged, the
topic's end is committed for a consumer group named after the origin, with the counts beside it: next time one look at
that is enough, and what was changed or erased since stays so. Kafka forgets such a group with its topic (and after
`offsets.retention.minutes`): then the topic is read again, and what it holds decides.

At least once, in the order of the lines within a partition. Two imports of one content at the same time may publish
lines twice, as neither sees the other's; a user's history counts an event once anyway.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, cast

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition

from models.config import Applied
from models.errors import CanarecError
from streams.clients import Cluster, partitions

HEADER = "import"
_REPORT_EVERY = 5_000  # messages
_WAIT_S = 30
_PATIENCE_S = 60
_FINISHED = "finished "
_NO_LEADER_YET = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)
_NO_COORDINATOR_YET = (
    KafkaError.NOT_COORDINATOR,  # the library calls it permanent
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)


Headers = list[tuple[str, str | bytes | None]]


class Outgoing(NamedTuple):
    """A message and the line that it is. A line makes one message at most."""

    line: int
    key: bytes | None
    value: bytes


class Sent(NamedTuple):
    """How many messages were published and acknowledged, how many were there already."""

    published: int
    present: int


class Once:
    """What of one content the topics of a cluster hold."""

    def __init__(self, cluster: Cluster, applied: Applied, origin: str) -> None:
        self._cluster = cluster
        self._origin = origin
        self._group = applied.group(f"import-{origin}")

    def finished(self, topic: str) -> Mapping[str, int] | None:
        """The counts that `finish` left, or None where this content is not known to be in the topic as a whole."""
        consumer = self._reader()
        try:
            bounds, counts = _bounds(consumer, topic), None
            for place in _committed(consumer, [TopicPartition(topic, p) for p in bounds]):
                metadata = place.metadata or ""
                if place.offset < 0 or not metadata.startswith(_FINISHED):
                    return None
                # a topic that was made anew is shorter
                if bounds[place.partition][1] < place.offset:
                    return None
                counts = json.loads(metadata.removeprefix(_FINISHED))
            return counts
        finally:
            consumer.close()

    def finish(self, topic: str, counts: Mapping[str, int]) -> None:
        """From here on `finished` says so, with these counts."""
        consumer = self._reader()
        try:
            metadata = _FINISHED + json.dumps(counts)
            places = [TopicPartition(topic, p, end, metadata) for p, (_, end) in _bounds(consumer, topic).items()]
            consumer.commit(offsets=places, asynchronous=False)
        finally:
            consumer.close()

    def send(
        self,
        topic: str,
        messages: Iterable[Outgoing],
        *,
        looking: Callable[[int, int], None] = lambda done, total: None,
    ) -> Sent:
        """Publishes the messages whose lines the topic does not hold. CanarecError unless all are acknowledged.

        `looking` is told how far the reading of what is there has got.
        """
        there = self._lines(topic, looking)
        published = present = 0
        with Sending(self._cluster, topic) as sending:
            for message in messages:
                if message.line in there:
                    present += 1
                    continue
                sending.send(message.key, message.value, [(HEADER, f"{self._origin}:{message.line}".encode())])
                published += 1
        return Sent(published, present)

    def _lines(self, topic: str, looking: Callable[[int, int], None]) -> "_Lines":
        """The lines of this content that the topic holds."""
        found = _Lines()
        mark = f"{self._origin}:".encode()
        consumer = self._reader()
        try:
            for message in _all_of(consumer, topic, looking):
                # somebody else's header may have this name and any value
                value = dict(cast(Headers, message.headers() or ())).get(HEADER)
                if isinstance(value, bytes) and value.startswith(mark) and value[len(mark) :].isdigit():
                    found.add(int(value[len(mark) :]))
        finally:
            consumer.close()
        return found

    def _reader(self) -> Consumer:
        # uncommitted: somebody's open transaction must not hide what came after it
        return self._cluster.consumer(
            group_id=self._group, isolation_level="read_uncommitted", enable_partition_eof=True, fetch_wait_max_ms=50
        )


class Sending:
    """A producer for much at once. Leaving the block waits until everything is acknowledged."""

    def __init__(self, cluster: Cluster, topic: str) -> None:
        self._topic = topic
        self._producer: Producer = cluster.producer(
            acks="all",
            linger_ms=50,
            batch_size=1_000_000,  # below the largest message that a topic takes by default
            compression_type="lz4",
            queue_buffering_max_messages=200_000,
            queue_buffering_max_kbytes=131_072,
            delivery_report_only_error=True,
        )
        self._failed: list[KafkaError] = []
        self._sent = 0

    def send(self, key: bytes | None, value: bytes, headers: Headers) -> None:
        """Queues one message; waits while the queue is full."""
        while True:
            try:
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=self._report)
                break
            except BufferError:
                self._producer.poll(0.1)
                self._check()
        self._sent += 1
        if self._sent % _REPORT_EVERY == 0:
            self._producer.poll(0)
            self._check()

    def __enter__(self) -> "Sending":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._producer.purge()  # an import that failed or was stopped begins again where Kafka says
            self._producer.flush(_WAIT_S)
            return
        while self._producer.flush(1):
            self._check()
        self._check()

    def _report(self, error: KafkaError | None, _: Message) -> None:
        if error is not None:
            self._failed.append(error)

    def _check(self) -> None:
        if self._failed:
            raise CanarecError(
                f"{self._topic}: Kafka did not take an event ({self._failed[0].str()}); "
                "import again to go on where it stopped"
            )


class _Lines:
    """A set of line numbers in one bit each: a file may have 100 million."""

    __slots__ = ("_bits",)

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, line: int) -> None:
        byte = line >> 3
        if byte >= len(self._bits):
            self._bits.extend(bytes(byte + 1 - len(self._bits) + 4096))
        self._bits[byte] |= 1 << (line & 7)

    def __contains__(self, line: int) -> bool:
        byte = line >> 3
        return byte < len(self._bits) and bool(self._bits[byte] >> (line & 7) & 1)


def _committed(consumer: Consumer, places: list[TopicPartition]) -> list[TopicPartition]:
    """What is committed. A broker that has just started may not know its groups for a moment."""
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            found: list[TopicPartition] = consumer.committed(places, timeout=_WAIT_S)
            return found
        except KafkaException as error:
            passing = error.args[0].retriable() or error.args[0].code() in _NO_COORDINATOR_YET
            if time.monotonic() > until or not passing:
                raise
            time.sleep(0.1)


def _all_of(consumer: Consumer, topic: str, looking: Callable[[int, int], None]) -> Iterator[Message]:
    """Every message that a topic holds now."""
    bounds = {partition: found for partition, found in _bounds(consumer, topic).items() if found[0] < found[1]}
    begins = {partition: begin for partition, (begin, _) in bounds.items()}
    ends = {partition: end for partition, (_, end) in bounds.items()}
    consumer.assign([TopicPartition(topic, partition, begin) for partition, begin in begins.items()])
    total, seen, left = sum(ends.values()) - sum(begins.values()), 0, set(ends)
    patient_until = time.monotonic() + _PATIENCE_S
    while left:
        first = consumer.poll(0.2)  # consume() would wait for all of them
        for message in [first, *consumer.consume(10_000, 0)] if first is not None else ():
            partition, offset, error = int(message.partition() or 0), int(message.offset() or 0), message.error()
            if error is None:
                seen += 1
                if offset < ends[partition]:
                    yield message
                if offset >= ends[partition] - 1:
                    left.discard(partition)
            elif error.code() == KafkaError._PARTITION_EOF:  # the last offset may be a control record's
                left.discard(partition)
            elif error.fatal():
                raise KafkaException(error)
            patient_until = time.monotonic() + _PATIENCE_S
        if time.monotonic() > patient_until:
            raise CanarecError(
                f"{topic}: Kafka sent nothing for {_PATIENCE_S} s while its partitions {sorted(left)} were read"
            )
        looking(min(seen, total), total)


def _bounds(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """The first and the next offset of each partition."""
    until = time.monotonic() + _WAIT_S
    while True:
        try:
            return {
                partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=_WAIT_S)
                for partition in partitions(consumer, topic, _WAIT_S)
            }
        except KafkaException as error:
            # a topic that was just made may have a leader that does not know it yet
            if error.args[0].code() not in _NO_LEADER_YET or time.monotonic() > until:
                raise
            consumer.poll(0.05)
