"""Concentration, breadth and quality by group, on data whose figures can be told by hand."""

import numpy as np
import pytest

from models.measures import exposure

NAN = np.nan


def test_the_head_is_a_tenth_of_the_catalogue_not_of_what_was_watched():
    watched = np.array([10, *[1] * 10, *[0] * 9])  # 20 movies, 11 of them watched
    found = exposure.popularity_stats(watched, None)
    assert found == {
        "n_movies": 20,
        "corr_popularity_interactions": None,
        "top_share_fraction": pytest.approx(11 / 20),  # two movies: 10 + 1
        "top_share_percent": pytest.approx(55),
        "top_k_fraction": 0.1,
    }


def test_a_small_catalogue_has_a_head_of_one():
    assert exposure.popularity_stats(np.array([3, 1]), None)["top_share_percent"] == 75


def test_correlation_is_pearsons_over_movies_that_have_a_popularity():
    watched, popularity = np.array([4, 1, 7, 5]), np.array([2.0, 9.0, NAN, 1.0])
    expected = np.corrcoef([2, 9, 1], [4, 1, 5])[0, 1]
    found = exposure.popularity_stats(watched, popularity)["corr_popularity_interactions"]
    assert found == pytest.approx(expected)


@pytest.mark.parametrize("popularity", [[1.0, 1.0, 1.0], [NAN, NAN, NAN], [NAN, 1.0, NAN]])
def test_what_cannot_be_correlated_is_null(popularity):
    assert exposure.popularity_stats(np.array([1, 2, 3]), np.array(popularity))["corr_popularity_interactions"] is None


def test_nothing_watched_has_no_share():
    found = exposure.popularity_stats(np.zeros(5, np.int64), None)
    assert (found["n_movies"], found["top_share_fraction"], found["top_share_percent"]) == (5, None, None)


def test_each_genre_counts_once_and_idle_users_as_none():
    user, movie = np.array([0, 0, 1], np.int32), np.array([0, 1, 2], np.int32)
    found = exposure.genre_diversity(user, movie, [["War", "Drama"], ["War"], []], n_users=3)
    assert found == {
        "n_users": 3,
        "mean_genres": pytest.approx(2 / 3),
        "median_genres": 0,
        "p10_genres": 0,
        "p90_genres": pytest.approx(1.6),
    }


def test_genres_agree_with_a_loop():
    rng = np.random.default_rng(3)
    genres = [list(rng.choice(list("abcdef"), rng.integers(0, 4), replace=False)) for _ in range(30)]
    user, movie = rng.integers(0, 20, 200).astype(np.int32), rng.integers(0, 30, 200).astype(np.int32)
    met = [{genre for m in movie[user == u] for genre in genres[m]} for u in range(20)]
    assert exposure.genre_diversity(user, movie, genres, 20)["mean_genres"] == pytest.approx(
        np.mean(list(map(len, met)))
    )


def test_genres_are_counted_the_same_however_many_users_are_looked_at_together(monkeypatch):
    rng = np.random.default_rng(4)
    genres = [list(rng.choice(list("abcdef"), rng.integers(0, 4), replace=False)) for _ in range(30)]
    user, movie = rng.integers(0, 20, 200).astype(np.int32), rng.integers(0, 30, 200).astype(np.int32)
    together = exposure.genres_met(user, movie, genres, 20)
    monkeypatch.setattr(exposure, "AT_ONCE", 6 * 3)
    assert np.array_equal(exposure.genres_met(user, movie, genres, 20), together)


def test_without_users_there_is_nothing_to_say():
    none = np.zeros(0, np.int32)
    assert exposure.genre_diversity(none, none, [], 0)["mean_genres"] is None
    assert exposure.fairness([], none, {"sum": none, "count": none}, {}, (none, none)) == []


def test_fairness_has_a_row_for_each_group_unknown_among_them():
    rows = exposure.fairness(
        ["F", "M", None, "F"],
        np.array([5, 2, 1, 3]),
        {"sum": np.array([9.0, 3.0, 0.0, 3.0]), "count": np.array([2.0, 1.0, 0.0, 1.0])},
        {"ndcg_at_20": np.array([0.5, 0.2, NAN, NAN])},
        (np.array([0, 0, 1], np.int32), np.array([1.0, 0.5, 4.0])),
    )
    assert rows == [
        {"group": "M", "n_users": 1, "n_interactions": 2, "mean_rating": 3, "ndcg_at_20": 0.2, "rmse": 2},
        {
            "group": "F",
            "n_users": 2,
            "n_interactions": 8,
            "mean_rating": 4,
            "ndcg_at_20": 0.5,
            "rmse": pytest.approx(0.75**0.5),
        },
        {"group": "unknown", "n_users": 1, "n_interactions": 1, "mean_rating": None, "ndcg_at_20": None, "rmse": None},
    ]


def test_predicted_ratings_find_who_is_strict_and_what_is_liked():
    rng = np.random.default_rng(1)
    user, movie = np.repeat(np.arange(60, dtype=np.int32), 40), np.tile(np.arange(40, dtype=np.int32), 60)
    truth = 3.5 + np.linspace(-1, 1, 60)[user] + rng.permutation(np.linspace(-0.5, 0.5, 40))[movie]
    held = rng.random(len(user)) < 0.2
    found = exposure.predicted_ratings(user, movie, truth, held, 60, 40)
    assert np.sqrt(np.mean((found - truth)[held] ** 2)) < 0.3 * truth.std()


def test_what_is_held_out_is_not_learned_from():
    user, movie, stars = np.array([0, 1], np.int32), np.array([0, 0], np.int32), np.array([4.0, 1.0])
    held = np.array([False, True])
    one = exposure.predicted_ratings(user, movie, stars, held, 2, 1)
    other = exposure.predicted_ratings(user, movie, np.array([4.0, 5.0]), held, 2, 1)
    assert np.array_equal(one, other)
