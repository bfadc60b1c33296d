"""Judges watch events, ratings, feedback, profiles and catalogue: one member of the group sees each, and writes the dead letter of a bad one.

The histories read the same topics beside it, in every worker, and skip what is refused here. Feedback on a request that nobody was answered
by is no dead letter, since the message does not show it: it is counted, some seconds later, when all workers' answers have come by.
"""

import asyncio
import concurrent.futures
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence

import faust
import msgspec
import structlog
from confluent_kafka import Message
from faust.types import StreamT

from models import repeats, wire
from models.config import Applied
from models.errors import BadMessage
from models.events import Feedback, Rating, Watch
from models.measures.feedback import IGNORED
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
ANSWERED_S = 10.0  # an answer has come by all workers by then
UNKNOWN = "unknown_request"


class Events:
    """Bad events become dead letters, exactly once. One for each worker."""

    def __init__(
        self,
        cluster: Cluster,
        applied: Applied,
        known: Known,
        answered: Callable[[Sequence[int], int], list[bool]],
        *,
        name: str,
        clock: BrokerClock,
        on_fatal: Callable[[], None],
    ) -> None:
        """`answered`: whether requests (`repeats.named`) were answered, by whichever worker, at a time."""
        limits = applied.config.events.limits()
        self._known, self._answered, self._clock = known, answered, clock
        self._named: deque[tuple[float, list[int]]] = (
            deque()
        )  # requests of feedbacks, with the time when they are looked up
        for reason in (*IGNORED, UNKNOWN):
            metrics.FEEDBACK_IGNORED.labels(reason)  # 0 until there is one
        self._dead_letters = applied.topic("dead-letters")
        self._checks: dict[str, Callable[[Message], Watch | Rating | Feedback | None]] = {
            applied.topic("watch-events"): lambda m: wire.watch(m.value(), kafka_ms(m), limits),
            applied.topic("rating-events"): lambda m: wire.rating(m.value(), kafka_ms(m), limits),
            applied.topic("recommendation-feedback"): lambda m: wire.feedback(m.value()),
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
        counts, unknown, named = Counter[str](), Counter[str](), list[int]()
        for message in batch.messages:
            name = topic(message)
            try:
                event = self._judged(message)
            except BadMessage as error:
                outputs.append(dead_letter(self._dead_letters, message, error, self.pipe.fits))
                continue
            counts[name] += 1
            movie_id = event.selected if isinstance(event, Feedback) else event and event.movie_id
            unknown[name] += movie_id is not None and movie_id not in self._known.movies
            if isinstance(event, Feedback):
                named.append(repeats.named(event.request_id))
        batch.tally = counts, unknown, named
        return outputs

    def show(self) -> None:
        """Counts the feedbacks of a while ago that are on no answer."""
        while self._named and self._named[0][0] <= time.monotonic():
            _, named = self._named.popleft()
            known = self._answered(named, self._clock.now_ms())
            metrics.FEEDBACK_IGNORED.labels(UNKNOWN).inc(known.count(False))

    def _judged(self, message: Message) -> Watch | Rating | Feedback | None:
        """The event, None of a profile or movie; BadMessage, whatever went wrong."""
        try:
            return self._checks[topic(message)](message)
        except BadMessage:
            raise
        except Exception as error:
            where = source(message)
            log.exception("an event cannot be judged", **msgspec.structs.asdict(where))
            raise BadMessage("internal_error", f"{type(error).__name__} while it was judged") from error

    def _count(self, batches: Sequence[Batch]) -> None:
        for counts, unknown, named in (batch.tally for batch in batches):
            if named:
                self._named.append((time.monotonic() + ANSWERED_S, named))
            for name, count in counts.items():
                metrics.EVENTS.labels(name).inc(count)
                metrics.UNKNOWN_MOVIES.labels(name).inc(unknown[name])


def _record_or_tombstone(message: Message, parse: Callable[[bytes | None], object]) -> None:
    """In a compacted topic a null value deletes what the key names."""
    if message.value() is None:
        wire.key_id(message.key())
    else:
        parse(message.value())
