"""Judges watch events, ratings, feedback, profiles and catalogue: one member of the group sees each, and writes the dead letter of a bad one.

The histories read the same topics beside it, in every worker, and skip what is refused here.
"""

import asyncio
import concurrent.futures
from collections import Counter
from collections.abc import Callable, Sequence

import faust
import msgspec
import structlog
from confluent_kafka import Message
from faust.types import StreamT

from models import wire
from models.config import Applied
from models.errors import BadMessage
from streams import metrics
from streams.channel import Batches
from streams.clients import Cluster
from streams.clock import BrokerClock
from streams.dead_letters import dead_letter, none_yet
from streams.exactly_once import Batch, ExactlyOnce
from streams.histories import Known
from streams.messages import kafka_ms, source, topic
from streams.transactions import Out

log = structlog.get_logger()

BATCH_SIZE = 2_000


class Events:
    """Bad events become dead letters, exactly once. One for each worker."""

    def __init__(
        self,
        cluster: Cluster,
        applied: Applied,
        known: Known,
        *,
        name: str,
        clock: BrokerClock,
        on_fatal: Callable[[], None],
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
        none_yet(self._checks)
        self.pool = concurrent.futures.ThreadPoolExecutor(1, "judge")
        self.pipe = ExactlyOnce(
            cluster,
            group=applied.group("events"),
            topics=list(self._checks),
            name=name,
            batch_size=BATCH_SIZE,
            outputs=[self._dead_letters],
            clock=clock,
            feed=lambda batch: self.channel.feed(batch),  # noqa: PLW0108 - the channel comes with the app
            committed=self._count,
            on_fatal=on_fatal,
        )

    def declare(self, app: faust.App) -> None:
        """The agent."""
        self.channel = Batches(app)

        @app.agent(self.channel, name="events")
        async def events(stream: StreamT[Batch]) -> None:
            loop = asyncio.get_running_loop()
            async for batch in stream:
                try:
                    outputs = await loop.run_in_executor(self.pool, self.judge, batch)
                except Exception as error:  # noqa: BLE001 - logged, and read again
                    self.pipe.failed(batch.session, error)
                else:
                    self.pipe.answered([batch], outputs)

    def judge(self, batch: Batch) -> list[Out]:
        """The dead letters of a batch of events."""
        outputs: list[Out] = []
        counts, unknown = Counter[str](), Counter[str]()
        for message in batch.messages:
            name = topic(message)
            try:
                movie_id = self._judged(message)
            except BadMessage as error:
                outputs.append(dead_letter(self._dead_letters, message, error, self.pipe.fits))
                continue
            counts[name] += 1
            unknown[name] += movie_id is not None and movie_id not in self._known.movies
        batch.tally = counts, unknown
        return outputs

    def _judged(self, message: Message) -> str | None:
        """The movie that the event names, if any; BadMessage, whatever went wrong."""
        try:
            return self._checks[topic(message)](message)
        except BadMessage:
            raise
        except Exception as error:
            where = source(message)
            log.exception("an event cannot be judged", **msgspec.structs.asdict(where))
            raise BadMessage("internal_error", f"{type(error).__name__} while it was judged") from error

    def _count(self, batches: Sequence[Batch]) -> None:
        for counts, unknown in (batch.tally for batch in batches):
            for name, count in counts.items():
                metrics.EVENTS.labels(name).inc(count)
                metrics.UNKNOWN_MOVIES.labels(name).inc(unknown[name])


def _record_or_tombstone(message: Message, parse: Callable[[bytes | None], object]) -> None:
    """In a compacted topic a null value deletes what the key names."""
    if message.value() is None:
        wire.key_id(message.key())
    else:
        parse(message.value())
