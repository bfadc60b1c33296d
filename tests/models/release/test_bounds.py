"""Anytime-valid bounds: the authors' own values, numerical integration, and coverage by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import norm

from models.release.bounds import Mixture, Sample, about, compare, information

alphas = st.floats(0.0005, 0.4)
informations = st.floats(10, 1e6)
means = st.floats(0.01, 0.99)
users = st.integers(100, 100_000)


def best_rho(v_opt, alpha):
    """Howard et al. 2021: the ρ for which the one-sided normal mixture is narrowest at v_opt."""
    log = math.log(1 / (2 * alpha))
    return v_opt / (2 * log + math.log(1 + 2 * log))


def of(n, rate):
    return Sample(n, rate, rate)


def test_a_half_normal_mixture_has_the_values_that_its_authors_publish():
    # confseq's unit tests, "from a reference implementation in R": v = 100, s = 10, α = 0.05, optimised for v = 100
    mixture = Mixture(0, best_rho(100, 0.05) ** -0.5)
    assert mixture.log_evidence(10.0, 100.0) == pytest.approx(-0.06502391, abs=1e-7)
    assert 100 * mixture.width(100.0, 0.05) == pytest.approx(27.66071, abs=1e-5)


@pytest.mark.parametrize("mixture", [Mixture(0, 0.05), Mixture(0.0375, 0.01), Mixture(0.2, 0.3)])
@pytest.mark.parametrize(("score", "information"), [(0.0, 100.0), (40.0, 1_000.0), (-30.0, 500.0), (150.0, 4_000.0)])
def test_evidence_is_the_mean_of_likelihood_ratios(mixture, score, information):
    def part(effect):
        density = norm.pdf(effect, mixture.centre, mixture.spread) / norm.cdf(mixture.centre / mixture.spread)
        return math.exp(effect * score - effect**2 * information / 2) * density

    top = mixture.centre + 12 * mixture.spread
    whole = quad(part, 0, top, epsabs=0, epsrel=1e-10, limit=500, points=[mixture.centre or top / 12])[0]
    assert mixture.log_evidence(score, information) == pytest.approx(math.log(whole), abs=1e-6)


@given(alpha=alphas, information=informations, margin=st.floats(0.002, 0.3))
def test_at_the_bound_the_evidence_is_just_enough(alpha, information, margin):
    mixture = about(margin)
    score = mixture.width(information, alpha) * information
    assert mixture.log_evidence(score, information) == pytest.approx(-math.log(alpha), rel=1e-6)


@given(some=alphas, other=alphas, information=informations)
def test_a_bound_is_monotone_in_alpha(some, other, information):
    strict, lax = sorted((some, other))
    assert about(0.05).width(information, strict) >= about(0.05).width(information, lax)


@given(alpha=alphas, information=informations)
def test_more_information_narrows_a_bound(alpha, information):
    assert about(0.05).width(2 * information, alpha) < about(0.05).width(information, alpha)


@given(n=users, m=users, a=means, b=means)
def test_doubling_the_data_narrows_both_bounds_about_the_same_difference(n, m, a, b):
    def at(factor):
        return compare(of(factor * n, a), of(factor * m, b), margin=0.05, pass_alpha=0.05, fail_alpha=0.01)

    once, twice = at(1), at(2)
    assert once.difference == twice.difference
    assert once.lower < twice.lower < twice.difference < twice.upper < once.upper


@given(n=users, a=means, b=means)
def test_after_as_many_users_as_estimated_the_bound_has_decided(n, a, b):
    found = compare(of(n, a), of(n, b), margin=0.05, pass_alpha=0.05, fail_alpha=0.01)
    if math.isfinite(found.factor):
        n = math.ceil(n * found.factor * 1.1) + 10
        later = compare(of(n, a), of(n, b), margin=0.05, pass_alpha=0.05, fail_alpha=0.01)
        assert later.factor == 1


def test_an_empty_arm_says_nothing():
    found = compare(of(0, 0.0), of(5_000, 0.5), margin=0.05, pass_alpha=0.05, fail_alpha=0.01)
    assert math.isnan(found.difference)
    assert (found.lower, found.upper, found.factor) == (-math.inf, math.inf, math.inf)
    assert Mixture(0.1, 0.1).width(0.0, 0.05) == math.inf


def test_without_a_single_failure_a_bound_keeps_its_width():
    found = compare(of(500, 1.0), of(500, 1.0), margin=0.01, pass_alpha=0.05, fail_alpha=0.0125)
    assert found.lower < -0.01


def test_values_that_spread_less_than_a_coin_need_fewer_users():
    coin = information(of(500, 0.5), of(500, 0.5), 0.0)
    steady = Sample(500, 0.5, 0.26)  # a variance of 0.01
    assert information(steady, steady, 0.0) == pytest.approx(coin * 25, rel=0.2)


def test_a_coins_variance_is_the_score_tests():
    found = information(of(400, 0.3), of(100, 0.4), 0.0)
    pooled = (400 * 0.3 + 100 * 0.4) / 500
    assert found == pytest.approx(1 / (pooled * (1 - pooled) * (1 / 400 + 1 / 100)), rel=0.02)


@pytest.mark.parametrize("alpha", [0.0, 1.0, -0.1, math.nan])
def test_an_alpha_that_is_no_chance_is_refused(alpha):
    with pytest.raises(ValueError, match="alpha"):
        about(0.05).width(100.0, alpha)


@pytest.mark.parametrize(("centre", "spread"), [(-1, 1), (0, 0), (math.nan, 1), (1, math.inf)])
def test_a_mixture_that_is_none_is_refused(centre, spread):
    with pytest.raises(ValueError, match="centre"):
        Mixture(centre, spread)


@pytest.mark.parametrize("effect", [0.02, 0.05, 0.2])
def test_brownian_motion_leaves_the_bound_as_seldom_as_alpha_says(effect):
    rng = np.random.default_rng(7)
    steps = 40 / effect**2 / 400 * np.ones(400)
    paths = np.cumsum(rng.normal(size=(4_000, 400)) * np.sqrt(steps), axis=1)
    evidence = about(effect).log_evidence(paths, np.cumsum(steps))
    crossed = (evidence >= math.log(1 / 0.05)).any(axis=1).mean()
    assert 0.02 < crossed < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 4_000)
