"""The canary split: the contract's formula, sticky, and as large as it says."""

from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from models.config import Canary
from models.release.split import BUCKETS, arm, bucket, chance, is_forced

keys = st.text(min_size=1, max_size=40)
percentages = st.floats(0, 100)

# From the contract's formula, typed once into a Python shell: a change here would move every user of every installation.
GOLDEN = {
    ("1", "2026-11"): 9023,
    ("42", "2026-11"): 5658,
    ("610", "2026-11"): 6112,
    ("life+of+brian", "2026-11"): 646,
    ("é", "2026-11"): 3594,
    ("42", "other"): 5526,
}


@pytest.mark.parametrize(("key", "salt", "expected"), [(*of, expected) for of, expected in GOLDEN.items()])
def test_a_bucket_is_the_contracts_formula(key, salt, expected):
    assert bucket(key, salt) == expected


@given(key=keys, salt=keys, smaller=percentages, larger=percentages)
def test_growing_the_share_moves_nobody_back(key, salt, smaller, larger):
    smaller, larger = sorted((smaller, larger))
    before = arm(key, "r", Canary(percentage=smaller, salt=salt))
    after = arm(key, "r", Canary(percentage=larger, salt=salt))
    assert before[0] == after[0]
    assert not (before[1] == "canary" and after[1] == "stable")


@given(user=keys, request=keys, other=keys, percentage=percentages)
def test_a_user_stays_in_one_arm_whatever_is_asked(user, request, other, percentage):
    canary = Canary(percentage=percentage)
    assert arm(user, request, canary) == arm(user, other, canary)


@given(user=keys, request=keys, other=keys, percentage=percentages)
def test_split_by_requests_the_user_does_not_matter(user, request, other, percentage):
    canary = Canary(percentage=percentage, unit="request")
    assert arm(user, request, canary) == arm(other, request, canary)
    assert arm(user, request, canary)[0] == bucket(request, canary.salt)


@given(key=keys)
def test_at_0_percent_nobody_meets_the_candidate_and_at_100_everybody(key):
    assert arm(key, "r", Canary(percentage=0))[1] == "stable"
    assert arm(key, "r", Canary(percentage=100))[1] == "canary"


@given(key=keys, percentage=percentages)
def test_without_a_candidate_all_are_stable_and_keep_their_bucket(key, percentage):
    alone = arm(key, "r", Canary(candidate=None, percentage=percentage))
    assert alone == (arm(key, "r", Canary(percentage=percentage))[0], "stable")


@given(key=keys, percentage=percentages)
def test_the_candidate_answers_below_100_times_the_percentage(key, percentage):
    drawn, variant = arm(key, "r", Canary(percentage=percentage))
    assert 0 <= drawn < BUCKETS
    assert (variant == "canary") == (drawn < 100 * percentage)


@pytest.mark.parametrize("percentage", [0.5, 1, 10, 50])
def test_the_arms_are_as_large_as_they_should_be(percentage):
    users = 20_000
    arms = Counter(arm(str(user), "r", Canary(percentage=percentage))[1] for user in range(users))
    expected = users * percentage / 100
    assert abs(arms["canary"] - expected) < 4 * (expected * (1 - percentage / 100)) ** 0.5


def test_a_new_salt_draws_new_arms():
    of = {salt: [arm(str(user), "r", Canary(percentage=50, salt=salt))[1] for user in range(2_000)] for salt in "ab"}
    alike = sum(one == other for one, other in zip(of["a"], of["b"], strict=True))
    assert 900 < alike < 1_100


# -- test users, A/A ----------------------------------------------------------------------------------


@given(key=keys, percentage=percentages, variant=st.sampled_from(["stable", "canary"]))
def test_a_forced_user_meets_the_variant_that_was_set_and_keeps_the_bucket(key, percentage, variant):
    forced = Canary(percentage=percentage, forced={key: variant})
    assert arm(key, "r", forced) == (arm(key, "r", Canary(percentage=percentage))[0], variant)
    assert is_forced(key, forced)


@given(key=keys, tester=keys, percentage=percentages)
def test_forcing_one_user_moves_nobody_else(key, tester, percentage):
    assume(key != tester)
    forced = Canary(percentage=percentage, forced={tester: "canary"})
    assert arm(key, "r", forced) == arm(key, "r", Canary(percentage=percentage))
    assert not is_forced(key, forced)


def test_split_by_requests_a_forced_user_is_still_a_user():
    forced = Canary(percentage=0, unit="request", forced={"42": "canary"})
    assert {arm("42", str(request), forced)[1] for request in range(50)} == {"canary"}
    assert arm("43", "42", forced)[1] == "stable"


def test_without_a_candidate_nobody_is_forced():
    alone = Canary(candidate=None, percentage=50, forced={"42": "canary"})
    assert arm("42", "r", alone)[1] == "stable"
    assert not is_forced("42", alone)


@given(key=keys, percentage=percentages)
def test_an_a_a_split_draws_the_arms_that_two_versions_would_get(key, percentage):
    same = Canary(stable="v1", candidate="v1", percentage=percentage)
    assert arm(key, "r", same) == arm(key, "r", Canary(percentage=percentage))


@pytest.mark.parametrize("percentage", [0, 0.004, 0.01, 0.07, 0.5, 12.345, 50, 99.99, 100])
def test_the_chance_of_a_variant_is_its_share_of_all_buckets(percentage):
    canary = Canary(percentage=percentage)
    found = Counter("canary" if number < 100 * percentage else "stable" for number in range(BUCKETS))
    for variant in ("stable", "canary"):
        assert chance("42", variant, canary) == found[variant] / BUCKETS


def test_the_chance_of_what_was_not_drawn_is_1():
    forced = Canary(percentage=10, forced={"tester": "stable"})
    assert chance("tester", "stable", forced) == 1
    assert chance("42", "stable", Canary(candidate=None, percentage=10)) == 1
