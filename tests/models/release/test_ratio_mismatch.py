"""The sequential test of the split: an independent computation, false alarms over all looks, what it finds."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import betabinom, binom

from models.release.ratio_mismatch import OFF, SPREAD, log_bayes_factor, p_value

counts = st.integers(0, 5_000)


@given(canary=counts, stable=counts, share=st.floats(0.005, 0.995))
def test_the_bayes_factor_is_a_beta_binomials_over_a_binomials(canary, stable, share):
    n, small = canary + stable, min(share, 1 - share)
    weight = share * (1 - share) / (SPREAD * small) ** 2 - 1
    mixed = [
        betabinom.logpmf(canary, n, weight * mean, weight * (1 - mean))
        for mean in (share - OFF * small, share + OFF * small)
    ]
    expected = np.logaddexp(*mixed) - math.log(2) - binom.logpmf(canary, n, share)
    assert log_bayes_factor(np.float64(canary), np.float64(stable), share) == pytest.approx(
        expected, rel=1e-6, abs=1e-6
    )


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
def test_it_is_a_martingale(share):
    for canary, stable in ((0, 0), (3, 40), (80, 20)):
        now = math.exp(log_bayes_factor(np.float64(canary), np.float64(stable), share))
        one, other = (
            math.exp(log_bayes_factor(np.float64(canary + more), np.float64(stable + 1 - more), share))
            for more in (1, 0)
        )
        assert share * one + (1 - share) * other == pytest.approx(now, rel=1e-9)


def test_a_right_split_raises_no_alarm_and_one_of_12_percent_is_found():
    rng = np.random.default_rng(11)
    n = np.arange(100, 10_001, 100)
    alarms = {}
    for share in (0.10, 0.12):
        canary = np.cumsum(rng.binomial(100, share, size=(2_000, 100)), axis=1)
        alarms[share] = (log_bayes_factor(canary, n - canary, 0.1) > math.log(1000)).any(axis=1).mean()
    assert alarms[0.10] <= 0.001
    assert alarms[0.12] >= 0.985


@given(canary=counts, stable=counts, share=st.floats(0.05, 0.5))
def test_the_arms_may_change_places(canary, stable, share):
    assert p_value([(share, canary, stable)]) == pytest.approx(p_value([(1 - share, stable, canary)]), abs=1e-6)


def test_a_user_in_an_arm_that_takes_nobody_is_proof():
    assert p_value([(0.0, 1, 1_000_000)]) == 0
    assert p_value([(1.0, 1_000_000, 1)]) == 0
    assert p_value([(0.0, 0, 1_000_000), (1.0, 7, 0)]) == 1


def test_each_setting_of_the_split_is_judged_by_its_own_share():
    assert p_value([(0.01, 20, 1_980), (0.1, 200, 1_800), (0.5, 1_000, 1_000)]) == 1
    assert p_value([(0.5, 20, 1_980), (0.1, 200, 1_800)]) < 1e-9


@pytest.mark.parametrize("period", [(0.1, -1, 5), (0.1, 5, -1), (1.5, 1, 1), (math.nan, 1, 1)])
def test_counts_and_shares_that_are_none_are_refused(period):
    with pytest.raises(ValueError, match=r"users|share"):
        p_value([period])
