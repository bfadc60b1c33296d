"""A refused message as a dead letter: its place, the reason, the original bytes, and the headers of KIP-1034."""

import time
from collections.abc import Callable, Iterable

from confluent_kafka import Message

from models import wire
from models.dead_letters import ADDED
from models.errors import BadMessage
from models.events import Source
from streams import metrics
from streams.messages import source
from streams.transactions import Out


def dead_letter(topic: str, message: Message, error: BadMessage, fits: Callable[[Out], bool]) -> Out:
    """For `topic`; the message's own headers stay, and its key, so that it can be published again as it was.

    Where the topic does not take it, only the place and the reason go out: the message itself lies at its place.
    """
    where, value = source(message), message.value()
    counter = metrics.DEAD_LETTERS.labels(where.topic, error.reason)
    whole = Out(
        topic,
        wire.dead_letter(where, value, error.reason, str(error), _now_ms()),
        message.key(),
        headers=[*(message.headers() or []), *headers(where, error)],
        counter=counter,
    )
    if fits(whole):
        return whole
    detail = f"{str(error)[:200]} (payload left out: {topic} does not take {len(whole.value or b'')} bytes)"
    return Out(topic, wire.dead_letter(where, None, error.reason, detail, _now_ms()), counter=counter)


def none_yet(topics: Iterable[str]) -> None:
    """A counter that appears with its first message shows no increase: what is to wake somebody up begins at 0."""
    for topic in topics:
        metrics.DEAD_LETTERS.labels(topic, "internal_error")


def headers(where: Source, error: BadMessage) -> list[tuple[str, str | bytes | None]]:
    """KIP-1034's headers."""
    said = (
        type(error).__name__,
        f"{error.reason}: {error}",
        where.topic,
        str(where.partition),
        str(where.offset),
    )
    return [(name, value.encode()) for name, value in zip(ADDED, said, strict=True)]


def _now_ms() -> int:
    return int(time.time() * 1000)
