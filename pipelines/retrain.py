"""One retraining of a home: the pipeline, by DVC, and what retraining-events is told of it. When to train says `models.retraining`.

One at a time, whoever asks. Whoever is killed leaves the versions that serve as they are, and the next run clean: DVC runs again what
was not finished, and a version is there as a whole or not at all.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from models import config, retraining
from models.config import Applied
from models.errors import BadArtifact, CanarecError
from models.retraining import Decision, Happening
from pipelines import due, outbox, project, stages
from pipelines.announce import announce
from pipelines.offer import Change, offer
from pipelines.places import Places
from pipelines.project import PARAMETERS, Reproduced
from streams.clients import Cluster

TOPIC = "retraining-events"


class Busy(CanarecError):
    """Another retraining of this home is at work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainer:
    """What a retraining needs of its surroundings."""

    places: Places
    cluster: Cluster
    clock: Callable[[], datetime]
    complete: Callable[[], Applied]  # writes the parameters that DVC needs into config.json
    change: Change  # of the split
    reproduce: Callable[[], Reproduced]
    say: Callable[[str], None]

    def turn(self, applied: Applied, *, manual: bool) -> None:
        """Decides, and trains where that is due; either is told. First of all a version that has waited is offered.

        Errors: CanarecError with the reason where a stage failed; Busy where another one is at work and this one was asked for.
        """
        try:
            with _alone(self.places):
                project.prepare(self.places.home, applied.config.retraining.remote)
                self._offer_and_keep(applied)
                decision = due.look(self.cluster, applied, self.places.artifacts, self.clock(), manual=manual)
                self.say(decision.reason)
                if not decision.due:
                    self._tell(applied, "skipped", decision)
                    return
                if not _is_complete(applied):
                    applied = self.complete()
                project.free(self.places.home)
                self._run(applied, decision)
        except Busy as error:
            if manual:
                raise
            self.say(f"skipped: {error}")

    def _run(self, applied: Applied, decision: Decision) -> None:
        before = _stamp(self.places)
        self._tell(applied, "started", decision)
        done = self.reproduce()
        if done.reason is not None:
            self._tell(applied, "failed", decision, error=done.reason)
            raise CanarecError(done.reason)
        made, nothing = _made(self.places), _stamp(self.places) == before
        version, metrics, says = str(made["version"]), dict(made["metrics"]), str(made["says"])
        if nothing:
            says = f"nothing to do: {version} is of the same data and the same training parameters"
        if nothing or made["outcome"] == "unchanged":
            self._tell(applied, "skipped", msgspec.structs.replace(decision, reason=f"skipped: {says}"))
        elif made["outcome"] == "refused":
            self._tell(applied, "failed", decision, model_version=version, metrics=metrics, error=says)
        else:
            self._tell(applied, "finished", decision, model_version=version, metrics=metrics)
        if not nothing:
            project.tidy(self.places.home)
        self.say(says)

    def _offer_and_keep(self, applied: Applied) -> None:
        """What an earlier run could not do."""
        if (told := offer(self.places, applied.config, self.change)) is not None:
            self.say(told.says)
        try:
            stages.keep(self.places, applied, self.say)
        except (CanarecError, OSError) as error:
            self.say(f"not in the remote yet: {error}")

    def _tell(self, applied: Applied, happening: Happening, decision: Decision, **more: Any) -> None:
        """By Kafka, or, while that does not take it, kept in the home for whoever comes next."""
        now = self.clock()
        event = msgspec.json.encode(retraining.event(happening, decision, now, **more))
        folder = self.places.artifacts / "outbox"
        try:
            outbox.put(folder, TOPIC, event, now_ms=round(1_000 * now.timestamp()))
        except OSError:  # a full disk, which may be what there is to tell
            announce(self.cluster, applied, TOPIC, msgspec.Raw(event))
            return
        try:
            outbox.send(folder, TOPIC, lambda kept: announce(self.cluster, applied, TOPIC, msgspec.Raw(kept)))
        except CanarecError as error:
            self.say(f"{error}; the event waits in {folder / TOPIC}")


def complete(raw: dict[str, Any]) -> None:
    """Writes into a configuration what DVC reads its parameters from, where that was left to its defaults."""
    training, defaults = raw.setdefault("training", {}), config.defaults()["training"]
    for name in PARAMETERS:
        training.setdefault(name, defaults[name])


def _is_complete(applied: Applied) -> bool:
    training = json.loads(applied.text).get("training", {})
    return all(name in training for name in PARAMETERS)


@contextmanager
def _alone(places: Places) -> Iterator[None]:
    """Held by one retraining of the home; it dies with its holder."""
    path = places.pipeline / "retrain.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("another retraining of this home is at work") from None
        yield
    finally:
        os.close(descriptor)


def _stamp(places: Places) -> tuple[int, int] | None:
    """Changes whenever the publish stage runs: DVC removes its file before."""
    try:
        found = places.published.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _made(places: Places) -> dict[str, Any]:
    try:
        made: dict[str, Any] = json.loads(places.published.read_bytes())
    except (OSError, ValueError) as error:
        raise BadArtifact(f"{places.published}: cannot be read: {error}") from error
    return made
