"""The World in force. When config.json, the catalogue or a model changes, a new World is built beside it and swapped in.

Looks once a second, by content: whatever way an editor, a rename or a mounted folder changes a file, it is seen.
"""

import time
from collections.abc import Callable
from pathlib import Path

import structlog

from models.catalog import Catalog
from models.config import Applied, parse
from models.errors import BadArtifact, BadConfig, NoModel
from models.recommenders import store
from models.recommenders.store import Model
from models.world import World
from streams import metrics
from streams.histories import Known
from streams.home import Home, write_whole

log = structlog.get_logger()

LOOK_EVERY_S = 1.0
FIXED = (
    "topics",
    "group_prefix",
    "events",
)  # what histories and groups were made by: a record's digest must not name another
RETRY_MODEL_S = 10.0
CATALOG_WAIT_S = 5.0


class Worlds:
    """Keeps `current`, which is replaced as a whole: read it once for a batch."""

    def __init__(self, home: Home, applied: Applied, known: Known) -> None:
        self.home, self.known = home, known
        self._refused: bytes | None = None
        self._unkept = False
        self._changing_since: float | None = None
        self._catalog_seen = 0
        self._models: dict[str, Model] = {}
        self._failed: dict[str, float] = {}  # version → when it was tried in vain
        self._catalog_changes, catalog = known.catalog()
        self.current = self._build(applied, catalog)

    def refresh(self) -> bool:
        """Builds and swaps in a new World if anything changed."""
        applied, catalog = self.current.applied, self.current.catalog
        applied = self._configuration() or applied
        if self._catalog_is_due():
            self._catalog_changes, catalog = self.known.catalog()
        if self._unkept:
            self._keep_named(self.current.applied, self.current.catalog)
        if (
            applied.sha256 == self.current.applied.sha256
            and catalog.sha256 == self.current.catalog.sha256
            and not any(self._may_load(version) for version in _versions(applied))
        ):
            return False
        world = self._build(applied, catalog)
        before, self.current = self.current, world
        log.info(
            "world changed",
            config_sha256=world.applied.sha256[:12],
            catalog_sha256=world.catalog.sha256[:12],
            models=sorted(world.models),
            percentage=world.applied.config.canary.percentage,
            was=before.applied.sha256[:12],
        )
        return True

    def _configuration(self) -> Applied | None:
        """config.json as it is now, or None where there is none or it is refused: the last good one stays in force."""
        try:
            text = self.home.config.read_bytes()
        except FileNotFoundError:
            return None  # in the middle of a rename, or it never existed
        except OSError as error:
            log.error("config.json cannot be read", error=str(error))
            return None
        if text == self._refused:
            return None
        try:
            applied = parse(text)
        except BadConfig as error:
            self._refused = text
            metrics.CONFIG_REFUSED.inc()
            log.error("configuration refused, the last good one stays in force", path=error.path, error=str(error))
            return None
        fixed = [part for part in FIXED if getattr(applied.config, part) != getattr(self.current.applied.config, part)]
        if fixed:
            self._refused = text
            metrics.CONFIG_REFUSED.inc()
            log.error("configuration not taken: these parts change only with a restart", parts=fixed)
            return None
        self._refused = None
        return applied

    def _may_load(self, version: str) -> bool:
        return version not in self._models and time.monotonic() - self._failed.get(version, -1e9) > RETRY_MODEL_S

    def _build(self, applied: Applied, catalog: Catalog) -> World:
        for version in _versions(applied):
            if self._may_load(version):
                self._load(version)
        self._models = {v: m for v, m in self._models.items() if v in _versions(applied)}
        with self.known.tail.lock:  # the models' movies are numbered
            world = World.of(applied, self._models, catalog, self.known.ids)
        self._keep_named(applied, catalog)  # before anything is answered by them: a record names them by digest
        _show(world)
        return world

    def _catalog_is_due(self) -> bool:
        """Changes are taken in when a look found no further one, or after a while: an import makes one World, not hundreds."""
        changes = self.known.catalog_changes
        if changes == self._catalog_changes:
            self._changing_since = None
            return False
        quiet = changes == self._catalog_seen
        self._catalog_seen = changes
        self._changing_since = self._changing_since or time.monotonic()
        return quiet or time.monotonic() - self._changing_since > CATALOG_WAIT_S

    def _keep_named(self, applied: Applied, catalog: Catalog) -> None:
        """Keeps what a record's digests name; tried again at each look until the disk has taken it."""
        configuration = _keep(self.home.configs / f"{applied.sha256}.json", lambda: applied.text)
        self._unkept = not (_keep(self.home.catalogs / f"{catalog.sha256}.jsonl", catalog.text) and configuration)

    def _load(self, version: str) -> None:
        try:
            self._models[version] = store.read(self.home.models, version)
            self._failed.pop(version, None)
        except (BadArtifact, NoModel) as error:
            if version not in self._failed:
                log.error("model cannot be used", model_version=version, error=str(error))
            self._failed[version] = time.monotonic()


def _versions(applied: Applied) -> list[str]:
    canary = applied.config.canary
    return list(dict.fromkeys(v for v in (canary.stable, canary.candidate) if v is not None))


def _keep(path: Path, text: Callable[[], str]) -> bool:
    if not path.exists():
        try:
            write_whole(path, text().encode())
        except OSError as error:  # a full disk must not stop the answers
            log.error("cannot be kept for replay yet", file=path.name, error=str(error))
            return False
    return True


def _show(world: World) -> None:
    canary = world.applied.config.canary
    metrics.CANARY_PERCENTAGE.set(canary.percentage)
    metrics.MODEL_INFO.clear()
    for role, version in (("stable", canary.stable), ("canary", canary.candidate)):
        servable = world.models.get(version) if version else None
        if servable and version:
            metrics.MODEL_INFO.labels(version, servable.model.model_id, role, servable.model.sha256).set(1)
    metrics.CONFIG_INFO.clear()
    metrics.CONFIG_INFO.labels(world.applied.sha256).set(1)
