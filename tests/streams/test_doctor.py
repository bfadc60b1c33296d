"""Each check by what it finds; the whole on a home that is whole, and on one where everything is wrong."""

import resource
import socket
from pathlib import Path

import pytest

from streams import doctor, jars
from streams.doctor import Check, blas_threads, examine, free_disk, open_files, python
from streams.home import Home

NOBODY = "127.0.0.1:1"


def one(home: Home, name: str) -> Check:
    """The first check of this name; those behind it are not made."""
    return next(check for check in examine(home, NOBODY) if check.name == name)


@pytest.mark.parametrize(("version", "verdict"), [((3, 11), "ok"), ((3, 12), "fail"), ((3, 10), "fail")])
def test_python(version: tuple[int, int], verdict: str) -> None:
    assert python(version).verdict == verdict


@pytest.mark.parametrize(
    ("limit", "verdict"),
    [(resource.RLIM_INFINITY, "ok"), (1_024, "ok"), (1_023, "warn"), (512, "warn"), (511, "fail"), (64, "fail")],
)
def test_open_files(limit: int, verdict: str) -> None:
    assert open_files(limit).verdict == verdict


@pytest.mark.parametrize(("setting", "verdict"), [("1", "ok"), ("8", "warn"), (None, "warn"), ("", "warn")])
def test_blas_threads(setting: str | None, verdict: str) -> None:
    assert blas_threads(setting).verdict == verdict


@pytest.mark.parametrize(
    ("free", "verdict"), [(10**12, "ok"), (2 * 10**9, "ok"), (10**9, "warn"), (10**8, "fail"), (0, "fail")]
)
def test_disk(free: int, verdict: str) -> None:
    assert free_disk(free, "/").verdict == verdict


def test_every_check_is_one_line_advises_where_something_is_wrong_and_changes_nothing(tmp_path: Path) -> None:
    found = list(examine(Home(tmp_path), NOBODY))
    for check in found:
        assert "\n" not in str(check)
        assert str(check).split()[0] == check.verdict
        assert check.verdict != "ok" or not check.advice
    kafka = next(check for check in found if check.name == "kafka")
    assert kafka.verdict == "fail"  # an address that was named
    assert NOBODY in kafka.found
    assert "topics" not in [check.name for check in found]
    assert list(tmp_path.iterdir()) == []


def test_a_home_that_is_not_made_yet_is_no_failure(tmp_path: Path) -> None:
    home = Home(tmp_path / "not" / "yet")
    assert [one(home, name).verdict for name in ("home", "disk", "configuration")] == ["ok"] * 3
    assert one(home, "models").verdict == "warn"
    assert "canarec up" in one(home, "models").advice
    assert not (tmp_path / "not").exists()


def test_a_home_below_a_file_is_a_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert one(Home(tmp_path / "file" / "home"), "home").verdict == "fail"


@pytest.mark.parametrize("place", ["file/home", "dangling", "/proc/no/home", "artifacts-is-a-file"])
def test_a_home_that_cannot_be_made_is_a_failure_and_leaves_nothing(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "artifacts-is-a-file").mkdir()
    (tmp_path / "artifacts-is-a-file" / "artifacts").write_text("")
    before = sorted(tmp_path.rglob("*"))
    check = one(Home(tmp_path / place), "home")
    assert check.verdict == "fail"
    assert "cannot be" in check.found
    assert sorted(tmp_path.rglob("*")) == before


def test_a_home_that_is_there_is_tried_and_stays_as_it_is(tmp_path: Path) -> None:
    assert one(Home(tmp_path), "home").verdict == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"canary": {"percentage": 101}}')
    check = one(Home(tmp_path), "configuration")
    assert check.verdict == "fail"
    assert "canary.percentage" in check.found


def test_damaged_and_missing_models_are_failures(tmp_path: Path) -> None:
    home = Home(tmp_path)
    (home.models / "v1").mkdir(parents=True)
    assert one(home, "model v1").verdict == "fail"
    assert one(home, "model v2").verdict == "fail"
    assert "canary.candidate" in one(home, "model v2").found


def test_jars_that_are_missing_or_damaged_are_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANAREC_CACHE", str(tmp_path))
    check = one(Home(tmp_path), "kafka jars")
    assert check.verdict == "warn"
    assert f"{len(jars.locked_jars())} of {len(jars.locked_jars())} not in" in check.found
    first = jars.locked_jars()[0]
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / first.name).write_bytes(b"half a jar")
    check = one(Home(tmp_path), "kafka jars")
    assert check.verdict == "warn"
    assert check.found.startswith(first.name)


def test_a_port_that_another_program_has_is_seen() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        assert doctor._taken(port)
        busy.close()
        assert not doctor._taken(port)
