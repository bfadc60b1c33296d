"""The models in memory. What is missing is loaded beside the running ones: read, checked, warmed up, and only then at hand.

Which versions are wanted is said from outside (`models.release.hot`); what they answer, in `models.answer`.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import structlog

from models.errors import BadArtifact
from models.recommenders import store
from models.recommenders.base import Rows
from models.recommenders.popular import order
from models.recommenders.store import Model
from streams import metrics

log = structlog.get_logger()

RETRY_S = 10.0
NICE = 5  # of the loading thread: what a request needs goes first
WARM_LENGTHS = (
    1,
    2,
    8,
    32,
    128,
    512,
)  # of histories: short and long ones go different ways (`models.recommenders.als`)


class AtHand:
    """Models by version. `models` is replaced as a whole: read it once, from any thread."""

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._clock = folder, clock
        self.models: Mapping[str, Model] = {}
        self._lock = threading.Lock()
        self._wanted: Sequence[str] = ()
        self._failed: dict[str, float] = {}  # version → when it was tried in vain
        self._absent: set[str] = set()  # of those the ones that were not there
        self._thread: threading.Thread | None = None

    def load(self, versions: Sequence[str]) -> None:
        """These, now, in this thread: before anything is answered."""
        self._wanted = versions
        for version in versions:
            self._load(version)

    def keep(self, versions: Sequence[str]) -> None:
        """From now on these: others leave memory, missing ones are loaded in the background, the first ones first."""
        with self._lock:
            self._wanted = versions
            if any(version not in versions for version in self.models):
                self.models = {version: model for version, model in self.models.items() if version in versions}
            if self._thread is None and self._next() is not None:
                self._thread = threading.Thread(target=self._load_missing, daemon=True, name="load")
                self._thread.start()

    def expects(self, version: str) -> bool:
        """It is not here, and was not tried in vain either."""
        return version not in self.models and version not in self._failed

    def _next(self) -> str | None:
        missing = (version for version in self._wanted if version not in self.models)
        return next((version for version in missing if self._may_load(version)), None)

    def _may_load(self, version: str) -> bool:
        if version in self._absent:
            return (self._folder / version).is_dir()
        return version not in self._failed or self._clock() - self._failed[version] >= RETRY_S

    def _load_missing(self) -> None:
        _be_nice()
        while True:
            with self._lock:
                if (version := self._next()) is None:
                    self._thread = None
                    return
            self._load(version)

    def _load(self, version: str) -> None:
        begun = time.monotonic()
        try:
            model = store.read(self._folder, version)
            warm(model)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one model, the others go on
            self._fail(version, error)
            return
        seconds = time.monotonic() - begun
        with self._lock:
            self._failed.pop(version, None)
            self._absent.discard(version)
            if version in self._wanted:  # still
                self.models = {**self.models, version: model}
        metrics.MODEL_LOAD.observe(seconds)
        log.info("model loaded", model_version=version, sha256=model.sha256[:12], seconds=round(seconds, 2))

    def _fail(self, version: str, error: Exception) -> None:
        metrics.MODEL_LOAD_FAILURES.labels(version).inc()
        if version not in self._failed:
            log.error("model cannot be used", model_version=version, error=str(error) or type(error).__name__)
        with self._lock:
            self._failed[version] = self._clock()
            (self._absent.discard if (self._folder / version).is_dir() else self._absent.add)(version)


def warm(model: Model) -> None:
    """Some fold-ins and lists, as requests will ask for them: memory is there and libraries are set up before anybody waits.

    Raises what those requests would raise; BadArtifact where a user's numbers are not finite.
    """
    popular = order(model.popularity)
    histories = Rows.of([np.sort(popular[:length]) for length in WARM_LENGTHS])
    users = model.recommender.users(histories)
    if not np.isfinite(users).all():
        raise BadArtifact(f"{model.version}: users who watched popular movies cannot be folded in")
    model.recommender.top(users, 20, excluded=histories)


def _be_nice() -> None:
    """Linux has a niceness for each thread."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a sandbox that forbids it: then it is as important as the others
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
