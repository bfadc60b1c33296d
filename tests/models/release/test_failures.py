"""The test of failures: numerical integration, what it fires at and when, and that it hardly ever errs."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad

from models.release.failures import excess, log_evidence, upper_bound


@pytest.mark.parametrize(("failed", "requests", "p0"), [(0, 40, 0.03), (4, 4, 0.03), (10, 60, 0.05), (30, 100, 0.5)])
def test_evidence_is_the_mean_of_likelihood_ratios(failed, requests, p0):
    def ratio(p):
        return (p / p0) ** failed * ((1 - p) / (1 - p0)) ** (requests - failed)

    whole = quad(ratio, p0, 1, epsabs=0, epsrel=1e-10)[0] / (1 - p0)
    assert log_evidence(failed, requests, p0) == pytest.approx(math.log(whole), abs=1e-8)


@pytest.mark.parametrize(("failed", "requests"), [(0, 1_000), (3, 1_000), (50, 200)])
def test_the_upper_bound_is_where_a_uniform_mixture_is_just_refuted(failed, requests):
    def likelihood(p):
        return math.comb(requests, failed) * p**failed * (1 - p) ** (requests - failed)

    mixed = quad(likelihood, 0, 1, points=[max(failed, 1) / requests])[0]
    found = upper_bound(failed, requests, 0.01)
    assert found > failed / requests
    assert mixed / likelihood(found) == pytest.approx(1 / 0.01, rel=1e-6)


@given(st.data())
def test_a_further_failure_never_speaks_for_the_candidate(data):
    requests = data.draw(st.integers(1, 500))
    failed = data.draw(st.integers(0, requests - 1))
    assert log_evidence(failed + 1, requests, 0.05) > log_evidence(failed, requests, 0.05)
    assert upper_bound(failed + 1, requests, 0.01) >= upper_bound(failed, requests, 0.01)


def fired(rng, canary_rate, stable_rate, *, ratio, requests=200):
    """After how many requests of the canary it fires, or None; looked at after each."""
    failed = np.cumsum(rng.random(requests) < canary_rate)
    stable = rng.binomial(ratio, stable_rate, requests).cumsum()
    for n in range(1, requests + 1):
        if excess((int(failed[n - 1]), n), (int(stable[n - 1]), ratio * n), 0.02, 1e-4)[0] >= 0:
            return n
    return None


def test_a_broken_candidate_is_found_well_within_200_requests():
    rng = np.random.default_rng(3)
    assert all((fired(rng, 1.0, 0.01, ratio=ratio) or 999) < 40 for ratio in (1, 9, 99) for _ in range(5))
    assert all((fired(rng, 0.5, 0.01, ratio=ratio) or 999) < 120 for ratio in (1, 9) for _ in range(5))


def test_a_candidate_that_fails_as_often_as_stable_goes_on():
    rng = np.random.default_rng(4)
    assert not any(fired(rng, 0.02, 0.02, ratio=9) for _ in range(40))


def test_nothing_is_known_without_requests():
    assert excess((0, 0), (0, 0), 0.02, 1e-4)[0] < 0
    assert excess((20, 20), (0, 0), 0.02, 1e-4)[0] < 0  # who knows how often stable would have failed
    assert upper_bound(5, 5, 0.01) == 1


@pytest.mark.parametrize(("failed", "requests"), [(-1, 5), (6, 5)])
def test_more_failures_than_requests_are_refused(failed, requests):
    with pytest.raises(ValueError, match="failures"):
        log_evidence(failed, requests, 0.1)
