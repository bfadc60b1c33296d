"""Transactional producers: outputs and consumed offsets go out together or not at all (KIP-98, KIP-447)."""

import concurrent.futures
import queue
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, cast

import structlog
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, KafkaError, KafkaException, Message, Producer, TopicPartition
from prometheus_client import Counter

from streams import topics
from streams.clients import Cluster, partitions
from streams.clock import BrokerClock
from streams.messages import Place

log = structlog.get_logger()

TRANSACTION_TIMEOUT_MS = 5_000
CALL_S = 4.0  # one call inside a transaction; after a time-out nobody knows what happened: never repeat it
GRACE_S = 0.25  # a call that has not come back so long after its time-out is left behind
SCHEMA: tuple[str, str | bytes | None] = ("schema", b"1")  # header of every message: the version of its fields
_HEADERS = [SCHEMA]
RECORD_BYTES = 256  # what a record and its batch take beside key, value and headers, generously
RECORD_BATCH_BYTES = 1_000_000  # librdkafka's own default
TOGETHER = -2  # one partition for all of a transaction


class Out(NamedTuple):
    """One message to produce. `counter` counts it once it is committed.

    `partition` −1 lets the partitioner choose by key. TOGETHER is one partition for all such messages of a transaction, with the
    number of one that it consumed from: librdkafka sends a request for each partition, a broker works a connection's requests
    off one by one, and so each further partition costs a transaction a millisecond or two.
    """

    topic: str
    value: bytes | None
    key: bytes | None = None
    partition: int = -1
    headers: list[tuple[str, str | bytes | None]] | None = None
    counter: Counter | None = None


class Transactions:
    """The transactional producers of one worker and group. Call `commit` and `ensure` with `lock` held by nobody else.

    `outputs` are the topics that it writes. The broker's clock is learned from the messages that it stamps.
    """

    def __init__(
        self, cluster: Cluster, group: str, name: str, count: int, outputs: Sequence[str], clock: BrokerClock
    ) -> None:
        self.cluster, self.group, self.name, self.count = cluster, group, name, count
        self.outputs, self.clock = outputs, clock
        self._limits = dict.fromkeys(outputs, topics.MAX_MESSAGE_BYTES)
        self.lock = threading.RLock()  # held while a transaction is in flight, or producers are being made
        self._producers: list[Producer] = []
        self._sound = False  # they may be used
        self.making = False  # producers, or about to: by whoever has the lock or waits for it
        self._turn = 0
        self._since = 0.0
        self._aside = Aside()

    def ready(self) -> bool:
        return self._sound

    def hanging_for(self) -> float:
        """Seconds since the transaction in flight began; 0 without one."""
        since = self._since
        return time.monotonic() - since if since else 0.0

    def ensure(self, patience_s: float = 10) -> None:
        """Producers that are ready; waits for a transaction in flight. KafkaException where there are none in time."""
        # whoever holds the lock may be making producers, for as long as a broker is away
        if not self.lock.acquire(timeout=-1 if patience_s == float("inf") else patience_s):
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "the producers are being made"))
        try:
            if not self._sound:
                self.making = True
                while self._producers:  # none of them stays in a variable: it would die here
                    _bury(self._producers.pop())
                self._producers = self._all_made(patience_s)
                self._sound = True
        finally:
            self.making = False
            self.lock.release()

    def fits(self, out: Out) -> bool:
        """Its topic takes a message of this size."""
        size = len(out.value or b"") + len(out.key or b"") + RECORD_BYTES
        if out.headers:
            size += sum(len(name) + len(value or b"") + 4 for name, value in out.headers)
        return size <= self._limits[out.topic]

    def _all_made(self, patience_s: float) -> list[Producer]:
        self._limits = self._found_limits(patience_s)
        with concurrent.futures.ThreadPoolExecutor(self.count) as pool:
            making = [pool.submit(self._made, name, patience_s) for name in self._ids(self.name)]
        if failed := [each.exception() for each in making if each.exception() is not None]:
            for each in making:
                if each.exception() is None:
                    _bury(each.result())
            raise cast(BaseException, failed[0])
        return [each.result() for each in making]

    def _found_limits(self, patience_s: float) -> dict[str, int]:
        """What messages the topics take. KafkaException where the brokers do not say in time."""
        until = time.monotonic() + patience_s
        while True:
            try:
                return topics.max_message_bytes(self.cluster, self.outputs)
            except (KafkaException, TimeoutError) as error:
                if time.monotonic() > until:
                    raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"the topics' settings: {error}")) from error
                log.warning("the topics' settings are not to be had yet", error=str(error))
                time.sleep(0.1)

    def rebuild(self, guarded: Callable[[Callable[[], None]], None]) -> None:
        """New producers under the same ids, made in a side thread: init_transactions ends what is open.

        There, and with the lock held, the old ones are buried, too: a transaction in flight may be using one.
        """
        self._sound, self.making = False, True
        patiently = partial(self.ensure, float("inf"))  # a broker that is away comes back, however late
        threading.Thread(target=guarded, args=(patiently,), daemon=True, name=f"{self.group}-producers").start()

    def fence(self, name: str) -> None:
        """Ends whatever a dead worker of this name left open."""
        for transactional_id in self._ids(name):
            _bury(self._made(transactional_id, patience_s=5))

    def end_hanging(self, name: str, offsets: Sequence[TopicPartition], metadata: Any) -> None:
        """Aborts what hangs under a worker's ids though Kafka takes it for complete: a marker ends all that its producer left.

        So each id touches what a transaction of ours may have touched, and aborts.
        """
        admin = self.cluster.admin()
        touched = [(topic, partition) for topic in self.outputs for partition in partitions(admin, topic)]
        with self.lock:
            for transactional_id in self._ids(name):
                self._sound = self._sound and name != self.name  # ours are fenced by it
                producer = self._made(transactional_id, patience_s=5)
                try:
                    producer.begin_transaction()
                    for topic, partition in touched:
                        producer.produce(topic, b"", partition=partition)
                    self._send_offsets(producer, list(offsets), metadata)
                    producer.abort_transaction(CALL_S)
                finally:
                    _bury(producer)
            self.ensure()

    def commit(
        self, ends: dict[Place, int], outputs: list[Out], metadata: Any, notes: Mapping[Place, str] | None = None
    ) -> None:
        """Outputs and offsets in one transaction. KafkaException: nobody knows; make new producers and read again.

        `notes`: what stands beside an offset instead of our name.
        """
        if not self._sound:
            raise KafkaException(KafkaError(KafkaError._STATE, "the producers are being made"))
        producer = self._producers[self._turn % len(self._producers)]
        self._since = time.monotonic()
        consumed = sorted(partition for _, partition in ends)
        together = consumed[self._turn % len(consumed)]
        try:
            producer.begin_transaction()
            for number, out in enumerate(outputs):
                partition = together if out.partition == TOGETHER else out.partition
                headers = [*out.headers, SCHEMA] if out.headers else _HEADERS
                # the last one's stamp tells the broker's time: it waits for nothing but the broker
                told = partial(self._stamped, self.clock.local_ms()) if number == len(outputs) - 1 else None
                producer.produce(out.topic, out.value, out.key, partition, on_delivery=told, headers=headers)
            offsets = [TopicPartition(*place, end, (notes or {}).get(place, self.name)) for place, end in ends.items()]
            self._send_offsets(producer, offsets, metadata)
            producer.commit_transaction(CALL_S)
        finally:
            self._since = 0.0
        self._turn += 1

    def _send_offsets(self, producer: Producer, offsets: list[TopicPartition], metadata: Any) -> None:
        """Within its time-out, which librdkafka does not keep where a broker went away: its issues 5456 and 5511."""
        try:
            self._aside.call(
                partial(producer.send_offsets_to_transaction, offsets, metadata, CALL_S), patience_s=CALL_S + GRACE_S
            )
        except TimeoutError:
            self._aside = Aside()
            why = "send_offsets_to_transaction did not come back"
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, why)) from None

    def _stamped(self, sent_ms: float, error: KafkaError | None, message: Message) -> None:
        kind, at = message.timestamp()
        if error is None and kind == TIMESTAMP_LOG_APPEND_TIME:
            self.clock.learn(at, sent_ms, self.clock.local_ms())

    def _ids(self, name: str) -> list[str]:
        return [f"{self.group}-{name}-{number}" for number in range(self.count)]

    def _made(self, transactional_id: str, patience_s: float) -> Producer:
        until = time.monotonic() + patience_s
        while True:
            producer = self.cluster.producer(
                transactional_id=transactional_id,
                transaction_timeout_ms=TRANSACTION_TIMEOUT_MS,
                linger_ms=0,
                # a batch of records that its topic does not take is refused as a whole, however small each of them is
                batch_size=max(RECORD_BYTES, min(RECORD_BATCH_BYTES, min(self._limits.values()) - RECORD_BYTES)),
                retry_backoff_ms=1,
                retry_backoff_max_ms=20,
                message_timeout_ms=TRANSACTION_TIMEOUT_MS,
            )
            try:
                producer.list_topics(timeout=5)  # connected first: the coordinator look-up would wait for a timer
                producer.init_transactions(5)
                return producer
            except KafkaException as error:
                _bury(producer)
                if time.monotonic() > until:
                    raise
                log.warning("init_transactions failed", transactional_id=transactional_id, error=str(error))
                time.sleep(0.1)


class Aside:
    """A thread that makes calls for another one, and is left behind with one that does not come back.

    It ends with this object, or with that call.
    """

    def __init__(self) -> None:
        self._asked: _Asked = queue.SimpleQueue()
        threading.Thread(target=_work, args=(self._asked,), daemon=True, name="aside").start()
        weakref.finalize(self, self._asked.put, None)

    def call(self, call: Callable[[], object], patience_s: float) -> None:
        """Makes it, and raises what it raises. TimeoutError after `patience_s`: the thread ends when the call does."""
        future: concurrent.futures.Future[object] = concurrent.futures.Future()
        self._asked.put((call, future))
        try:
            future.result(patience_s)
        finally:
            # what it raised holds this frame, and would hold the producer, until the garbage collector comes by
            del call, future


_Asked = queue.SimpleQueue[tuple[Callable[[], object], concurrent.futures.Future[object]] | None]


def _work(asked: _Asked) -> None:
    while (one := asked.get()) is not None:
        call, future = one
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - whoever asked raises it
            future.set_exception(error)
        del one, call, future  # not until the next one: the producer is among them


def _bury(producer: Producer) -> None:
    # The last reference dies in another thread: destroying a producer may block for as long as its time-outs.
    threading.Thread(target=lambda dead: dead.purge(), args=(producer,), daemon=True).start()
