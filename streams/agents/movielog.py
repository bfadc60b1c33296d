"""Turns a movie service's raw lines into typed events.

At least once, counted once: events are published without a transaction, so that no open transaction can hide later events
from the histories, and are acknowledged before their line's offset is committed. A line published twice carries the same
place in its header, and the histories' fold is idempotent.
"""

import asyncio
import concurrent.futures
from collections.abc import Callable, Sequence

import faust
import msgspec
import structlog
from confluent_kafka import KafkaError, KafkaException, Message
from faust.types import StreamT

from models import movielog
from models.config import Applied
from models.errors import BadMessage
from models.events import Rating, Watch
from models.wire import rfc3339
from streams import metrics
from streams.channel import Batches
from streams.clients import Cluster
from streams.clock import BrokerClock
from streams.dead_letters import dead_letter, none_yet
from streams.exactly_once import Batch, ExactlyOnce
from streams.histories import Known
from streams.messages import kafka_ms, offset, partition, source, topic
from streams.transactions import Out

log = structlog.get_logger()

BATCH_SIZE = 2_000
LINE_HEADER = "movielog"  # topic-partition-offset of the line: a fold counts a line once


class Movielog:
    """Lines in, events and dead letters out. One for each worker."""

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
        self._known = known
        self._limits = applied.config.events.limits()
        self._dead_letters = applied.topic("dead-letters")
        none_yet([applied.topic("movielog")])
        self._topics: dict[type, str] = {Watch: applied.topic("watch-events"), Rating: applied.topic("rating-events")}
        self._producer = cluster.producer(linger_ms=5, queue_buffering_max_messages=200_000)
        self.pool = concurrent.futures.ThreadPoolExecutor(1, "movielog")
        self.pipe = ExactlyOnce(
            cluster,
            group=applied.group("movielog"),
            topics=[applied.topic("movielog")],
            name=name,
            batch_size=BATCH_SIZE,
            outputs=[self._dead_letters],
            clock=clock,
            feed=lambda batch: self.channel.feed(batch),  # noqa: PLW0108 - the channel comes with the app
            on_fatal=on_fatal,
        )

    def declare(self, app: faust.App) -> None:
        """The agent."""
        self.channel = Batches(app)

        @app.agent(self.channel, name="movielog")
        async def lines(stream: StreamT[Batch]) -> None:
            loop = asyncio.get_running_loop()
            async for batch in stream:
                try:
                    outputs = await loop.run_in_executor(self.pool, self.publish, batch.messages)
                except Exception as error:  # noqa: BLE001 - not acknowledged, for instance: logged, and read again
                    self.pipe.failed(batch.session, error)
                else:
                    self.pipe.answered([batch], outputs)

    def publish(self, messages: Sequence[Message]) -> list[Out]:
        """Publishes the events of some lines, waits until they are acknowledged; the dead letters of the others."""
        outputs: list[Out] = []
        failed: list[KafkaError] = []

        def delivered(error: KafkaError | None, _: Message) -> None:
            if error is not None:
                failed.append(error)

        for message in messages:
            try:
                record = self._parsed(message)
            except BadMessage as error:
                outputs.append(dead_letter(self._dead_letters, message, error, self.pipe.fits))
                continue
            metrics.MOVIELOG_LINES.labels(type(record).__name__.lower()).inc()
            if not isinstance(record, Watch | Rating):
                continue  # another service's answers and new accounts change no history
            record = msgspec.structs.replace(record, movie_id=movielog.resolve(record.movie_id, self._known.movies))
            self._producer.produce(
                self._topics[type(record)],
                _event(record),
                record.user_id.encode(),
                headers=[(LINE_HEADER, f"{topic(message)}-{partition(message)}-{offset(message)}".encode())],
                on_delivery=delivered,
            )
        self._producer.flush(60)
        if failed or len(self._producer):
            raise KafkaException(failed[0] if failed else KafkaError(KafkaError._TIMED_OUT))
        return outputs

    def _parsed(self, message: Message) -> movielog.Record:
        """What the line says; BadMessage, whatever went wrong."""
        try:
            return movielog.parse(message.value() or b"", self._limits, kafka_ms=kafka_ms(message))
        except BadMessage:
            raise
        except Exception as error:
            log.exception("a line cannot be read", **msgspec.structs.asdict(source(message)))
            raise BadMessage("internal_error", f"{type(error).__name__} while it was read") from error


def _event(record: Watch | Rating) -> bytes:
    fields = msgspec.structs.asdict(record)
    at = rfc3339(fields.pop("timestamp_ms"))
    return msgspec.json.encode({**fields, "timestamp": at})
