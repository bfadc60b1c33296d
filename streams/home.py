"""A home: the folder that holds config.json and artifacts/, and where in it everything lies."""

import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from models import config
from models.config import Applied
from models.errors import BadConfig, CanarecError
from streams.clients import Cluster


@dataclass(frozen=True, slots=True)
class Home:
    """Paths of a home. Nothing is made before it is needed."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "config.json"

    @property
    def artifacts(self) -> Path:
        return self.path / "artifacts"

    @property
    def models(self) -> Path:
        return self.artifacts / "models"

    @property
    def kafka(self) -> Path:
        return self.artifacts / "kafka"

    @property
    def workers(self) -> Path:
        return self.artifacts / "workers"

    @property
    def snapshots(self) -> Path:
        return self.artifacts / "snapshots"

    @property
    def configs(self) -> Path:
        """Every configuration that was applied, by its digest."""
        return self.artifacts / "configs"

    @property
    def catalogs(self) -> Path:
        """Every catalogue that answers were made from, by its digest."""
        return self.artifacts / "catalogs"

    def load(self) -> Applied:
        """The configuration; the defaults where there is no file. BadConfig for a wrong one."""
        try:
            text = self.config.read_bytes()
        except FileNotFoundError:
            return config.parse("{}")
        except OSError as error:
            raise BadConfig("", f"{self.config} cannot be read: {error.strerror}") from None
        return config.parse(text)

    def prepare(self) -> None:
        """Writes the defaults to config.json where there is none, so that there is a file to edit."""
        try:
            self.artifacts.mkdir(parents=True, exist_ok=True)
            if not self.config.exists():
                write_whole(self.config, json.dumps(config.defaults(), indent=2).encode() + b"\n")
        except OSError as error:
            raise CanarecError(f"--home {self.path}: cannot be written: {error.strerror}") from None

    def cluster(self, bootstrap_servers: str) -> Cluster:
        applied = self.load()
        return Cluster.of(bootstrap_servers, applied.config.kafka, prefix=applied.config.group_prefix)


def write_whole(path: Path, content: bytes) -> None:
    """The file with its new content or as it was, never half of it, also after a power cut."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise
