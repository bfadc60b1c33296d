"""A plain reader of whole topics: every partition, no group, each message applied once and in order by offset.

What was applied and how far is one cut: take `lock`, and data and `positions` belong together. A position is the next offset
to read, control records counted, so it can be compared with a high watermark.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from confluent_kafka import (
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import OffsetSpec

from streams.clients import Cluster, partitions
from streams.messages import Place, offset, place

log = structlog.get_logger()

MESSAGES_AT_ONCE = 10_000
FROM_NOW_ON = -1
WORTH_A_FETCH = 1_000_000  # bytes; or FETCH_WAIT_MS have passed
FETCH_WAIT_MS = 100
ASK_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Followed:
    """What to do with a topic's messages: `parse` works outside the lock, `apply` inside."""

    parse: Callable[[list[Message]], Any]
    apply: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Identity:
    """A topic's id, and the low and high watermark of each partition."""

    id: str
    lows: Mapping[int, int]
    ends: Mapping[int, int]


class Tail:
    """Follows topics from `starts` (by place; FROM_NOW_ON, or the beginning where there is none) on a thread of its own.

    `at_leisure`: a tenth of a second later is soon enough. A broker that need not answer at each message has more time for others.
    """

    def __init__(
        self,
        cluster: Cluster,
        topics: Mapping[str, Followed],
        *,
        name: str,
        starts: Callable[["Tail"], Mapping[Place, int]] = lambda tail: {},
        at_leisure: bool = False,
        on_fatal: Callable[[], None],
    ) -> None:
        self.cluster, self.topics, self.name = cluster, dict(topics), name
        self.lock = threading.Lock()
        self.moved = threading.Condition(self.lock)
        self.positions: dict[Place, int] = {}
        self._on_fatal = on_fatal
        self._ending = False
        self._consumer = cluster.consumer(
            enable_partition_eof=True,
            fetch_wait_max_ms=FETCH_WAIT_MS,
            fetch_min_bytes=WORTH_A_FETCH if at_leisure else 1,
            fetch_queue_backoff_ms=5,
            queued_min_messages=100_000,
            queued_max_messages_kbytes=65_536,
        )
        self._admin = cluster.admin()
        self.places = [(topic, p) for topic in self.topics for p in partitions(self._consumer, topic, 30)]
        begin = starts(self)
        self.positions = {place: self._first(place, begin.get(place, 0)) for place in self.places}
        self._thread = threading.Thread(target=self._guarded, daemon=True, name=f"tail-{name}")

    def start(self) -> None:
        self._consumer.assign([TopicPartition(t, p, self.positions[t, p]) for t, p in self.places])
        self._thread.start()

    def stop(self, patience_s: float = 5) -> None:
        self._ending = True
        if self._thread.ident is not None:
            self._thread.join(patience_s)
        self._consumer.close()

    def ends(self, places: Iterable[Place] | None = None, *, committed: bool = False) -> "Ends":
        """Begins to ask for the ends of partitions (all followed ones unless named); `Ends.get` waits for them.

        High watermarks, or, `committed`, the last stable offsets: as far as a committed reader can see.
        """
        isolation = IsolationLevel.READ_COMMITTED if committed else IsolationLevel.READ_UNCOMMITTED
        return self._ask(
            OffsetSpec.latest(),  # type: ignore[no-untyped-call]  # the library's
            self.places if places is None else places,
            isolation,
        )

    def since(self, at_ms: int, places: Iterable[Place]) -> "Ends":
        """Begins to ask for the first offset of that time or later; `Ends.get` waits for them. −1 where there is none."""
        return self._ask(OffsetSpec.for_timestamp(at_ms), places)

    def _ask(
        self, spec: OffsetSpec, places: Iterable[Place], isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED
    ) -> "Ends":
        asked = {TopicPartition(topic, partition): spec for topic, partition in places}

        def ask() -> Mapping[TopicPartition, Any]:
            return self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=10)

        return Ends(ask, lambda timeout_s: self._admin.list_topics(timeout=timeout_s))

    def identities(self, topics: Iterable[str], *, timeout_s: float = 30) -> dict[str, "Identity"]:
        """What tells a topic from another one of the same name, and how far it reaches now.

        Asked of the admin client: the consumer belongs to the reader's thread, and a call from another one waits for ever.
        """
        found = self._admin.describe_topics(TopicCollection(list(topics)))
        identities = {}
        for name, described in found.items():
            places = [(name, partition.id) for partition in described.result(timeout_s).partitions]
            lows = self._ask(OffsetSpec.earliest(), places)  # type: ignore[no-untyped-call]  # the library's
            ends = self.ends(places)
            identities[name] = Identity(
                str(described.result().topic_id),
                {partition: low for (_, partition), low in lows.get(timeout_s).items()},
                {partition: end for (_, partition), end in ends.get(timeout_s).items()},
            )
        return identities

    def wait(self, targets: Mapping[Place, int], until: float) -> bool:
        """Waits until every target position is reached; False when `until` (time.monotonic) came first."""
        with self.moved:
            while not all(self.positions.get(place, -1) >= end for place, end in targets.items()):
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self.moved.wait(left)
            return True

    def catch_up(self, progress: Callable[[int], None] = lambda left: None) -> None:
        """Waits until what the topics hold now has been applied; tells how many messages are left."""
        targets = self.ends(committed=True).get(30)
        while not self.wait(targets, time.monotonic() + 0.5):
            if self._ending:
                return
            with self.lock:
                progress(sum(max(0, end - self.positions[place]) for place, end in targets.items()))

    def _first(self, place: Place, begin: int) -> int:
        low, high = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=30)
        return int(high if begin == FROM_NOW_ON else max(begin, low))

    def _guarded(self) -> None:
        try:
            self._run()
        except BaseException:
            log.critical("reader died", reader=self.name, exc_info=True)
            self._on_fatal()

    def _run(self) -> None:
        while not self._ending:
            first = self._consumer.poll(0.2)
            if first is None:
                continue
            self._take([first, *self._consumer.consume(MESSAGES_AT_ONCE - 1, 0)])

    def _take(self, messages: list[Message]) -> None:
        by_topic: defaultdict[str, list[Message]] = defaultdict(list)
        positions: dict[Place, int] = {}
        broken: set[Place] = set()  # partitions with an error: what comes behind it is read again
        for message in messages:
            error, where = message.error(), place(message)
            if where in broken:
                continue
            if error is None:
                by_topic[where[0]].append(message)
                positions[where] = offset(message) + 1
            elif error.code() == KafkaError._PARTITION_EOF:
                # its offset is past the control records, which no message shows
                positions[where] = offset(message)
            elif error.fatal():
                raise KafkaException(error)
            else:
                log.warning("reader error", reader=self.name, error=error.str())
                if message.topic() is not None:
                    broken.add(where)
        parsed = [(self.topics[name], self.topics[name].parse(found)) for name, found in by_topic.items()]
        with self.moved:
            for followed, found in parsed:
                followed.apply(found)
            self.positions.update(positions)
            self.moved.notify_all()
        for topic_, partition in broken:
            self._consumer.seek(TopicPartition(topic_, partition, self.positions[topic_, partition]))


class Unchanged:
    """Whether topics are still those that were found at the first look: readers and positions know no others."""

    def __init__(self, tail: Tail, topics: Iterable[str]) -> None:
        self._tail, self._topics = tail, list(topics)
        self._found: dict[str, Identity] = {}

    def why_not(self, *, timeout_s: float = 2) -> str | None:
        """Which topic was made anew or got partitions, or None. KafkaException, TimeoutError where the brokers do not say."""
        now = self._tail.identities(self._topics, timeout_s=timeout_s)
        self._found = self._found or now
        for name, identity in now.items():
            was = self._found[name]
            if identity.id != was.id:
                return f"topic {name} was made anew"
            if identity.ends.keys() != was.ends.keys():
                return f"topic {name} has {len(identity.ends)} partitions now, not {len(was.ends)}"
        return None

    def id(self, name: str) -> str:
        """The id that a topic had at the first look."""
        return self._found[name].id


class Ends:
    """Ends of partitions that were asked for. Whatever was acknowledged before the question lies below them."""

    def __init__(
        self,
        ask: Callable[[], Mapping[TopicPartition, Any]],
        refresh: Callable[[float], object] = lambda timeout_s: None,
    ) -> None:
        self._ask, self._refresh = ask, refresh
        self._futures = ask()

    def get(self, timeout_s: float) -> dict[Place, int]:
        """KafkaException where the broker does not say, TimeoutError where it does not answer in time."""
        until = time.monotonic() + timeout_s
        try:
            return self._answered(until)
        except KafkaException as error:
            if error.args[0].code() not in _OUTDATED or time.monotonic() > until:
                raise
        # After a broker's restart the admin client goes by what it knew of the leaders before, for minutes, unless it looks.
        self._refresh(max(0.1, until - time.monotonic()))
        self._futures = self._ask()
        return self._answered(until)

    def settled(self, timeout_s: float) -> dict[Place, int]:
        """The same, asked again for so long while a broker has just come back and tells of no leader, or not of itself."""
        until = time.monotonic() + timeout_s
        while True:
            try:
                return self.get(max(0.0, until - time.monotonic()))
            except KafkaException as error:
                if error.args[0].code() not in _SETTLING or time.monotonic() + ASK_AGAIN_S > until:
                    raise
            time.sleep(ASK_AGAIN_S)
            self._futures = self._ask()

    def _answered(self, until: float) -> dict[Place, int]:
        return {
            (place.topic, place.partition): future.result(max(0.0, until - time.monotonic())).offset
            for place, future in self._futures.items()
        }


_OUTDATED = (  # what the client knows of the leaders
    KafkaError.FENCED_LEADER_EPOCH,
    KafkaError.UNKNOWN_LEADER_EPOCH,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.UNKNOWN_TOPIC_OR_PART,
)
_SETTLING = frozenset({*_OUTDATED, KafkaError._NOENT, KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN})
