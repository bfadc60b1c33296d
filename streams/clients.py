"""The only place that makes Kafka clients: where the brokers are, which properties and which security every client gets."""

import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from models.errors import CanarecError

ENVIRONMENT_PREFIX = "CANAREC_KAFKA_"
MAX_MESSAGE_BYTES = 8 * 1_048_576  # the largest dead letter (models.topics)

# Promises stand on these: what config.json or the environment says of them is not taken.
OURS = frozenset(
    {"bootstrap.servers", "group.id", "group.instance.id", "transactional.id", "isolation.level", "enable.auto.commit"}
    | {"enable.auto.offset.store", "enable.idempotence", "enable.partition.eof", "auto.offset.reset"}
    | {"partition.assignment.strategy"}
)

_LOG = logging.getLogger("librdkafka")


class NoBroker(CanarecError):
    """No broker answers at the address."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster and how to talk to it. `properties` are librdkafka's, from `kafka` in config.json and the environment."""

    bootstrap_servers: str
    properties: Mapping[str, str | int | float | bool] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        bootstrap_servers: str,
        kafka: Mapping[str, str | int | float | bool],
        environment: Mapping[str, str] = os.environ,
    ) -> "Cluster":
        """The environment wins over config.json: CANAREC_KAFKA_SASL_PASSWORD is `sasl.password`."""
        named = {
            name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("_", "."): value
            for name, value in environment.items()
            if name.startswith(ENVIRONMENT_PREFIX)
        }
        return cls(bootstrap_servers, {**kafka, **named})

    def settings(self, **own: Any) -> dict[str, Any]:
        """librdkafka settings: ours (underscores for dots), over them what the user set, but for `OURS`."""
        ours = {name.replace("_", "."): value for name, value in own.items()}
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1_000,
            "socket.nagle.disable": True,
            **ours,
            **{name: value for name, value in self.properties.items() if name not in OURS},
        }

    def consumer(self, **own: Any) -> Consumer:
        return Consumer(
            self.settings(
                **{
                    "group_id": "canarec-unused",  # required by the library; only readers that assign use it
                    "enable_auto_commit": False,
                    "isolation_level": "read_committed",
                    "auto_offset_reset": "earliest",
                    **own,
                }
            ),
            logger=_LOG,
        )

    def producer(self, **own: Any) -> Producer:
        """An idempotent producer with Java's partitioner, so that a key goes where other clients put it."""
        return Producer(
            self.settings(
                **{
                    "enable_idempotence": True,
                    "partitioner": "murmur2_random",
                    "message_max_bytes": MAX_MESSAGE_BYTES,
                    **own,
                }
            ),
            logger=_LOG,
        )

    def admin(self) -> AdminClient:
        return AdminClient(self.settings(), logger=_LOG)

    def check(self, timeout_s: float = 10) -> None:
        """NoBroker with one clear line unless a broker answers."""
        try:
            self.admin().list_topics(timeout=timeout_s)
        except KafkaException as error:
            raise NoBroker(
                f"no Kafka broker answers at {self.bootstrap_servers} ({error.args[0].str()}): "
                "start one with `canarec broker`, or name one with --bootstrap-servers"
            ) from None


def partitions(client: Consumer | Producer | AdminClient, topic: str, timeout_s: float = 10) -> list[int]:
    """The partition numbers of a topic, or CanarecError where there is no such topic."""
    found = client.list_topics(topic, timeout=timeout_s).topics[topic]
    if found.error is not None:
        if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise CanarecError(f"topic {topic} does not exist: `canarec up` or `canarec worker` creates the topics")
        raise KafkaException(found.error)
    return sorted(found.partitions)


def watermarks(consumer: Consumer, topic: str, partition: int, timeout_s: float = 10) -> tuple[int, int]:
    """The first offset that a partition holds, and its end. A partition that is changing leaders, or was just made, is waited for."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            found = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=timeout_s)
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > until:
                raise
            time.sleep(0.05)
            consumer.list_topics(topic, timeout=timeout_s)  # where the leader is now
        else:
            return int(found[0]), int(found[1])


_PASSING = (
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_PARTITION,
)


def high_watermarks(consumer: Consumer, topic: str, timeout_s: float = 10) -> dict[int, int]:
    """The end of each partition."""
    return {
        partition: watermarks(consumer, topic, partition, timeout_s)[1]
        for partition in partitions(consumer, topic, timeout_s)
    }


def whole(consumer: Consumer, topics: Iterable[str], timeout_s: float = 10) -> dict[tuple[str, int], tuple[int, int]]:
    """The (first, next) offset of each partition that holds anything now: what `messages` reads."""
    ranges = {}
    for topic in topics:
        for partition in partitions(consumer, topic, timeout_s):
            first, after = watermarks(consumer, topic, partition, timeout_s)
            if first < after:
                ranges[topic, partition] = (first, after)
    return ranges


def messages(
    cluster: Cluster, ranges: Mapping[tuple[str, int], tuple[int, int]], *, patience_s: float = 30
) -> Iterator[list[Message]]:
    """Every committed message from `first` to below `next` of each partition, some at a time, in order within a partition.

    CanarecError where Kafka sends nothing for `patience_s`.
    """
    left = {place: after for place, (first, after) in ranges.items() if first < after}
    consumer = cluster.consumer(enable_partition_eof=True)
    try:
        consumer.assign([TopicPartition(*place, ranges[place][0]) for place in left])
        until = time.monotonic() + patience_s
        while left:
            found, waiting = [], len(left)
            first = consumer.poll(min(1.0, patience_s))
            for message in [] if first is None else [first, *consumer.consume(10_000, 0)]:
                place, offset = (str(message.topic()), int(message.partition() or 0)), int(message.offset() or 0)
                error = message.error()
                if error is not None and error.code() != KafkaError._PARTITION_EOF:
                    if error.fatal() or not error.retriable():
                        raise KafkaException(error)
                elif place in left:
                    if error is None and offset < left[place]:
                        found.append(message)
                    # the last offsets may be control records', which no message shows
                    if error is not None or offset >= left[place] - 1:
                        del left[place]
            if found:
                yield found
            if found or len(left) < waiting:
                until = time.monotonic() + patience_s
            elif time.monotonic() > until:
                names = ", ".join(sorted({topic for topic, _ in left}))
                raise CanarecError(f"{names}: Kafka sent nothing for {patience_s:g} s")
    finally:
        consumer.close()
