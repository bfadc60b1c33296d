"""The process that writes the provenance CSV, one a home, and who keeps it alive: the supervisor of one of the home's workers.

A process of its own, not a thread of the supervisor: it runs at low priority, and a thread that waits for the processor with the
interpreter's lock in hand would keep the supervisor from seeing that its worker has died.

Whoever holds `.lock` writes. The supervisor takes it and hands it on; the writer dies with its supervisor, and then the lock is free
for another worker of the home. Which records are rows is what the rows say (`streams.ledger`), so nobody needs to hand anything over.
"""

import fcntl
import json
import os
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from confluent_kafka import Consumer as KafkaConsumer
from confluent_kafka import IsolationLevel, KafkaError, KafkaException, Message, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from models.errors import BadMessage, CanarecError
from models.provenance import Place, Row, row
from models.wire import rfc3339
from streams import erasures, metrics, processes
from streams.clients import Cluster, watermarks
from streams.home import Home
from streams.ledger import Gap, Ledger
from streams.messages import offset, partition

log = structlog.get_logger()

LOOK_S = 1.0  # how soon another worker notices that nobody writes
BACKOFF_S = 5.0
NICE = 5
ROWS_AT_ONCE = 2_000
PACE_S = 0.1  # rows that come one by one are written and synced together
SHARE = 0.1  # of a core, in a burst: answers come first
BEHIND_S = 20.0  # a burst that is longer gets its rows as fast as they can be written
FETCH_WAIT_MS = 500  # a broker that need not answer after each transaction has more time for answers
SHOW_S = 2.0
SAVE_S = 5.0
TIDY_S = 60.0
RETRY_S = 1.0
TELL_S = 60.0
ANSWER_S = 10.0  # of the brokers
DRAIN_S = 2.0  # at a stop: the answers of a worker that has just ended become rows
_STATUS_BYTES = 256
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class Scribe:
    """A writer, as a supervisor sees it: of the CSV, or another `what`. `command` must end where `option` and a descriptor can follow."""

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        *,
        option: str = "--scribe",
        what: str = "provenance CSV",
        backoff_s: float = BACKOFF_S,
        grace_s: float = DRAIN_S + 1,
    ) -> None:
        self._folder, self._command, self._backoff_s = folder, [*command, option], backoff_s
        self._what, self._grace_s = what, grace_s
        self._lock: int | None = None
        self.process: processes.Process | None = None
        self._due = self._told = 0.0

    def look(self) -> None:
        """Starts the writer where nobody else's runs, and again where it has died. Does not wait and does not raise."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = now + LOOK_S
        try:
            self._look(now)
        except OSError as error:
            if now - self._told > TELL_S or not self._told:
                self._told = now
                log.warning(f"{self._what} cannot be written", folder=str(self._folder), error=error.strerror)

    def _look(self, now: float) -> None:
        if self._lock is None and (lock := locked(self._folder)) is not None:
            self._lock = lock
        if self.process is not None and (code := self.process.poll()) is not None:
            log.warning(f"{self._what} writer died, another one goes on", exit_code=code)
            self.process, self._due = None, now + self._backoff_s
        elif self._lock is not None and self.process is None:
            self.process = processes.start(
                [*self._command, str(self._lock)],
                pass_fds=[self._lock],
                own_session=False,
                deaf_to_interrupts=True,
            )

    def stop(self, at_most_s: float = float("inf")) -> None:
        """Lets it write what there is, for a moment."""
        if self.process is not None:
            processes.stop(self.process, min(self._grace_s, at_most_s))
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def locked(folder: Path) -> int | None:
    """The lock of the folder; None where another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


# -- what is told of it ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Status:
    """How the CSV stands, as the writer saw it last."""

    lag: int  # offsets of the topic that are not dealt with
    lost: int  # offsets that the topic dropped before they were rows
    refused: int  # records that are none, since the writer's start
    at: float  # seconds since 1970


def status(folder: Path) -> Status | None:
    """None where no writer has told anything yet."""
    try:
        return Status(**json.loads((folder / ".status.json").read_bytes()))
    except (OSError, ValueError, TypeError):  # being written just now
        return None


def expose(folder: Path) -> None:
    """The metrics of the home's CSV, in this process: NaN where nothing is known."""

    def told(name: str) -> float:
        found = status(folder)
        return float("nan") if found is None else float(getattr(found, name))

    metrics.PROVENANCE_LAG.set_function(lambda: told("lag"))
    metrics.PROVENANCE_LOST.set_function(lambda: told("lost"))
    metrics.PROVENANCE_REFUSED.set_function(lambda: told("refused"))
    metrics.PROVENANCE_LOOKED.set_function(lambda: told("at"))


# -- the process itself ----------------------------------------------------------------------------


def run(home: Home, bootstrap_servers: str) -> int:
    """Writes until SIGTERM; the exit code. The caller holds the lock."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    os.nice(NICE)
    applied = home.load()
    Writing(home.cluster(bootstrap_servers), applied.topic("provenance"), Ledger(home.provenance), ending).run()
    return 0


class Pace:
    """How long to rest between rows: in a burst the processor is for answers, for `BEHIND_S`.

    A writer that has never been abreast of the topic, as after a start, does not rest.
    """

    def __init__(self) -> None:
        self._abreast_at = -float("inf")

    def rest_s(self, used_s: float, now: float, *, behind: bool) -> float:
        """`used_s`: the processor's time for the last rows. `behind`: many wait."""
        if not behind:
            self._abreast_at = now
            return 0.0
        return max(0.0, min(used_s / SHARE, self._abreast_at + BEHIND_S - now))


class Writing:
    """Reads the topic from where the rows end. Whatever fails is tried again; Kafka has the records."""

    def __init__(self, cluster: Cluster, topic: str, ledger: Ledger, ending: threading.Event) -> None:
        self._cluster, self._topic, self._ledger, self._ending = cluster, topic, ledger, ending
        self._admin: AdminClient = cluster.admin()
        self._refused = 0
        self._told_at: dict[str, float] = {}
        self._append_failed = False
        self._shown = self._saved = self._tidied = 0.0

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                self._follow()
            except (CanarecError, KafkaException, OSError) as error:
                self._tell("provenance CSV waits", error)
                self._ending.wait(RETRY_S)

    def _follow(self) -> None:
        """One life of the topic, until it is another one, has more partitions, or something fails."""
        self._ledger.recover()
        life, numbers = self._life()
        # not `earliest`: a consumer that goes on by itself would pass by what retention dropped
        consumer = self._cluster.consumer(
            enable_partition_eof=True,
            auto_offset_reset="error",
            fetch_min_bytes=1_000_000,
            fetch_wait_max_ms=FETCH_WAIT_MS,
            queued_min_messages=2 * ROWS_AT_ONCE,  # what waits for its turn waits in the broker
            fetch_queue_backoff_ms=50,
        )
        pace = Pace()
        try:
            consumer.assign([TopicPartition(self._topic, n, self._start(consumer, life, n)) for n in numbers])
            ends: dict[int, int] | None = None  # to be reached before the end
            until = 0.0
            behind = True
            while True:
                if self._ending.is_set():
                    if ends is None:
                        ends, until = self._ends(numbers, DRAIN_S / 2), time.monotonic() + DRAIN_S / 2
                    if time.monotonic() > until or all(self._at(life, n) >= end for n, end in ends.items()):
                        break
                messages = self._messages(consumer, wait=not behind)
                begun = time.process_time()
                if not self._write(life, numbers, messages):
                    break
                used_s = time.process_time() - begun
                behind = self._behind(consumer, life, numbers, before=behind)
                if not messages or time.monotonic() - self._shown > SHOW_S:
                    self._look_after(life, numbers)
                self._ending.wait(pace.rest_s(used_s, time.monotonic(), behind=behind))
            self._ledger.save()
        finally:
            consumer.close()

    def _messages(self, consumer: KafkaConsumer, *, wait: bool) -> list[Message]:
        head = consumer.poll(0.5 if not self._ending.is_set() else 0.05)
        if head is None:
            return []
        if wait:
            self._ending.wait(PACE_S)
        return [head, *consumer.consume(ROWS_AT_ONCE - 1, 0)]

    def _write(self, life: str, numbers: Sequence[int], messages: Sequence[Message]) -> bool:
        """Rows of these messages; False where the session must begin anew."""
        rows: list[Row] = []
        reached: dict[int, int] = {}
        going = True
        for message in messages:
            error = message.error()
            if error is None:
                reached[partition(message)] = offset(message) + 1
                try:
                    rows.append(row(message.value(), Place(life, partition(message), offset(message))))
                except BadMessage as bad:
                    self._refused += 1
                    self._tell("a message in the provenance topic is no record", bad, offset=offset(message))
            elif error.code() == KafkaError._PARTITION_EOF:
                reached[partition(message)] = offset(message)  # past the markers, which no message shows
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                going = False
            elif error.fatal() or not error.retriable():
                raise KafkaException(error)
        # asked after they were read: an id never comes back, so all of them are of this life
        if reached and self._life() != (life, numbers):
            return False
        while True:
            try:
                self._ledger.append(rows)
                break
            except OSError as error:
                self._tell("provenance CSV waits", error)
                self._append_failed = True
            self._show(life, numbers)
            if self._ending.wait(RETRY_S):
                return False
        if self._append_failed:
            self._append_failed = False
            log.info("provenance CSV is being written again", rows=len(rows))
        for number, after in reached.items():
            self._ledger.passed(Place(life, number, after))
        return going

    def _start(self, consumer: KafkaConsumer, life: str, number: int) -> int:
        """Where to go on in a partition. What the topic no longer has is recorded and told."""
        low, high = watermarks(consumer, self._topic, number, ANSWER_S)
        at = self._at(life, number)
        if at > high:
            raise CanarecError(
                f"{self._topic}/{number}: ends at {high}, but there are rows up to {at}: Kafka has lost records, or is "
                f"still starting; if it stays so, move {self._ledger.folder} away to begin anew"
            )
        if at < low:
            gap = Gap(self._topic, life, number, at, low - 1, rfc3339(int(time.time() * 1000)))
            self._ledger.lose(gap)
            log.error("provenance records were dropped before they were rows", **asdict(gap))
            return low
        return at

    def _at(self, life: str, number: int) -> int:
        return self._ledger.position(life, number)

    def _behind(self, consumer: KafkaConsumer, life: str, numbers: Sequence[int], *, before: bool) -> bool:
        """By the ends that the last fetches told, markers counted in; as `before` where a partition has not been fetched yet."""
        ends = {n: consumer.get_watermark_offsets(TopicPartition(self._topic, n), cached=True)[1] for n in numbers}
        if min(ends.values(), default=0) < 0:
            return before
        return self._lag(life, ends) >= ROWS_AT_ONCE

    def _lag(self, life: str, ends: Mapping[int, int]) -> int:
        return sum(max(0, end - self._at(life, number)) for number, end in ends.items())

    def _life(self) -> tuple[str, list[int]]:
        """Which topic this is, and its partitions."""
        described = self._admin.describe_topics(TopicCollection([self._topic]))[self._topic].result(ANSWER_S)
        return str(described.topic_id), sorted(found.id for found in described.partitions)

    def _ends(self, numbers: Sequence[int], timeout_s: float = ANSWER_S) -> dict[int, int]:
        asked = {TopicPartition(self._topic, number): _LATEST for number in numbers}
        found = self._admin.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=timeout_s
        )
        return {place.partition: int(future.result(timeout_s).offset) for place, future in found.items()}

    def _look_after(self, life: str, numbers: Sequence[int]) -> None:
        """Now and then: the metrics, the checkpoint, old files; a topic that was made anew."""
        now = time.monotonic()
        if now - self._shown > SHOW_S:
            if self._life() != (life, numbers):
                raise CanarecError(f"{self._topic}: was made anew, or has more partitions: the CSV follows")
            self._show(life, numbers)
        try:
            erasures.serve(self._ledger)
            if now - self._saved > SAVE_S:
                self._saved = now
                self._ledger.save()
            if now - self._tidied > TIDY_S and not self._ledger.compress(
                time.time(), rfc3339(int(time.time() * 1000))[:10]
            ):
                self._tidied = now
        except OSError as error:  # rows need neither
            self._tidied = now
            self._tell("provenance CSV is written, but its checkpoint or an old file is not", error)

    def _show(self, life: str, numbers: Sequence[int]) -> None:
        """How it stands, for the metrics. In place, so that a full disk does not keep it from being told."""
        self._shown = time.monotonic()
        try:
            lag = self._lag(life, self._ends(numbers))
            told = Status(lag, self._ledger.lost, self._refused, time.time())
            content = json.dumps(asdict(told)).encode().ljust(_STATUS_BYTES)
            descriptor = os.open(self._ledger.folder / ".status.json", os.O_WRONLY | os.O_CREAT, 0o644)
            try:
                os.pwrite(descriptor, content, 0)
            finally:
                os.close(descriptor)
        except (KafkaException, OSError) as error:
            self._tell("provenance CSV cannot tell how it stands", error)

    def _tell(self, event: str, error: Exception, **fields: object) -> None:
        """Once a minute for each event."""
        now = time.monotonic()
        if now - self._told_at.get(event, -TELL_S) >= TELL_S:
            self._told_at[event] = now
            log.warning(event, error=str(error), **fields)
