"""A home: the folder that holds config.json and artifacts/, and where in it everything lies."""

import errno
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models import config, json_text
from models.config import Applied
from models.errors import BadConfig, CanarecError, UsageError
from streams.clients import Cluster

LOCK_S = 10.0  # a change of the configuration takes milliseconds


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

    @property
    def provenance(self) -> Path:
        """The provenance CSV: a row for each answer (`streams.ledger`)."""
        return self.artifacts / "provenance"

    @property
    def windows(self) -> Path:
        """Where the lock of the home's writer of windows lies (`streams.agents.windows`)."""
        return self.artifacts / "windows"

    @property
    def last_verdict(self) -> Path:
        """The hash of the newest verdict that was kept here."""
        return self.artifacts / "last-verdict.json"

    @property
    def outbox(self) -> Path:
        """Events that Kafka has not taken yet, by topic."""
        return self.artifacts / "outbox"

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

    def change(self, edit: Callable[[dict[str, Any]], None]) -> tuple[Applied, Applied]:
        """Changes config.json as a whole or not at all; the configuration before and after.

        `edit` changes the raw JSON. What it leaves as it is keeps its bytes, its place, its owner and its permissions. One change
        at a time: whoever comes second edits what the first one has written. A link is followed: the file that it names is replaced.

        Errors: BadConfig where there is no file, where it is broken (it stays so), and where the edited one would be refused;
        CanarecError where it cannot be written; whatever `edit` raises.
        """
        with self._changing():
            target = Path(os.path.realpath(self.config))
            content = self._content(target)
            before = config.parse(content)
            encoding = json.detect_encoding(content)
            text = content.decode(encoding)
            raw = json.loads(text)
            edit(raw)
            changed = json_text.changed(text, raw)
            after = config.parse(changed)
            if changed != text:
                try:
                    write_whole(target, changed.encode(encoding), like=target.stat())
                except OSError as error:
                    raise CanarecError(_not_written(self.config, target, error)) from None
            return before, after

    def _content(self, target: Path) -> bytes:
        try:
            return target.read_bytes()
        except FileNotFoundError:
            named = f"is a link to {target}, which is not there" if self.config.is_symlink() else "is not there"
            raise BadConfig("", f"{self.config} {named}: nothing to change") from None
        except OSError as error:
            raise BadConfig("", f"{self.config} cannot be read: {error.strerror}") from None

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Held by one process at a time."""
        path = self.artifacts / "config.lock"
        try:
            if self.path.is_dir():  # a home that is not there is not made by a change of its configuration
                self.artifacts.mkdir(exist_ok=True)
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
        except FileNotFoundError:
            raise UsageError(f"--home {self.path}: no such folder") from None
        except OSError as error:
            raise CanarecError(f"{path} cannot be written: {error.strerror}") from None
        try:
            until = time.monotonic() + LOCK_S
            while not _locked(descriptor):
                if time.monotonic() > until:
                    raise CanarecError(
                        f"another process has been changing {self.config} for {LOCK_S:g} s: it holds {path}"
                    )
                time.sleep(0.02)
            yield
        finally:
            os.close(descriptor)

    def cluster(self, bootstrap_servers: str) -> Cluster:
        applied = self.load()
        return Cluster.of(bootstrap_servers, applied.config.kafka, prefix=applied.config.group_prefix)


def write_whole(path: Path, content: bytes, *, like: os.stat_result | None = None) -> None:
    """The file with its new content or as it was, never half of it, also after a power cut. `like`: whose it is, who may read it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if like is not None and (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
            os.chown(aside, like.st_uid, like.st_gid)
        os.chmod(aside, 0o644 if like is None else like.st_mode & 0o7777)
        os.replace(aside, path)
    except BaseException:
        os.unlink(aside)
        raise


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _not_written(path: Path, target: Path, error: OSError) -> str:
    where = f"{path}, a link to {target}," if path.is_symlink() else f"{path}"
    if error.errno in (errno.EROFS, errno.EBUSY):  # EBUSY: the file itself is a mount
        return (
            f"{where} is mounted and cannot be replaced from here: change it where it comes from (a ConfigMap, the host); "
            "workers follow within 5 s"
        )
    return f"{where} cannot be written: {error.strerror}"
