"""Scoring times are compared like with like."""

import numpy as np
import pytest

from models.release.timing import LEAST, Timings


def timings(*, stable, canary):
    """From {together: times}."""
    found = Timings()
    for variant, strata in (("stable", stable), ("canary", canary)):
        for together, times in strata.items():
            for ms in times:
                found.add(variant, ms, together)
    return found


def test_without_times_there_is_no_percentile():
    assert Timings().compared() == ((0, None), (0, None))


@pytest.mark.parametrize("n", [100, 1_000, 5_000])
def test_a_percentile_is_right_to_two_percent(n):
    times = np.random.default_rng(n).lognormal(0, 1, n)
    stable, canary = timings(stable={1: times}, canary={1: times}).compared()
    assert (stable.scorings, canary.scorings) == (n, n)
    for timed in (stable, canary):
        assert timed.p99_ms == pytest.approx(np.quantile(times, 0.99, method="inverted_cdf"), rel=0.02)


def test_an_arm_of_smaller_batches_is_not_slower_for_that():
    """The same model: 5 ms alone, 0.1 ms in a batch. Nearly all of stable's requests come in batches."""
    stable, canary = timings(
        stable={1: [5.0] * 50, 64: [0.1] * 9_950}, canary={1: [5.0] * 900, 64: [0.1] * 100}
    ).compared()
    assert stable.p99_ms == canary.p99_ms


def test_a_slow_candidate_is_slow_in_every_mix():
    stable, canary = timings(
        stable={1: [5.0] * 500, 64: [0.1] * 500}, canary={1: [10.0] * 50, 64: [0.2] * 950}
    ).compared()
    assert canary.p99_ms / stable.p99_ms == pytest.approx(2, rel=0.03)


def test_what_one_arm_lacks_is_not_compared():
    stable, canary = timings(stable={1: [1.0] * 100}, canary={64: [9.0] * 100, 1: [1.0] * (LEAST - 1)}).compared()
    assert (stable, canary) == ((0, None), (0, None))
