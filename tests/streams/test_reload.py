"""Worlds follow config.json and the published models. Real files, no Kafka; the clock is set by hand.

A named pipe in place of a model's factors makes its loading last as long as a test wants.
"""

import json
import os
import threading
import time
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from models.catalog import Catalog
from models.events import Movie
from models.ids import Ids
from models.recommenders import store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.popular import counts
from streams import metrics
from streams.at_hand import RETRY_S
from streams.home import Home, write_whole
from streams.reload import HOLD_S, SETTLES_S, Worlds
from tests.waiting import wait_for

MOVIES = tuple(f"m{number}" for number in range(12))
ROWS = Rows.of([[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9, 11]] * 3)
RECOMMENDER = Als.fit(
    ROWS, len(MOVIES), {"factors": 3, "regularization": 1.0, "alpha": 2.0, "iterations": 2}, 0
)  # the same for all: versions differ by their names only


class Known:
    """What a worker knows, without topics."""

    def __init__(self):
        self.ids, self.catalog_changes = Ids(), 0
        self.tail = SimpleNamespace(lock=threading.Lock())
        self.movies = [Movie(name, name.upper(), ("Any",)) for name in MOVIES]

    def catalog(self):
        with self.tail.lock:
            return self.catalog_changes, Catalog.of(self.movies, self.ids)


class Place:
    """A home, its clock and its Worlds."""

    def __init__(self, folder):
        self.home, self.now, self.known = Home(folder), 1_000.0, Known()
        self.publish("v1")
        self.publish("v2")
        self.configure(stable="v1", candidate="v2")
        self.worlds = Worlds(self.home, self.home.load(), self.known, lambda: self.now)

    def publish(self, version):
        store.write(
            self.home.models,
            RECOMMENDER,
            MOVIES,
            counts(ROWS, len(MOVIES)),
            store.Metadata(
                model_id="als-3",
                model_version=version,
                training_method={"algorithm": "als"},
                data_version={"md5": "d"},
                evaluation={},
                dvc_ref=None,
                code_version="0",
                created_at="2026-11-23T00:00:00Z",
                files={},
            ),
        )

    def publish_slowly(self, version):
        """Its factors come when the function that is returned is called."""
        self.publish(version)
        path = self.home.models / version / "factors.npz"
        content = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        return lambda: path.write_bytes(content)

    def configure(self, **canary):
        write_whole(self.home.config, json.dumps({"canary": {"percentage": 10, **canary}}).encode())

    def look(self, seconds=0.5):
        self.now += seconds
        return self.worlds.refresh()

    def warm(self):
        return set(self.worlds.standing().models)

    def until_warm(self, *versions):
        self.until(lambda: self.warm() == set(versions), f"{versions}, not {self.warm()}")

    def until(self, condition, what):
        wait_for(condition, what, 20, between=lambda: self.look(0), every_s=0.005)

    @property
    def percentage(self):
        return self.worlds.current.applied.config.canary.percentage


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def failures(version):
    return metrics.MODEL_LOAD_FAILURES.labels(version)._value.get()


# -- models ---------------------------------------------------------------------------------------


def test_a_published_version_is_warm_before_any_configuration_names_it(place):
    place.look()
    place.publish("v3")
    world = place.worlds.current
    place.until_warm("v1", "v2", "v3")
    assert place.worlds.current is world  # nobody is answered by it
    assert place.worlds.standing().models["v3"] == store.read(place.home.models, "v3").sha256


def test_a_configuration_waits_for_a_version_that_is_being_read(place):
    arrives = place.publish_slowly("v3")
    place.configure(stable="v1", candidate="v3")
    for _ in range(3):
        assert not place.look()
    arrives()
    place.until(lambda: "v3" in place.worlds.current.models, "v3")
    assert place.worlds.current.applied.config.canary.candidate == "v3"


def test_a_configuration_is_in_force_within_4_seconds_whatever_its_version_does(place):
    arrives = place.publish_slowly("v3")
    place.configure(stable="v1", candidate="v3")
    seconds = 0.5  # the change may have come just after a look
    while not place.look():
        seconds += 0.5
    assert HOLD_S < seconds <= 4
    assert set(place.worlds.current.models) == {"v1"}  # v3's users get fallbacks
    arrives()
    place.until(lambda: set(place.worlds.current.models) == {"v1", "v3"}, "v3")


def test_a_configuration_does_not_wait_for_a_version_that_nobody_has_published(place):
    place.configure(stable="v1", candidate="v9")
    assert place.look()
    place.until(lambda: failures("v9") == 1, "v9 to be tried")
    place.publish("v9")
    place.until(lambda: "v9" in place.worlds.current.models, "v9, as soon as it is there")


def test_what_is_in_force_answers_while_a_version_is_being_read(place):
    place.look()
    arrives = place.publish_slowly("v3")
    place.look()
    place.configure(stable="v2", candidate="v1")
    assert place.look()
    assert place.worlds.current.version("stable") == "v2"
    arrives()
    place.until_warm("v1", "v2", "v3")


def test_a_damaged_version_is_tried_again_later_and_keeps_no_configuration_from_its_place(place):
    place.look()
    place.publish("v3")
    path = place.home.models / "v3" / "factors.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    before = failures("v3")
    place.until(lambda: failures("v3") == before + 1, "a failure")
    path.write_bytes(whole)
    place.look(RETRY_S - 1)
    place.configure(stable="v1", candidate="v3")
    assert place.look()
    assert set(place.worlds.current.models) == {"v1"}
    place.look(1)
    place.until(lambda: "v3" in place.worlds.current.models, "v3, which was mended")
    assert failures("v3") == before + 1


def test_unused_versions_leave_memory_and_the_way_back_stays(place):
    place.look()
    gone = weakref.ref(place.worlds.current.models["v1"].model.recommender)
    place.configure(stable="v2", candidate=None)
    place.look()
    assert place.warm() == {"v1", "v2"}  # the way back
    place.publish("v3")
    place.until_warm("v1", "v2", "v3")
    place.configure(stable="v3", candidate=None)
    place.look()
    assert place.warm() == {"v2", "v3"}
    assert gone() is None


def test_going_back_needs_no_reading(place):
    place.look()
    place.configure(stable="v2", candidate=None)
    place.look()
    for name in ("factors.npz", "metadata.json"):
        (place.home.models / "v1" / name).unlink()
    place.configure(stable="v1", candidate=None)
    assert place.look()
    assert set(place.worlds.current.models) == {"v1"}


def test_the_previous_version_that_the_configuration_names_is_read_after_a_start(place):
    place.configure(stable="v2", candidate=None, previous="v1")
    place.worlds = Worlds(place.home, place.home.load(), place.known, lambda: place.now)
    assert place.warm() == {"v2"}  # at a start nobody waits for more than the split
    place.until_warm("v1", "v2")


def test_each_model_in_memory_is_shown_with_its_role(place):
    place.configure(stable="v2", candidate=None)
    place.publish("v3")
    place.look()
    place.until_warm("v1", "v2", "v3")
    place.look()
    shown = {
        (sample.labels["model_version"], sample.labels["role"])
        for family in metrics.MODEL_INFO.collect()
        for sample in family.samples
    }
    assert shown >= {("v1", "previous"), ("v2", "stable"), ("v3", "newest")}


# -- the configuration ----------------------------------------------------------------------------


def in_place(path, content):
    path.write_bytes(content)


def by_rename(path, content):
    path.with_suffix(".new").write_bytes(content)
    path.with_suffix(".new").rename(path)


def as_kubernetes_does(path, content):
    """config.json → ..data/config.json, ..data → a folder of this moment, swapped by a rename of the link."""
    folder = path.parent / f"..{time.monotonic_ns()}"
    folder.mkdir()
    (folder / path.name).write_bytes(content)
    (path.parent / "..data_tmp").symlink_to(folder.name)
    (path.parent / "..data_tmp").rename(path.parent / "..data")
    if not path.is_symlink():
        path.unlink()
        path.symlink_to(f"..data/{path.name}")


@pytest.mark.parametrize("edit", [in_place, by_rename, as_kubernetes_does])
def test_a_change_is_seen_at_the_next_look_however_it_is_made(place, edit):
    for percentage in (20, 0.5, 100, 0):
        edit(place.home.config, json.dumps({"canary": {"percentage": percentage}}).encode())
        assert place.look()
        assert place.percentage == percentage


def test_another_percentage_keeps_the_tables_and_the_users_that_were_folded_in(place):
    before = place.worlds.current.models
    place.configure(percentage=55)
    assert place.look()
    assert all(place.worlds.current.models[version] is before[version] for version in ("v1", "v2"))


def refused():
    return metrics.CONFIG_REFUSED._value.get()


def test_a_file_that_is_half_written_for_a_moment_is_not_refused(place):
    before, whole = refused(), b'{"canary": {"percentage": 30}}'
    for length in (0, 1, 12, len(whole) - 1):
        in_place(place.home.config, whole[:length])
        assert not place.look()
        assert place.worlds.standing().refused is None
    in_place(place.home.config, whole)
    assert place.look()
    assert (place.percentage, refused()) == (30, before)


@pytest.mark.parametrize(
    ("content", "path"),
    [
        (b'{"canary": ', ""),
        (b"\xff\xfe", ""),
        (b'{"canary": {"percentage": 101}}', "canary.percentage"),
        (b'{"topics": {"watch-events": "other"}}', "topics"),
        (b'{"group_prefix": "other"}', "group_prefix"),
    ],
)
def test_a_broken_file_that_stays_is_refused_once_and_the_last_good_one_stays(place, content, path):
    world, before = place.worlds.current, refused()
    in_place(place.home.config, content)
    for _ in range(int(SETTLES_S / 0.5) + 4):
        assert not place.look()
    assert place.worlds.current is world
    assert refused() == before + 1
    assert place.worlds.standing().refused.path == path
    place.configure(percentage=40)
    assert place.look()
    assert place.worlds.standing().refused is None


def test_a_file_that_cannot_be_read_is_refused_once(place):
    before = refused()
    place.home.config.unlink()
    place.home.config.mkdir()
    for _ in range(6):
        assert not place.look()
    assert refused() == before + 1
    assert "cannot be read" in str(place.worlds.standing().refused)


def test_a_file_that_is_gone_changes_nothing(place):
    place.home.config.unlink()
    for _ in range(6):
        assert not place.look()
    assert place.worlds.standing().refused is None


def test_a_good_configuration_that_waits_comes_into_force_though_a_broken_one_followed(place):
    arrives = place.publish_slowly("v3")
    place.configure(stable="v3", candidate=None)
    assert not place.look()
    in_place(place.home.config, b"{")
    assert not place.look()
    arrives()
    place.until(lambda: place.worlds.current.version("stable") == "v3", "v3")


def test_a_change_that_is_taken_back_while_it_waits_never_comes_into_force(place):
    arrives = place.publish_slowly("v3")
    world = place.worlds.current
    place.configure(stable="v3", candidate=None)
    assert not place.look()
    place.configure(stable="v1", candidate="v2")
    for _ in range(10):
        assert not place.look()
    assert place.worlds.current is world
    arrives()


def test_a_new_catalogue_makes_a_new_world_with_the_same_models(place):
    before = place.worlds.current
    place.known.movies.append(Movie("new", "New", ("Any",)))
    place.known.catalog_changes += 1
    assert not place.look()  # it may still be changing
    assert place.look()
    after = place.worlds.current
    assert after.models["v1"].model is before.models["v1"].model
    assert [after.ids.text(index) for index in after.models["v1"].newer] == ["new"]


def test_movies_are_numbered_in_the_order_of_the_model(place):
    servable = place.worlds.current.models["v1"]
    np.testing.assert_array_equal(servable.columns(servable.index_of), np.arange(len(MOVIES)))
