"""The transaction: source topics → agent → outputs and offsets, committed together or not at all (KIP-447).

    consumer thread → batch on a channel → agent → commit thread → Kafka

Faust's own consumer loses events after a kill and doubles them after a rebalance, so an official consumer feeds a Faust
channel. What is consumed belongs to a `Session`: one stretch of one assignment, begun at the committed offsets. A batch of a
closed session never commits. Every failure has one answer: close the session, make new producers under the same
transactional ids (which ends whatever was open), begin again at the committed offsets. They are the truth.
"""

import os
import queue
import struct
import threading
import time
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from streams.clients import Cluster
from streams.clock import BrokerClock
from streams.committed import committed, committed_before
from streams.leave import leave
from streams.messages import Place, not_thrown_out, offset, place
from streams.transactions import Out, Transactions

log = structlog.get_logger()

TRANSACTION_MESSAGES = 2_048  # consumed ones; a transaction that has so many takes no further batch
BATCHES_AHEAD = 6
IN_A_BACKLOG = 16, 1_024  # full batches, and messages: with fewer transactions an answer costs less
STALLED_S = 10.0
STALE_S = 8.0  # so long a coordinator that loads its log may answer from the past; a second was seen
SETTLED_S = 40.0  # longer, and the group would take us for dead: the rewind tries again
REMEMBERED_S = 3.0
STOP_S = 2.0
JOINING_S = 1.0
HANGING_S = 20.0  # however long this process was stopped meanwhile, or waited in a rewind
LAG_EVERY_S = 2.0
MARKERS = 2  # so small a hole is a transactional requester's control records: no reason to read again
UNREACHABLE_S = 3.0  # longer, and the group would think that we are dead: the rewind tries again
UNSTABLE_S = 18.0  # a transaction that nobody ends is ended by the broker within 5 + 10 s
FATAL_EXIT = 70


class Session:
    """One stretch of one assignment; its metadata is what every commit presents."""

    def __init__(self, metadata: Any, offsets: Iterable[TopicPartition]) -> None:
        self.metadata = metadata
        self.next: dict[Place, int] = {(o.topic, o.partition): o.offset for o in offsets}
        self.open = True
        self.put = self.taken = self.done = 0  # batches, numbered by the consumer and counted off by the committer
        self.notes: dict[Any, Any] = {}  # the agent's own, forgotten with the session


@dataclass(slots=True, eq=False)
class Batch:
    """Messages that were consumed together, in order and without a hole."""

    session: Session
    number: int
    messages: list[Message]
    context: Any  # what `consumed` gave for it
    tally: Any = None  # what `committed` counts, once the batch is


def _no_witness(places: Sequence[Place]) -> dict[Place, int]:
    return {}


class ExactlyOnce:
    """Runs one group's consumer and commit threads. `feed` gets each batch on the loop; `answered` takes its outputs.

    `witness(places)` gives lower bounds of the true committed offsets: a coordinator that is still loading its log may
    answer from the past. `consumed()` is called after a batch's last message was read. `outputs` are the topics that the agent
    writes. `producers` take turns: a transaction right behind another one under the same id meets CONCURRENT_TRANSACTIONS.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        group: str,
        topics: Sequence[str],
        name: str,
        batch_size: int,
        outputs: Sequence[str],
        clock: BrokerClock,
        producers: int = 1,
        feed: Callable[[Batch], None],
        consumed: Callable[[], Any] = lambda: None,
        witness: Callable[[Sequence[Place]], dict[Place, int]] = _no_witness,
        committed: Callable[[Sequence[Batch]], None] = lambda batches: None,
        on_fatal: Callable[[], None] = lambda: os._exit(FATAL_EXIT),
    ) -> None:
        self.cluster, self.group, self.topics, self.name = cluster, group, list(topics), name
        self.batch_size, self.feed, self.consumed = batch_size, feed, consumed
        self.witness, self.committed, self.on_fatal = witness, committed, on_fatal
        self.session: Session | None = None
        self.ending = False
        self._consumer_thread: threading.Thread | None = None
        self.transactions = Transactions(cluster, group, name, producers, outputs, clock)
        self.fits = self.transactions.fits
        self.lag: dict[str, int] = {}  # messages of this worker's partitions still to be consumed, by topic
        self._lag_at = time.monotonic()
        self._rewind_due = True
        self._progress = 0.0
        self._backlog = False  # the last batch was full
        batches, messages = IN_A_BACKLOG
        self._ahead_in_a_backlog = max(BATCHES_AHEAD, min(batches, messages // batch_size))
        self._room = threading.Condition()
        self._outputs: queue.Queue[tuple[list[Batch], list[Out]]] = queue.Queue()
        self._log_holes: set[tuple[Place, int, int]] = set()
        self._log = log.bind(group=group, worker=name)

    # -- life -------------------------------------------------------------------------------------

    def start(self, loop: AbstractEventLoop) -> None:
        """Begins to consume; batches are fed on `loop`."""
        self.loop = loop
        self._consumer_thread = self._thread(self._consume, "consume")
        self._thread(self._commit, "commit")
        self.transactions.rebuild(self._guarded)  # beside the join: both take a moment

    def stop(self, patience_s: float = 4) -> bool:
        """Ends the session, lets the transaction in flight end, leaves the group. False: it hung."""
        self.ending = True
        if self._consumer_thread is None:
            return True
        self._consumer_thread.join(patience_s)
        return not self._consumer_thread.is_alive()

    def assigned(self) -> list[Place]:
        """The places of the present session."""
        session = self.session
        return list(session.next) if session else []

    def answered(self, batches: list[Batch], outputs: list[Out]) -> None:
        """Everything that these batches give rise to: goes out with their offsets, or not at all."""
        self._outputs.put((batches, outputs))

    def failed(self, session: Session, error: Exception) -> None:
        """What the agent held of this session cannot be answered now: it is read again, at once."""
        self._log.error("agent failed", exc_info=error)
        self._fail(session, f"agent failed: {error}")

    def _thread(self, work: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=self._guarded, args=(work,), daemon=True, name=f"{self.group}-{name}")
        thread.start()
        return thread

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException:  # noqa: BLE001 - a thread that ends takes the process along: its supervisor starts a whole one again
            self._log.critical("thread died", exc_info=True)
            self.on_fatal()

    # -- consume ----------------------------------------------------------------------------------

    def _consume(self) -> None:
        consumer = self._consumer = self.cluster.consumer(
            group_id=self.group,
            group_instance_id=self.name,
            client_id=self.name,
            enable_auto_offset_store=False,
            session_timeout_ms=6_000,
            heartbeat_interval_ms=500,
            max_poll_interval_ms=60_000,
            fetch_wait_max_ms=100,
            fetch_queue_backoff_ms=5,
            queued_min_messages=5_000,
            partition_assignment_strategy="range",  # cooperative moves the generation under a running transaction
        )
        consumer.subscribe(self.topics, on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost)
        while not self.ending:
            if self._rewind_due:
                self._rewind()
            if time.monotonic() - self._lag_at > LAG_EVERY_S:
                self._measure_lag()
            if self.transactions.hanging_for() > HANGING_S:
                raise RuntimeError("a transaction hangs inside librdkafka")
            session = self.session
            if session and session.open and not self._has_room(session):
                continue
            first = consumer.poll(0.1)
            if first is None:
                continue
            # consume(n, t) alone would wait t for n messages
            messages = [first, *consumer.consume(self.batch_size - 1, 0)]
            for message in messages:
                not_thrown_out(message)  # before anything else: it is said once
            self._backlog = len(messages) == self.batch_size
            session = self.session  # a rebalance may have been served inside
            if session is None or not session.open:
                continue  # a rewind or an assignment is due: both seek
            if in_order := self._in_order(session, messages):
                self._put(session, in_order)
        until = time.monotonic() + JOINING_S
        while not consumer.memberid() and time.monotonic() < until:
            consumer.poll(0.05)  # a join under way makes a member whom nobody could take out of the group
        self._close(STOP_S)
        member_id = consumer.memberid()
        consumer.close()
        if member_id:
            leave(self.cluster, self.group, member_id)

    def _measure_lag(self) -> None:
        """Here, in the consumer's own thread: from another one the library waits for the end of `poll`, for ever."""
        session, lag = self.session, dict.fromkeys(self.topics, 0)
        if session is not None:
            for (topic, partition), position in session.next.items():
                _, high = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
                lag[topic] += max(0, high - position)
        self.lag, self._lag_at = lag, time.monotonic()

    def _has_room(self, session: Session) -> bool:
        if session.put != session.done and time.monotonic() - self._progress > STALLED_S:
            self._fail(session, "stalled")  # something between here and the committer lost a batch
            return False
        ahead = self._ahead_in_a_backlog if self._backlog else BATCHES_AHEAD
        with self._room:
            return self._room.wait_for(lambda: session.put - session.taken < ahead or not session.open, 0.2)

    def _in_order(self, session: Session, messages: list[Message]) -> list[Message]:
        """What follows the session's positions: below is a second reading; at a hole the partition is read again from there.

        Control records and aborted messages take offsets too: a hole that is met again is the log's own.
        """
        good: list[Message] = []
        again: dict[Place, int] = {}
        for message in messages:
            error = message.error()
            if error:
                self._log.warning("consumer error", error=error.str())
                if message.topic() is not None:  # what it stands for was not read: the next message would hide it
                    self._fail(session, "consumer error")
                    return []
                continue
            where, at = place(message), offset(message)
            expected = session.next.get(where)
            if expected is None or at < expected or where in again:
                continue
            if at > expected and (where, expected, at) not in self._log_holes:
                if len(self._log_holes) > 100_000:
                    self._log_holes.clear()
                self._log_holes.add((where, expected, at))
                if at - expected > MARKERS:
                    again[where] = expected
                    continue
            session.next[where] = at + 1
            good.append(message)
        for where, expected in again.items():
            try:
                self._consumer.seek(TopicPartition(*where, expected))
            except KafkaException as error:
                self._fail(session, f"a hole, and no way back to it: {error}")
                return []
        return good

    def _put(self, session: Session, messages: list[Message]) -> None:
        if not session.open:
            return
        if session.put == session.done:
            self._progress = time.monotonic()
        session.put += 1
        self.loop.call_soon_threadsafe(self.feed, Batch(session, session.put, messages, self.consumed()))

    # -- where the group stands -------------------------------------------------------------------

    def _on_assign(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        begun = time.monotonic()
        metadata = consumer.consumer_group_metadata()  # first: what is read from here on must not be older than it
        self._close(5)
        self._rewind_due = True
        try:
            offsets = self._settled(places) if places else []
        except (KafkaException, TimeoutError) as error:
            self._log.warning("assigned, but the offsets are not to be had yet", error=str(error))
            consumer.assign(places)  # nothing is put into a batch before a rewind has found them
            return
        consumer.assign(offsets)
        self._open(metadata, offsets)
        self._log.info(
            "assigned",
            offsets={f"{o.topic}-{o.partition}": o.offset for o in offsets},
            seconds=round(time.monotonic() - begun, 2),
        )

    def _on_revoke(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._close(0 if self.ending else 5)  # the end has waited already
        self._rewind_due = True
        self._log.info("revoked", partitions=len(places))

    def _on_lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        self._close(0)
        self._rewind_due = True
        self._log.warning("partitions lost", partitions=len(places))
        # whoever lost them may have outlived a broker: behind its return the old producers' next transaction may hang
        if self.transactions.ready() and not self.ending:
            self.transactions.rebuild(self._guarded)

    def _rewind(self) -> None:
        """The same assignment again, from the committed offsets."""
        places = self._consumer.assignment()
        if not places:
            return
        if self.transactions.making:  # callbacks are served, what is read here is sought again
            not_thrown_out(self._consumer.poll(0.1))
            return
        metadata = self._consumer.consumer_group_metadata()
        self._close(5)
        try:
            offsets = self._settled(places)
            for one in offsets:
                self._consumer.seek(one)
        except (KafkaException, TimeoutError) as error:
            self._log.warning("rewind failed, trying again", error=str(error))
            not_thrown_out(self._consumer.poll(0))  # serves the group's callbacks; what it reads is sought again
            time.sleep(0.1)
            return
        if self._open(metadata, offsets):
            self._log.info("rewound", offsets={f"{o.topic}-{o.partition}": o.offset for o in offsets})

    def _open(self, metadata: Any, offsets: list[TopicPartition]) -> bool:
        if _generation(metadata) < 0:  # without membership it would pass every fence: never use it
            self._log.warning("no membership yet")
            return False
        self.session, self._rewind_due = Session(metadata, offsets), False
        return True

    def _close(self, wait_s: float) -> None:
        """No batch of the session commits from here on; the transaction in flight gets `wait_s` to end."""
        session, self.session = self.session, None
        if session:
            session.open = False
        # not for producers that are being made: for as long as a broker is away
        if wait_s and not self.transactions.making and self.transactions.lock.acquire(timeout=wait_s):
            self.transactions.lock.release()

    def _settled(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """Committed offsets with no transaction pending on them and none from the past."""
        until = time.monotonic() + SETTLED_S
        self.transactions.ensure()  # init_transactions: whatever a predecessor of this name left open is ended
        self._wait_stable(places)
        bounds = self.witness([(p.topic, p.partition) for p in places])
        begun, waiting = time.monotonic(), False
        while True:
            if time.monotonic() > until:
                raise TimeoutError(f"committed offsets do not settle within {SETTLED_S:g} s")
            found = self._wait_stable(places)
            stale = [
                o
                for o in found
                if 0 <= o.offset < bounds.get((o.topic, o.partition), 0)
                or o.offset < 0 < bounds.get((o.topic, o.partition), 0)
            ]
            if not stale:
                break
            if time.monotonic() - begun > STALE_S:
                self._log.error("committed offsets are behind their answers: going on behind the answers")
                break
            if not waiting:
                waiting = True
                self._log.warning(
                    "the coordinator answers from the past", stale={f"{o.topic}-{o.partition}": o.offset for o in stale}
                )
            time.sleep(0.1)
        bounds = self._remembered(found, bounds, until)
        for one in found:
            known = bounds.get((one.topic, one.partition), 0)
            if one.offset < known:
                one.offset = known
            elif one.offset < 0:
                one.offset = self._consumer.get_watermark_offsets(one, timeout=10)[0]
        return [TopicPartition(o.topic, o.partition, o.offset) for o in found]

    def _remembered(self, found: list[TopicPartition], bounds: dict[Place, int], until: float) -> dict[Place, int]:
        """The witness once it has read what was committed with these offsets: the ids of the last answers among it.

        Their markers may be a moment behind those of the offsets, or hidden by somebody's open transaction.
        """
        until = min(until, time.monotonic() + REMEMBERED_S)
        while bounds and (behind := [o for o in found if o.offset > bounds.get((o.topic, o.partition), 0)]):
            if time.monotonic() > until:
                self._log.warning("the last answers' ids cannot be read yet", partitions=[o.partition for o in behind])
                break
            time.sleep(0.02)
            bounds = self.witness([(o.topic, o.partition) for o in found])
        return bounds

    def _wait_stable(self, places: list[TopicPartition]) -> list[TopicPartition]:
        """The committed offsets, once no transaction is pending on them."""
        begun, fenced = time.monotonic(), False
        where = [(p.topic, p.partition) for p in places]
        while True:
            try:
                return committed(self._consumer, where, timeout_s=0.5)
            except KafkaException as error:
                waited = time.monotonic() - begun
                try:
                    before = committed_before(self.cluster, self.group, where)
                except KafkaException:
                    if waited > UNREACHABLE_S:
                        raise error from None
                else:  # something is pending
                    fenced = fenced or self._fence_neighbours(before)
                    if waited > UNSTABLE_S:
                        return self._unhung(before)
                time.sleep(0.05)

    def _fence_neighbours(self, before: list[TopicPartition]) -> bool:
        """Ends the open transactions of whoever committed here last."""
        names = self._neighbours(before)
        try:
            for name in names:
                self.transactions.fence(name)
        except KafkaException as error:
            self._log.warning("fencing failed", error=str(error))
            return False
        self._log.info("fenced", names=sorted(names))
        return True

    def _neighbours(self, before: list[TopicPartition]) -> set[str]:
        """Their names stand in the offsets' metadata."""
        return {o.metadata for o in before if o.metadata} - {self.name}

    def _unhung(self, before: list[TopicPartition]) -> list[TopicPartition]:
        """The offsets before a transaction that nobody owns: the broker took it for complete, and its markers were never written."""
        self._log.error(
            "a transaction hangs on the committed offsets: ending it", partitions=[o.partition for o in before]
        )
        metadata = self._consumer.consumer_group_metadata()
        for name in (self.name, *self._neighbours(before)):
            self.transactions.end_hanging(name, before, metadata)
        return before

    # -- commit -----------------------------------------------------------------------------------

    def _commit(self) -> None:
        """All that was scored while the last transaction ran goes into the next one."""
        held: tuple[list[Batch], list[Out]] | None = None
        while True:
            work = [held or self._outputs.get()]
            held = None
            session = work[0][0][0].session
            count = sum(len(b.messages) for b in work[0][0])
            while count < TRANSACTION_MESSAGES:
                try:
                    more = self._outputs.get_nowait()
                except queue.Empty:
                    break
                if more[0][0].session is not session:
                    held = more
                    break
                work.append(more)
                count += sum(len(b.messages) for b in more[0])
            batches = [batch for group, _ in work for batch in group]
            with self._room:
                session.taken += len(batches)
                self._room.notify()
            with self.transactions.lock:
                if session.open:
                    self._commit_one(session, batches, [out for _, outputs in work for out in outputs])

    def _commit_one(self, session: Session, batches: list[Batch], outputs: list[Out]) -> None:
        expected = range(session.done + 1, session.done + 1 + len(batches))
        if [b.number for b in batches] != list(expected):
            self._fail(session, "batch missing")  # an agent crashed, a queue was cleared
            return
        ends = {place(m): offset(m) + 1 for b in batches for m in b.messages}
        try:
            self.transactions.commit(ends, outputs, session.metadata)
        except (KafkaException, BufferError) as error:
            self._fail(session, str(error), transaction_failed=True)
            return
        session.done += len(batches)
        self._progress = time.monotonic()
        for out in outputs:
            if out.counter is not None:
                out.counter.inc()
        self.committed(batches)

    def _fail(self, session: Session, why: str, *, transaction_failed: bool = False) -> None:
        session.open = False
        self._log.warning("session closed", why=why)
        if transaction_failed:
            self.transactions.rebuild(self._guarded)
        self._rewind_due = True


def _generation(metadata: Any) -> int:
    """The generation inside librdkafka's serialized group metadata ("CGMDv2:" and a native int32)."""
    if bytes(metadata[:7]) != b"CGMDv2:":
        raise ValueError("librdkafka writes its group metadata in another way: streams/exactly_once.py must learn it")
    generation: int = struct.unpack_from("=i", metadata, 7)[0]
    return generation
