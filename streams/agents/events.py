"""Judges watch events, ratings, feedback, profiles and catalogue: one member of the group sees each, and writes the dead letter of a bad one.

The histories read the same topics beside it, in every worker, and skip what is refused here.
"""

import asyncio
import concurrent.futures
from collections import Counter
from collections.abc import Callable, Sequence

import faust
from confluent_kafka import Message
from faust.types import StreamT

from models import wire
from models.config import Applied
from models.errors import BadMessage
from streams import metrics
from streams.channel import Batches
from streams.clients import Cluster
from streams.dead_letters import dead_letter
from streams.exactly_once import Batch, ExactlyOnce, Out
from streams.histories import Known
from streams.messages import kafka_ms, topic

BATCH_SIZE = 2_000


class Events:
    """Bad events become dead letters, exactly once. One for each worker."""

    def __init__(
        self, cluster: Cluster, applied: Applied, known: Known, *, name: str, on_fatal: Callable[[], None]
    ) -> None:
        limits = applied.config.events.limits()
        self._known = known
        self._dead_letters = applied.topic("dead-letters")
        self._checks: dict[str, Callable[[Message], str | None]] = {
            applied.topic("watch-events"): lambda m: wire.watch(m.value(), kafka_ms(m), limits).movie_id,
            applied.topic("rating-events"): lambda m: wire.rating(m.value(), kafka_ms(m), limits).movie_id,
            applied.topic("recommendation-feedback"): lambda m: wire.feedback(m.value()).selected,
            applied.topic("user-profiles"): lambda m: _record_or_tombstone(m, wire.profile),
            applied.topic("movie-catalog"): lambda m: _record_or_tombstone(m, wire.movie),
        }
        self.pool = concurrent.futures.ThreadPoolExecutor(1, "judge")
        self.pipe = ExactlyOnce(
            cluster,
            group=applied.group("events"),
            topics=list(self._checks),
            name=name,
            batch_size=BATCH_SIZE,
            feed=lambda batch: self.channel.feed(batch),  # noqa: PLW0108 - the channel comes with the app
            on_fatal=on_fatal,
        )

    def declare(self, app: faust.App) -> None:
        """The agent."""
        self.channel = Batches(app)

        @app.agent(self.channel, name="events")
        async def events(stream: StreamT[Batch]) -> None:
            loop = asyncio.get_running_loop()
            async for batch in stream:
                outputs = await loop.run_in_executor(self.pool, self.judge, batch.messages)
                self.pipe.answered([batch], outputs)

    def judge(self, messages: Sequence[Message]) -> list[Out]:
        """The dead letters of these events."""
        outputs: list[Out] = []
        counts, unknown = Counter[str](), Counter[str]()
        for message in messages:
            name = topic(message)
            try:
                movie_id = self._checks[name](message)
            except BadMessage as error:
                outputs.append(dead_letter(self._dead_letters, message, error))
                continue
            counts[name] += 1
            unknown[name] += movie_id is not None and movie_id not in self._known.movies
        for name, count in counts.items():
            metrics.EVENTS.labels(name).inc(count)
            metrics.UNKNOWN_MOVIES.labels(name).inc(unknown[name])
        return outputs


def _record_or_tombstone(message: Message, parse: Callable[[bytes | None], object]) -> None:
    """In a compacted topic a null value deletes what the key names."""
    if message.value() is None:
        wire.key_id(message.key())
    else:
        parse(message.value())
