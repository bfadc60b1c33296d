"""Evaluation by time, on data whose answer is known: two groups of users who watch their own colour of movies."""

import json

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
