"""Laws of the histories' snapshots: what was saved comes back, anything else is not used."""

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs

from models.events import Rating, Watch
from models.history import Histories, Ids
from streams import erasures
from streams.snapshots import MANIFEST, SEED, PartitionCut, TopicCut, drop, load, mismatch, save

TOPICS = {
    "watch-events": TopicCut({0: PartitionCut(17, 3), 1: PartitionCut(0)}, "Xo3vZ1qATZ-0"),
    "rating-events": TopicCut({0: PartitionCut(2**40)}),
}
COLUMNS: dict[str, list[np.ndarray]] = {
    "odd": [np.array([1, 2, 3], np.uint8)],
    "even": [np.array([7], np.int64), np.array([8, 9], np.int64)],
}


def histories(minute: int = 12) -> Histories:
    folded = Histories(Ids())
    folded.apply([Watch("ann", "heat+1995", minute, 1_000), Rating("zoë", "alien+1979", 4.5, 2_000)])
    folded.finish_loading()
    folded.apply([Watch("bob", "heat+1995", 3, 3_000)])
    return folded


def minute_of_ann(folder: Path) -> int | None:
    snapshot = load(folder)
    if snapshot is None:
        return None
    return int(Histories.from_arrays(snapshot.arrays, Ids()).interactions("ann").minute[0])


def test_histories_come_back(tmp_path: Path) -> None:
    saved = histories()
    save(tmp_path, saved.freeze().columns(), TOPICS)
    snapshot = load(tmp_path)
    assert snapshot is not None
    again = Histories.from_arrays(snapshot.arrays, Ids())
    for user in ("ann", "bob", "zoë"):
        assert str(again.interactions(user)) == str(saved.interactions(user))


def test_offsets_and_identity_come_back(tmp_path: Path) -> None:
    save(tmp_path, COLUMNS, TOPICS)
    snapshot = load(tmp_path)
    assert snapshot is not None
    assert snapshot.topics == TOPICS


def test_pieces_come_back_end_to_end(tmp_path: Path) -> None:
    save(tmp_path, COLUMNS, TOPICS)
    snapshot = load(tmp_path)
    assert snapshot is not None
    assert {name: column.tolist() for name, column in snapshot.arrays.items()} == {"odd": [1, 2, 3], "even": [7, 8, 9]}
    assert {name: str(column.dtype) for name, column in snapshot.arrays.items()} == {"odd": "uint8", "even": "int64"}


def test_no_histories_at_all_come_back(tmp_path: Path) -> None:
    save(tmp_path, Histories(Ids()).freeze().columns(), {})
    snapshot = load(tmp_path)
    assert snapshot is not None
    assert Histories.from_arrays(snapshot.arrays, Ids()).n_interactions == 0


def test_the_newest_one_counts_and_the_older_ones_are_deleted(tmp_path: Path) -> None:
    for minute in (1, 2, 3):
        newest = save(tmp_path, histories(minute).freeze().columns(), TOPICS)
    assert minute_of_ann(tmp_path) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([MANIFEST, newest.name])


def test_the_same_histories_may_be_saved_again(tmp_path: Path) -> None:
    for _ in range(2):
        save(tmp_path, histories(5).freeze().columns(), TOPICS)
    assert minute_of_ann(tmp_path) == 5


def test_a_mapped_snapshot_outlives_the_next_save(tmp_path: Path) -> None:
    save(tmp_path, COLUMNS, TOPICS)
    old = load(tmp_path)
    save(tmp_path, {"odd": [np.zeros(3, np.uint8)]}, TOPICS)
    assert old is not None
    assert old.arrays["odd"].tolist() == [1, 2, 3]


# -- killed half-way ------------------------------------------------------------------------------


def test_what_a_killed_save_left_is_ignored_and_then_deleted(tmp_path: Path) -> None:
    save(tmp_path, histories(1).freeze().columns(), TOPICS)
    (tmp_path / "histories.part").write_bytes(b"half a colu")
    (tmp_path / "histories-0123456789abcdef.bin").write_bytes(b"complete, but no manifest names it")
    assert minute_of_ann(tmp_path) == 1
    newest = save(tmp_path, histories(2).freeze().columns(), TOPICS)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([MANIFEST, newest.name])


class FullDisk:
    """Pieces of which the last one finds the disk full."""

    dtype = np.dtype(np.int64)

    def __len__(self) -> int:
        return 1

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_full_disk_leaves_the_old_snapshot(tmp_path: Path) -> None:
    data = save(tmp_path, histories(1).freeze().columns(), TOPICS)
    full: Any = FullDisk()
    with pytest.raises(OSError, match="No space"):
        save(tmp_path, {**COLUMNS, "more": [np.zeros(1, np.int64), full]}, TOPICS)
    assert minute_of_ann(tmp_path) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([MANIFEST, data.name])


def test_other_columns_than_whole_numbers_are_not_saved(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="float64"):
        save(tmp_path, {"column": [np.zeros(1)]}, TOPICS)
    assert list(tmp_path.iterdir()) == []


# -- what is not used -----------------------------------------------------------------------------


def truncated(data: Path, manifest: Path) -> None:
    data.write_bytes(data.read_bytes()[:-1])


def one_bit(data: Path, manifest: Path) -> None:
    content = bytearray(data.read_bytes())
    content[len(content) // 2] ^= 1
    data.write_bytes(content)


def another_offset(data: Path, manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace(str(2**40), str(2**40 + 1)))


def another_column(data: Path, manifest: Path) -> None:
    manifest.write_text(manifest.read_text().replace('"<i8"', '"|u1"', 1))


def another_format(data: Path, manifest: Path) -> None:
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": "histories-0"}))


def half_a_manifest(data: Path, manifest: Path) -> None:
    manifest.write_bytes(manifest.read_bytes()[:100])


def no_manifest_at_all(data: Path, manifest: Path) -> None:
    manifest.write_bytes(b"[]")


def not_utf8(data: Path, manifest: Path) -> None:
    manifest.write_bytes(b'{"format": "\xff"}')


def a_folder_for_a_file(data: Path, manifest: Path) -> None:
    data.unlink()
    data.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        truncated,
        one_bit,
        another_offset,
        another_column,
        another_format,
        half_a_manifest,
        no_manifest_at_all,
        not_utf8,
        a_folder_for_a_file,
    ],
    ids=lambda damage: damage.__name__,
)
def test_a_damaged_snapshot_is_not_used_and_the_log_says_why(
    tmp_path: Path, damage: Callable[[Path, Path], None]
) -> None:
    damage(save(tmp_path, histories().freeze().columns(), TOPICS), tmp_path / MANIFEST)
    with capture_logs() as logs:
        assert load(tmp_path) is None
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("snapshot_refused", "warning")]
    assert logs[0]["reason"]


@pytest.mark.parametrize("gone", [MANIFEST, "histories-*.bin"])
def test_a_snapshot_with_a_file_missing_is_not_used(tmp_path: Path, gone: str) -> None:
    save(tmp_path, histories().freeze().columns(), TOPICS)
    next(tmp_path.glob(gone)).unlink()
    with capture_logs() as logs:
        assert load(tmp_path) is None
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("snapshot_missing", "info")]


def test_a_manifest_names_no_file_of_another_folder(tmp_path: Path) -> None:
    data = save(tmp_path / "one", COLUMNS, TOPICS)
    save(tmp_path / "two", COLUMNS, {})
    manifest = tmp_path / "two" / MANIFEST
    text = json.loads((tmp_path / "one" / MANIFEST).read_text())
    manifest.write_text(json.dumps({**text, "file": f"../one/{data.name}"}))
    assert load(tmp_path / "two") is None


def test_a_folder_that_never_was_has_no_snapshot(tmp_path: Path) -> None:
    assert load(tmp_path / "never") is None


def test_a_dropped_snapshot_is_gone(tmp_path: Path) -> None:
    save(tmp_path, COLUMNS, TOPICS)
    drop(tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert load(tmp_path) is None


# -- does it still belong to the topic? -----------------------------------------------------------

CUT = TopicCut({0: PartitionCut(10, 2), 1: PartitionCut(0)}, "AbC")


@pytest.mark.parametrize(
    ("topic_id", "lows", "ends", "why"),
    [
        ("AbC", {0: 2, 1: 0}, {0: 10, 1: 0}, None),
        ("AbC", {0: 2, 1: 0}, {0: 99, 1: 99}, None),
        (None, {0: 2, 1: 0}, {0: 10, 1: 0}, None),
        ("AbC", {0: 10, 1: 0}, {0: 10, 1: 0}, None),
        ("AbC", {0: 2, 1: 0, 2: 0}, {0: 10, 1: 0, 2: 5}, None),
        ("Other", {0: 2, 1: 0}, {0: 10, 1: 0}, "made anew"),
        ("AbC", {0: 2, 1: 0}, {0: 9, 1: 0}, "ends at 9"),
        ("AbC", {0: 2}, {0: 10}, "partition 1 is gone"),
        ("AbC", {0: 11, 1: 0}, {0: 20, 1: 0}, "begins at 11"),
        ("AbC", {0: 0, 1: 0}, {0: 20, 1: 0}, "made anew"),
    ],
)
def test_a_cut_is_read_on_only_in_the_topic_that_it_was_made_of(
    topic_id: str | None, lows: dict[int, int], ends: dict[int, int], why: str | None
) -> None:
    found = mismatch(CUT, topic_id, lows, ends)
    assert found == why if why is None or found is None else why in found


# -- erasure ---------------------------------------------------------------------------------------


def test_a_snapshot_with_an_erased_user_is_dropped_and_another_one_stays(tmp_path: Path) -> None:
    save(tmp_path / "one", histories().freeze().columns(), TOPICS)
    without = histories()
    without.forget("ann")
    save(tmp_path / "two", without.freeze().columns(), TOPICS)
    assert erasures.from_snapshots(tmp_path, "ann") == 1
    assert (load(tmp_path / "one"), load(tmp_path / "two") is not None) == (None, True)
    assert not list((tmp_path / "one").glob("*.bin"))


def test_a_damaged_snapshot_may_have_anybody(tmp_path: Path) -> None:
    data = save(tmp_path / "one", histories().freeze().columns(), TOPICS)
    data.write_bytes(b"?")
    assert erasures.from_snapshots(tmp_path, "nobody") == 1
    assert not data.exists()


def test_a_seed_has_all_events_and_is_found_beside_the_workers(tmp_path: Path) -> None:
    erasures.seed(tmp_path, [[Watch("ann", "heat+1995", 7, 1_000)]], dict(TOPICS))
    assert minute_of_ann(tmp_path / SEED) == 7
