"""Kafka's jars, fetched by the real jgo from a real HTTP server: a Maven repository on this machine, made of the jars at hand."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from models.errors import CanarecError
from streams import jars


class Repository(ThreadingHTTPServer):
    """Serves the locked jars; `broken` says which arrive cut off or changed."""

    def __init__(self, files: dict[str, Path]) -> None:
        super().__init__(("127.0.0.1", 0), Serve)
        self.files = files
        self.asked: Counter[str] = Counter()
        self.broken: dict[str, str] = {}  # name → "cut", "changed", "cut once"


class Serve(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        if name not in self.server.files:
            self.send_error(404)
            return
        self.server.asked[name] += 1
        content = self.server.files[name].read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        how = self.server.broken.get(name)
        if how == "cut" or (how == "cut once" and self.server.asked[name] == 1):
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
        elif how == "changed":
            self.wfile.write(content[:-1] + bytes([content[-1] ^ 1]))
        else:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet: standard error is for what failed."""


@pytest.fixture(scope="module")
def at_hand() -> dict[str, Path]:
    """What the user's own cache holds; fetched where it does not."""
    return {path.name: path for path in jars.kafka_jars()}


@pytest.fixture
def repository(at_hand: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Repository]:
    server = Repository(at_hand)
    settings = tmp_path / "jgo.conf"
    settings.write_text(
        f"[settings]\nrepo_cache = {tmp_path / 'm2'}\n[repositories]\ncentral = http://127.0.0.1:{server.server_port}\n"
    )
    monkeypatch.setenv("JGO_CONFIG_FILE", str(settings))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def cache(at_hand: dict[str, Path], tmp_path: Path) -> Path:
    """A cache that holds every jar, by hard links or copies: whoever damages one must write a new file."""
    folder = tmp_path / "cache" / "jars"
    folder.mkdir(parents=True)
    for name, path in at_hand.items():
        (folder / name).symlink_to(path)
    return tmp_path / "cache"


SMALL = "jspecify-1.0.0.jar"
OTHER = "slf4j-api-1.7.36.jar"


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_the_lock_names_one_kafka_and_a_way_to_log() -> None:
    locked = jars.locked_jars()
    kafka = {jar.coordinate.split(":")[2] for jar in locked if jar.coordinate.startswith("org.apache.kafka:")}
    assert kafka == {jars.KAFKA_VERSION}
    assert any("slf4j-impl" in jar.name for jar in locked)
    assert len({jar.name for jar in locked}) == len(locked)
    assert all(len(jar.sha256) == 64 and jar.size > 0 for jar in locked)


def test_a_whole_cache_needs_no_network(cache: Path, repository: Repository) -> None:
    assert [path.name for path in jars.kafka_jars(cache=cache)] == [jar.name for jar in jars.locked_jars()]
    assert not repository.asked


def test_everything_is_fetched_once_into_an_empty_cache_and_told(tmp_path: Path, repository: Repository) -> None:
    told: list[tuple[int, int, str]] = []
    paths = jars.kafka_jars(lambda done, total, name: told.append((done, total, name)), cache=tmp_path / "new")
    assert all(jar.is_at(path) for jar, path in zip(jars.locked_jars(), paths, strict=True))
    total = sum(jar.size for jar in jars.locked_jars())
    assert told[-1][:2] == (total, total)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert {name for _, _, name in told} == {jar.name for jar in jars.locked_jars()}
    assert set(repository.asked.values()) == {1}
    assert {path.name for path in (tmp_path / "new" / "jars").iterdir()} == {path.name for path in paths} | {"lock"}


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "missing"])
def test_a_damaged_jar_is_fetched_again(cache: Path, repository: Repository, damage: str) -> None:
    jar = cache / "jars" / SMALL
    whole = jar.read_bytes()
    damaged = {"flipped": bytes([whole[0] ^ 1]) + whole[1:], "cut": whole[:100], "empty": b""}
    if damage == "missing":
        jar.unlink()
    else:
        replace(jar, damaged[damage])
    jars.kafka_jars(cache=cache)
    assert jar.read_bytes() == whole
    assert repository.asked == {SMALL: 1}


def test_a_download_that_was_cut_off_is_tried_again(cache: Path, repository: Repository) -> None:
    (cache / "jars" / SMALL).unlink()
    repository.broken[SMALL] = "cut once"
    jars.kafka_jars(cache=cache)
    assert repository.asked[SMALL] == 2


@pytest.mark.parametrize(("how", "says"), [("cut", "check the network"), ("changed", "another SHA-256")])
def test_what_is_not_the_locked_jar_is_never_kept(cache: Path, repository: Repository, how: str, says: str) -> None:
    (cache / "jars" / SMALL).unlink()
    repository.broken[SMALL] = how
    with pytest.raises(CanarecError, match=says) as raised:
        jars.kafka_jars(cache=cache)
    assert "\n" not in str(raised.value)
    assert not (cache / "jars" / SMALL).exists()
    assert not list((cache / "jars").glob("fetch-*"))


def test_a_repository_without_the_jar_is_one_line(cache: Path, repository: Repository) -> None:
    (cache / "jars" / SMALL).unlink()
    repository.files = {}
    with pytest.raises(CanarecError, match=r"org\.jspecify:jspecify:1\.0\.0"):
        jars.kafka_jars(cache=cache)


def test_no_network_is_one_line(cache: Path, repository: Repository) -> None:
    (cache / "jars" / SMALL).unlink()
    repository.shutdown()
    repository.server_close()
    with pytest.raises(CanarecError, match=r"check the network or proxy, or use a broker of your own"):
        jars.kafka_jars(cache=cache)


def test_a_local_maven_repository_is_used_first(
    cache: Path, repository: Repository, at_hand: dict[str, Path], tmp_path: Path
) -> None:
    (cache / "jars" / SMALL).unlink()
    local = tmp_path / "m2" / "org" / "jspecify" / "jspecify" / "1.0.0"
    local.mkdir(parents=True)
    (local / SMALL).write_bytes(at_hand[SMALL].read_bytes())
    jars.kafka_jars(cache=cache)
    assert not repository.asked


def test_two_processes_at_once_fetch_each_jar_once(cache: Path, repository: Repository) -> None:
    for name in (SMALL, OTHER):
        (cache / "jars" / name).unlink()
    code = "import sys; from pathlib import Path; from streams import jars; jars.kafka_jars(cache=Path(sys.argv[1]))"
    both = [subprocess.Popen([sys.executable, "-c", code, str(cache)]) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert repository.asked == {SMALL: 1, OTHER: 1}


def test_what_a_killed_download_left_is_removed(cache: Path, repository: Repository) -> None:
    (cache / "jars" / SMALL).unlink()
    (cache / "jars" / "fetch-dead").mkdir()
    (cache / "jars" / "fetch-dead" / SMALL).write_bytes(b"half")
    jars.kafka_jars(cache=cache)
    assert not list((cache / "jars").glob("fetch-*"))


def test_the_cache_is_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("CANAREC_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert jars.cache_folder() == tmp_path / ".cache" / "canarec"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert jars.cache_folder() == Path("/x/canarec")
    monkeypatch.setenv("CANAREC_CACHE", "/y")
    assert jars.cache_folder() == Path("/y")


def test_a_cache_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CanarecError, match="cannot keep Kafka's jars"):
        jars.kafka_jars(cache=tmp_path / "file")
