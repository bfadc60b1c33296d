"""A change of the split by a person or a part of canarec: in config.json at once, in `canary-events` as soon as Kafka takes it.

The file comes first. A rollback must not wait for a broker; what it did is kept in the home and told by the next command.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from confluent_kafka import KafkaException

from models import wire
from models.config import Applied, Canary
from models.errors import BadArtifact, CanarecError, NoModel
from models.events import CanaryChange, CanaryEvent
from models.recommenders import store
from models.release import rollout
from pipelines import outbox
from pipelines.announce import announce
from streams.clients import Cluster, NoBroker
from streams.home import Home

TOPIC = "canary-events"
BROKER_S = 3.0


def change(
    home: Home, move: Callable[[Canary], Canary], name: CanaryChange, *, who: str, why: str | None, now_ms: int
) -> tuple[Applied, Applied]:
    """Makes of the split in config.json what `move` makes of it; the configuration before and after, equal where nothing changed.

    The event waits in the home then: `tell` sends it.

    Errors: whatever `move` raises; NoModel and BadArtifact where a version that would answer is missing here or damaged; those of
    Home.change.
    """

    def edit(raw: dict[str, Any]) -> None:
        canary = rollout.read(raw)
        after = move(canary)
        for version in rollout.brings_in(canary, after):
            _check(home, version)
        rollout.write(raw, after)

    before, after = home.change(edit)
    if before.sha256 != after.sha256:
        event = CanaryEvent(
            name,
            wire.rfc3339(now_ms),
            who,
            rollout.split_of(before.config.canary, before.sha256),
            rollout.split_of(after.config.canary, after.sha256),
            why,
        )
        try:
            outbox.put(home.outbox, TOPIC, wire.encode(event), now_ms=now_ms)
        except OSError as error:  # a full disk: whoever asked for a rollback must know that it was made
            raise CanarecError(f"config.json is changed, but not audited: {home.outbox}: {error.strerror}") from None
    return before, after


def tell(home: Home, cluster: Callable[[], Cluster], applied: Applied) -> str | None:
    """Sends what waits; a line that says what still does, and why."""
    if not outbox.kept(home.outbox, TOPIC):
        return None
    try:
        kafka = cluster()
        kafka.check(BROKER_S)
        outbox.send(home.outbox, TOPIC, lambda event: announce(kafka, applied, TOPIC, msgspec.Raw(event), wait_s=10))
        return None
    except NoBroker:
        why = f"no Kafka broker answers at {kafka.bootstrap_servers}"
    except CanarecError as error:
        why = str(error)
    except KafkaException as error:
        why = error.args[0].str()
    waiting, folder = len(outbox.kept(home.outbox, TOPIC)), home.outbox / TOPIC
    return f"{why}: {TOPIC} is not told yet, {waiting} waiting in {folder}; `canarec canary status` sends them"


def _check(home: Home, version: str) -> None:
    """A home without any model may be one that only keeps the configuration: there is nothing to compare with."""
    there = store.list_versions(home.models)
    if there and version not in there:
        raise NoModel(
            f"there is no model {version} in {home.models}, nothing was changed: `canarec models list` shows what there is"
        )
    if there and (problems := store.verify(home.models, version)):
        raise BadArtifact(f"model {version} is damaged, nothing was changed: {problems[0]}")
