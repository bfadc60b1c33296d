"""A static member's good-bye to its group.

librdkafka's static members do not leave when they close (KIP-345), so that a quick restart moves nothing; but then their
partitions wait out the session of a worker that was stopped for good. One LeaveGroup request, which librdkafka does not offer,
hands them over at once.
"""

import asyncio
import ssl
from collections.abc import Mapping
from typing import Any

import structlog
from aiokafka.client import AIOKafkaClient, ConnectionGroup, CoordinationType
from aiokafka.errors import KafkaError
from aiokafka.protocol.group import LeaveGroupRequest

from streams.clients import Cluster

log = structlog.get_logger()

PATIENCE_S = 1.5


def leave(cluster: Cluster, group: str, member_id: str) -> None:
    """Takes a member, which must have been closed, out of its group. A failure costs the others a session time-out, no more."""
    try:
        asyncio.run(asyncio.wait_for(_leave(cluster, group, member_id), PATIENCE_S))
    except (KafkaError, OSError, TimeoutError) as error:
        log.warning("could not leave the group", group=group, error=repr(error))


async def _leave(cluster: Cluster, group: str, member_id: str) -> None:
    client = AIOKafkaClient(bootstrap_servers=cluster.bootstrap_servers, **security(cluster.properties))
    try:
        await client.bootstrap()
        coordinator = await client.coordinator_lookup(CoordinationType.GROUP, group)
        await client.ready(coordinator, group=ConnectionGroup.COORDINATION)
        request = LeaveGroupRequest(group, member_id)
        answer = await client.send(coordinator, request, group=ConnectionGroup.COORDINATION)
        if answer.error_code:
            log.warning("could not leave the group", group=group, error_code=answer.error_code)
    finally:
        await client.close()


def security(properties: Mapping[str, str | int | float | bool]) -> dict[str, Any]:
    """librdkafka's security properties as aiokafka has them."""
    given = {name: str(value) for name, value in properties.items()}
    protocol = given.get("security.protocol", "plaintext").upper()
    found: dict[str, Any] = {"security_protocol": protocol}
    if protocol.startswith("SASL"):
        found["sasl_mechanism"] = given.get("sasl.mechanism", given.get("sasl.mechanisms", "PLAIN"))
        found["sasl_plain_username"] = given.get("sasl.username")
        found["sasl_plain_password"] = given.get("sasl.password")
    if protocol.endswith("SSL"):
        context = ssl.create_default_context(cafile=given.get("ssl.ca.location"), cadata=given.get("ssl.ca.pem"))
        if "ssl.certificate.location" in given:
            context.load_cert_chain(
                given["ssl.certificate.location"], given.get("ssl.key.location"), given.get("ssl.key.password")
            )
        context.check_hostname = given.get("ssl.endpoint.identification.algorithm", "https").lower() != "none"
        found["ssl_context"] = context
    return found
