"""The exact choice of the best movies, against a plain sort of all scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.recommenders import topk
from models.recommenders.base import Rows


def oracle(vectors, user, n, excluded=(), allowed=None):
    """All scores in double precision, sorted: falling score, then rising column."""
    scores = (user.astype(np.float64) * vectors.astype(np.float64)).sum(axis=1)
    left = [c for c in range(len(vectors)) if c not in excluded and (allowed is None or allowed[c])]
    return sorted(left, key=lambda c: (-scores[c], c))[:n]


@st.composite
def problems(draw):
    """Small catalogues with many ties: whole-numbered factors, movies that are equal, users that are zero."""
    movies, users = draw(st.integers(1, 50)), draw(st.integers(1, 5))
    factors = draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    vectors = rng.integers(-2, 3, (movies, factors)).astype(np.float32)
    excluded = [rng.choice(movies, rng.integers(0, movies + 1), replace=False) for _ in range(users)]
    allowed = [rng.random(movies) < 0.5 if rng.random() < 0.5 else None for _ in range(users)]
    return (
        vectors,
        rng.integers(-2, 3, (users, factors)).astype(np.float32),
        rng.integers(1, 101, users),
        excluded,
        allowed,
    )


@given(problems())
def test_lists_are_those_of_a_plain_sort(problem):
    vectors, users, n, excluded, allowed = problem
    top = topk.best(topk.Shelf(vectors), users, n, Rows.of(excluded), allowed)
    for r, user in enumerate(users):
        assert top.row(r)[0].tolist() == oracle(vectors, user, n[r], excluded[r], allowed[r])


@pytest.mark.parametrize("flat", [True, False], ids=["equal norms", "norms that fall"])
@pytest.mark.parametrize("n", [1, 20, 100])
def test_a_large_catalogue_gives_the_lists_of_a_plain_sort(flat, n):
    rng = np.random.default_rng(7)
    vectors = rng.standard_normal((7_000, 16)).astype(np.float32)
    if not flat:
        vectors *= (1 / (1 + np.arange(len(vectors))))[rng.permutation(len(vectors)), None].astype(np.float32)
    users = rng.standard_normal((70, 16)).astype(np.float32)
    excluded = [rng.choice(len(vectors), 300, replace=False) for _ in users]
    allowed = [rng.random(len(vectors)) < 0.1 if r % 3 == 0 else None for r in range(len(users))]
    top = topk.best(topk.Shelf(vectors), users, n, Rows.of(excluded), allowed)
    for r in range(0, len(users), 7):
        assert top.row(r)[0].tolist() == oracle(vectors, users[r], n, set(excluded[r].tolist()), allowed[r])


@settings(max_examples=20)
@given(st.integers(0, 2**32 - 1), st.integers(1, 130))
def test_batch_equals_single_to_the_bit(seed, batch):
    rng = np.random.default_rng(seed)
    shelf = topk.Shelf(rng.standard_normal((1_500, 24)).astype(np.float32))
    users = rng.standard_normal((batch, 24)).astype(np.float32)
    n = rng.integers(1, 30, batch)
    together = topk.best(shelf, users, n)
    for r in range(0, batch, 9):
        alone = topk.best(shelf, users[r : r + 1], n[r : r + 1])
        np.testing.assert_array_equal(alone.row(0)[0], together.row(r)[0])
        np.testing.assert_array_equal(alone.row(0)[1], together.row(r)[1])


def test_fewer_are_left_than_asked_for_gives_fewer_never_padding():
    top = topk.best(
        topk.Shelf(np.eye(3, dtype=np.float32)), np.ones((2, 3), np.float32), 5, Rows.of([[0, 2], [0, 1, 2]])
    )
    assert top.counts.tolist() == [1, 0]
    assert top.row(0)[0].tolist() == [1]
    assert top.columns.tolist() == [[1, -1, -1], [-1, -1, -1]]


def test_equal_movies_come_by_column():
    top = topk.best(topk.Shelf(np.ones((2_000, 3), np.float32)), np.ones((1, 3), np.float32), 100)
    assert top.row(0)[0].tolist() == list(range(100))


def test_a_user_whose_vector_is_not_finite_gets_no_list_and_disturbs_nobody():
    vectors = np.random.default_rng(0).standard_normal((300, 4)).astype(np.float32)
    shelf = topk.Shelf(vectors)
    users = np.ones((4, 4), np.float32)
    users[1, 2], users[2, 0], users[3] = np.nan, np.inf, 3e38
    top = topk.best(shelf, users, 10)
    assert top.counts.tolist() == [10, 0, 0, 0]
    assert top.row(0)[0].tolist() == oracle(vectors, users[0], 10)


def test_no_users_and_no_movies_are_no_error():
    shelf = topk.Shelf(np.ones((3, 2), np.float32))
    assert topk.best(shelf, np.empty((0, 2), np.float32), 20).columns.shape == (0, 0)
    assert topk.best(topk.Shelf(np.empty((0, 2), np.float32)), np.ones((2, 2), np.float32), 20).counts.tolist() == [
        0,
        0,
    ]


def test_scores_never_rise_along_a_list():
    rng = np.random.default_rng(1)
    top = topk.best(
        topk.Shelf(rng.standard_normal((900, 8)).astype(np.float32)), rng.standard_normal((9, 8)).astype(np.float32), 50
    )
    assert (np.diff(top.scores, axis=1) <= 0).all()


def test_a_column_below_0_is_refused_instead_of_hiding_another_movie():
    with pytest.raises(IndexError):
        topk.best(topk.Shelf(np.ones((3, 2), np.float32)), np.ones((1, 2), np.float32), 1, Rows.of([[-1]]))
