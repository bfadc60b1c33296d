"""The provenance CSV's files: each row once through torn ends, full disks, lost and false checkpoints, rotation and compression."""

import errno
import gzip
import os
import shutil
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import CanarecError
from models.provenance import HEADER, Place, row
from models.row_index import RowIndex, index_name
from pipelines import provenance_csv
from pipelines.provenance import find
from streams import erasures, ledger, scribe
from streams.ledger import Gap, Ledger

LIFE, OTHER_LIFE = "life-1", "-life2"
DAY, NEXT_DAY, LAST_DAY = "2026-11-26", "2026-11-27", "2026-12-01"
LATER = datetime(2026, 12, 2, tzinfo=UTC).timestamp()
RECORD = (
    '{"request_id":"r%d-%d","user_id":"=u,1","status":"ok","recommendations":["m1","m2"],"scores":[0.5,0.25],'
    '"model_id":"als-2","model_version":"v1","variant":"stable","source":{"topic":"requests","partition":3,"offset":1},'
    '"served_at":"%sT08:00:00.123Z","latency_ms":7,"asked":null,"canary_percentage":10.0,"bucket":1,"config_sha256":"c",'
    '"model_sha256":"a","data_version":"d","catalog_sha256":"b","history_offsets":{"watch-events":{"0":5}}}'
)


def made(offset, partition=0, *, date=DAY, life=LIFE):
    return row((RECORD % (partition, offset, date)).encode(), Place(life, partition, offset))


def places(folder, date=None):
    return [
        (found["record_topic_id"], found["record_partition"], found["record_offset"])
        for found in provenance_csv.rows(folder, date)
    ]


def offsets(folder, partition=0, date=None):
    return [offset for life, number, offset in places(folder, date) if (life, number) == (LIFE, partition)]


def begun(folder, **settings):
    found = Ledger(folder, **settings)
    found.recover()
    return found


def index_of(path):
    return RowIndex.load(path.with_name(index_name(path.name)).read_bytes(), path.stat().st_size)


def no_sync(descriptor):
    """A kill of the process forgets nothing that was written."""


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "provenance"


# -- each row once ---------------------------------------------------------------------------------


def test_rows_are_appended_and_read_back(folder):
    one = begun(folder)
    one.append([made(0), made(1), made(0, 1)])
    one.append([made(2)])
    assert places(folder) == [(LIFE, 0, 0), (LIFE, 0, 1), (LIFE, 1, 0), (LIFE, 0, 2)]
    assert (one.position(LIFE, 0), one.position(LIFE, 1), one.position(LIFE, 2)) == (3, 1, 0)


def test_what_is_written_is_not_written_again(folder):
    begun(folder).append([made(0), made(1)])
    two = begun(folder)
    two.append([made(0), made(1), made(2)])
    two.append([made(1), made(2)])
    assert offsets(folder) == [0, 1, 2]


@pytest.mark.parametrize("saved", ["never", "before", "after"])
def test_a_kill_at_any_byte_of_the_last_rows_loses_and_doubles_none(folder, saved):
    one = begun(folder)
    one.append([made(0), made(1)])
    if saved == "before":
        one.save()
    (path,) = folder.glob("*.csv")
    before = path.stat().st_size
    one.append([made(2), made(3), made(0, 1)])
    if saved == "after":
        one.save()
    whole = path.read_bytes()
    for length in range(0 if saved == "never" else before, len(whole) + 1, 1 if saved == "before" else 7):
        path.write_bytes(whole[:length])
        two = begun(folder, sync=no_sync)
        kept = whole[:length].rpartition(b"\n")[0]
        assert path.read_bytes() == (kept + b"\n" if kept else b"")
        two.append(
            [made(2), made(3), made(0, 1)] if length >= before else [made(0), made(1), made(2), made(3), made(0, 1)]
        )
        assert path.read_bytes() == whole


def test_nulls_at_the_end_as_a_power_cut_leaves_them_are_cut_off(folder):
    one = begun(folder)
    one.append([made(0)])
    one.save()
    (path,) = folder.glob("*.csv")
    whole = path.read_bytes()
    path.write_bytes(whole + bytes(3000) + b"\n" + made(2).line)
    two = begun(folder)
    assert (path.read_bytes(), two.position(LIFE, 0)) == (whole, 1)


@given(
    days=st.lists(st.lists(st.sampled_from([DAY, NEXT_DAY, LAST_DAY]), max_size=5), min_size=1, max_size=3),
    batches=st.lists(st.integers(1, 4), max_size=6),
    data=st.data(),
)
@settings(max_examples=60)
def test_late_records_and_a_kill_between_two_files(tmp_path_factory, days, batches, data):
    """Records of any days in any partition, a batch at a time; after a kill at any write the rows have no hole."""
    folder = tmp_path_factory.mktemp("csv") / "provenance"
    records = [made(n, number, date=date) for number, dates in enumerate(days) for n, date in enumerate(dates)]
    one = begun(folder)
    writes = data.draw(st.integers(0, 6))
    plain = one._write

    def write(date, rows):
        nonlocal writes
        writes -= 1
        if writes < 0:
            raise KeyboardInterrupt  # a kill
        plain(date, rows)

    one._write = write
    left = list(records)
    try:
        for size in [*batches, len(records)]:
            one.append(left[:size])
            left = left[size:]
    except KeyboardInterrupt:
        pass
    two = begun(folder)
    two.append([found for found in records if found.place.offset >= two.position(LIFE, found.place.partition)])
    assert sorted(places(folder)) == sorted(tuple(found.place) for found in records)
    for date in (DAY, NEXT_DAY, LAST_DAY):
        assert len(places(folder, date)) == sum(found.date == date for found in records)


# -- a full disk -----------------------------------------------------------------------------------


class Disk:
    """os.write and fsync of a disk that is full after so many bytes."""

    def __init__(self, room):
        self.room = room

    def write(self, descriptor, content):
        if not self.room:
            raise OSError(errno.ENOSPC, "No space left on device")
        some = bytes(content[: self.room])
        self.room -= len(some)
        return os.write(descriptor, some)


@pytest.mark.parametrize("cut_back", [True, False])
def test_a_disk_that_fills_up_at_any_byte(folder, monkeypatch, cut_back):
    rows = [made(0), made(1), made(2)]
    begun(folder).append(rows)
    (path,) = folder.glob("*.csv")
    whole = path.read_bytes()
    for room in range(0, len(whole), 5):
        shutil.rmtree(folder)
        one, disk = begun(folder, sync=no_sync), Disk(room)
        with monkeypatch.context() as patched:
            patched.setattr(
                ledger, "_write_all", lambda descriptor, content, disk=disk: write_all(disk, descriptor, content)
            )
            if not cut_back:
                patched.setattr(os, "ftruncate", Disk(0).write)
            with pytest.raises(OSError, match="No space"):
                one.append(rows)
            if cut_back:
                assert path.read_bytes() == b""
        one.append(rows)
        assert path.read_bytes() == whole


def write_all(disk, descriptor, content):
    while content:
        content = content[disk.write(descriptor, content) :]


def test_what_could_not_be_synced_is_not_believed(folder):
    broken = [True]

    def sync(descriptor):
        if broken[0]:
            raise OSError(errno.EIO, "Input/output error")
        os.fsync(descriptor)

    one = begun(folder, sync=sync)
    with pytest.raises(OSError, match="Input/output"):
        one.append([made(0)])
    assert (one.position(LIFE, 0), offsets(folder)) == (0, [])
    broken[0] = False
    one.append([made(0)])
    assert offsets(folder) == [0]


# -- checkpoints -----------------------------------------------------------------------------------


def test_a_start_reads_only_what_came_after_the_checkpoint(folder):
    one = begun(folder)
    one.append([made(0), made(1)])
    one.save()
    one.append([made(2)])
    (path,) = folder.glob("*.csv")
    content = path.read_bytes()
    path.write_bytes(content.replace(b",1\n", b",9\n", 1))  # an offset that nobody looks at any more
    assert begun(folder).position(LIFE, 0) == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"sizes": {"2026-11-26.csv": 1}}', b"\xff"])
def test_a_damaged_or_missing_checkpoint_is_harmless(folder, content):
    one = begun(folder)
    one.append([made(0), made(1)])
    one.save()
    (folder / ".checkpoint.json").write_bytes(content)
    assert begun(folder).position(LIFE, 0) == 2
    (folder / ".checkpoint.json").unlink()
    assert begun(folder).position(LIFE, 0) == 2


def test_a_checkpoint_that_is_ahead_of_the_files_is_not_believed(folder):
    one = begun(folder)
    one.append([made(0)])
    (path,) = folder.glob("*.csv")
    backup = path.read_bytes()
    one.append([made(1), made(0, date=NEXT_DAY, partition=1)])
    one.save()
    path.write_bytes(backup)
    assert begun(folder).position(LIFE, 0) == 1
    (folder / f"{NEXT_DAY}.csv").unlink()
    assert begun(folder).position(LIFE, 1) == 0


def test_markers_are_passed_by_and_remembered(folder):
    one = begun(folder)
    one.append([made(0)])
    one.passed(Place(LIFE, 0, 2))
    one.save()
    assert begun(folder).position(LIFE, 0) == 2


def test_a_topic_that_was_made_anew_begins_at_its_own_offsets(folder):
    one = begun(folder)
    one.append([made(0), made(1)])
    one.append([made(0, life=OTHER_LIFE)])
    two = begun(folder)
    assert (two.position(LIFE, 0), two.position(OTHER_LIFE, 0)) == (2, 1)
    assert places(folder) == [(LIFE, 0, 0), (LIFE, 0, 1), (OTHER_LIFE, 0, 0)]


def test_a_gap_is_recorded_counted_and_not_looked_for_again(folder):
    one = begun(folder)
    one.append([made(0)])
    gap = Gap("provenance", LIFE, 0, 1, 9, "2026-11-27T08:00:00.000Z")
    one.lose(gap)
    with (folder / "gaps.jsonl").open("a") as file:
        file.write('{"topic": "prov')  # torn by a kill
    two = begun(folder)
    two.lose(Gap("provenance", LIFE, 1, 0, 0, "2026-11-27T08:00:00.000Z"))
    assert (two.position(LIFE, 0), two.lost, two.gaps()[0]) == (10, 10, gap)
    assert begun(folder).lost == 10


# -- others' hands ---------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["unlink", "write_bytes"])
def test_a_file_that_somebody_takes_away_is_noticed_and_written_again(folder, change):
    one = begun(folder)
    one.append([made(0)])
    one.save()
    (path,) = folder.glob("*.csv")
    getattr(path, change)(*[b""] * (change == "write_bytes"))
    with pytest.raises(ledger.Changed):
        one.append([made(1)])
    with pytest.raises(ledger.Changed):
        one.append([made(1)])
    one.append([made(0), made(1)])
    assert offsets(folder) == [0, 1]


def test_files_of_others_are_left_alone(folder):
    folder.mkdir()
    (folder / f"{DAY}.csv").write_text("my,notes\n1,2")
    (folder / "notes.csv").write_text("x")
    begun(folder).append([made(0)])
    assert names(folder) == [f"{DAY}.2.csv", f"{DAY}.csv", "notes.csv"]
    assert (folder / f"{DAY}.csv").read_text() == "my,notes\n1,2"
    assert offsets(folder) == [0]


def test_who_may_read_it(folder):
    begun(folder).append([made(0)])
    assert (folder / f"{DAY}.csv").stat().st_mode & 0o777 & ~0o640 == 0


# -- files -----------------------------------------------------------------------------------------


def test_each_day_has_its_file_and_its_header(folder):
    begun(folder).append([made(0), made(1, date=NEXT_DAY), made(2, date=DAY)])
    assert names(folder) == [f"{DAY}.csv", f"{NEXT_DAY}.csv"]
    assert [path.read_bytes().count(HEADER) for path in provenance_csv.files(folder)] == [1, 1]
    assert (offsets(folder, date=DAY), offsets(folder, date=NEXT_DAY)) == ([0, 2], [1])


def test_a_full_file_is_followed_by_the_next_part(folder):
    one = begun(folder, part_bytes=len(HEADER) + 2 * len(made(0).line))
    for offset in range(12):
        one.append([made(offset)])
    assert names(folder) == sorted([f"{DAY}.csv", *(f"{DAY}.{n}.csv" for n in range(2, 7))])
    assert offsets(folder) == list(range(12))


def test_a_file_with_another_header_is_not_appended_to(folder):
    folder.mkdir()
    path = folder / f"{DAY}.csv"
    path.write_bytes(HEADER.replace(b"request_id,", b"") + made(0).line.partition(b",")[2])
    one = begun(folder)
    assert one.position(LIFE, 0) == 1
    one.append([made(1)])
    assert names(folder) == [f"{DAY}.2.csv", f"{DAY}.csv"]
    assert offsets(folder) == [0, 1]
    assert "request_id" not in next(provenance_csv.rows(folder))


def compressed(one, folder, today=LAST_DAY):
    for path in folder.glob("*.csv"):
        os.utime(path, (LATER - 4_000, LATER - 4_000))
    while one.compress(LATER, today):
        pass


def test_days_that_have_ended_are_compressed(folder):
    one = begun(folder)
    one.append([made(0), made(1, date=LAST_DAY)])
    before = (folder / f"{DAY}.csv").read_bytes()
    compressed(one, folder)
    assert names(folder) == [f"{DAY}.csv.gz", f"{LAST_DAY}.csv"]
    assert gzip.decompress((folder / f"{DAY}.csv.gz").read_bytes()) == before
    assert offsets(folder) == [0, 1]
    assert begun(folder).position(LIFE, 0) == 2


def test_a_day_rests_for_a_while_first(folder):
    one = begun(folder)
    one.append([made(0)])
    assert not one.compress((folder / f"{DAY}.csv").stat().st_mtime + 3_599, LAST_DAY)


def test_a_late_record_of_a_compressed_day_begins_a_part(folder):
    one = begun(folder)
    one.append([made(0)])
    compressed(one, folder)
    one.append([made(1)])
    two = begun(folder)
    two.append([made(2)])
    assert names(folder) == [f"{DAY}.2.csv", f"{DAY}.csv.gz"]
    assert offsets(folder) == [0, 1, 2]


def test_a_record_that_comes_while_its_file_is_compressed_begins_a_part(folder, monkeypatch):
    monkeypatch.setattr(ledger, "SLICE_BYTES", 100)
    one = begun(folder)
    one.append([made(0)])
    os.utime(folder / f"{DAY}.csv", (0, 0))
    assert one.compress(LATER, LAST_DAY)
    one.append([made(1)])
    for _ in range(100):
        one.compress(LATER, DAY)  # the same day: the part of the late record stays open
    assert names(folder) == [f"{DAY}.2.csv", f"{DAY}.csv.gz"]
    assert offsets(folder) == [0, 1]


@pytest.mark.parametrize("saved", [True, False])
def test_a_kill_between_the_compressed_file_and_the_end_of_the_other_doubles_nothing(folder, saved):
    one = begun(folder)
    one.append([made(0), made(1)])
    if saved:
        one.save()
    content = (folder / f"{DAY}.csv").read_bytes()
    compressed(one, folder)
    (folder / f"{DAY}.csv").write_bytes(content)
    (folder / f".{DAY}.csv.gz.partial").write_bytes(b"half")
    if not saved:
        (folder / ".checkpoint.json").unlink()
    assert offsets(folder) == [0, 1]
    two = begun(folder)
    two.append([made(1), made(2)])
    assert names(folder) == [f"{DAY}.2.csv", f"{DAY}.csv.gz"]
    assert offsets(folder) == [0, 1, 2]
    assert not list(folder.glob(".*.partial"))


def test_old_days_may_be_taken_away(folder):
    one = begun(folder)
    one.append([made(0)])
    compressed(one, folder)
    (folder / f"{DAY}.csv.gz").unlink()
    assert begun(folder).position(LIFE, 0) == 1


def test_a_damaged_compressed_file_is_told_of_by_its_name(folder):
    one = begun(folder)
    one.append([made(offset) for offset in range(30)])
    compressed(one, folder)
    path = folder / f"{DAY}.csv.gz"
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(Exception, match=f"{DAY}.csv.gz: is damaged"):
        list(provenance_csv.rows(folder))


def test_what_is_being_written_is_no_row_yet(folder):
    begun(folder).append([made(0)])
    with (folder / f"{DAY}.csv").open("ab") as file:
        file.write(made(1).line[:-20])
    assert offsets(folder) == [0]


def test_a_day_is_a_day(folder):
    with pytest.raises(Exception, match=r"'\.\./x' is not a day: YYYY-MM-DD"):
        list(provenance_csv.rows(folder, "../x"))


def test_a_row_of_a_compressed_file_is_found_by_reading_its_member_alone(folder, monkeypatch):
    monkeypatch.setattr(ledger, "SLICE_BYTES", 1_000)
    one = begun(folder)
    one.append([made(offset) for offset in range(30)])
    compressed(one, folder)
    path = folder / f"{DAY}.csv.gz"
    index = index_of(path)
    start, end = index.spans(b"r0-20,")[0]
    middle = len(path.read_bytes()[:start]) // 2
    damaged = bytearray(path.read_bytes())
    damaged[middle : middle + 20] = bytes(20)  # what is not read may be anything
    path.write_bytes(damaged)
    assert find("r0-20", folder).record["request_id"] == "r0-20"
    assert find("r0-99", folder) is None
    assert end - start < path.stat().st_size / 4


@pytest.mark.parametrize("index", [b"", b"PK", None])
def test_without_its_index_a_compressed_file_is_searched_all_the_same(folder, index):
    one = begun(folder)
    one.append([made(offset) for offset in range(30)])
    compressed(one, folder)
    path = folder / index_name(f"{DAY}.csv.gz")
    if index is None:
        path.unlink()
    else:
        path.write_bytes(index)
    assert find("r0-20", folder).record["request_id"] == "r0-20"


def test_an_index_goes_with_its_file(folder):
    one = begun(folder)
    one.append([made(0)])
    compressed(one, folder)
    (folder / f"{DAY}.csv.gz").unlink()
    begun(folder)
    assert not (folder / index_name(f"{DAY}.csv.gz")).exists()


# -- erasure ---------------------------------------------------------------------------------------


def of_user(user, offset, *, date=DAY):
    text = (RECORD % (0, offset, date)).replace("=u,1", user)
    return row(text.encode(), Place(LIFE, 0, offset))


@pytest.mark.parametrize("user", ["ann", "=u,1", 'a"b', "zoë", "a\\\\b"])
def test_an_erased_user_s_rows_are_gone_and_no_others(folder, user):
    one = begun(folder)
    name = user.replace('"', '\\"')
    one.append([of_user(name, 0), of_user("x" + name, 1), of_user(name, 2), of_user("bob", 3)])
    text = user.replace("\\\\", "\\")
    assert one.erase(text) == ["r0-0", "r0-2"]
    assert offsets(folder) == [1, 3]


def test_a_kept_position_is_not_written_again_after_an_erasure(folder):
    one = begun(folder)
    one.append([of_user("bob", 0), of_user("ann", 1)])
    one.erase("ann")
    two = begun(folder)
    assert two.position(LIFE, 0) == 2


def test_a_ledger_goes_on_after_an_erasure(folder):
    one = begun(folder)
    one.append([of_user("ann", 0), of_user("bob", 1)])
    one.erase("ann")
    one.append([of_user("bob", 2)])
    assert offsets(folder) == [1, 2]


def test_a_compressed_day_is_rewritten_with_its_index(folder):
    one = begun(folder)
    one.append([of_user("ann", 0), of_user("bob", 1)])
    os.utime(folder / f"{DAY}.csv", (0, 0))
    while one.compress(LATER, LAST_DAY):
        pass
    assert names(folder) == [f"{DAY}.csv.gz"]
    assert one.erase("ann") == ["r0-0"]
    assert offsets(folder) == [1]
    assert index_of(folder / f"{DAY}.csv.gz") is not None
    assert (find("r0-1", folder) is not None, find("r0-0", folder)) == (True, None)


def test_an_erasure_keeps_who_may_read_the_file(folder):
    one = begun(folder)
    one.append([of_user("ann", 0), of_user("bob", 1)])
    mode = (folder / f"{DAY}.csv").stat().st_mode
    one.erase("ann")
    assert (folder / f"{DAY}.csv").stat().st_mode == mode


def test_without_a_writer_the_rows_are_erased_here(folder):
    begun(folder).append([of_user("ann", 0), of_user("bob", 1)])
    assert erasures.from_csv(folder, "ann", "ab12") == ["r0-0"]
    assert offsets(folder) == [1]
    assert not list((folder / ".erase").iterdir())  # the name goes, too


def test_a_writer_that_does_not_answer_is_told_of(folder):
    begun(folder).append([of_user("ann", 0)])
    lock = scribe.locked(folder)
    with pytest.raises(CanarecError, match="stop the workers"):
        erasures.from_csv(folder, "ann", "ab12", patience_s=0.3)
    os.close(lock)
    assert not list((folder / ".erase").iterdir())
