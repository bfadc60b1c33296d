"""Ranking measures against answers known by hand and by plain loops."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.measures import ranking
from models.recommenders.base import Rows


def plain_ndcg(columns, relevant):
    """Straight from the definition, one user."""
    gained = sum(1 / math.log2(place + 1) for place, column in enumerate(columns, 1) if column in relevant)
    best = sum(1 / math.log2(place + 1) for place in range(1, min(len(columns), len(relevant)) + 1))
    return gained / best if best else math.nan


@st.composite
def ranked(draw):
    """Lists without repeats, some shorter than others, and what was held out."""
    users, movies, k = draw(st.integers(1, 6)), draw(st.integers(1, 30)), draw(st.integers(1, 10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    columns = np.full((users, k), -1, np.int32)
    for row in columns:
        length = rng.integers(0, min(k, movies) + 1)
        row[:length] = rng.choice(movies, length, replace=False)
    return columns, [rng.choice(movies, rng.integers(0, movies + 1), replace=False) for _ in range(users)], movies


@given(ranked())
def test_ndcg_and_recall_are_those_of_a_plain_loop_at_every_prefix(problem):
    columns, held_out, _ = problem
    relevant = np.array([len(movies) for movies in held_out])
    for k in range(1, columns.shape[1] + 1):
        hit = ranking.hits(columns[:, :k], Rows.of(held_out))
        for user, movies in enumerate(held_out):
            expected = plain_ndcg(columns[user, :k].tolist(), set(movies.tolist()))
            np.testing.assert_allclose(ranking.ndcg(hit, relevant)[user], expected)
            found = len(set(columns[user, :k].tolist()) & set(movies.tolist()))
            np.testing.assert_allclose(
                ranking.recall(hit, relevant)[user], found / len(movies) if len(movies) else np.nan
            )


@given(ranked())
def test_coverage_without_a_user_is_that_of_the_other_lists(problem):
    columns, _, movies = problem
    for user, without in enumerate(ranking.coverage_without(columns, movies)):
        assert without == ranking.coverage(np.delete(columns, user, axis=0), movies)


def test_a_perfect_list_reaches_1_even_when_more_was_held_out_than_fits():
    hit = ranking.hits(np.array([[3, 1]], np.int32), Rows.of([[1, 2, 3, 4]]))
    assert ranking.ndcg(hit, np.array([4])).tolist() == [1.0]
    assert ranking.recall(hit, np.array([4])).tolist() == [0.5]


def test_a_published_example():
    """Järvelin & Kekäläinen's discount, worked by hand: hits at 1, 3 and 4 of 5, three held out."""
    hit = np.array([[True, False, True, True, False]])
    gained = 1 + 1 / math.log2(4) + 1 / math.log2(5)
    best = 1 + 1 / math.log2(3) + 1 / math.log2(4)
    np.testing.assert_allclose(ranking.ndcg(hit, np.array([3])), [gained / best])


def test_padding_is_never_a_hit():
    assert not ranking.hits(np.array([[-1, -1], [-1, -1]], np.int32), Rows.of([[0, 1], [3]])).any()


def test_one_users_movie_is_no_hit_for_another():
    assert ranking.hits(np.array([[7], [7]], np.int32), Rows.of([[], [7]])).tolist() == [[False], [True]]


def test_nothing_held_out_is_no_figure():
    hit = np.zeros((1, 3), bool)
    assert np.isnan(ranking.ndcg(hit, np.array([0]))).all()
    assert np.isnan(ranking.recall(hit, np.array([0]))).all()
