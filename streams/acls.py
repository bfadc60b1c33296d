"""Puts the table of `models.acls` into a cluster: as commands of Kafka's own tool, or by the admin client."""

import shlex
from collections.abc import Iterator, Sequence
from itertools import groupby

from confluent_kafka import KafkaException
from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

from models.acls import Grant
from models.errors import CanarecError
from streams.clients import Cluster

ANYWHERE = "*"  # hosts: a container's address is anybody's guess
_KINDS = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional_id": ResourceType.TRANSACTIONAL_ID,
}


def commands(grants: Sequence[Grant], principal: str, bootstrap_servers: str) -> Iterator[str]:
    """Lines of kafka-acls.sh, one for each operation on a kind of resource."""

    def kind(grant: Grant) -> tuple[str, str, bool]:
        return grant.resource, grant.operation, grant.prefixed

    for (resource, operation, prefixed), some in groupby(sorted(grants, key=kind), key=kind):
        words = [*("kafka-acls.sh", "--bootstrap-server", bootstrap_servers, "--command-config", "admin.properties")]
        words += ["--add", "--force", "--allow-principal", f"User:{principal}"]
        words += ["--operation", "".join(part.title() for part in operation.split("_"))]
        words += ["--resource-pattern-type", "prefixed"] if prefixed else []
        for grant in some:
            words += [f"--{resource.replace('_', '-')}", grant.name]
        yield shlex.join(words)


def allow(cluster: Cluster, grants: Sequence[Grant], principal: str) -> None:
    """Adds what the principal may not do yet; takes nothing away. CanarecError where the cluster does not let us."""
    bindings = [
        AclBinding(
            _KINDS[grant.resource],
            grant.name,
            ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL,
            f"User:{principal}",
            ANYWHERE,
            AclOperation[grant.operation.upper()],
            AclPermissionType.ALLOW,
        )
        for grant in grants
    ]
    cluster.check()
    admin = cluster.admin()  # kept: its questions end with it
    for made in admin.create_acls(bindings).values():
        try:
            made.result(30)
        except KafkaException as error:
            raise CanarecError(f"the cluster does not take the ACLs of {principal}: {error.args[0].str()}") from None
