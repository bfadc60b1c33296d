"""A data set is its events, whatever their order, number of repeats or batches."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.dataset import Dataset, movielens_csv

events = st.tuples(
    st.sampled_from(["u1", "u10", "u2", "é"]),
    st.sampled_from(["m1", "m2", "m10"]),
    st.sampled_from([np.nan, 0.5, 3.5, 5.0]),
    st.integers(0, 3),
)


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
