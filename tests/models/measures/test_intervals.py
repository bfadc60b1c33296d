"""Intervals hold what they promise, and repeat."""

import numpy as np
import pytest

from models.measures import intervals


def rng(seed=0):
    return np.random.default_rng(seed)


def test_the_same_generator_gives_the_same_interval():
    values = rng(1).random(50)
    assert intervals.mean(values, rng()) == intervals.mean(values, rng())


def test_the_interval_of_a_mean_is_that_of_normal_theory_for_many_users():
    values = rng(2).normal(3, 2, 4_000)
    found = intervals.mean(values, rng())
    error = values.std() / np.sqrt(len(values))
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_the_truth_is_inside_about_19_times_of_20():
    inside = 0
    for seed in range(200):
        found = intervals.mean(rng(seed).exponential(1.0, 200), rng(seed), draws=400)
        inside += found.low <= 1 <= found.high
    assert 180 <= inside <= 198


def test_pairing_makes_a_difference_between_alike_users_sure():
    users = rng(3).normal(0, 10, 500)
    better = users + 0.5 + rng(4).normal(0, 0.1, 500)
    found = intervals.difference(better, users, rng())
    assert 0.45 < found.low < found.high < 0.55


def test_a_ratio_is_one_of_means_not_a_mean_of_ratios():
    found = intervals.ratio(np.array([1.0, 9.0]), np.array([2.0, 3.0]), rng())
    assert found.value == 2.0


def test_users_without_a_figure_are_left_out_and_not_counted_as_0():
    assert intervals.mean(np.array([np.nan, 1.0, 1.0]), rng()) == (1, 1, 1)
    assert intervals.ratio(np.array([np.nan, 1.0]), np.array([5.0, 2.0]), rng()).value == 0.5


def test_no_users_give_no_figure():
    assert np.isnan(intervals.mean(np.array([np.nan]), rng())).all()
    assert np.isnan(intervals.ratio(np.empty(0), np.empty(0), rng())).all()


def test_portions_of_draws_do_not_show(monkeypatch):
    values = rng(5).random(30)
    whole = intervals.mean(values, rng(), draws=100)
    monkeypatch.setattr(intervals, "AT_ONCE", 300)
    assert intervals.mean(values, rng(), draws=100) == whole


def test_the_jackknife_of_a_mean_is_its_standard_error():
    values = rng(6).normal(0, 1, 40)
    without = (values.sum() - values) / 39
    found = intervals.jackknife(values.mean(), without)
    error = values.std(ddof=1) / np.sqrt(40)
    assert (found.high - found.low) / 2 == pytest.approx(intervals.NORMAL_975 * error)


def test_one_user_says_nothing_about_spread():
    found = intervals.jackknife(0.5, np.array([0.0]))
    assert found.value == 0.5
    assert np.isnan([found.low, found.high]).all()


def test_a_gap_widens_by_the_difference_of_the_gaps_whichever_way_they_point():
    men, women = np.full(30, 0.5), np.full(30, 0.4)
    found = intervals.widening((men, women + 0.3), (men, women), rng())
    assert found == pytest.approx((0.1, 0.1, 0.1))
    assert intervals.widening((women, men), (men, women), rng()) == pytest.approx((0, 0, 0), abs=1e-12)


def test_the_widening_of_a_gap_is_paired_by_user():
    men, women = rng(8).normal(0.5, 0.2, 300), rng(9).normal(0.4, 0.2, 300)
    found = intervals.widening((men, women - 0.05), (men, women), rng())
    assert found == pytest.approx((0.05, 0.05, 0.05), abs=1e-9)


def test_a_group_of_nobody_has_no_gap():
    known, nobody = np.full(3, 0.5), np.full(3, np.nan)
    assert np.isnan(intervals.widening((known, nobody), (known, known), rng())).all()


def test_portions_of_draws_do_not_show_in_a_widening(monkeypatch):
    new, old = ((rng(seed).random(30), rng(seed + 1).random(20)) for seed in (1, 3))
    new, old = tuple(new), tuple(old)
    monkeypatch.setattr(intervals, "AT_ONCE", 10**9)
    whole = intervals.widening(new, old, rng(), draws=50)
    monkeypatch.setattr(intervals, "AT_ONCE", 200)
    assert intervals.widening(new, old, rng(), draws=50) == whole


def test_blocks_of_users_have_an_interval_as_wide_as_users_have():
    rng = np.random.default_rng(5)
    values, ones = rng.exponential(1, 30_000), np.ones(30_000)
    of_users = intervals.ratio(values, ones, np.random.default_rng(0), draws=400)
    of_blocks = intervals.ratio(*intervals.in_blocks(rng, values, ones), np.random.default_rng(0))
    assert of_blocks.value == pytest.approx(of_users.value)
    assert of_blocks.high - of_blocks.low == pytest.approx(of_users.high - of_users.low, rel=0.15)


def test_few_users_are_their_own_blocks():
    values = np.arange(5.0)
    assert intervals.in_blocks(np.random.default_rng(0), values)[0] is values
