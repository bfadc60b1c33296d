"""One record for a topic that people and other programs read: what happened, as JSON, acknowledged before the call returns."""

from collections.abc import Mapping
from typing import Any

import msgspec
from confluent_kafka import KafkaError, Message

from models.config import Applied
from models.errors import CanarecError
from streams.clients import Cluster

SCHEMA = ("schema", b"1")  # header of every message: the version of its fields
WAIT_S = 30.0


def announce(
    cluster: Cluster,
    applied: Applied,
    topic: str,
    record: msgspec.Struct | Mapping[str, Any] | msgspec.Raw,
    *,
    key: str | None = None,
    wait_s: float = WAIT_S,
) -> None:
    """Publishes the record to a topic of the contract. CanarecError where Kafka does not take it in time."""
    name = applied.topic(topic)
    failed: list[KafkaError] = []

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            failed.append(error)

    producer = cluster.producer(acks="all", message_timeout_ms=int(1_000 * wait_s))
    producer.produce(name, msgspec.json.encode(record), key and key.encode(), headers=[SCHEMA], on_delivery=delivered)
    left = producer.flush(wait_s + 1)
    if left or failed:
        why = failed[0].str() if failed else "no answer in time"
        raise CanarecError(f"{name}: Kafka did not take the record ({why})")
