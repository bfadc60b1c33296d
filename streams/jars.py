"""The jars of Apache Kafka: which ones (`kafka.lock`), where they are kept, and that each is what its checksum says.

    python -m streams.jars --lock      resolves the dependencies again and rewrites kafka.lock

jgo finds and fetches, by the repositories of its own settings file (`[repositories]` in ~/.config/jgo.conf, for a mirror), a
local Maven repository, or else Maven Central. Later starts only hash: 44 MB take about 0.1 s.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from models.errors import CanarecError

if TYPE_CHECKING:
    from jgo.maven import MavenContext

KAFKA_VERSION = "4.3.1"
ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # What Kafka logs through; the version of log4j is the one that Kafka itself brings. `!`: a plain dependency. Otherwise
    # jgo takes it for a bill of materials, too, and log4j's own would downgrade kafka-clients to 3.9.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.25.4!",
)
LOCK = Path(__file__).with_name("kafka.lock")
_ATTEMPTS = 3
_CONNECTIONS = 4
_TIMEOUT_S = 20

Progress = Callable[[int, int, str], None]
"""Called with (bytes done, bytes in all, name of the jar), from several threads but never two at a time."""


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock file."""

    sha256: str
    size: int  # bytes
    coordinate: str  # group:artifact:version

    @property
    def name(self) -> str:
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"

    def is_at(self, path: Path) -> bool:
        """Whether `path` holds this jar, to the last byte."""
        try:
            return path.stat().st_size == self.size and _sha256(path) == self.sha256
        except FileNotFoundError:
            return False


def cache_folder() -> Path:
    """Where a user's downloads are kept: CANAREC_CACHE, else canarec/ in XDG_CACHE_HOME, else in ~/.cache."""
    if named := os.environ.get("CANAREC_CACHE"):
        return Path(named).absolute()
    xdg = os.environ.get("XDG_CACHE_HOME")
    return (Path(xdg) if xdg else Path.home() / ".cache").absolute() / "canarec"


def locked_jars(lock: Path = LOCK) -> list[Jar]:
    """The jars of the lock file, in the order of the class path."""
    lines = (line.split() for line in lock.read_text().splitlines() if line and not line.startswith("#"))
    return [Jar(sha256, int(size), coordinate) for sha256, size, coordinate in lines]


def kafka_jars(progress: Progress | None = None, *, cache: Path | None = None) -> list[Path]:
    """The class path of Kafka, each jar checked against its SHA-256; what is missing or damaged is fetched first.

    Safe in several processes at once: one fetches, the others wait for it. Raises CanarecError in one line: no network,
    no space, or a jar that is not the one that was locked.
    """
    jars = locked_jars()
    folder = (cache or cache_folder()) / "jars"
    try:
        if not (missing := [jar for jar in jars if not jar.is_at(folder / jar.name)]):
            return [folder / jar.name for jar in jars]
        folder.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder / "lock"):
            missing = [
                jar for jar in missing if not jar.is_at(folder / jar.name)
            ]  # another process may have fetched it
            for left_over in folder.glob("fetch-*"):  # of a process that was killed: we hold the lock, so nobody's
                shutil.rmtree(left_over)
            with tempfile.TemporaryDirectory(prefix="fetch-", dir=folder) as aside:
                _fetch(missing, Path(aside), folder, _Counter(sum(jar.size for jar in missing), progress))
    except OSError as error:
        if type(error).__module__.startswith("requests"):  # requests' errors are OSErrors, too: those of the network
            raise CanarecError(_no_network(error)) from error
        raise CanarecError(f"cannot keep Kafka's jars in {folder}: {error.strerror or error}") from error
    return [folder / jar.name for jar in jars]


def _fetch(jars: list[Jar], aside: Path, folder: Path, counter: "_Counter") -> None:
    context = _maven(aside, counter)
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        try:
            for jar, path in zip(jars, pool.map(partial(_fetch_one, context), jars), strict=True):
                os.replace(path, folder / jar.name)  # whole and checked: nobody ever sees half a jar
        except BaseException:
            pool.shutdown(cancel_futures=True)  # one clear line now, not after forty more time-outs
            raise


def _fetch_one(context: "MavenContext", jar: Jar) -> Path:
    import requests

    artifact = context.create_dependency(jar.coordinate).artifact
    fetched = artifact.cached_path
    assert fetched is not None  # the context has a repo_cache
    for local in context.local_repos:
        if jar.is_at(found := local / artifact.component.path_prefix / jar.name):
            fetched.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(found, fetched)
            return fetched
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            context.resolver.download(artifact)
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            if attempt == _ATTEMPTS or isinstance(error, requests.ConnectTimeout):
                raise
        except RuntimeError as error:  # jgo's: none of the repositories has it
            raise CanarecError(f"no Maven repository of this machine's settings has {jar.coordinate}") from error
        else:
            if jar.is_at(fetched):
                return fetched
        fetched.unlink(missing_ok=True)  # jgo insists on a file that is not there yet
    raise CanarecError(
        f"{jar.name} came with another SHA-256 than {LOCK.name} has, {_ATTEMPTS} times: is there a proxy between?"
    )


def _maven(folder: Path, counter: "_Counter | None" = None) -> "MavenContext":
    from jgo.config import GlobalSettings  # 0.2 s, and only the first start needs it
    from jgo.maven import MavenContext, PythonResolver

    settings = GlobalSettings.load()
    context = MavenContext(
        resolver=PythonResolver(progress_callback=counter.counting if counter else None),
        repo_cache=folder,
        local_repos=[settings.repo_cache],
        timeout=_TIMEOUT_S,
    )
    # The user's first, in their order; one that they call "central" takes Maven Central's place.
    context.remote_repos = {
        **settings.repositories,
        **{n: u for n, u in context.remote_repos.items() if n not in settings.repositories},
    }
    return context


class _Counter:
    """Adds up the bytes of all downloads and tells `progress`."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self._total, self._progress = total, progress
        self._done = 0
        self._lock = threading.Lock()

    @contextmanager
    def counting(self, name: str, _size: int) -> Iterator[Callable[[int], None]]:
        def add(count: int) -> None:
            with self._lock:
                # A download that is tried again would count twice.
                self._done = min(self._done + count, self._total)
                if self._progress:
                    self._progress(self._done, self._total, name)

        yield add


def _no_network(error: OSError) -> str:
    return (
        f"cannot fetch Kafka's jars: no answer from the Maven repository ({type(error).__name__}): "
        "check the network or proxy, or use a broker of your own with --bootstrap-servers"
    )


@contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    with path.open("w") as file:  # the kernel drops the lock with the file, also when we are killed
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_lock(lock: Path = LOCK) -> list[Jar]:
    """Resolves ROOTS and all they depend on, and writes coordinates, sizes and checksums to `lock`."""
    with tempfile.TemporaryDirectory() as folder:
        context = _maven(Path(folder))
        context.local_repos.clear()  # what is locked comes from where everybody gets it
        inputs, transitive = context.resolver.resolve([context.create_dependency(root) for root in ROOTS])
        jars = []
        for dependency in [*inputs, *sorted(transitive, key=lambda each: (each.groupId, each.artifactId))]:
            path = dependency.artifact.resolve()
            coordinate = f"{dependency.groupId}:{dependency.artifactId}:{dependency.version}"
            jars.append(Jar(_sha256(path), path.stat().st_size, coordinate))
    header = (
        "# SHA-256, bytes, coordinate. Written by `python -m streams.jars --lock`; the order is the class path's.\n"
    )
    lock.write_text(header + "".join(f"{jar.sha256} {jar.size} {jar.coordinate}\n" for jar in jars))
    return jars


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fetches and checks Kafka's jars; prints the class path.")
    parser.add_argument("--lock", action="store_true", help="resolve again and rewrite kafka.lock")
    if parser.parse_args().lock:
        print(f"{LOCK}: {len(write_lock())} jars")
    else:
        print(os.pathsep.join(map(str, kafka_jars())))
