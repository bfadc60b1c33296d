"""A group's committed offsets: the settled ones, and those before a transaction that is still pending on them."""

from collections.abc import Iterable

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.clients import Cluster
from streams.messages import Place


def committed(consumer: Consumer, places: Iterable[Place], timeout_s: float) -> list[TopicPartition]:
    """As the group's coordinator knows them; KafkaException without an answer in time.

    A transaction pending on one of them (UNSTABLE_OFFSET_COMMIT) librdkafka itself waits for: it is a time-out here, too.
    """
    found: list[TopicPartition] = consumer.committed([TopicPartition(*place) for place in places], timeout=timeout_s)
    for one in found:
        if one.error:
            raise KafkaException(one.error)
    return found


def committed_before(cluster: Cluster, group: str, places: Iterable[Place]) -> list[TopicPartition]:
    """The same, whatever is pending on them."""
    reader = cluster.consumer(group_id=group, isolation_level="read_uncommitted")
    try:
        return committed(reader, places, timeout_s=2)
    finally:
        reader.close()
