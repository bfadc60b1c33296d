"""Offsets by the brokers' time: which messages of a partition were stamped before a moment, once all of them can be read."""

import time
from collections.abc import Iterable, Mapping

from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import ListOffsetsResultInfo, OffsetSpec

from streams.clients import Cluster, partitions
from streams.messages import Place

PATIENCE_S = 3.0  # for transactions that are open
ANSWER_S = 15.0  # of the brokers
_LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the library's

Ends = Mapping[Place, int]


class Times:
    """Asks a cluster. Not for two threads at once. Errors: KafkaException, TimeoutError where it does not answer."""

    def __init__(self, cluster: Cluster) -> None:
        self._admin = cluster.admin()

    def places(self, topics: Iterable[str]) -> list[Place]:
        return [(topic, number) for topic in topics for number in partitions(self._admin, topic)]

    def settled(self, places: Iterable[Place]) -> Ends | None:
        """The committed ends, once they are not below what the topics held at the call; None where a transaction stays open."""
        asked = list(places)
        held = self._ask(_LATEST, asked, IsolationLevel.READ_UNCOMMITTED)
        until = time.monotonic() + PATIENCE_S
        while True:
            ends = self.committed(asked)
            if all(ends[place] >= held[place].offset for place in asked):
                return ends
            if time.monotonic() > until:
                return None
            time.sleep(0.05)

    def committed(self, places: Iterable[Place]) -> Ends:
        """The offsets up to which messages can be read."""
        found = self._ask(_LATEST, places, IsolationLevel.READ_COMMITTED)
        return {place: int(one.offset) for place, one in found.items()}

    def at(self, at_ms: int, ends: Ends) -> dict[Place, int]:
        """The first offset of that time or later, of each place that has an end; not above it."""
        found = self._ask(OffsetSpec.for_timestamp(at_ms), ends, IsolationLevel.READ_UNCOMMITTED)
        return {place: min(ends[place], one.offset) if one.offset >= 0 else ends[place] for place, one in found.items()}

    def first(self, at_ms: int, places: Iterable[Place]) -> int | None:
        """When the first message of that time or later was stamped; None where there is none."""
        found = self._ask(OffsetSpec.for_timestamp(at_ms), places, IsolationLevel.READ_UNCOMMITTED)
        return min((int(one.timestamp) for one in found.values() if one.offset >= 0), default=None)

    def _ask(
        self, spec: OffsetSpec, places: Iterable[Place], isolation: IsolationLevel
    ) -> dict[Place, ListOffsetsResultInfo]:
        asked = {TopicPartition(*place): spec for place in places}
        futures = self._admin.list_offsets(asked, isolation_level=isolation, request_timeout=10)
        return {(str(of.topic), int(of.partition)): future.result(ANSWER_S) for of, future in futures.items()}
