"""A user removed from the archive and from data sets: their rows go, the others' and the offsets stay."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from models.erasure import Erasure, user_digest
from models.recommenders import store
from pipelines import archive, dataset, erase, erasures, tiles
from pipelines.places import Places

WATCHES = "watch-events"


@pytest.fixture
def watched(small):
    """Three users' watches in two files, and one refused message."""
    small.add(WATCHES, [small.watch("ann", "m1"), small.watch("bob", "m2"), ("x", b"?")])
    small.add(WATCHES, [small.watch("cat", "m1"), small.watch("ann", "m3")], first=3)
    return small


def users(folder, topic=WATCHES):
    return archive.table(folder, topic, ["user_id"])["user_id"].to_pylist()


def test_the_rows_of_the_user_are_gone_and_the_others_stay(watched):
    assert erase.from_archive(watched.folder, "ann", set()) == 2
    assert users(watched.folder) == ["bob", "cat"]


def test_the_offsets_are_covered_as_before(watched):
    before = (archive.spans(watched.folder, WATCHES), archive.refused(watched.folder, WATCHES))
    erase.from_archive(watched.folder, "ann", set())
    assert (archive.spans(watched.folder, WATCHES), archive.refused(watched.folder, WATCHES)) == before
    assert tiles.Partition(watched.folder, WATCHES, 0).tidy() == []  # all are whole


def test_a_second_time_changes_nothing(watched):
    erase.from_archive(watched.folder, "ann", set())
    before = [(path, path.stat().st_ino) for path in archive.files(watched.folder, WATCHES)]
    assert erase.from_archive(watched.folder, "ann", set()) == 0
    assert [(path, path.stat().st_ino) for path in archive.files(watched.folder, WATCHES)] == before


def test_feedback_without_a_user_goes_by_its_request(small):
    given = [("r1", {"request_id": "r1", "satisfaction": 0.5}), ("r2", {"request_id": "r2", "satisfaction": 0.5})]
    small.add("recommendation-feedback", given)
    erase.from_archive(small.folder, "ann", {"r1"})
    left = archive.table(small.folder, "recommendation-feedback", ["request_id"])
    assert left["request_id"].to_pylist() == ["r2"]


def test_an_earlier_life_of_a_topic_and_damaged_files_are_not_forgotten(watched):
    life = watched.folder / ".lives" / WATCHES / "abc"
    life.parent.mkdir(parents=True)
    shutil.copytree(watched.folder / WATCHES, life)
    damaged = watched.folder / WATCHES / "0" / "_9-9.parquet.damaged"
    damaged.write_bytes(b"?")
    assert erase.from_archive(watched.folder, "ann", set()) == 4
    assert [pq.read_table(path)["user_id"].to_pylist() for path in sorted(life.glob("0/*.parquet"))] == [
        ["bob"],
        ["cat"],
    ]
    assert not damaged.exists()


def test_what_the_archive_has_of_a_user_is_found_by_place(watched):
    found = erase.in_archive(watched.folder, "ann")
    assert found.seen == {(WATCHES, 0): {0, 4}}


def of(*users):
    return dataset.Dataset.from_events(
        users, ["m1"] * len(users), np.full(len(users), 4.0), np.arange(len(users)), offsets={}
    )


def test_data_sets_with_the_user_go_wherever_dvc_keeps_them(tmp_path):
    places = Places(tmp_path)
    dataset.write(of("ann", "bob"), places.dataset)
    cache = tmp_path / ".dvc" / "cache" / "files" / "md5"
    dataset.write(of("ann"), cache / "aa" / "old.npz")
    dataset.write(of("bob", "annette"), cache / "bb" / "other.npz")
    assert erase.from_pipeline(places, "ann") == 2
    assert not places.dataset.exists()
    assert not (cache / "aa" / "old.npz").exists()
    assert (cache / "bb" / "other.npz").exists()


@pytest.mark.parametrize(("heavy", "goes"), [("ann", True), ("annette", False)])
def test_a_gate_s_record_that_names_the_user_as_heavy_goes(tmp_path, heavy, goes):
    gate = Places(tmp_path).gate
    gate.parent.mkdir(parents=True)
    gate.write_text(json.dumps({"figures": {"heavy": [{"user_id": heavy, "events": 9}]}}))
    erase.from_pipeline(Places(tmp_path), "ann")
    assert gate.exists() != goes


def test_a_model_is_no_data_set(tmp_path):
    model = Places(tmp_path).trained("als")
    model.parent.mkdir(parents=True)
    with model.open("wb") as file:
        store.pack(file, {"item_factors": np.zeros((2, 2))})
    erase.from_pipeline(Places(tmp_path), "ann")
    assert model.exists()


def test_an_erasure_makes_a_training_due_until_there_is_one(tmp_path):
    erasures.keep(tmp_path, Erasure(user_digest("ann"), "2026-11-27T08:00:00.000Z", models=["v1"]))
    erasures.settle(tmp_path)
    assert [each.retrained for each in erasures.kept(tmp_path)] == [True]
