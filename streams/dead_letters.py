"""A refused message as a dead letter: its place, the reason, the original bytes, and the headers of KIP-1034."""

import time

from confluent_kafka import Message

from models import wire
from models.errors import BadMessage
from models.events import Source
from streams import metrics
from streams.exactly_once import Out
from streams.messages import source

_HEADER = "__streams.errors."


def dead_letter(topic: str, message: Message, error: BadMessage) -> Out:
    """For `topic`; the message's own headers stay, and its key, so that it can be published again as it was."""
    where = source(message)
    return Out(
        topic,
        value(where, message.value(), error),
        message.key(),
        headers=[*(message.headers() or []), *headers(where, error)],
    )


def value(where: Source, refused: bytes | None, error: BadMessage) -> bytes:
    """The dead letter itself; counts it."""
    metrics.DEAD_LETTERS.labels(where.topic, error.reason).inc()
    return wire.dead_letter(where, refused, error.reason, str(error), int(time.time() * 1000))


def headers(where: Source, error: BadMessage) -> list[tuple[str, str | bytes | None]]:
    """KIP-1034's headers."""
    return [
        (_HEADER + "exception", type(error).__name__.encode()),
        (_HEADER + "message", f"{error.reason}: {error}".encode()),
        (_HEADER + "topic", where.topic.encode()),
        (_HEADER + "partition", str(where.partition).encode()),
        (_HEADER + "offset", str(where.offset).encode()),
    ]
