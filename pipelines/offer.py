"""Makes the version that waits the candidate, once the canary before it is decided and every worker of the home has it warm.

How the configuration is changed is handed in; which version waits, and when one may be offered, `models.release.rollout` says.
"""

import fcntl
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from models.config import Canary, Config
from models.recommenders import store
from models.release import rollout
from pipelines.places import Places

WARM_WAIT_S = 30.0
SHORT_WAIT_S = 5.0  # for one that has waited, and been warm, long since
_LOOK_S = 0.2

Change = Callable[
    [Callable[[Canary], Canary], str], Any
]  # (move, why): the split in config.json becomes what `move` makes of it


@dataclass(frozen=True, slots=True)
class Offer:
    """What became of the newest published version. `cold`: workers that did not have it in time."""

    version: str
    offered: bool
    says: str
    cold: tuple[str, ...] = ()


def offer(places: Places, config: Config, change: Change, *, wait_s: float = WARM_WAIT_S) -> Offer | None:
    """Offers the version that waits, if any; on the first of `release.steps`. None where none does.

    Workers that are away, or cannot load it, are waited for `wait_s` and then told of: whoever of them gets a request for it answers
    with a fallback until it has it. A version that is no more the one that waits by then, after a rollback for instance, is not offered.
    Errors: those of `change`.
    """
    version = rollout.waiting(config.canary, store.list_versions(places.models))
    if version is None:
        return None
    if "offer" not in rollout.TABLE[rollout.phase(config.canary)]:
        return Offer(version, False, f"{version} is the next: it waits while {config.canary.candidate} is on trial")
    sha256 = store.read_metadata(places.models, version).files[store.FACTORS]
    cold = _wait_until_warm(places.workers, version, sha256, wait_s)
    percentage = config.release.steps[0]

    def move(canary: Canary) -> Canary:
        if canary.candidate is None and rollout.waiting(canary, store.list_versions(places.models)) != version:
            raise rollout.NotNow(f"{version} is not offered: while the workers loaded it, the split was changed")
        return rollout.offered(canary, version, percentage)

    try:
        change(move, f"a new version, on {percentage:g} %")
    except rollout.NotNow as error:  # somebody was quicker
        return Offer(version, False, str(error))
    says = f"{version} is the candidate, on {percentage:g} %"
    if cold:
        says += f"; not yet at hand in {', '.join(cold)} after {wait_s:g} s"
    return Offer(version, True, says, cold)


def unmoved(change: Change, look: Callable[[Canary], None]) -> None:
    """Shows `look` the split as it is now; until it returns, nobody changes that."""

    def move(canary: Canary) -> Canary:
        look(canary)
        return canary

    change(move, "")


class Offering:
    """A job of the scheduler: offers the version that waits as soon as the canary before it is decided.

    Not while a retraining is at work: that offers what it publishes itself, once the workers have loaded it.
    """

    name = "offering"

    def __init__(
        self, places: Places, load: Callable[[], Config], change: Change, show: Callable[[Offer], None]
    ) -> None:
        self._places, self._load, self._change, self._show = places, load, change, show

    def turn(self, now: datetime) -> float:
        """Looks and offers; the seconds until the next turn. Errors: those of `load` and `change`."""
        config = self._load()
        if _is_held(self._places.retraining):
            return config.retraining.look_every_s
        told = offer(self._places, config, self._change, wait_s=SHORT_WAIT_S)
        if told is not None and told.offered:
            self._show(told)
        return config.retraining.look_every_s


def live(workers: Path) -> list[str]:
    """The workers of the home that are running: each holds its lock."""
    return sorted(path.stem for path in workers.glob("*.lock") if _is_held(path))


def has(workers: Path, name: str, version: str, sha256: str) -> bool:
    """Whether a worker says that it has these very factors warm."""
    try:
        told = json.loads((workers / f"{name}.json").read_bytes())
        return bool(told["models"].get(version) == sha256)
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return False  # says nothing yet


def _wait_until_warm(workers: Path, version: str, sha256: str, wait_s: float) -> tuple[str, ...]:
    """The live workers that did not have it in time; none is how it should be."""
    until = time.monotonic() + wait_s
    while True:
        cold = tuple(name for name in live(workers) if not has(workers, name, version, sha256))
        if not cold or time.monotonic() > until:
            return cold
        time.sleep(_LOOK_S)


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
