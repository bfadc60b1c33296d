"""Many questions at once to the topics, each waiting for its answer: one producer and one reader for all of them.

Answers come in the partition with their request's number, so the reader follows all partitions of `recommendations`, from their ends, and
belongs to no group. Knows no HTTP.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Sequence

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from models import wire
from models.config import Applied
from models.errors import CanarecError
from models.events import Request
from models.wire import UNREADABLE
from streams.ask import NoAnswer
from streams.clients import Cluster, high_watermarks, partitions

log = structlog.get_logger()

LOOK_EVERY_S = 5.0
LOOK_S = 3.0
AT_ONCE = 1_000


class Busy(CanarecError):
    """More questions wait than may, or the gateway is ending: ask again."""


class NotTaken(CanarecError):
    """Kafka did not take a question."""


class _About(msgspec.Struct):
    request_id: str | None = None


_about = msgspec.json.Decoder(_About).decode


class Gateway:
    """Call `ask` on the event loop that `start` was called on."""

    def __init__(
        self,
        cluster: Cluster,
        applied: Applied,
        *,
        most_waiting: int,
        limit_s: float,
        on_fatal: Callable[[], None],
    ) -> None:
        self.most_waiting, self.limit_s = most_waiting, limit_s
        self._requests, self._answers = applied.topic("recommendation-requests"), applied.topic("recommendations")
        self._on_fatal = on_fatal
        self._waiting: dict[str, asyncio.Future[bytes]] = {}
        # Not idempotent: a request that is sent twice is answered once. Given up in time to say so.
        self._producer = cluster.producer(
            linger_ms=1,
            acks="all",
            enable_idempotence=False,
            delivery_report_only_error=True,
            message_timeout_ms=max(1, round(500 * limit_s)),
        )
        self._consumer = cluster.consumer(fetch_wait_max_ms=50)
        self._assigned: set[int] = set()
        self._wanted: set[int] = set()
        self._ending, self._ended = False, threading.Event()
        self._broker_answers = False
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True, name=name)
            for name, work in (("answers", self._read), ("deliveries", self._deliver))
        ]

    @property
    def ready(self) -> bool:
        """Whether a question would go out now, and its answer be seen."""
        return bool(self._assigned) and self._broker_answers and not self._ending

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    async def start(self) -> None:
        """Returns once the reader stands at the ends. CanarecError, KafkaException."""
        self._loop = asyncio.get_running_loop()
        await self._loop.run_in_executor(None, self._assign)
        self._broker_answers = True
        for thread in self._threads:
            thread.start()
        self._looking = asyncio.create_task(self._look_again_and_again())

    async def ask(self, request: Request) -> bytes:
        """The answer, byte for byte. Errors: Busy, NotTaken, NoAnswer after `limit_s`."""
        if self._ending:
            raise Busy("the gateway is being stopped")
        if len(self._waiting) >= self.most_waiting:
            raise Busy(f"{len(self._waiting):,} requests wait for their answers already")
        answer: asyncio.Future[bytes] = self._loop.create_future()
        self._waiting[request.request_id] = answer
        try:
            self._publish(request)
            async with asyncio.timeout(self.limit_s):
                return await answer
        except TimeoutError:
            raise NoAnswer(f"no answer within {self.limit_s:g} s: is a worker running?") from None
        finally:
            del self._waiting[request.request_id]

    async def drain(self, patience_s: float) -> None:
        """No more questions; those that wait get their answers, or Busy when `patience_s` is over."""
        self._ending = True
        if self._waiting:
            await asyncio.wait(list(self._waiting.values()), timeout=patience_s)
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(Busy("the gateway is being stopped"))

    async def stop(self) -> None:
        """After `drain`."""
        self._ended.set()
        self._looking.cancel()
        await self._loop.run_in_executor(None, self._close)

    def _publish(self, request: Request) -> None:
        value = wire.encode(
            _Question(request.request_id, request.user_id, request.n, request.genres, request.exclude_seen)
        )

        def failed(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                self._loop.call_soon_threadsafe(self._fail, request.request_id, error.str())

        try:
            self._producer.produce(self._requests, value, request.user_id.encode(), on_delivery=failed)
        except (BufferError, KafkaException) as error:
            raise NotTaken(f"Kafka does not take the request: {error}") from None

    def _fail(self, request_id: str, why: str) -> None:
        answer = self._waiting.get(request_id)
        if answer is not None and not answer.done():
            answer.set_exception(NotTaken(f"Kafka did not take the request: {why}"))

    def _resolve(self, found: list[tuple[str, bytes]]) -> None:
        for request_id, value in found:
            answer = self._waiting.get(request_id)
            if answer is not None and not answer.done():
                answer.set_result(value)

    # -- the reader's thread ----------------------------------------------------------------------

    def _assign(self) -> None:
        ends = high_watermarks(self._consumer, self._answers)
        self._consumer.assign([TopicPartition(self._answers, partition, end) for partition, end in ends.items()])
        self._assigned = self._wanted = set(ends)

    def _read(self) -> None:
        while not self._ended.is_set():
            first = self._consumer.poll(0.1)
            if first is not None:
                self._take([first, *self._consumer.consume(AT_ONCE, 0)])
            if self._wanted - self._assigned:
                self._follow_more(self._consumer)

    def _take(self, messages: Sequence[Message]) -> None:
        found = []
        for message in messages:
            if (error := message.error()) is not None:
                if error.fatal():
                    raise KafkaException(error)
                continue
            value = message.value() or b""
            try:
                request_id = _about(value).request_id
            except UNREADABLE:
                continue  # what others write there is not ours to judge
            if request_id in self._waiting:
                found.append((str(request_id), value))
        if found:
            self._loop.call_soon_threadsafe(self._resolve, found)

    def _follow_more(self, consumer: Consumer) -> None:
        """Partitions that the topic got: from their beginnings, since requests may have come before we looked."""
        more = sorted(self._wanted - self._assigned)
        consumer.incremental_assign([TopicPartition(self._answers, partition, 0) for partition in more])
        self._assigned |= set(more)
        log.info("topic has more partitions", topic=self._answers, partitions=len(self._assigned))

    # -- beside it --------------------------------------------------------------------------------

    def _deliver(self) -> None:
        while not self._ended.is_set():
            self._producer.poll(0.2)

    async def _look_again_and_again(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self._broker_answers = await self._loop.run_in_executor(None, self._look)

    def _look(self) -> bool:
        """Whether a broker answers, and which partitions there are."""
        try:
            self._wanted = self._wanted | set(partitions(self._producer, self._answers, LOOK_S))
        except (KafkaException, CanarecError) as error:
            if self._broker_answers:
                log.warning("no broker answers", error=str(error))
            return False
        return True

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException:
            log.critical("thread died", thread=threading.current_thread().name, exc_info=True)
            self._on_fatal()

    def _close(self) -> None:
        until = time.monotonic() + 2
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
        self._producer.purge()
        self._producer.flush(0.1)
        self._consumer.close()


class _Question(msgspec.Struct, frozen=True, omit_defaults=True):
    """What `recommendation-requests` gets to hold."""

    request_id: str
    user_id: str
    n: int = 20
    genres: tuple[str, ...] | None = None
    exclude_seen: bool = True
