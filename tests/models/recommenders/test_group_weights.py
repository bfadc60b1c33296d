"""Weights of groups in training: what weighs how much, and what that means to each algorithm."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.ease import Ease
from models.recommenders.group_weights import MOST, of_users, weighted

GENDERS = st.sampled_from(["M", "F", "x", None])


@given(st.lists(st.tuples(GENDERS, st.integers(0, 50)), max_size=30))
def test_balanced_women_and_men_weigh_the_same_together_and_all_as_much_as_before(users):
    genders, counts = [gender for gender, _ in users], np.array([count for _, count in users], np.int64)
    weights = of_users(genders, counts, "balanced")
    total = {group: (weights * counts)[[gender == group for gender in genders]].sum() for group in ("M", "F")}
    if weights.max(initial=1) < MOST and min(total.values()) > 0:
        assert total["M"] == pytest.approx(total["F"])
        assert (weights * counts).sum() == pytest.approx(counts.sum())
    assert all(weight == 1 for weight, gender in zip(weights, genders, strict=True) if gender not in ("M", "F"))
    assert ((weights > 0) & (weights <= MOST)).all()


def test_one_woman_among_many_men_weighs_ten_times_at_most():
    assert of_users(["F"] + ["M"] * 99, np.full(100, 5), "balanced")[0] == MOST


@pytest.mark.parametrize("gender", ["M", "F"])
def test_without_the_other_group_there_is_nothing_to_balance(gender):
    assert of_users([gender, None], np.array([3, 3]), "balanced").tolist() == [1, 1]


def test_who_is_not_named_has_weight_1():
    assert of_users(["F", "M", "x", None], np.ones(4, np.int64), {"F": 2.5, "unknown": 0.5}).tolist() == [
        2.5,
        1,
        1,
        0.5,
    ]


def rows(*histories):
    return Rows.of([np.array(history, np.int32) for history in histories])


def test_to_ease_a_user_of_weight_3_is_three_users():
    recipe = {"regularization": 2.0, "movies": 9, "neighbours": 9}
    others = [[0, 1, 2], [2, 3], [1, 3, 4], [0, 4]]
    woman = [0, 2, 4]
    once = weighted(rows(*others, woman), [None] * 4 + ["F"], {"F": 3.0}, Ease.weight_power)
    thrice = rows(*others, woman, woman, woman)
    found, expected = (Ease.fit(some, 5, recipe, 0).arrays() for some in (once, thrice))
    assert (found["indices"] == expected["indices"]).all()
    assert found["weights"] == pytest.approx(expected["weights"], rel=1e-5)


def test_to_als_a_weight_multiplies_alpha():
    recipe = {"factors": 3, "regularization": 1.0, "iterations": 4}
    rng = np.random.default_rng(0)
    some = rows(*(np.sort(rng.choice(12, 4, replace=False)) for _ in range(30)))
    doubled = weighted(some, ["F"] * 30, {"F": 2.0}, Als.weight_power)
    found = Als.fit(doubled, 12, recipe | {"alpha": 0.5}, 0).arrays()
    expected = Als.fit(some, 12, recipe | {"alpha": 1.0}, 0).arrays()
    assert (found["item_factors"] == expected["item_factors"]).all()


def test_weights_leave_the_interactions_what_they_are():
    before = rows([1, 2], [0])
    after = weighted(before, ["F", "M"], {"F": 4.0}, 0.5)
    assert (after.indices.tolist(), after.indptr.tolist()) == (before.indices.tolist(), before.indptr.tolist())
    assert after.data.tolist() == [2, 2, 1]
    assert before.data.tolist() == [1, 1, 1]
