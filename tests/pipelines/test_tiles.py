"""The archive's files: they tile, nothing counts twice at whatever moment a writer died, and what is damaged or gone is told."""

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadArtifact, CanarecError
from models.wire import Limits
from pipelines import archive, columns, parquet, tiles
from pipelines.tiles import MANY, Gap, Partition

TOPIC = "watch-events"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def partition(tmp_path):
    return Partition(tmp_path / "archive", TOPIC, 0)


def store(partition, first, after, *, bad=0, step=1):
    """A file of the offsets from `first` to below `after`; the last `bad` of them were refused."""
    value = b'{"user_id": "u%d", "movie_id": "m%d", "minute": 3, "timestamp": 1700000000}'
    messages = [(n, 1_700_000_000_000, None, value % (n % 7, n)) for n in range(first, after - bad, step)]
    rows, refused = columns.batch(TOPIC, partition.number, messages + [(after - 1, 0, None, b"?")] * bad, Limits())
    with partition.writing(first) as writing:
        writing.add(rows, refused)
        return writing.finish(after - 1, after)


def names(partition):
    return sorted(path.name for path in partition.folder.iterdir())


def offsets(partition):
    return archive.table(partition.archive, TOPIC)["offset"].to_pylist()


def test_a_file_says_which_offsets_it_covers_and_what_was_refused(partition):
    path = store(partition, 5, 20, bad=3)
    assert path.relative_to(partition.archive) == Path(TOPIC, "0", "5-19.parquet")
    said = {name.decode(): value.decode() for name, value in pq.read_metadata(path).metadata.items()}
    assert said.pop("ARROW:schema")
    assert said == {
        "topic": TOPIC, "partition": "0", "first": "5", "last": "19", "committed_until": "20", "refused": '{"not_json": 3}',
    }  # fmt: skip


def test_a_file_that_was_not_finished_is_not_there(partition):
    store(partition, 0, 10)
    with pytest.raises(KeyboardInterrupt), partition.writing(10):
        raise KeyboardInterrupt
    assert names(partition) == ["0-9.parquet"]


def test_what_a_killed_writer_left_is_removed(partition):
    store(partition, 0, 10)
    (partition.folder / ".10.partial").write_bytes(b"PAR1")
    (partition.folder / "._0-5.gap.json.partial").write_bytes(b"{")
    assert partition.tidy() == []
    assert names(partition) == ["0-9.parquet"]


# -- ranges ----------------------------------------------------------------------------------------


def touch(folder, ranges):
    folder.mkdir(parents=True)
    for first, last in ranges:
        (folder / f"{first}-{last}.parquet").touch()


@given(st.sets(st.integers(1, 30), max_size=8), st.sets(st.integers(0, 8)), st.integers(0, 40))
def test_holes_are_the_offsets_that_nothing_covers(cuts, gone, end):
    bounds = [0, *sorted(cuts), 31]
    ranges = [(first, after - 1) for n, (first, after) in enumerate(itertools.pairwise(bounds)) if n not in gone]
    covered = {offset for first, last in ranges for offset in range(first, last + 1)}
    missing = []
    while (hole := tiles.first_hole(ranges, end)) is not None:
        first, after = hole
        missing += range(first, after)
        ranges.append((first, after - 1))
    assert missing == [offset for offset in range(end) if offset not in covered]


def test_ranges_that_overlap_without_covering_each_other_are_refused(partition):
    touch(partition.folder, [(0, 9), (5, 14)])
    with pytest.raises(BadArtifact, match=r"5-14.parquet: has offsets of 0-9.parquet, too"):
        partition.tiles()


def test_a_span_begins_with_the_first_file_and_ends_with_all_that_is_accounted_for(partition):
    partition.record(Gap(TOPIC, 0, 0, 9, "retention"))
    assert partition.span() == (10, 10)
    store(partition, 10, 20)
    partition.record(Gap(TOPIC, 0, 20, 29, "retention"))
    assert archive.spans(partition.archive, TOPIC) == {0: (10, 30)}


def test_gaps_are_kept_and_say_why(partition):
    gap = Gap(TOPIC, 0, 3, 9, "retention")
    partition.record(gap)
    assert archive.gaps(partition.archive) == [gap]
    assert str(gap) == (
        "watch-events/0: offsets 3 to 9 are missing: the topic's retention dropped them before they were archived"
    )


# -- damage ----------------------------------------------------------------------------------------


def half(path):
    os.truncate(path, path.stat().st_size // 2)


def emptied(path):
    os.truncate(path, 0)


def other(path):
    path.write_bytes(b"PAR1 and what is no footer PAR1")


def anothers(path):
    store(Partition(path.parents[2], TOPIC, 7), 10, 20).replace(path)


@pytest.mark.parametrize("damage", [half, emptied, other, anothers])
def test_a_file_that_is_not_what_its_name_says_is_set_aside_and_is_a_hole(partition, damage):
    store(partition, 0, 10)
    damage(store(partition, 10, 20))
    store(partition, 20, 30)
    [aside] = partition.tidy()
    assert aside.name == "_10-19.parquet.damaged"
    assert partition.hole(30) == (10, 20)
    assert offsets(partition) == [*range(10), *range(20, 30)]
    assert partition.lose(10, 20).reason == "damaged"
    assert partition.lose(20, 30).reason == "retention"


def test_a_flipped_bit_is_found_when_its_page_is_read(partition):
    path = store(partition, 0, 1_000)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadArtifact, match=r"0-999.parquet: is damaged .* the next archiving reads its offsets again"):
        archive.table(partition.archive, TOPIC)


def test_half_a_file_that_nobody_has_tidied_is_one_clear_error(partition):
    half(store(partition, 0, 10))
    with pytest.raises(BadArtifact, match=r"0-9.parquet: is damaged \("):
        archive.table(partition.archive, TOPIC)


FILL = """
import resource, sys
from pathlib import Path
import numpy as np
import pyarrow as pa
from pipelines import columns, parquet
from pipelines.tiles import Partition
rows = parquet.GROUP_ROWS
schema = columns.layout("watch-events").schema
noise = np.random.default_rng(0).integers(0, 2**40, (len(schema), rows))  # nothing that could be compressed
rows = pa.table([pa.array(values).cast(pa.string()) for values in noise], schema.names)
rows = rows.set_column(0, "partition", pa.array(noise[0] % 2, pa.int32())).set_column(1, "offset", pa.array(noise[1]))
rows = rows.set_column(2, "logged_at", pa.array(noise[2], columns.TIME)).set_column(6, "timestamp", pa.array(noise[3], columns.TIME))
rows = rows.set_column(5, "minute", pa.array(noise[4] % 1000, pa.int32())).combine_chunks().to_batches()[0]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with Partition(Path(sys.argv[1]), "watch-events", 0).writing(10) as writing:
        writing.add(pa.record_batch(rows.columns, schema=schema), {})
except OSError as error:
    print(error.filename, error.strerror, sep=": ")
"""


def test_a_disk_that_takes_no_more_is_an_error_that_names_the_file_and_leaves_the_archive_whole(partition):
    store(partition, 0, 10)
    told = subprocess.run(
        [sys.executable, "-c", FILL, str(partition.archive)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert told.stdout == f"{partition.folder / '.10.partial'}: File too large\n"
    assert told.stderr == ""
    assert names(partition) == ["0-9.parquet"]
    assert offsets(partition) == list(range(10))


# -- compaction ------------------------------------------------------------------------------------


def many(partition, *, size=10, files=MANY):
    return [store(partition, n * size, (n + 1) * size, bad=1) for n in range(files)]


def test_small_files_become_one_with_the_same_rows(partition):
    many(partition)
    before, refused = archive.table(partition.archive, TOPIC), archive.refused(partition.archive, TOPIC)
    assert archive.compact(partition.archive, TOPIC) == MANY
    assert names(partition) == [f"0-{MANY * 10 - 1}.parquet"]
    assert archive.table(partition.archive, TOPIC) == before
    assert archive.refused(partition.archive, TOPIC) == refused == {"not_json": MANY}


def flip(path, column="user_id"):
    """One bit in a page; the footer stays whole."""
    group = pq.read_metadata(path).row_group(0)
    chunk = next(group.column(n) for n in range(group.num_columns) if group.column(n).path_in_schema == column)
    content = bytearray(path.read_bytes())
    content[chunk.data_page_offset + chunk.total_compressed_size // 4] ^= 1
    path.write_bytes(content)


def test_a_file_that_is_found_damaged_while_it_is_joined_is_set_aside_and_the_rest_stays(partition):
    paths = many(partition, size=100)
    before = {path.name: path.read_bytes() for path in paths}
    flip(paths[3])
    assert partition.tidy() == []
    with pytest.raises(BadArtifact, match=r"300-399.parquet: is damaged"):
        partition.compact()
    assert partition.hole(MANY * 100) == (300, 400)
    assert partition.lose(300, 400).reason == "damaged"
    del before["300-399.parquet"]
    assert names(partition) == sorted([*before, "_300-399.parquet.damaged"])
    assert all((partition.folder / name).read_bytes() == content for name, content in before.items())


def test_too_little_memory_is_no_damage():
    path = Path("0-9.parquet")
    assert not isinstance(parquet.damaged(path, pa.ArrowMemoryError("malloc of size 64 failed")), parquet.Damaged)
    assert not isinstance(parquet.damaged(path, OSError(24, "Too many open files")), parquet.Damaged)
    assert isinstance(parquet.damaged(path, OSError("CRC checksum verification failed")), parquet.Damaged)


def test_fewer_wait_for_others(partition):
    many(partition, files=MANY - 1)
    assert partition.compact() == 0


def test_the_same_small_files_give_the_same_bytes(tmp_path):
    found = set()
    for name in ("one", "other"):
        partition = Partition(tmp_path / name, TOPIC, 0)
        many(partition)
        partition.compact()
        found.add(partition.tiles()[0].path.read_bytes())
    assert len(found) == 1


def test_a_writer_that_died_before_the_small_files_were_gone_counts_nothing_twice(partition):
    small = [(path, path.read_bytes()) for path in many(partition)]
    before = archive.table(partition.archive, TOPIC)
    partition.compact()
    for path, content in small[3:]:  # it had got as far as the third
        path.write_bytes(content)
    assert archive.table(partition.archive, TOPIC) == before
    assert archive.refused(partition.archive, TOPIC) == {"not_json": MANY}
    assert partition.tidy() == []
    assert names(partition) == [f"0-{MANY * 10 - 1}.parquet"]


def test_a_damaged_large_file_gives_way_to_the_small_ones_that_are_still_there(partition):
    small = [(path, path.read_bytes()) for path in many(partition)]
    before = archive.table(partition.archive, TOPIC)
    partition.compact()
    for path, content in small:
        path.write_bytes(content)
    half(partition.tiles()[0].path)
    partition.tidy()
    assert archive.table(partition.archive, TOPIC) == before


def test_files_never_grow_past_their_limit_and_full_ones_are_left_alone(partition):
    many(partition, files=3 * MANY)
    partition.compact(most_rows=50)
    sizes = [pq.read_metadata(tile.path).num_rows for tile in partition.tiles()]
    assert sizes == [45] * 4 + [9] * 4
    assert partition.compact(most_rows=50) == 0


def test_files_beside_a_gap_are_not_joined_over_it(partition):
    many(partition)
    store(partition, 200, 210)
    partition.record(Gap(TOPIC, 0, MANY * 10, 199, "retention"))
    partition.compact()
    assert [tile.first for tile in partition.tiles()] == [0, 200]


# -- lives -----------------------------------------------------------------------------------------


def test_another_topic_of_the_same_name_begins_anew_and_the_files_of_the_first_are_kept(partition):
    assert tiles.identify(partition.archive, TOPIC, "first", 2) is None
    store(partition, 0, 10)
    kept = tiles.identify(partition.archive, TOPIC, "second", 3)
    assert kept is not None
    assert (kept / "0" / "0-9.parquet").is_file()
    assert archive.spans(partition.archive, TOPIC) == {0: (0, 0), 1: (0, 0), 2: (0, 0)}
    assert archive.table(partition.archive, TOPIC).num_rows == 0


def test_the_first_topic_finds_its_files_again(partition):
    for life, after in (("first", 10), ("second", 5)):
        tiles.identify(partition.archive, TOPIC, life, 1)
        store(partition, 0, after)
    tiles.identify(partition.archive, TOPIC, "first", 1)
    assert archive.spans(partition.archive, TOPIC) == {0: (0, 10)}


def test_a_writer_that_died_between_two_lives_is_followed_by_one_that_goes_on(partition):
    for life in ("first", "second"):
        tiles.identify(partition.archive, TOPIC, life, 1)
        store(partition, 0, 10)
    (partition.archive / TOPIC).rename(partition.archive / ".lives" / TOPIC / "second")  # half of the way back
    tiles.identify(partition.archive, TOPIC, "first", 1)
    assert tiles.identity(partition.archive, TOPIC) == {"topic_id": "first", "partitions": 1}
    assert offsets(partition) == list(range(10))


def test_more_partitions_are_no_other_life(partition):
    tiles.identify(partition.archive, TOPIC, "first", 1)
    store(partition, 0, 10)
    assert tiles.identify(partition.archive, TOPIC, "first", 2) is None
    assert archive.spans(partition.archive, TOPIC) == {0: (0, 10), 1: (0, 0)}


def test_two_at_once_are_refused(partition):
    with tiles.alone(partition.archive), pytest.raises(CanarecError, match="another process is archiving"):
        archive.compact(partition.archive, TOPIC)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"first": 1}'])
def test_a_gap_that_cannot_be_read_is_one_clear_error(partition, content):
    partition.folder.mkdir(parents=True)
    (partition.folder / "_0-9.gap.json").write_text(content)
    with pytest.raises(BadArtifact, match=r"_0-9.gap.json: is n"):
        partition.gaps()


def test_a_gap_is_json_that_anybody_can_read(partition):
    partition.record(Gap(TOPIC, 0, 3, 9, "damaged"))
    [path] = partition.folder.iterdir()
    assert json.loads(path.read_text()) == {"topic": TOPIC, "partition": 0, "first": 3, "last": 9, "reason": "damaged"}


def test_memory_is_bounded_by_a_row_group(partition):
    with partition.writing(0) as writing:
        rows, _ = columns.batch(
            TOPIC,
            0,
            [(n, 0, None, b'{"user_id":"u","movie_id":"m","minute":1,"timestamp":0}') for n in range(10_000)],
            Limits(),
        )
        for _ in range(30):
            writing.add(rows, {})
        path = writing.finish(299_999, 300_000)
    assert pq.ParquetFile(path).metadata.row_group(0).num_rows <= parquet.GROUP_ROWS + len(rows)
    assert pq.read_metadata(path).num_rows == 300_000
