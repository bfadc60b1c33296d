"""Evaluation by time, on data whose answer is known: two groups of users who watch their own colour of movies."""

import json
from dataclasses import replace

import numpy as np
import pytest

from models.recommenders import popular
from models.recommenders.base import Rows
from pipelines import evaluate
from pipelines.dataset import Dataset

MOVIES = 80


@pytest.fixture(scope="session")
def checkerboard():
    """200 users; even ones watch 25 of the even movies, odd ones of the odd movies, in a random order of time."""
    rng = np.random.default_rng(0)
    users, movies, times = [], [], []
    for user in range(200):
        watched = rng.choice(MOVIES // 2, 25, replace=False) * 2 + user % 2
        users += [f"u{user:03}"] * 25
        movies += [f"m{movie:02}" for movie in watched]
        times += rng.permutation(25).tolist()
    return Dataset.from_events(users, movies, np.full(len(users), np.nan), np.array(times), offsets={})


@pytest.fixture(scope="session")
def figures(checkerboard, recipe):
    return evaluate.evaluate(checkerboard, recipe)


@pytest.fixture(scope="session")
def recipe():
    return {"algorithm": "als", "factors": 4, "regularization": 1.0, "alpha": 3.0, "iterations": 8, "seed": 0}


def test_a_model_that_sees_the_colours_is_far_better_than_popularity(figures):
    """Of 60 unseen movies 20 have the user's colour, and the list has 20 places: recall is 1. Popularity finds a third."""
    assert figures["model"]["recall_at_20"]["value"] > 0.97
    assert 0.25 < figures["popularity"]["recall_at_20"]["value"] < 0.42
    assert figures["ndcg_ratio"]["low"] > 2


def test_a_fifth_of_each_user_is_held_out(figures):
    assert (figures["users"], figures["held_out"]) == (200, 1000)


def test_intervals_hold_their_figures(figures):
    for who in ("model", "popularity"):
        for interval in figures[who].values():
            assert interval["low"] <= interval["value"] <= interval["high"]


def test_figures_repeat(checkerboard, recipe, figures):
    assert evaluate.evaluate(checkerboard, recipe) == figures


def test_figures_are_plain_json(figures):
    assert json.loads(json.dumps(figures, allow_nan=False)) == figures


def test_evaluated_lists_are_those_of_a_user_served_alone(checkerboard, recipe):
    rows = checkerboard.rows(~evaluate.held_out(checkerboard))
    model = evaluate.fit(recipe, rows, MOVIES)
    together = evaluate.lists(model, rows)
    for user in (0, 77, 199):
        history = Rows.of([rows.indices[rows.indptr[user] : rows.indptr[user + 1]]])
        columns, scores = model.top(model.users(history), 20, excluded=history).row(0)
        np.testing.assert_array_equal(columns, together.row(user)[0])
        np.testing.assert_array_equal(scores, together.row(user)[1])


def test_portions_of_users_do_not_show(checkerboard, recipe, monkeypatch):
    rows = checkerboard.rows()
    model = evaluate.fit(recipe, rows, MOVIES)
    whole = evaluate.lists(model, rows)
    monkeypatch.setattr(evaluate, "AT_ONCE", 7)
    for one, other in zip(whole, evaluate.lists(model, rows), strict=True):
        np.testing.assert_array_equal(one, other)


def test_lists_never_hold_what_the_user_has_seen(checkerboard, recipe):
    rows = checkerboard.rows()
    for top in (
        evaluate.lists(evaluate.fit(recipe, rows, MOVIES), rows),
        popular.Popular.of(popular.counts(rows, MOVIES)).top(20, rows),
    ):
        for user in range(0, 200, 20):
            assert not set(top.row(user)[0]) & set(rows.indices[rows.indptr[user] : rows.indptr[user + 1]])


def test_what_a_search_holds_out_is_no_part_of_the_test(checkerboard):
    test = evaluate.held_out(checkerboard)
    validation = evaluate.held_out(checkerboard, within=~test)
    assert not (test & validation).any()
    assert validation.sum() == 200 * 4


def test_popularity_compared_with_itself_is_even(checkerboard):
    held = evaluate.held_out(checkerboard)
    baseline = popular.Popular.of(popular.counts(checkerboard.rows(~held), MOVIES))
    found = evaluate.compare(checkerboard, held, lambda histories: baseline.top(20, histories))
    assert found["ndcg_ratio"] == {"value": 1, "low": 1, "high": 1}


def test_data_too_small_to_test_on_give_no_figures_and_no_error(recipe):
    tiny = Dataset.from_events(["a", "b"], ["x", "y"], np.array([1.0, 2.0]), np.array([1, 2]), offsets={})
    found = evaluate.evaluate(tiny, recipe)
    assert (found["users"], found["model"]["ndcg_at_20"]["value"]) == (0, None)
    assert "no data" in evaluate.table({"v1": found})


def test_the_table_names_versions_and_popularity(figures):
    lines = evaluate.table({"v1": figures, "v2": figures}).splitlines()
    assert [line.split()[0] for line in lines] == ["version", "v1", "v2", "popularity"]


EASE = {"algorithm": "ease", "regularization": 100.0, "movies": 100, "neighbours": 50}


def test_ease_sees_the_colours_too(checkerboard):
    figures = evaluate.evaluate(checkerboard, EASE)
    assert figures["model"]["recall_at_20"]["value"] > 0.97
    assert figures["ndcg_ratio"]["low"] > 2


@pytest.fixture(scope="session")
def gendered(checkerboard):
    """Users 0 and 1 of every four are men, the third a woman, of the fourth nobody knows."""
    return replace(checkerboard, genders=("M", "M", "F", None) * 50)


def test_figures_by_gender_are_those_of_its_users_and_unknown_is_a_group(gendered):
    found = evaluate.measure(gendered, EASE)
    groups = found.figures["genders"]
    assert {name: group["users"] for name, group in groups.items()} == {"F": 50, "M": 100, "unknown": 50}
    women = np.arange(200) % 4 == 2
    assert groups["F"]["model"]["value"] == pytest.approx(found.model.ndcg[women].mean(), abs=1e-6)
    assert groups["F"]["popularity"]["value"] == pytest.approx(found.popularity.ndcg[women].mean(), abs=1e-6)
    assert json.loads(json.dumps(found.figures, allow_nan=False)) == found.figures


def test_a_measured_user_is_one_of_the_data_set_in_its_order(checkerboard):
    rows = checkerboard.rows(~evaluate.held_out(checkerboard))
    found = evaluate.measure(checkerboard, EASE)
    top = evaluate.lists(evaluate.fit(EASE, rows, MOVIES), rows)
    truth = checkerboard.rows(evaluate.held_out(checkerboard))
    for user in (0, 77, 199):
        right = set(truth.indices[truth.indptr[user] : truth.indptr[user + 1]])
        assert found.model.recall[user] == pytest.approx(len(right & set(top.row(user)[0].tolist())) / len(right))


def test_validation_looks_at_nothing_that_the_test_holds_out(checkerboard):
    """What is held out is replaced by something else: the figures of validation stay what they are."""
    held = evaluate.held_out(checkerboard)
    other = replace(checkerboard, movie=np.where(held, (checkerboard.movie + 1) % MOVIES, checkerboard.movie))
    found = evaluate.validate(checkerboard, EASE)
    np.testing.assert_array_equal(evaluate.held_out(other), held)
    assert evaluate.validate(other, EASE) == found
    assert evaluate.evaluate(other, EASE) != evaluate.evaluate(checkerboard, EASE)
    assert (found["users"], found["held_out"]) == (200, 800)
    assert found["ndcg_at_20"]["value"] > 0.4


def test_validation_is_measured_where_it_is_asked_for(checkerboard):
    asked = evaluate.measure(checkerboard, EASE, validation=True).figures
    assert asked.pop("validation") == evaluate.validate(checkerboard, EASE)
    assert asked == evaluate.evaluate(checkerboard, EASE)


def test_group_weights_change_what_is_learned_and_repeat(checkerboard, recipe):
    genders = tuple("F" if user % 2 else "M" for user in range(200))
    data = replace(checkerboard, genders=genders)
    plain, one, other = (
        evaluate.learn(data, recipe | more).arrays()["item_factors"]
        for more in ({}, {"group_weights": {"F": 3.0}}, {"group_weights": {"F": 3.0}})
    )
    assert (one == other).all()
    assert (one != plain).any()


def test_weights_of_groups_that_nobody_is_in_change_nothing(checkerboard, recipe):
    plain, weighted = (
        evaluate.learn(checkerboard, recipe | more).arrays()["item_factors"]
        for more in ({}, {"group_weights": {"F": 3.0, "M": 0.1}})
    )
    assert (plain == weighted).all()
