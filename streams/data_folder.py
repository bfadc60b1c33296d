"""The embedded broker's folder on disk: who owns it, whether it is whole, and what can be repaired without losing anything.

    owner              locked by the owner, holds its pid      meta.properties    a second copy of the one in data/
    data/              Kafka's, complete once it is there      server.properties  written anew at each start
    data.new/          a format that was not finished          logs/  tmp/        Kafka's log; its unpacked libraries

`data.new` becomes `data` by one rename, so a format that was killed leaves nothing that could be taken for a broker's data.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import structlog

from models.errors import BadArtifact, CanarecError

log = structlog.get_logger()

NODE_ID = 1
_METADATA_LOG = "__cluster_metadata-0"
_CLEAN = ".kafka_cleanshutdown"  # Kafka writes it at a clean end and takes it away at the next start
_KILL_S = 1  # between the SIGKILL of an owner and its death
_LAST_BREATH_S = 10  # then its Kafka is killed by the kernel; the lock goes when that is gone, too


class DataFolder:
    """One folder, for one broker at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self.data = self.path / "data"
        self.unfinished = self.path / "data.new"
        self.logs = self.path / "logs"
        self.temporary = self.path / "tmp"
        self._copy = self.path / "meta.properties"
        self._owner: int | None = None

    @contextmanager
    def trouble(self) -> Iterator[None]:
        """Turns the operating system's errors inside into one line about this folder."""
        try:
            yield
        except OSError as error:
            raise CanarecError(f"cannot keep the broker's data in {self.path}: {error.strerror or error}") from error

    def claim(self) -> int:
        """Locks the folder for this process; the file descriptor that holds the lock, for Kafka to inherit.

        Owner and Kafka hold it together: a folder is free when both are gone. The kernel sees to that, however they end.
        """
        with self.trouble():
            self.path.mkdir(parents=True, exist_ok=True)
            self._owner = os.open(self.path / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                self._lock(self._owner)
                os.ftruncate(self._owner, 0)
                os.pwrite(self._owner, str(os.getpid()).encode(), 0)
                for folder in (self.unfinished, self.temporary):
                    shutil.rmtree(folder, ignore_errors=True)
                self.logs.mkdir(exist_ok=True)
                self.temporary.mkdir(exist_ok=True)
            except BaseException:
                self.release()
                raise
        return self._owner

    def release(self) -> None:
        if self._owner is not None:
            os.close(self._owner)
            self._owner = None

    def _lock(self, file: int) -> None:
        start = time.monotonic()
        while True:
            try:
                return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = os.pread(file, 20, 0).decode(errors="replace")
                waited_s = time.monotonic() - start
                if _is_alive(pid) and waited_s > _KILL_S:
                    raise CanarecError(
                        f"{self.path} is in use by process {pid}: stop that broker, or name another folder"
                    ) from None
                if waited_s > _LAST_BREATH_S:
                    raise CanarecError(
                        f"{self.path} is still in use by a Kafka whose owner (process {pid or 'unknown'}) is gone: end it"
                    ) from None
                time.sleep(0.05)

    def is_formatted(self) -> bool:
        """Whether there is a broker's data, whole. Repairs what can be repaired and forgets what never held anything.

        BadArtifact where data is there but cannot be read: then nothing is touched.
        """
        with self.trouble():
            if not self.data.exists():
                return False
            # The format's checkpoint names the only voter; without one Kafka would wait for ever for somebody to vote.
            has_metadata = any(file.stat().st_size for file in (self.data / _METADATA_LOG).glob("*.checkpoint"))
            if has_metadata and _is_whole(self.data / "meta.properties"):
                if not _is_whole(self._copy):
                    _copy(self.data / "meta.properties", self._copy)
                return True
            if has_metadata and _is_whole(self._copy):
                log.warning("meta.properties was missing or damaged: restored from its copy", folder=str(self.data))
                _copy(self._copy, self.data / "meta.properties")
                return True
            if any(file.stat().st_size for file in self.data.glob("*/*.log")):
                damaged = "meta.properties" if has_metadata else _METADATA_LOG
                raise BadArtifact(
                    f"{self.data} holds data, but its {damaged} is missing or damaged: put it back from a backup, "
                    f"or move {self.path} away to start empty"
                )
            shutil.rmtree(self.data)  # nothing was ever written to it
            return False

    def accept_format(self) -> None:
        """Makes the finished format in `unfinished` the data, in one step."""
        with self.trouble():
            _copy(self.unfinished / "meta.properties", self._copy)
            self.unfinished.rename(self.data)
            _sync(self.path)

    def was_killed(self) -> bool:
        """Whether the data was in use, and its last broker did not end by itself."""
        with self.trouble():
            in_use = any(file.stat().st_size for file in (self.data / _METADATA_LOG).glob("*.log"))
            return in_use and not (self.data / _CLEAN).exists()

    @property
    def cluster_id(self) -> str:
        """The cluster's name for life, given by the format."""
        with self.trouble():
            return _properties(self.data / "meta.properties")["cluster.id"]

    def free_bytes(self) -> int:
        with self.trouble():
            return shutil.disk_usage(self.path).free


def _properties(path: Path) -> dict[str, str]:
    lines = path.read_text(errors="replace").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _is_whole(meta: Path) -> bool:
    try:
        found = _properties(meta)
    except FileNotFoundError:
        return False
    ids_are_there = all(len(found.get(name, "")) == 22 for name in ("cluster.id", "directory.id"))  # 16 bytes in base64
    return ids_are_there and found.get("node.id") == str(NODE_ID) and found.get("version") == "1"


def _copy(source: Path, target: Path) -> None:
    aside = target.with_name(target.name + ".new")
    shutil.copyfile(source, aside)
    _sync(aside)
    os.replace(aside, target)


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _is_alive(pid: str) -> bool:
    if not pid.isdigit():
        return False  # it has the lock, but has not written its number yet
    try:
        zombie = psutil.Process(int(pid)).status() == psutil.STATUS_ZOMBIE  # dead, and its parent has not noticed yet
    except psutil.NoSuchProcess:
        return False
    return not zombie
