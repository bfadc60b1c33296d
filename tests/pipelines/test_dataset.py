"""A data set is its events, whatever their order, number of repeats or batches."""

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadArtifact
from models.events import Rating, Watch
from models.history import Histories
from models.ids import Ids
from pipelines.dataset import Dataset, Fold, movielens_csv, read, standing, write

events = st.tuples(
    st.sampled_from(["u1", "u10", "u2", "é"]),
    st.sampled_from(["m1", "m2", "m10"]),
    st.sampled_from([np.nan, 0.5, 3.5, 5.0]),
    st.integers(0, 3),
)

NAMES = sorted(["u1", "u10", "u2", "é", "m1", "m2", "m10"])


def dataset(rows, **more):
    users, movies, ratings, times = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Dataset.from_events(users, movies, np.array(ratings, float), np.array(times, np.int64), offsets={}, **more)


@given(st.lists(events, max_size=30), st.randoms(use_true_random=False))
def test_order_and_repeats_of_events_do_not_matter(rows, shuffler):
    again = rows + rows[: len(rows) // 2]
    shuffler.shuffle(again)
    assert dataset(again).md5 == dataset(rows).md5


@given(st.lists(events, min_size=1, max_size=30))
def test_each_user_and_movie_is_there_once_and_in_order(rows):
    found = dataset(rows)
    pairs = list(zip(found.user.tolist(), found.movie.tolist(), strict=True))
    assert pairs == sorted(set(pairs))
    assert {(found.users[u], found.movies[m]) for u, m in pairs} == {row[:2] for row in rows}


def test_ids_stand_in_order_so_that_arrival_leaves_no_trace():
    found = dataset([("b", "y", 1, 0), ("a", "x", 1, 0)])
    assert (found.users, found.movies) == (("a", "b"), ("x", "y"))


def test_the_newest_counts_and_at_a_tie_the_larger_rating():
    found = dataset([("a", "x", 5.0, 1), ("a", "x", 2.0, 2), ("a", "x", 3.5, 2)])
    assert (found.thousandths.tolist(), found.time_ms.tolist()) == ([3500], [2])


def test_a_rating_counts_before_a_later_watch():
    found = dataset([("a", "x", np.nan, 9), ("a", "x", 2.0, 2)])
    assert (found.thousandths.tolist(), found.time_ms.tolist()) == ([2000], [2])


def test_another_event_gives_another_name():
    rows = [("a", "x", 5.0, 1), ("b", "x", 2.0, 2)]
    names = {dataset(rows).md5, dataset([*rows, ("a", "y", 1.0, 1)]).md5, dataset(rows, genders={"a": "F"}).md5}
    assert len(names) == 3


def test_genders_stand_by_user_unknown_ones_as_none():
    assert dataset([("a", "x", 1, 0), ("b", "x", 1, 0)], genders={"b": "F", "z": "M"}).genders == (None, "F")


def test_rows_of_a_part_keep_every_users_place():
    found = dataset([("a", "x", 1, 0), ("b", "x", 1, 0), ("b", "y", 1, 0)])
    rows = found.rows(np.array([False, True, True]))
    assert rows.indptr.tolist() == [0, 0, 2]
    assert rows.indices.tolist() == [0, 1]


def test_no_events_are_an_empty_data_set():
    assert len(dataset([])) == 0


def test_a_movielens_file_is_read(tmp_path):
    (tmp_path / "ratings.csv").write_text(
        "userId,movieId,rating,timestamp\n1,31,2.5,1260759144\n1,1029,3.0,1260759179\n"
    )
    found = movielens_csv(tmp_path / "ratings.csv")
    assert (found.users, found.movies) == (("1",), ("1029", "31"))
    assert found.thousandths.tolist() == [3000, 2500]
    assert found.time_ms.tolist() == [1260759179000, 1260759144000]


ROWS = [("é", "x", np.nan, 7), ("a", "x", 1.5, 5), ("a", "y", 4.0, 6)]


def test_a_data_set_comes_back_as_it_was_written(tmp_path):
    one = dataset(ROWS, genders={"é": "F"})
    write(one, tmp_path / "dataset.npz")
    two = read(tmp_path / "dataset.npz")
    assert (two.users, two.movies, two.genders, two.md5) == (one.users, one.movies, (None, "F"), one.md5)
    for name in ("user", "movie", "thousandths", "time_ms"):
        assert getattr(two, name).dtype == getattr(one, name).dtype
        assert getattr(two, name).tolist() == getattr(one, name).tolist()


def test_an_empty_data_set_comes_back_too(tmp_path):
    write(dataset([]), tmp_path / "dataset.npz")
    assert len(read(tmp_path / "dataset.npz")) == 0


def test_its_name_is_the_files_md5_as_dvc_has_it(tmp_path):
    write(dataset(ROWS), tmp_path / "dataset.npz")
    assert hashlib.md5((tmp_path / "dataset.npz").read_bytes()).hexdigest() == dataset(ROWS).md5


def test_other_offsets_change_only_what_stands_beside_the_file(tmp_path):
    one, two = dataset(ROWS), replace(dataset(ROWS), offsets={"watch-events": {"0": (3, 9)}})
    write(one, tmp_path / "one.npz")
    write(two, tmp_path / "two.npz")
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert read(tmp_path / "two.npz").offsets == {"watch-events": {"0": [3, 9]}}


def test_one_flipped_bit_is_found(tmp_path):
    path = tmp_path / "dataset.npz"
    write(dataset(ROWS), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadArtifact, match="MD5 expected"):
        read(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(BadArtifact, match=r"dataset\.npz: cannot be read"):
        read(tmp_path / "dataset.npz")
    write(dataset(ROWS), tmp_path / "dataset.npz")
    (tmp_path / "dataset.json").unlink()
    with pytest.raises(BadArtifact, match=r"dataset\.json: cannot be read"):
        read(tmp_path / "dataset.npz")


@given(st.lists(events, max_size=30), st.sets(st.sampled_from(["u1", "u10", "u2", "é"])))
def test_without_some_users_is_as_if_they_had_never_been(rows, gone):
    genders = {"u1": "F", "é": "M"}
    whole = dataset(rows, genders=genders)
    places = np.flatnonzero([user in gone for user in whole.users])
    assert whole.without(places).md5 == dataset([row for row in rows if row[0] not in gone], genders=genders).md5


@given(st.lists(events, max_size=30))
def test_a_data_set_is_the_histories_of_its_users(rows):
    """What is trained on is what is served from: the same event of a user and a movie counts."""
    histories = Histories(Ids())
    histories.apply([Watch(u, m, 1, t) if np.isnan(stars) else Rating(u, m, stars, t) for u, m, stars, t in rows])
    found = dataset(rows)
    for number, user in enumerate(found.users):
        mine = histories.interactions(user)
        served = {
            (histories.movie_ids.text(movie), stars, at)
            for movie, stars, at in zip(
                mine.movie.tolist(), mine.thousandths.tolist(), mine.time_ms.tolist(), strict=True
            )
        }
        here = np.flatnonzero(found.user == number)
        trained = {(found.movies[found.movie[i]], int(found.thousandths[i]), int(found.time_ms[i])) for i in here}
        assert trained == served


@given(st.lists(st.lists(events, max_size=6), max_size=8), st.integers(1, 9))
def test_portions_of_events_do_not_matter(portions, at_once):
    fold = Fold(at_once=at_once)
    for portion in portions:
        users, movies, stars, times = zip(*portion, strict=True) if portion else ((), (), (), ())
        numbers = (np.array([NAMES.index(name) for name in names], np.int32) for names in (users, movies))
        fold.add(*numbers, standing(np.array(stars, float), np.array(times, np.int64)))
    pairs = fold.pairs(np.arange(len(NAMES)), np.arange(len(NAMES)))
    rows = [row for portion in portions for row in portion]
    found = [(NAMES[u], NAMES[m], s, t) for u, m, s, t in zip(*(column.tolist() for column in pairs), strict=True)]
    whole = dataset(rows)
    assert found == [
        (whole.users[u], whole.movies[m], s, t)
        for u, m, s, t in zip(
            *(c.tolist() for c in (whole.user, whole.movie, whole.thousandths, whole.time_ms)), strict=True
        )
    ]


def test_a_rating_that_rounds_to_nothing_is_still_a_rating():
    assert dataset([("a", "x", 0.0001, 1), ("a", "x", np.nan, 9)]).thousandths.tolist() == [1]
