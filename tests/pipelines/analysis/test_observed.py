"""What a window holds: of events, of answers, of users who did nothing; from the archive and from a folder."""

import numpy as np
import pytest

from models.wire import Limits
from pipelines.analysis.observed import Catalogue, Window, from_movielens, of_dataset
from pipelines.movielens import NotMovieLens

from .conftest import BEGIN_MS, HOUR_MS, answer

FOLDER = {
    "movies.csv": "movieId,title,genres\n1,Heat (1995),Crime|Drama\n2,Alien (1979),(no genres listed)\n3,Up (2009),Comedy\n",
    "ratings.csv": "userId,movieId,rating,timestamp\n7,1,4.0,100\n7,2,3.0,200\n8,1,5.0,300\n9,3,2.0,400\nbad\n",
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FOLDER.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def pairs(observed):
    data = observed.dataset
    return {(data.users[user], data.movies[movie]) for user, movie in zip(data.user, data.movie, strict=True)}


def test_without_a_window_everything_is_in_it(world):
    found = world.observed()
    assert len(found.dataset) == 480
    assert len(found.dataset.users) == 60
    assert found.before is None


def test_a_window_holds_its_beginning_and_not_its_end(world):
    found = world.observed(BEGIN_MS + 2 * HOUR_MS, BEGIN_MS + 4 * HOUR_MS)
    assert len(found.dataset) == 120
    assert set(found.dataset.time_ms.tolist()) == {BEGIN_MS + 2 * HOUR_MS, BEGIN_MS + 3 * HOUR_MS}
    assert found.before.sum() == 120


def test_windows_that_meet_hold_each_event_once(world):
    middle = BEGIN_MS + 3 * HOUR_MS
    one, other = world.observed(until_ms=middle), world.observed(since_ms=middle)
    assert len(one.dataset) + len(other.dataset) == 480
    assert not pairs(one) & pairs(other)


def test_a_movie_that_was_watched_before_counts_when_it_is_watched_again(world):
    world.add(
        "watch-events",
        [world.archive.watch("u0", "m0", BEGIN_MS + 90 * HOUR_MS), world.archive.watch("u0", "m0", BEGIN_MS)],
    )
    found = world.observed(since_ms=BEGIN_MS + 80 * HOUR_MS)
    assert pairs(found) == {("u0", "m0")}
    assert found.dataset.thousandths.tolist() == [0]


def test_who_has_a_profile_or_did_something_before_and_nothing_now_is_idle(world):
    world.rate([60], begin_ms=BEGIN_MS + 100 * HOUR_MS)
    assert world.observed(since_ms=BEGIN_MS + 100 * HOUR_MS).idle == 60
    assert world.observed(until_ms=BEGIN_MS + HOUR_MS).idle == 0  # u60 is not known yet


def test_genders_are_those_of_the_newest_profile_and_unknown_without_one(world):
    world.add("user-profiles", [world.archive.profile("u0", "F"), ("u1", None)])
    found = world.observed()
    gender = dict(zip(found.dataset.users, found.dataset.genders, strict=True))
    assert (gender["u0"], gender["u1"], gender["u2"], gender["u59"]) == ("F", None, "M", None)


def test_the_catalogue_is_the_newest_one(world):
    world.add("movie-catalog", [world.movie(0, title="New", popularity=2.5), ("m1", None)])
    found = world.observed().catalogue
    assert len(found.movies) == 39
    assert found.titles[found.movies.index("m0")] == "New (1990)"
    assert np.isfinite(found.popularity).sum() == 1


def test_without_a_catalogue_the_movies_are_those_of_the_events(empty):
    empty.rate(range(4))
    assert set(empty.observed().catalogue.movies) == set(empty.observed().dataset.movies)


def test_answers_are_those_served_in_the_window_with_movies_in_them(world):
    world.add(
        "recommendations",
        [
            answer(0, "u0", ["m1", "m2"]),
            answer(1, "u0", ["m1"], "v2", BEGIN_MS + HOUR_MS),
            answer(2, "u1", []),
            answer(3, "stranger", ["m3", "gone"]),
        ],
    )
    found = world.observed(until_ms=BEGIN_MS + HOUR_MS).answers
    assert len(found) == 2
    assert [found.users[owner] for owner in found.owner] == ["u0", "stranger"]
    assert found.genders == ("M", None)
    assert [world.observed().catalogue.movies[movie] for movie in found.movie] == ["m1", "m2", "m3"]
    assert found.of.tolist() == [0, 0, 1]
    assert dict(world.observed().answers.versions) == {"v1": 2, "v2": 1}


def test_where_nothing_was_answered_there_are_no_answers(world):
    assert world.observed().answers is None
    world.add("recommendations", [answer(0, "u0", ["m1"])])
    assert world.observed(since_ms=BEGIN_MS + 1).answers is None


def test_what_versions_were_trained_on_is_told_by_their_offsets(world):
    trained = {"rating-events": {"0": [0, world.offsets["rating-events"]]}}
    world.rate([1], seed=5, begin_ms=BEGIN_MS + 50 * HOUR_MS)
    found = world.observed(trained=[{"rating-events": {"0": [0, 8]}}, trained])
    new = pairs(found) - pairs(world.observed(until_ms=BEGIN_MS + 40 * HOUR_MS))
    data = found.dataset
    assert new
    assert {
        (data.users[user], data.movies[movie])
        for user, movie in zip(data.user[found.unseen], data.movie[found.unseen], strict=True)
    } == new
    assert world.observed().unseen is None


def test_a_partition_that_no_version_knows_is_new(world):
    assert world.observed(trained=[{}]).unseen.all()


def test_a_data_set_is_seen_with_the_archives_catalogue(world):
    data = world.observed().dataset
    found = of_dataset(data, world.folder)
    assert (len(found.catalogue.movies), found.idle, found.answers) == (40, 0, None)


def test_a_folder_is_read_with_its_bad_lines_told(folder):
    told = []
    found = from_movielens(folder, Limits(), Window(), report=told.append)
    assert pairs(found) == {("7", "1"), ("7", "2"), ("8", "1"), ("9", "3")}
    assert found.catalogue.genres == (("Crime", "Drama"), (), ("Comedy",))
    assert len(told) == 1


def test_a_folders_window(folder):
    found = from_movielens(folder, Limits(), Window(200_000, 400_000))
    assert pairs(found) == {("7", "2"), ("8", "1")}
    assert found.before.tolist() == [1, 0, 0]
    assert found.idle == 0  # 9 comes later
    assert from_movielens(folder, Limits(), Window(300_000)).idle == 1


def test_a_folder_is_named_without_its_path(folder):
    assert from_movielens(folder, Limits(), Window()).source == f"the MovieLens folder {folder.name}"


def test_a_folder_that_is_none_is_told(tmp_path):
    with pytest.raises(NotMovieLens):
        from_movielens(tmp_path, Limits(), Window())


def test_movies_without_a_place_have_minus_one():
    assert Catalogue.of([]).places(["m1"]).tolist() == [-1]
