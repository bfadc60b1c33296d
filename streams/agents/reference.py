"""Profiles and catalogue: ordinary Faust topic agents that write the dead letters of bad ones.

Their rate is low and repeating a dead letter after a crash is harmless, so Faust's own consumer will do. It loses whatever an
agent raises at, and whatever a codec cannot decode: so bytes come in raw and everything is caught inside the loop.
"""

import asyncio
from collections.abc import Callable

import faust
import structlog
from faust.types import EventT, StreamT
from faust.types.tuples import Message

from models import wire
from models.config import Applied
from models.errors import BadMessage
from models.events import Source
from streams import dead_letters
from streams.clients import Cluster

log = structlog.get_logger()


class Reference:
    """Declares an agent for each compacted topic."""

    def __init__(self, cluster: Cluster, applied: Applied) -> None:
        self._dead_letters = applied.topic("dead-letters")
        self._producer = cluster.producer(linger_ms=5)
        self._checks: dict[str, Callable[[bytes], object]] = {
            applied.topic("user-profiles"): wire.profile,
            applied.topic("movie-catalog"): wire.movie,
        }

    def declare(self, app: faust.App) -> None:
        """The agents."""
        for topic in self._checks:
            source = app.topic(topic, key_serializer="raw", value_serializer="raw")

            @app.agent(source, name=topic)
            async def reference(stream: StreamT[bytes]) -> None:
                async for event in stream.events():
                    await self.judge(event)

    async def judge(self, event: EventT[bytes]) -> None:
        """Writes the dead letter of a bad record, acknowledged by the broker before the next one is looked at."""
        message = event.message
        value: bytes | None = message.value
        try:
            if value is None:
                wire.key_id(message.key)
            else:
                self._checks[message.topic](value)
        except BadMessage as error:
            await self._refuse(message, value, error)

    async def _refuse(self, message: Message, value: bytes | None, error: BadMessage) -> None:
        where = Source(message.topic, message.partition, message.offset)
        found = message.headers or ()
        own: list[tuple[str, str | bytes | None]] = [(k, v) for k, v in (found.items() if isinstance(found, dict) else found)]
        loop = asyncio.get_running_loop()
        while True:  # a dead letter that cannot be written must not be lost: wait until the broker is back
            delivered: list[object] = []

            def on_delivery(failed: object, _: object, delivered: list[object] = delivered) -> None:
                delivered.append(failed)

            self._producer.produce(
                self._dead_letters,
                dead_letters.value(where, value, error),
                message.key,
                headers=[*own, *dead_letters.headers(where, error)],
                on_delivery=on_delivery,
            )
            await loop.run_in_executor(None, self._producer.flush, 30)
            if delivered and delivered[0] is None:
                return
            log.error("dead letter not written, trying again", source=where)
