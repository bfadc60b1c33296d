"""Gini, Lorenz, tenths and surprise, on catalogues whose figures can be told by hand, and against their definitions."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.measures import concentration

COUNTS = st.lists(st.integers(0, 50), min_size=1, max_size=40).map(np.array)


def by_definition(x):
    """Half the mean absolute difference of two movies, over the mean."""
    return float(np.abs(x[:, None] - x[None, :]).mean() / 2 / x.mean())


@given(COUNTS.filter(np.any))
def test_gini_is_half_the_relative_mean_difference(counts):
    assert concentration.gini(counts) == pytest.approx(by_definition(counts), abs=1e-12)


@given(COUNTS.filter(np.any))
def test_gini_is_twice_the_area_between_the_lorenz_curve_and_the_diagonal(counts):
    x, y = np.array(concentration.lorenz(counts, points=len(counts))).T
    assert concentration.gini(counts) == pytest.approx(1 - 2 * np.trapezoid(y, x), abs=1e-9)


def test_movies_that_nobody_watched_count():
    assert concentration.gini(np.array([5, 5])) == 0
    assert concentration.gini(np.array([5, 5, 0, 0])) == 0.5


def test_nothing_has_no_gini_and_no_curve():
    assert concentration.gini(np.zeros(5, np.int64)) is None
    assert concentration.lorenz(np.zeros(5, np.int64)) == []


def test_the_lorenz_curve_hangs_below_the_diagonal_from_none_to_all():
    points = concentration.lorenz(np.random.default_rng(0).integers(0, 50, 1_000))
    assert points[0] == (0, 0)
    assert points[-1] == (1, 1)
    assert len(points) == 101
    assert all(y <= x for x, y in points)


def test_gini_without_a_user_is_that_of_the_others():
    rng = np.random.default_rng(1)
    pairs = np.unique(rng.integers(0, 200, 4_000) * 300 + (rng.pareto(1, 4_000) * 10).astype(np.int64) % 300)
    user, movie = (pairs // 300).astype(np.int32), (pairs % 300).astype(np.int32)
    counts = np.bincount(movie, minlength=300)
    found = concentration.gini_without(counts, user, movie, 200)
    exact = [concentration.gini(np.bincount(movie[user != one], minlength=300)) for one in range(200)]
    assert np.allclose(found, exact, atol=1e-12)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), min_size=1, max_size=60))
def test_gini_without_a_user_is_exact_where_one_has_a_movie_again(entries):
    user, movie = (np.array(column, np.int32) for column in zip(*entries, strict=True))
    found = concentration.gini_without(np.bincount(movie, minlength=8), user, movie, 6)
    exact = [concentration.gini(np.bincount(movie[user != one], minlength=8)) for one in range(6)]
    assert np.allclose(found, [np.nan if one is None else one for one in exact], atol=1e-12, equal_nan=True)


def test_the_only_user_cannot_be_left_out():
    one = np.zeros(2, np.int32)
    assert np.isnan(concentration.gini_without(np.array([1, 1]), one, np.array([0, 1], np.int32), 1)).all()


@given(COUNTS)
def test_tenths_are_as_large_as_each_other_and_in_order(counts):
    found = concentration.tenths(counts)
    sizes = np.bincount(found, minlength=10)
    assert sizes.max() - sizes.min() <= 1
    popular = [counts[found == tenth] for tenth in range(10) if (found == tenth).any()]
    assert all(one.min() >= other.max() for one, other in itertools.pairwise(popular))


def test_the_first_tenth_is_the_head_of_the_popularity_figures():
    counts = np.random.default_rng(2).integers(0, 9, 9_742)
    assert np.count_nonzero(concentration.tenths(counts) == 0) == int(0.1 * 9_742)


def test_what_everybody_watched_surprises_nobody():
    assert concentration.self_information(np.array([4, 1, 0]), 4).tolist() == [0, 2, 2]
