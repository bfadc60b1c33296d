"""What a provenance record names by its digests, each read once and checked: configuration, catalogue, model; and Worlds of them.

Only reads. A model that has left the versions at hand is looked for among the refused ones, then in the DVC remote, and is at hand
no more than before.
"""

import hashlib
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from models import catalog, config
from models.catalog import Catalog
from models.config import Applied
from models.errors import BadArtifact, BadConfig, CanarecError
from models.events import Movie
from models.ids import Ids
from models.recommenders import store
from models.recommenders.store import FACTORS, Metadata, Model
from models.world import World
from pipelines import project, versions
from pipelines.places import Places

MODELS = 4  # in memory at once
CATALOGS = 2

Record = Mapping[str, Any]  # of the topic `provenance`
T = TypeVar("T")


class Kept:
    """A home's artifacts by digest. `ids` numbers the movies of all that is read."""

    def __init__(self, places: Places, ids: Ids) -> None:
        self.places, self.ids = places, ids
        self._configurations: dict[str, Applied] = {}
        self._catalogs: OrderedDict[str, Catalog] = OrderedDict()
        self._models: OrderedDict[str, Model] = OrderedDict()
        self._world: World | None = None

    def configuration(self, sha256: str) -> Applied:
        """BadArtifact where it is not kept, or another."""
        if sha256 not in self._configurations:
            text = _named(self.places.artifacts / "configs" / f"{sha256}.json", sha256)
            try:
                applied = config.parse(text)
            except BadConfig as error:
                raise BadArtifact(f"configuration {sha256}: {error}") from error
            self._configurations[sha256] = applied
        return self._configurations[sha256]

    def catalog(self, sha256: str) -> Catalog:
        """BadArtifact where it is not kept, or another."""
        if sha256 not in self._catalogs:
            text = _named(self.places.artifacts / "catalogs" / f"{sha256}.jsonl", sha256)
            self._catalogs[sha256] = catalog.parse(text, sha256, self.ids)
        return _newest(self._catalogs, sha256, CATALOGS)

    def model(self, version: str, sha256: str) -> Model:
        """The very model that has this checksum. Errors: BadArtifact, which says where it was looked for."""
        if sha256 not in self._models:
            self._models[sha256] = self._found(version, sha256)
        return _newest(self._models, sha256, MODELS)

    def metadata(self, version: str, sha256: str) -> Metadata | None:
        """What is said of a model beside it; None where it is not on this machine."""
        for folder in (self.places.models, self.places.rejected):
            metadata = _metadata(folder, version)
            if metadata is not None and metadata.files.get(FACTORS) == sha256:
                return metadata
        return None

    def world(self, record: Record) -> World:
        """The World that a record's answer met, with the one model that it needs. Errors: BadArtifact."""
        models = {}
        if record["model_sha256"] is not None:
            models[record["model_version"]] = self.model(record["model_version"], record["model_sha256"])
        applied, movies = self.configuration(record["config_sha256"]), self.catalog(record["catalog_sha256"])
        # tables of a model are built once for all configurations that it answered under
        self._world = World.of(applied, models, movies, self.ids, before=self._world)
        return self._world

    def _found(self, version: str, sha256: str) -> Model:
        looked = []
        for folder in (self.places.models, self.places.rejected):
            metadata = _metadata(folder, version)
            if metadata is None:
                looked.append(f"not in {folder}")
            elif metadata.files.get(FACTORS) != sha256:
                looked.append(f"another one in {folder}")
            else:
                try:
                    return store.read(folder, version)
                except BadArtifact as error:
                    looked.append(str(error))
        if version not in versions.pushed(self.places):
            looked.append("never in the DVC remote")
        else:
            try:
                return self._fetched(version, sha256)
            except CanarecError as error:  # also a remote that cannot be reached
                looked.append(str(error))
        raise BadArtifact(f"model {version} with checksum {sha256[:12]}… cannot be had: {'; '.join(looked)}")

    def _fetched(self, version: str, sha256: str) -> Model:
        path = self.places.home / "config.json"
        applied = config.parse(path.read_bytes() if path.exists() else "{}")
        project.prepare(self.places.home, applied.config.retraining.remote)
        with tempfile.TemporaryDirectory(prefix="canarec-") as folder:
            versions.fetch(self.places, version, Path(folder))
            model = store.read(Path(folder), version)
        if model.sha256 != sha256:
            raise BadArtifact("another one in the DVC remote")
        return model


def described(places: Places, record: Record) -> tuple[Applied | None, Metadata | None, Mapping[str, Movie]]:
    """Configuration, model's metadata and catalogue of a record, as far as they are on this machine: for who wants to look at it."""
    kept = Kept(places, Ids())
    applied, metadata = None, None
    movies: Mapping[str, Movie] = {}
    with suppress(BadArtifact):
        applied = kept.configuration(record["config_sha256"])
    with suppress(BadArtifact):
        movies = kept.catalog(record["catalog_sha256"]).movies
    if record["model_sha256"] is not None:
        metadata = kept.metadata(record["model_version"], record["model_sha256"])
    return applied, metadata, movies


def _newest(kept: "OrderedDict[str, T]", key: str, most: int) -> T:
    kept.move_to_end(key)
    while len(kept) > most:
        kept.popitem(last=False)
    return kept[key]


def _metadata(folder: Path, version: str) -> Metadata | None:
    try:
        return store.read_metadata(folder, version)
    except BadArtifact:
        return None


def _named(path: Path, sha256: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadArtifact(f"{path}: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadArtifact(f"{path}: its content has another checksum than its name")
    return content.decode()
