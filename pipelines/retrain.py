"""One retraining of a home: the pipeline, by DVC, and what retraining-events is told of it. When to train says `models.retraining`.

One at a time, whoever asks. Whoever is killed leaves the versions that serve as they are, and the next run clean: DVC runs again what
was not finished, and a version is there as a whole or not at all.
"""

import fcntl
import json
import os
import time
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
from pipelines import due, erasures, measured, outbox, project, stages, versions
from pipelines.announce import announce
from pipelines.offer import Change
from pipelines.places import Places
from pipelines.project import PARAMETERS, Reproduced
from streams.clients import Cluster

TOPIC = "retraining-events"
_TRIES, _TRY_S = 5, 0.05


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

        Errors: CanarecError with the reason where anything failed, which is told; Busy where another one is at work and this one was
        asked for.
        """
        try:
            with alone(self.places):
                self._turn(applied, manual)
        except Busy as error:
            if manual:
                raise
            self.say(f"skipped: {error}")

    def _turn(self, applied: Applied, manual: bool) -> None:
        decision = retraining.undecided(applied.config.retraining, manual=manual)
        try:
            project.prepare(self.places.home, applied.config.retraining.remote)
            stages.offer_and_keep(self.places, applied, self.change, self.say)  # what an earlier run could not do
            now = self.clock()
            decision = due.look(self.cluster, applied, self.places.artifacts, now, manual=manual, say=self.say)
            self.say(decision.reason)
            if not decision.due:
                self._tell(applied, "skipped", decision)
                return
            if not _is_complete(applied):
                applied = self.complete()
            project.free(self.places.home)
            self._run(applied, decision)
        except CanarecError as error:
            self._tell(applied, "failed", decision, error=str(error))
            raise

    def _run(self, applied: Applied, decision: Decision) -> None:
        before, known = _stamp(self.places), _known(self.places)
        self._tell(applied, "started", decision)
        done = self.reproduce()
        if done.reason is not None:
            raise CanarecError(done.reason)
        made, nothing = _made(self.places), _stamp(self.places) == before
        version, metrics, says = str(made["version"]), dict(made["metrics"]), str(made["says"])
        untold = version not in known  # a run that was killed may have made it
        if nothing and not untold:
            says = f"nothing to do: {version} is of the same data and the same training parameters"
        if not untold and (nothing or made["outcome"] == "unchanged"):
            self._tell(applied, "skipped", msgspec.structs.replace(decision, reason=f"skipped: {says}"))
        elif made["outcome"] == "refused":
            self._tell(applied, "failed", decision, model_version=version, metrics=metrics, error=says)
        else:
            self._tell(applied, "finished", decision, model_version=version, metrics=metrics)
        self.places.untold.unlink(missing_ok=True)
        erasures.settle(self.places.artifacts)
        if not nothing:
            self._tidy()
        self.say(says)

    def _tidy(self) -> None:
        try:
            project.tidy(self.places.home)
        except CanarecError as error:  # what was made is there and told
            self.say(f"DVC's cache is not tidied: {error}")

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
def alone(places: Places) -> Iterator[None]:
    """Held by one retraining of the home, or an erasure; it dies with its holder."""
    path = places.retraining
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        tries = 1
        while not _locked(descriptor):  # the scheduler holds it for a moment when it looks whether anybody does
            if tries == _TRIES:
                raise Busy("another retraining of this home is at work")
            tries += 1
            time.sleep(_TRY_S)
        yield
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _known(places: Places) -> list[str]:
    """The versions that there were before this run, or before the first of those whose end was not told: they were killed, or failed."""
    try:
        if not places.untold.exists():
            measured.write_json(places.untold, sorted(versions.named(places)))
        known: list[str] = json.loads(places.untold.read_bytes())
    except OSError as error:
        raise CanarecError(f"{places.untold}: {error.strerror}") from error
    except ValueError as error:
        raise BadArtifact(f"{places.untold}: is not JSON, remove it: {error}") from error
    return known


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
