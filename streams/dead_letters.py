"""A refused message as a dead letter: its place, the reason, the original bytes, and the headers of KIP-1034."""

import time

from confluent_kafka import Message

from models import wire
from models.errors import BadMessage
from models.events import Source
from streams import metrics
from streams.exactly_once import Out

_HEADER = "__streams.errors."


def dead_letter(topic: str, message: Message, error: BadMessage) -> Out:
    """For `topic`; the message's own headers stay, and its key, so that it can be published again as it was."""
    return Out(
        topic,
        dead_letter_value(message.topic(), message.partition(), message.offset(), message.value(), error),
        message.key(),
        headers=[
            *(message.headers() or []),
            *headers(message.topic(), message.partition(), message.offset(), error),
        ],
    )


def dead_letter_value(topic: str, partition: int, offset: int, value: bytes | None, error: BadMessage) -> bytes:
    metrics.DEAD_LETTERS.labels(topic, error.reason).inc()
    now_ms = int(time.time() * 1000)
    return wire.dead_letter(Source(topic, partition, offset), value, error.reason, str(error), now_ms)


def headers(topic: str, partition: int, offset: int, error: BadMessage) -> list[tuple[str, bytes]]:
    """KIP-1034's headers."""
    return [
        (_HEADER + "exception", type(error).__name__.encode()),
        (_HEADER + "message", f"{error.reason}: {error}".encode()),
        (_HEADER + "topic", topic.encode()),
        (_HEADER + "partition", str(partition).encode()),
        (_HEADER + "offset", str(offset).encode()),
    ]
