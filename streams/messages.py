"""What a consumed message says of itself."""

from typing import cast

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, KafkaError, Message

from models.events import Source

Place = tuple[str, int]  # topic, partition


class ThrownOut(Exception):
    """Of its group, for good: this consumer gets nothing any more, and another process must go on."""


def not_thrown_out(message: Message | None) -> Message | None:
    """The same; ThrownOut where it says so. It is said once, and `KafkaError.fatal` does not know: the error's code does."""
    error = None if message is None else message.error()
    if error is not None and error.code() == KafkaError._FATAL:
        raise ThrownOut(error.str())
    return message


def source(message: Message) -> Source:
    """Where the message stands."""
    return Source(topic(message), partition(message), offset(message))


def topic(message: Message) -> str:
    return cast(str, message.topic())  # None only of a message that was not consumed


def partition(message: Message) -> int:
    return cast(int, message.partition())


def offset(message: Message) -> int:
    return cast(int, message.offset())


def headers(message: Message) -> list[tuple[str, str | bytes | None]]:
    """Its headers, in their order; a name may come twice."""
    return cast(list[tuple[str, str | bytes | None]], message.headers() or [])


def place(message: Message) -> Place:
    return topic(message), partition(message)


def kafka_ms(message: Message) -> int:
    """The message's own time; 0 where it has none."""
    kind, at = message.timestamp()
    return 0 if kind == TIMESTAMP_NOT_AVAILABLE else int(at)
