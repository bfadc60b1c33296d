"""The broker's folder: one owner, and what is repaired, forgotten or refused when it is not whole."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import BadArtifact, CanarecError
from streams.data_folder import DataFolder

META = "#\n#Mon Nov 23\ncluster.id=F755UUC4T5O0ZZ8-BKc5jw\ndirectory.id=FmpfwzuJSOG668zz5BcWYw\nnode.id=1\nversion=1\n"
HOLD = """
import sys
from pathlib import Path
from streams.data_folder import DataFolder
DataFolder(Path(sys.argv[1])).claim()
print("claimed", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    return DataFolder(tmp_path / "kafka")


@pytest.fixture
def formatted(folder: DataFolder) -> DataFolder:
    """As a finished format leaves it."""
    folder.claim()
    folder.release()
    metadata = folder.unfinished / "__cluster_metadata-0"
    metadata.mkdir(parents=True)
    (folder.unfinished / "meta.properties").write_text(META)
    (metadata / "00000000000000000000-0000000000.checkpoint").write_bytes(b"voters")
    folder.accept_format()
    return folder


def write_events(folder: DataFolder) -> Path:
    log = folder.data / "watch-events-0" / "00000000000000000000.log"
    log.parent.mkdir()
    log.write_bytes(b"events")
    return log


def test_a_new_folder_is_not_formatted(folder: DataFolder) -> None:
    folder.claim()
    assert not folder.is_formatted()
    folder.release()


def test_a_finished_format_is_there_in_one_step(formatted: DataFolder) -> None:
    assert formatted.is_formatted()
    assert formatted.cluster_id == "F755UUC4T5O0ZZ8-BKc5jw"
    assert not formatted.unfinished.exists()


def test_a_format_that_was_killed_is_forgotten(folder: DataFolder) -> None:
    folder.unfinished.mkdir(parents=True)
    (folder.unfinished / "meta.properties").write_text(META)
    folder.claim()
    assert not folder.unfinished.exists()
    assert not folder.is_formatted()
    folder.release()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda meta: meta.unlink(),
    "empty": lambda meta: meta.write_text(""),
    "cut": lambda meta: meta.write_text(META[:60]),
    "cut in an id": lambda meta: meta.write_text(META[:-40]),
    "not text": lambda meta: meta.write_bytes(b"\xff\x00\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_meta_properties_are_restored_and_no_event_is_touched(formatted: DataFolder, damage: str) -> None:
    log = write_events(formatted)
    DAMAGES[damage](formatted.data / "meta.properties")
    assert formatted.is_formatted()
    assert (formatted.data / "meta.properties").read_text() == META
    assert log.read_bytes() == b"events"


@pytest.mark.parametrize("damage", DAMAGES)
def test_data_that_cannot_be_read_are_refused_and_stay(formatted: DataFolder, damage: str) -> None:
    log = write_events(formatted)
    DAMAGES[damage](formatted.data / "meta.properties")
    DAMAGES[damage](formatted.path / "meta.properties")
    with pytest.raises(BadArtifact, match=r"meta\.properties is missing or damaged") as raised:
        formatted.is_formatted()
    assert "\n" not in str(raised.value)
    assert log.read_bytes() == b"events"


@pytest.mark.parametrize("damage", DAMAGES)
def test_without_data_a_damaged_folder_is_formatted_again(formatted: DataFolder, damage: str) -> None:
    DAMAGES[damage](formatted.data / "meta.properties")
    DAMAGES[damage](formatted.path / "meta.properties")
    assert not formatted.is_formatted()
    assert not formatted.data.exists()


def test_an_empty_data_folder_is_formatted_again(folder: DataFolder) -> None:
    folder.data.mkdir(parents=True)
    assert not folder.is_formatted()


def test_events_without_their_metadata_are_refused(formatted: DataFolder) -> None:
    write_events(formatted)
    for file in (formatted.data / "__cluster_metadata-0").iterdir():
        file.unlink()
    with pytest.raises(BadArtifact, match="__cluster_metadata-0 is missing or damaged"):
        formatted.is_formatted()


def test_a_lost_copy_is_made_again(formatted: DataFolder) -> None:
    (formatted.path / "meta.properties").unlink()
    assert formatted.is_formatted()
    assert (formatted.path / "meta.properties").read_text() == META


def test_a_second_owner_is_told_the_first_and_a_dead_one_is_none(folder: DataFolder) -> None:
    owner = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert owner.stdin
    assert owner.stdout
    with owner.stdin, owner.stdout:
        assert owner.stdout.readline() == "claimed\n"
        with pytest.raises(CanarecError, match=f"in use by process {owner.pid}"):
            folder.claim()
        owner.kill()  # not waited for: a zombie holds nothing
        folder.claim()
        folder.release()
        owner.wait()


def test_a_claim_that_fails_claims_nothing(folder: DataFolder) -> None:
    folder.path.mkdir()
    (folder.path / "logs").write_text("in the way")
    for _ in range(2):  # the second time it would be "in use"
        with pytest.raises(CanarecError, match="cannot keep the broker's data"):
            folder.claim()


def test_a_file_in_the_folders_place_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CanarecError, match="File exists"):
        DataFolder(tmp_path / "file").claim()
