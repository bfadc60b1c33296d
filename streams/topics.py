"""Creates the contract's topics where they are missing, and reports where an existing one differs. Changes none."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType, TopicMetadata

from models.config import Applied
from models.errors import CanarecError
from models.topics import TOPICS, Topic
from streams.clients import Cluster

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Difference:
    """An existing topic that is not as the table says. Only partitions of answers against requests can break a promise."""

    topic: str
    setting: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"topic {self.topic}: {self.setting} is {self.found}, expected {self.expected}"


def ensure(cluster: Cluster, applied: Applied) -> list[str]:
    """Creates what is missing and waits until it is there; the names that were created.

    Answers go to the partition with their request's number: their topics get as many partitions as an existing
    requests topic has; CanarecError where existing ones have fewer.
    """
    cluster.check()
    admin = cluster.admin()
    existing = admin.list_topics(timeout=10).topics
    requests = existing.get(applied.topic("recommendation-requests"))
    alike = len(requests.partitions) if requests is not None else TOPICS["recommendation-requests"].partitions
    missing = {
        applied.topic(name): NewTopic(
            applied.topic(name),
            alike if name in _AS_REQUESTS else topic.partitions,
            config=topic.settings(),
        )
        for name, topic in TOPICS.items()
        if applied.topic(name) not in existing
    }
    if missing:
        _create(admin, missing)
    _same_numbers(existing, applied, alike)
    return sorted(missing)


def _create(admin: AdminClient, missing: Mapping[str, NewTopic]) -> None:
    for created in admin.create_topics(list(missing.values())).values():
        try:
            created.result(30)
        except KafkaException as error:
            if error.args[0].code() in _NOT_ALLOWED:
                raise CanarecError(
                    f"topics {', '.join(sorted(missing))}: missing, or hidden from this user, who may make none: "
                    "`canarec topics make` by one who may, or the ACLs of `canarec topics acls`"
                ) from None
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # another worker was quicker
                raise
    _wait_for(admin, set(missing))
    log.info("topics created", topics=sorted(missing))


_NOT_ALLOWED = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED)


def _same_numbers(existing: Mapping[str, TopicMetadata], applied: Applied, requests: int) -> None:
    for name in _AS_REQUESTS:
        real = applied.topic(name)
        if real in existing and len(existing[real].partitions) < requests:
            raise CanarecError(
                f"topic {real} has {len(existing[real].partitions)} partitions, expected at least the {requests} of the "
                "requests: an answer goes to the partition with its request's number"
            )


def differences(cluster: Cluster, applied: Applied) -> list[Difference]:
    """What `canarec doctor` reports: existing topics with other settings, and missing ones."""
    admin = cluster.admin()
    existing = admin.list_topics(timeout=10).topics
    found: list[Difference] = []
    requests = existing.get(applied.topic("recommendation-requests"))
    for name, topic in TOPICS.items():
        real = applied.topic(name)
        if real not in existing:
            found.append(Difference(real, "topic", "missing", "there"))
            continue
        partitions = len(existing[real].partitions)
        if name in _AS_REQUESTS and requests is not None and partitions < len(requests.partitions):
            found.append(Difference(real, "partitions", str(partitions), f"at least {len(requests.partitions)}"))
        found += _settings_that_differ(admin, real, topic)
    return found


MAX_MESSAGE_BYTES = 1_048_588  # Kafka's own default


def max_message_bytes(cluster: Cluster, names: Sequence[str]) -> dict[str, int]:
    """How large a batch of records each of these topics takes; Kafka's default where we may not ask."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    admin = cluster.admin()
    found = {}
    for resource, described in admin.describe_configs(resources).items():
        try:
            found[resource.name] = int(described.result(10)["max.message.bytes"].value)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_AUTHORIZATION_FAILED:
                raise
            log.warning("the topic does not show its settings", topic=resource.name)
            found[resource.name] = MAX_MESSAGE_BYTES
    return found


_AS_REQUESTS = ("recommendations", "provenance", "canarec-answered")


def _settings_that_differ(admin: AdminClient, real: str, topic: Topic) -> list[Difference]:
    resource = ConfigResource(ResourceType.TOPIC, real)
    settings = admin.describe_configs([resource])[resource].result(10)
    return [
        Difference(real, name, settings[name].value, expected)
        for name, expected in topic.settings().items()
        if name in settings and settings[name].value != expected
    ]


def _wait_for(admin: AdminClient, names: set[str]) -> None:
    # A leader in the metadata may refuse for a moment: a topic is there when each partition says where it ends.
    until = time.monotonic() + 30
    while True:
        topics = admin.list_topics(timeout=10).topics
        places = [TopicPartition(name, p) for name in names if name in topics for p in topics[name].partitions]
        asked = admin.list_offsets({place: OffsetSpec.latest() for place in places}, request_timeout=5)  # type: ignore[no-untyped-call]  # the library's
        errors = [error for future in asked.values() if (error := future.exception(10)) is not None]
        if not errors and names <= topics.keys():
            return
        if time.monotonic() > until:
            raise errors[0] if errors else KafkaException(KafkaError(KafkaError.LEADER_NOT_AVAILABLE))
        time.sleep(0.05)
