"""What lists were worth to each user: the measures side by side, kept and read again, compared in pairs."""

import numpy as np
import pytest

from models.measures import ranking
from models.measures.quality import Quality, coverage_ratio
from models.recommenders.base import Rows

LISTS = np.array([[0, 1, 2], [3, 0, -1], [4, 5, 6]], np.int32)
HELD_OUT = Rows.of([[1, 7], [3], []])


@pytest.fixture
def quality():
    return Quality.of(LISTS, HELD_OUT, 10)


def test_each_users_figures_are_those_of_ranking(quality):
    hit, relevant = ranking.hits(LISTS, HELD_OUT), np.array([2, 1, 0])
    np.testing.assert_array_equal(quality.ndcg, ranking.ndcg(hit, relevant))
    np.testing.assert_array_equal(quality.recall, [0.5, 1.0, np.nan])
    assert np.isnan(quality.ndcg[2])


def test_coverage_is_of_all_users_and_without_each(quality):
    assert quality.covered == 0.7
    np.testing.assert_allclose(quality.covered_without, [0.5, 0.6, 0.4])
    assert quality.coverage.low < 0.7 < quality.coverage.high


def test_arrays_give_the_same_quality_again(quality):
    again = Quality.from_arrays(quality.arrays())
    for name, array in quality.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def test_the_ratio_of_coverages_leaves_the_same_user_out_of_both(quality):
    twice = Quality(quality.ndcg, quality.recall, quality.covered * 2, quality.covered_without * 2)
    assert coverage_ratio(twice, quality) == (2, 2, 2)
    assert coverage_ratio(quality, quality) == (1, 1, 1)


def test_no_coverage_to_compare_with_is_no_figure(quality):
    nothing = Quality(quality.ndcg, quality.recall, 0.0, np.zeros(3))
    assert not np.isfinite(coverage_ratio(quality, nothing)).any()
