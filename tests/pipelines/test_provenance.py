"""Records found in, and chosen from, the CSV as its writer's code writes it."""

import gzip
import json
import time
import uuid
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import config, provenance
from models.errors import BadArtifact
from models.provenance import HEADER, Part, Place
from pipelines.provenance import find, sample

DAY = date(2026, 11, 27)
APPLIED = config.parse("{}")
RECORD = {
    "user_id": "u1",
    "status": "ok",
    "recommendations": ["heat+1995", "=alien,1979"],
    "scores": [0.5, 0.25],
    "model_id": "als-64",
    "model_version": "v1",
    "variant": "stable",
    "source": {"topic": "recommendation-requests", "partition": 3, "offset": 7},
    "served_at": "2026-11-27T08:00:00.000Z",
    "latency_ms": 12,
    "asked": {"n": 2, "genres": None, "exclude_seen": True},
    "canary_percentage": 10.0,
    "bucket": 17,
    "config_sha256": "a" * 64,
    "model_sha256": "b" * 64,
    "data_version": "c" * 32,
    "catalog_sha256": "d" * 64,
    "history_offsets": {"watch-events": {"0": 5}, "rating-events": {"0": 6}},
}


def row(request_id, number=0, **fields):
    value = json.dumps({**RECORD, "request_id": request_id, **fields}).encode()
    return provenance.row(value, Place("life", number % 4, number)).line


def write(folder, ids, *, day="2026-11-27", number=1, packed=False, end=b""):
    folder.mkdir(exist_ok=True)
    content = HEADER + b"".join(row(request_id, place) for place, request_id in enumerate(ids)) + end
    path = folder / Part(day, number).name()
    if packed:
        path = path.with_name(path.name + ".gz")
        content = gzip.compress(content[:100]) + gzip.compress(content[100:])  # two members, as `cat` makes them
    path.write_bytes(content)
    return path


def chosen(folder, most, seed=0, day=None):
    return sample(most, seed, folder, None, APPLIED, day)


@pytest.mark.parametrize("packed", [False, True])
def test_a_found_record_is_as_the_topic_has_it(packed, tmp_path):
    write(tmp_path, ["r1", "r2", "r3"], packed=packed)
    for request_id in ("r1", "r2", "r3"):
        found = find(request_id, tmp_path).record
        assert {name: found[name] for name in RECORD} == RECORD
        assert found["request_id"] == request_id
        assert (found["reason"], found["forced"]) == (None, False)


@given(st.lists(st.text(st.characters(codec="utf-8"), min_size=1, max_size=30), min_size=1, max_size=8, unique=True))
def test_any_id_is_found_and_nothing_but_it(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("ids")
    write(folder, ids[1:])
    assert [find(request_id, folder).record["request_id"] for request_id in ids[1:]] == ids[1:]
    assert find(ids[0], folder) is None
    assert {record["request_id"] for record in chosen(folder, 100).records} == set(ids[1:])


def test_an_id_within_another_or_in_another_column_is_not_it(tmp_path):
    write(tmp_path, ["r12", "xr1", "r1,2", "u1x"])
    assert [find(other, tmp_path) for other in ("r1", "u1", "v1", "heat+1995", "request_id")] == [None] * 5


def test_ids_across_the_borders_of_what_is_read_at_once_are_found(tmp_path):
    ids = [str(uuid.UUID(int=number)) for number in range(4_000)]  # 4 MB
    write(tmp_path, ids)
    for request_id in ids[::37]:
        assert find(request_id, tmp_path).record["request_id"] == request_id


def test_the_newest_file_is_found_first_and_a_date_leaves_the_others_out(tmp_path):
    write(tmp_path, ["r1"], day="2026-11-26", packed=True)
    write(tmp_path, ["r1"])
    write(tmp_path, ["r1", "r2"], number=2)
    assert find("r1", tmp_path).where == "2026-11-27.2.csv"
    assert find("r1", tmp_path, date(2026, 11, 26)).where == "2026-11-26.csv.gz"
    assert find("r2", tmp_path, date(2026, 11, 26)) is None
    assert chosen(tmp_path, 100, day=date(2026, 11, 26)).of == 1


def test_a_line_that_is_being_written_is_none_yet(tmp_path):
    write(tmp_path, ["r1"], end=row("r2")[:-1])
    assert find("r2", tmp_path) is None
    assert chosen(tmp_path, 9).of == 1


def test_neither_folder_nor_files_is_no_record(tmp_path):
    assert find("r1", tmp_path / "none") is None
    (tmp_path / "notes.csv").write_text("request_id,\nr1,\n")
    (tmp_path / "2026-11-27.csv").write_text("request_id,\nr1,\n")  # somebody else's
    assert find("r1", tmp_path) is None
    assert chosen(tmp_path, 5).records == []


def test_a_damaged_file_is_named(tmp_path):
    path = write(tmp_path, [str(number) for number in range(2_000)], packed=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\x00" * (len(content) - len(content) // 2)
    path.write_bytes(content)
    with pytest.raises(BadArtifact, match=path.name):
        find("nobody", tmp_path)


def test_a_sample_depends_on_the_seed_and_on_nothing_else(tmp_path):
    ids = [f"r{number}" for number in range(300)]
    write(tmp_path / "one", ids)
    write(tmp_path / "other", ids[200:], day="2026-11-28", packed=True)
    write(tmp_path / "other", ids[:200][::-1])
    one, other = chosen(tmp_path / "one", 50), chosen(tmp_path / "other", 50)
    assert [r["request_id"] for r in one.records] == [r["request_id"] for r in other.records]
    assert (len(one.records), one.of, other.of) == (50, 300, 300)
    another = chosen(tmp_path / "one", 50, seed=1)
    assert {r["request_id"] for r in another.records} != {r["request_id"] for r in one.records}
    assert len(chosen(tmp_path / "one", 1_000).records) == 300


def test_each_record_is_as_likely_as_any_other(tmp_path):
    ids = [f"r{number}" for number in range(40)]
    write(tmp_path, ids)
    times = dict.fromkeys(ids, 0)
    for seed in range(200):
        for record in chosen(tmp_path, 10, seed).records:
            times[record["request_id"]] += 1
    assert sum(times.values()) == 2_000
    assert 25 < min(times.values()) < max(times.values()) < 75  # 50 ± 4 standard deviations


def test_a_hundred_thousand_rows_are_searched_in_a_moment(tmp_path):
    line, block = row("r"), []
    for number in range(100_000):
        block.append(line.replace(b"r,", b"%032x," % number, 1))
    (tmp_path / "2026-11-27.csv").write_bytes(HEADER + b"".join(block))
    begun = time.perf_counter()
    assert find(f"{99_999:032x}", tmp_path) is not None
    assert time.perf_counter() - begun < 2
