"""The figures of a window, where they can be told by hand."""

import json

import numpy as np
import pytest

from models.measures import concentration
from pipelines import analyze
from pipelines.analysis import words

from .analysis.conftest import BEGIN_MS, HOUR_MS, World, answer

ALS = {"algorithm": "als", "factors": 4, "iterations": 3, "alpha": 3.0, "regularization": 1.0, "seed": 0}


@pytest.fixture
def world(tmp_path, small_archive):
    return World(small_archive(tmp_path)).fill()


def figures(observed):
    return analyze.analyze(observed, analyze.judge(observed, "als", ALS))


def test_the_three_blocks_have_the_contracts_keys_and_no_other(world):
    found = figures(world.observed())
    assert set(found["popularity_stats"]) == {
        *("n_movies", "corr_popularity_interactions", "top_share_fraction", "top_share_percent", "top_k_fraction")
    }
    assert set(found["genre_diversity"]) == {"n_users", "mean_genres", "median_genres", "p10_genres", "p90_genres"}
    assert {key for row in found["fairness"] for key in row} == {
        *("group", "n_users", "n_interactions", "mean_rating", "ndcg_at_20", "recall_at_20", "rmse")
    }
    assert [row["group"] for row in found["fairness"]] == ["M", "F", "unknown"]


def test_the_same_window_gives_the_same_figures_and_they_are_json(world):
    one, other = (json.dumps(figures(world.observed()), allow_nan=False) for _ in range(2))
    assert one == other


def test_popularity_is_the_catalogues_where_it_has_any(world):
    world.add("movie-catalog", [world.movie(m, popularity=float(m)) for m in range(40)])
    observed = world.observed(since_ms=BEGIN_MS + HOUR_MS)
    found = figures(observed)
    watched = np.bincount(observed.movie, minlength=40)
    popularity = observed.catalogue.popularity
    assert found["popularity_source"] == "catalogue"
    assert found["popularity_stats"]["corr_popularity_interactions"] == pytest.approx(
        np.corrcoef(popularity, watched)[0, 1]
    )


def test_else_it_is_what_happened_before_the_window(world):
    observed = world.observed(since_ms=BEGIN_MS + 4 * HOUR_MS)
    found = figures(observed)
    watched = np.bincount(observed.movie, minlength=40)
    assert found["popularity_source"] == "interactions before the window"
    assert found["popularity_stats"]["corr_popularity_interactions"] == pytest.approx(
        np.corrcoef(observed.before, watched)[0, 1]
    )


def test_else_there_is_none_and_it_says_so(world):
    found = figures(world.observed())
    assert found["popularity_source"].startswith("none")
    assert found["popularity_stats"]["corr_popularity_interactions"] is None
    assert found["popularity_from_before"]["correlation"] is not None


def test_recommendations_are_those_that_were_served(world):
    world.add("recommendations", [answer(n, f"u{n}", ["m0", "m1"]) for n in range(10)])
    found = figures(world.observed())["recommended"]
    assert (found["source"], found["versions"]) == ("what was recommended", {"v1": 10})
    assert (found["lists"], found["users"], found["movies"], found["never"]) == (10, 10, 2, 38)
    assert found["coverage"]["value"] == pytest.approx(2 / 40)
    assert found["gini"]["value"] == pytest.approx(0.95)


def test_else_those_that_the_recipe_would_make(world):
    found = figures(world.observed())["recommended"]
    assert (found["source"], found["lists"]) == ("what recipe als would recommend", 60)


def test_shares_of_the_tenths_are_whole_and_in_order(world):
    found = figures(world.observed())["tenths"]
    assert [row["movies"] for row in found] == [4] * 10
    for name in ("watched", "recommended"):
        assert sum(row[name] for row in found) == pytest.approx(1)
    watched = [row["watched"] for row in found]
    assert watched == sorted(watched, reverse=True)


def test_popularity_of_lists_and_histories_is_by_user_then_by_group(world):
    world.add("recommendations", [answer(0, "u0", ["m0"]), answer(1, "u0", ["m0"]), answer(2, "u2", ["m1", "m2"])])
    observed = world.observed()
    watched = np.bincount(observed.movie, minlength=40)
    place = {movie: number for number, movie in enumerate(observed.catalogue.movies)}
    expected = (watched[place["m0"]] + (watched[place["m1"]] + watched[place["m2"]]) / 2) / 2
    men = next(row for row in figures(observed)["groups"] if row["group"] == "M")
    assert men["popularity_of_lists"]["value"] == pytest.approx(expected)
    assert men["n_users"] == 28
    assert men["too_small"]


def test_movies_outside_the_catalogue_are_counted_and_left_out(world):
    world.add("rating-events", [world.archive.rate("u0", "nowhere", 3.0, BEGIN_MS)])
    found = figures(world.observed())
    assert found["window"]["of_movies_not_in_the_catalogue"] == 1
    assert found["popularity_stats"]["n_movies"] == 40
    assert found["watched"]["movies"] <= 40


def test_gini_is_over_the_whole_catalogue(world):
    observed = world.observed(until_ms=BEGIN_MS + HOUR_MS)
    counts = np.bincount(observed.movie, minlength=40)
    assert (counts == 0).any()
    assert figures(observed)["watched"]["gini"]["value"] == pytest.approx(concentration.gini(counts), abs=1e-6)


def test_quality_of_the_groups_has_intervals_that_hold_the_value(world):
    for row in figures(world.observed())["quality"]["groups"]:
        for name in ("ndcg_at_20", "recall_at_20", "rmse"):
            assert row[name]["low"] <= row[name]["value"] <= row[name]["high"]


def test_users_that_did_nothing_count_with_no_genres(world):
    world.add("user-profiles", [world.archive.profile(f"idle{n}", "F") for n in range(40)])
    found = figures(world.observed())
    assert found["genre_diversity"]["n_users"] == 100
    assert found["genre_diversity"]["p10_genres"] == 0
    assert found["genres_of_users"][0] >= 40


def test_watches_alone_have_no_rating_and_no_error(empty_world):
    found = figures(empty_world.observed())
    assert [(row["mean_rating"], row["rmse"]) for row in found["fairness"]] == [(None, None)]
    assert found["genres"] == []


@pytest.fixture
def empty_world(tmp_path, small_archive):
    """Watches, and nothing else is known."""
    world = World(small_archive(tmp_path))
    world.add("watch-events", [world.archive.watch(f"u{n % 9}", f"m{n}") for n in range(45)])
    return world


def test_one_interaction_is_enough(tmp_path, small_archive):
    world = World(small_archive(tmp_path))
    world.add("watch-events", [world.archive.watch("u", "m")])
    found = figures(world.observed())
    json.dumps(found, allow_nan=False)
    assert found["popularity_stats"]["top_share_percent"] == 100
    assert words.summary(found)[0].startswith(
        "The top 10 % of movies receive 100 % of all interactions: 1, by 1 user, with 1 of 1 movie."
    )
