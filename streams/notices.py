"""What a worker tells of itself: `artifacts/workers/<name>.json`, and `canary-events` when its configuration changes.

Beside the answers: nobody waits for it. Only who answers tells; a standby that takes over goes on from the file, so that an
event says what the worker of this name does differently from then on, however often it is started again. At least once: the file holds
as `told` what Kafka has taken, and who is killed before that, or between it and the file, leaves the next one to tell it.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Message, Producer

from models import config, wire
from models.config import Applied
from models.errors import BadConfig
from models.events import CanaryEvent, ShadowFigures, Split
from models.release.rollout import split_of
from streams.clients import Cluster
from streams.home import Home, write_whole
from streams.transactions import SCHEMA

log = structlog.get_logger()

LINGER_S = 0.5  # at the end, for events that are on their way


@dataclass(frozen=True, slots=True)
class Standing:
    """How a worker stands: what it answers by, the models that it has warm, and what of config.json it does not take."""

    applied: Applied
    models: Mapping[str, str]  # version → SHA-256
    refused: BadConfig | None

    def content(self) -> dict[str, Any]:
        """The file's content, but for what was told."""
        return {
            "config_sha256": self.applied.sha256,
            "models": dict(self.models),
            "refused": self.refused and {"path": self.refused.path, "error": str(self.refused)},
        }

    def split(self) -> Split:
        return split_of(self.applied.config.canary, self.applied.sha256)


class Notices:
    """The notices of one worker."""

    def __init__(self, home: Home, cluster: Cluster, applied: Applied, name: str) -> None:
        self._home, self._cluster, self._name = home, cluster, name
        self._topic = applied.topic("canary-events")
        self._file = home.workers / f"{name}.json"
        self._producer: Producer | None = None
        self._said: Mapping[str, Any] | None = None  # last; not yet looked up
        self._told: str | None = None  # digest of the configuration that Kafka was told of
        self._on_its_way: str | None = None  # of the one that was sent last
        self._written: Mapping[str, Any] | None = None  # what the file says
        self._disk_is_full = False

    def tell(self, standing: Standing) -> None:
        """Tells what is different from what was told last."""
        if self._said is None:
            self._said = self._written = self._of_predecessor()
            self._told = self._on_its_way = self._said.get("told")
        if self._producer is not None:
            self._producer.poll(0)
        said, now = self._said, standing.content()
        if standing.applied.sha256 != self._on_its_way:
            predecessors = said.get("config_sha256")  # of whom nobody knows what it has told
            untold = None if predecessors == standing.applied.sha256 else predecessors
            before = self._kept(self._on_its_way or untold)
            event = CanaryEvent("configuration_applied", _now(), self._name, before, standing.split())
            if self._send(event, partial(self._applied_is_told, standing.applied.sha256)):
                self._on_its_way = standing.applied.sha256
        if standing.refused is not None and now["refused"] != said.get("refused"):
            why, path = str(standing.refused), standing.refused.path
            event = CanaryEvent("configuration_refused", _now(), self._name, standing.split(), None, why, path)
            self._send(event)
        self._said = now
        self._note()

    def tell_of_shadow(self, applied: Applied, found: ShadowFigures) -> None:
        """What the candidate's scoring beside stable has shown, by this configuration."""
        split = split_of(applied.config.canary, applied.sha256)
        self._send(CanaryEvent("shadow", _now(), self._name, split, split, shadow=found))

    def close(self) -> None:
        """Waits a moment for what is on its way."""
        if self._producer is not None and self._producer.flush(LINGER_S):
            log.warning("events were not delivered in time", topic=self._topic)
        self._note()

    def _note(self) -> None:
        """Into the file, where it does not say so."""
        if self._said is not None and {**self._said, "told": self._told} != self._written:
            self._write({**self._said, "told": self._told})

    def _applied_is_told(self, config_sha256: str, error: KafkaError | None) -> None:
        if error is None:
            self._told = config_sha256
        elif self._on_its_way == config_sha256:
            self._on_its_way = self._told  # once more

    def _of_predecessor(self) -> Mapping[str, Any]:
        """What a worker of this name told last."""
        try:
            told = json.loads(self._file.read_text())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("what this worker told last cannot be read", file=self._file.name, error=str(error))
            return {}
        return told if isinstance(told, dict) else {}

    def _kept(self, config_sha256: Any) -> Split | None:
        """The split of a configuration that was in force, as it was kept."""
        if config_sha256 is None:
            return None
        try:
            applied = config.parse((self._home.configs / f"{config_sha256}.json").read_bytes())
        except (OSError, BadConfig) as error:
            log.warning("the configuration before cannot be read", config_sha256=config_sha256, error=str(error))
            return None
        return split_of(applied.config.canary, config_sha256)

    def _send(self, event: CanaryEvent, then: Callable[[KafkaError | None], None] = lambda error: None) -> bool:
        """Whether it is on its way. `then` is called when Kafka has taken it, or has not."""

        def delivered(error: KafkaError | None, message: Message) -> None:
            if error is not None:
                log.error("an event was not delivered", topic=self._topic, error=error.str(), value=message.value())
            then(error)

        try:
            if self._producer is None:
                self._producer = self._cluster.producer(linger_ms=0)
            self._producer.produce(self._topic, wire.encode(event), on_delivery=delivered, headers=[SCHEMA])
            return True
        except (BufferError, KafkaException) as error:
            log.error("an event cannot be sent", topic=self._topic, happened=event.event, error=str(error))
            return False

    def _write(self, told: Mapping[str, Any]) -> None:
        try:
            write_whole(self._file, (json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode())
        except OSError as error:  # must not stop the answers; tried again at each look
            if not self._disk_is_full:
                log.error("what this worker has at hand cannot be written", file=self._file.name, error=str(error))
            self._disk_is_full = True
            return
        self._written, self._disk_is_full = told, False


def _now() -> str:
    return wire.rfc3339(int(time.time() * 1000))
