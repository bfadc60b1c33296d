"""The only place that makes Kafka clients: where the brokers are, which properties and which security every client gets."""

import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from models.errors import BadConfig, CanarecError

ENVIRONMENT_PREFIX = "CANAREC_KAFKA_"
MAX_MESSAGE_BYTES = 8 * 1_048_576  # the largest dead letter (models.topics)

# Promises stand on these: what config.json or the environment says of them is not taken.
OURS = frozenset(
    {"bootstrap.servers", "group.id", "group.instance.id", "transactional.id", "isolation.level", "enable.auto.commit"}
    | {"enable.auto.offset.store", "enable.idempotence", "enable.partition.eof", "auto.offset.reset"}
    | {"partition.assignment.strategy"}
)

_LOG = logging.getLogger("librdkafka")
_FIRST_WAIT_S = 0.25

Client = TypeVar("Client", Consumer, Producer, AdminClient)


class NoBroker(CanarecError):
    """No broker answers at the address: it may come yet."""


class NotLetIn(CanarecError):
    """The brokers are there and refuse who we say we are: waiting for them does not help."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Kafka cluster and how to talk to it. `properties` are librdkafka's, from `kafka` in config.json and the environment."""

    bootstrap_servers: str
    properties: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    prefix: str = "canarec"  # the installation's `group_prefix`: what the brokers know its clients by

    @classmethod
    def of(
        cls,
        bootstrap_servers: str,
        kafka: Mapping[str, str | int | float | bool],
        environment: Mapping[str, str] = os.environ,
        prefix: str = "canarec",
    ) -> "Cluster":
        """The environment wins over config.json: CANAREC_KAFKA_SASL_PASSWORD is `sasl.password`."""
        named = {
            name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("_", "."): value
            for name, value in environment.items()
            if name.startswith(ENVIRONMENT_PREFIX)
        }
        return cls(bootstrap_servers, {**kafka, **named}, prefix)

    def settings(self, **own: Any) -> dict[str, Any]:
        """librdkafka settings: ours (underscores for dots), over them what the user set, but for `OURS`."""
        ours = {name.replace("_", "."): value for name, value in own.items()}
        return {
            "bootstrap.servers": self.bootstrap_servers,
            "client.id": self.prefix,
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 1_000,
            "socket.nagle.disable": True,
            **ours,
            **{name: value for name, value in self.properties.items() if name not in OURS},
        }

    def consumer(self, **own: Any) -> Consumer:
        return _made(
            Consumer,
            self.settings(
                **{
                    "group_id": f"{self.prefix}-unused",  # required by the library; only readers that assign use it
                    "enable_auto_commit": False,
                    "isolation_level": "read_committed",
                    "auto_offset_reset": "earliest",
                    **own,
                }
            ),
        )

    def producer(self, **own: Any) -> Producer:
        """An idempotent producer with Java's partitioner, so that a key goes where other clients put it."""
        return _made(
            Producer,
            self.settings(
                **{
                    "enable_idempotence": True,
                    "partitioner": "murmur2_random",
                    "message_max_bytes": MAX_MESSAGE_BYTES,
                    **own,
                }
            ),
        )

    def admin(self) -> AdminClient:
        return _made(AdminClient, self.settings())

    def check(self, timeout_s: float = 10) -> None:
        """Returns once a broker answers. NoBroker where none does in time, NotLetIn as soon as one refuses us; BadConfig."""
        heard = _Heard()
        admin = _made(AdminClient, self.settings() | {"error_cb": heard.error}, logger=heard.log)
        until, wait_s = time.monotonic() + timeout_s, _FIRST_WAIT_S
        while True:
            try:
                # short at first: what the brokers think of us is heard between the calls only
                admin.list_topics(timeout=max(0.05, min(wait_s, until - time.monotonic())))
                return
            except KafkaException as error:
                admin.poll(0)
                if heard.refusal is not None:
                    raise self._not_let_in(heard.refusal) from None
                if time.monotonic() >= until:
                    raise self._no_broker(heard, error.args[0]) from None
            time.sleep(0.05)  # a connection that is closed at once is no reason to spin
            wait_s *= 2

    def _not_let_in(self, error: KafkaError) -> NotLetIn:
        keys, variables = _REFUSALS[error.code()]
        return NotLetIn(
            f"the broker at {self.bootstrap_servers} refused us ({_plain(error)}): look at {keys} in config.json, "
            f"or {ENVIRONMENT_PREFIX}{variables} in the environment"
        )

    def _no_broker(self, heard: "_Heard", error: KafkaError) -> NoBroker:
        local = re.fullmatch(r"(?:127\.0\.0\.1|localhost)(?::(\d+))?", self.bootstrap_servers)
        port = "" if local is None or local[1] in (None, "9092") else f" --port {local[1]}"
        if heard.hangs_up:
            advice = (
                "what listens there hangs up: does it want SASL or TLS? Look at kafka.security.protocol in config.json, "
                f"or {ENVIRONMENT_PREFIX}SECURITY_PROTOCOL in the environment"
            )
        elif local:
            advice = f"start one with `canarec broker{port}`, or name one with --bootstrap-servers"
        else:
            advice = "name one that does with --bootstrap-servers"
        return NoBroker(
            f"no Kafka broker answers at {self.bootstrap_servers} ({_plain(heard.trouble or error)}): {advice}"
        )


_SASL = ("kafka.sasl.username, kafka.sasl.password and kafka.sasl.mechanisms", "SASL_…")
_REFUSALS = {
    KafkaError._AUTHENTICATION: _SASL,
    KafkaError.SASL_AUTHENTICATION_FAILED: _SASL,
    KafkaError._SSL: ("kafka.ssl.ca.location and the other kafka.ssl keys", "SSL_…"),
}


class _Heard(logging.Handler):
    """What a client tells of its connections beside its calls: errors, and the log, which is for nobody else here."""

    def __init__(self) -> None:
        super().__init__()
        self.refusal: KafkaError | None = None
        self.trouble: KafkaError | None = None
        self.hangs_up = False
        self.log = logging.Logger("librdkafka")
        self.log.addHandler(self)

    def error(self, error: KafkaError) -> None:
        if error.code() in _REFUSALS:
            self.refusal = error
        elif error.code() != KafkaError._ALL_BROKERS_DOWN:
            self.trouble = error

    def emit(self, record: logging.LogRecord) -> None:
        self.hangs_up |= "Disconnected" in record.getMessage()  # told as no error where it happens again and again


def _plain(error: KafkaError) -> str:
    """librdkafka's text without the name of its connection and the time that it took."""
    return re.sub(r"^\S+/bootstrap: | \(after \d+ms in state .*", "", error.str())


def _made(kind: Callable[..., Client], settings: dict[str, Any], logger: logging.Logger = _LOG) -> Client:
    """A client, or BadConfig for a property that the library does not take."""
    try:
        return kind(settings, logger=logger)
    except KafkaException as error:
        if error.args[0].code() not in _NOT_TAKEN:
            raise
        raise _not_taken(error.args[0].str()) from None
    except (TypeError, ValueError) as error:
        raise _not_taken(str(error)) from None


def _not_taken(why: str) -> BadConfig:
    named = re.search(r'property:? "([^"]+)"', why)
    if named is None:
        return BadConfig("kafka", why)
    variable = ENVIRONMENT_PREFIX + named[1].upper().replace(".", "_")
    return BadConfig(f"kafka.{named[1]}", f"{why} (or {variable} in the environment)")


_NOT_TAKEN = (KafkaError._INVALID_ARG, KafkaError._NOT_IMPLEMENTED, KafkaError._CONFLICT)


def partitions(client: Consumer | Producer | AdminClient, topic: str, timeout_s: float = 10) -> list[int]:
    """The partition numbers of a topic. CanarecError where there is no such topic, NotLetIn where it is hidden from us."""
    found = client.list_topics(topic, timeout=timeout_s).topics[topic]
    if found.error is not None:
        if found.error.code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise CanarecError(f"topic {topic} does not exist: `canarec up` or `canarec worker` creates the topics")
        if found.error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED:
            raise NotLetIn(f"the brokers keep topic {topic} from this user: `canarec topics acls` has what to allow")
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
    cluster: Cluster,
    ranges: Mapping[tuple[str, int], tuple[int, int]],
    *,
    patience_s: float = 30,
    at_once: int = 10_000,
    **own: Any,
) -> Iterator[list[Message]]:
    """Every committed message from `first` to below `next` of each partition, some at a time, in order within a partition.

    `own`: settings of the reader. CanarecError where Kafka sends nothing for `patience_s`.
    """
    left = {place: after for place, (first, after) in ranges.items() if first < after}
    # by default librdkafka rests for a second whenever its queue is full
    consumer = cluster.consumer(**{"enable_partition_eof": True, "fetch_queue_backoff_ms": 5, **own})
    try:
        consumer.assign([TopicPartition(*place, ranges[place][0]) for place in left])
        until = time.monotonic() + patience_s
        while left:
            found, waiting = [], len(left)
            first = consumer.poll(min(1.0, patience_s))
            for message in [] if first is None else [first, *consumer.consume(at_once, 0)]:
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
