"""The World in force. When config.json, the catalogue or a model changes, a new World is built beside it and swapped in.

Looks twice a second, by content: whatever way an editor, a rename or a mounted folder changes a file, it is seen. A configuration
whose version is still being read waits for it, HOLD_S at most: in force within 4 s whatever happens, within one where it can.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from models.catalog import Catalog
from models.config import Applied, parse
from models.errors import BadConfig
from models.recommenders import store
from models.recommenders.store import Model
from models.release import hot
from models.world import World
from streams import metrics
from streams.at_hand import AtHand
from streams.histories import Known
from streams.home import Home, write_whole
from streams.notices import Standing

log = structlog.get_logger()

LOOK_EVERY_S = 0.5
HOLD_S = 2.75
SETTLES_S = 1.0  # a file that is being written may be broken for a moment
FIXED = (
    "topics",
    "group_prefix",
    "events",
)  # what histories and groups were made by: a record's digest must not name another
CATALOG_WAIT_S = 5.0
NUMBERED_AT_ONCE = 2_000  # movies, while the histories wait


@dataclass(slots=True)
class _Wrong:
    """A content of config.json that is not taken, and since when it stands there."""

    content: bytes
    error: BadConfig
    since: float
    refused: bool = False  # it is not just being written


class Worlds:
    """Keeps `current`, which is replaced as a whole: read it once for a batch."""

    def __init__(self, home: Home, applied: Applied, known: Known, clock: Callable[[], float] = time.monotonic) -> None:
        self.home, self.known, self._clock = home, known, clock
        self._at_hand = AtHand(home.models, clock)
        self._published: list[str] = []
        self._unlisted = False
        self._wrong: _Wrong | None = None
        self._next: tuple[Applied, float] | None = None  # a good configuration, and since when it waits for a version
        self._left: str | None = None  # the split last
        self._shown: set[tuple[str, str, str, str]] = set()  # of MODEL_INFO
        self._shown_config: str | None = None
        self._unkept = False
        self._changing_since: float | None = None
        self._catalog_seen = 0
        self._at_hand.load(hot.split(applied.config.canary))
        self._catalog_changes, catalog = known.catalog()
        self.current = self._build(applied, catalog, None)
        self._list()
        self._show()

    def refresh(self) -> bool:
        """Builds and swaps in a new World if anything changed; begins to load what is missing."""
        self._list()
        before, catalog = self.current, self.current.catalog
        applied = self._due()
        if self._catalog_is_due():
            self._catalog_changes, catalog = self.known.catalog()
        if self._unkept:
            self._keep_named(before.applied, before.catalog)
        changed = (
            applied.sha256 != before.applied.sha256
            or catalog.sha256 != before.catalog.sha256
            or {v: servable.model for v, servable in before.models.items()} != self._models(applied)
        )
        if changed:
            self.current = self._build(applied, catalog, before)
            self._left = hot.leaves(before.applied.config.canary, applied.config.canary) or self._left
            log.info(
                "world changed",
                config_sha256=applied.sha256[:12],
                catalog_sha256=catalog.sha256[:12],
                models=sorted(self.current.models),
                percentage=applied.config.canary.percentage,
                was=before.applied.sha256[:12],
            )
        waits = hot.split(self._next[0].config.canary) if self._next else []
        self._at_hand.keep(list(dict.fromkeys([*waits, *(version for _, version in self._roles())])))
        self._show()
        return changed

    def standing(self) -> Standing:
        """What others may know of it."""
        models = {version: model.sha256 for version, model in sorted(self._at_hand.models.items())}
        wrong = self._wrong
        return Standing(self.current.applied, models, wrong.error if wrong and wrong.refused else None)

    # -- the configuration ------------------------------------------------------------------------

    def _due(self) -> Applied:
        """What is to be in force now."""
        current = self.current.applied
        asked = self._configuration() or (self._next[0] if self._next else current)
        if asked.sha256 == current.sha256:
            self._next = None
            return current
        now = self._clock()
        if self._next is None or self._next[0].sha256 != asked.sha256:
            self._next = (asked, now)
        coming = [v for v in hot.split(asked.config.canary) if v in self._published and self._at_hand.expects(v)]
        if coming and now - self._next[1] < HOLD_S:
            return current
        self._next = None
        return asked

    def _configuration(self) -> Applied | None:
        """config.json as it is now, or None where there is none or it is not taken: the last good one stays in force."""
        error: BadConfig | None = None
        try:
            content = self.home.config.read_bytes()
        except FileNotFoundError:
            return None  # in the middle of a rename, or it never existed
        except OSError as failed:
            content, error = str(failed).encode(), BadConfig("", f"cannot be read: {failed.strerror}")
        if self._wrong is not None and self._wrong.content == content:
            self._refuse(self._wrong)
            return None
        try:
            if error is not None:
                raise error
            applied = self._checked(content)
        except BadConfig as found:
            self._wrong = _Wrong(content, found, self._clock())
            return None
        self._wrong = None
        return applied

    def _checked(self, content: bytes) -> Applied:
        applied = parse(content)
        for part in FIXED:
            if getattr(applied.config, part) != getattr(self.current.applied.config, part):
                raise BadConfig(part, "changes only with a restart")
        return applied

    def _refuse(self, wrong: _Wrong) -> None:
        if not wrong.refused and self._clock() - wrong.since >= SETTLES_S:
            wrong.refused = True
            metrics.CONFIG_REFUSED.inc()
            log.error(
                "configuration refused, the last good one stays in force", path=wrong.error.path, error=str(wrong.error)
            )

    # -- what is built of it ----------------------------------------------------------------------

    def _list(self) -> None:
        """Which versions are published."""
        try:
            self._published, self._unlisted = store.list_versions(self.home.models), False
        except OSError as error:
            if not self._unlisted:
                log.error("published models cannot be listed", error=str(error))
            self._unlisted = True

    def _roles(self) -> list[tuple[hot.Role, str]]:
        return hot.roles(self.current.applied.config.canary, self._left, self._published)

    def _models(self, applied: Applied) -> dict[str, Model]:
        """Those of the split that are in memory."""
        models = self._at_hand.models
        return {version: models[version] for version in hot.split(applied.config.canary) if version in models}

    def _build(self, applied: Applied, catalog: Catalog, before: World | None) -> World:
        models = self._models(applied)
        for version, model in models.items():
            if before is None or version not in before.models or before.models[version].model is not model:
                self._number(model.movie_ids)
        world = World.of(applied, models, catalog, self.known.ids, before=before)
        self._keep_named(applied, catalog)  # before anything is answered by them: a record names them by digest
        return world

    def _number(self, movies: tuple[str, ...]) -> None:
        """Gives each movie its number, some at a time: requests wait for the same lock."""
        for start in range(0, len(movies), NUMBERED_AT_ONCE):
            with self.known.tail.lock:
                self.known.ids.indices(movies[start : start + NUMBERED_AT_ONCE])

    def _catalog_is_due(self) -> bool:
        """Changes are taken in when a look found no further one, or after a while: an import makes one World, not hundreds."""
        changes = self.known.catalog_changes
        if changes == self._catalog_changes:
            self._changing_since = None
            return False
        quiet = changes == self._catalog_seen
        self._catalog_seen = changes
        self._changing_since = self._changing_since or self._clock()
        return quiet or self._clock() - self._changing_since > CATALOG_WAIT_S

    def _keep_named(self, applied: Applied, catalog: Catalog) -> None:
        """Keeps what a record's digests name; tried again at each look until the disk has taken it."""
        configuration = _keep(self.home.configs / f"{applied.sha256}.json", lambda: applied.text)
        self._unkept = not (_keep(self.home.catalogs / f"{catalog.sha256}.jsonl", catalog.text) and configuration)

    def _show(self) -> None:
        """Sets the gauges; a series that stays is never away."""
        applied, models = self.current.applied, self._at_hand.models
        metrics.CANARY_PERCENTAGE.set(applied.config.canary.percentage)
        shown: set[tuple[str, str, str, str]] = {
            (version, models[version].model_id, role, models[version].sha256)
            for role, version in self._roles()
            if version in models
        }
        for labels in self._shown - shown:
            metrics.MODEL_INFO.remove(*labels)
        for labels in shown:
            metrics.MODEL_INFO.labels(*labels).set(1)
        self._shown = shown
        if self._shown_config not in (None, applied.sha256):
            metrics.CONFIG_INFO.remove(self._shown_config)
        metrics.CONFIG_INFO.labels(applied.sha256).set(1)
        self._shown_config = applied.sha256


def _keep(path: Path, text: Callable[[], str]) -> bool:
    if not path.exists():
        try:
            write_whole(path, text().encode())
        except OSError as error:  # a full disk must not stop the answers
            log.error("cannot be kept for replay yet", file=path.name, error=str(error))
            return False
    return True
