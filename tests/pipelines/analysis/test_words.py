"""The sentences say what the figures say, and no more."""

import pytest

from pipelines.analysis import words


def quality(group, low, high, *, small=False):
    value = {"value": (low + high) / 2, "low": low, "high": high}
    return {"group": group, "tested": 50 if small else 500, "too_small": small, "ndcg_at_20": value}


def figures(**changes):
    """Figures of a world where nothing can be said."""
    nothing = {"value": None, "low": None, "high": None}
    spread = {"gini": nothing, "coverage": nothing, "movies": 0, "lists": 0, "source": "what was recommended"}
    stats = {
        "n_movies": 10,
        "corr_popularity_interactions": None,
        "top_share_fraction": None,
        "top_share_percent": None,
    }
    return {
        "window": {"interactions": 0, "users": 0},
        "popularity_stats": {**stats, "top_k_fraction": 0.1},
        "popularity_source": "catalogue",
        "genre_diversity": {"mean_genres": None},
        "quality": {"groups": []},
        "watched": spread,
        "recommended": spread,
        "tenths": [{"watched": 0, "recommended": 0}],
        **changes,
    }


def test_where_nothing_can_be_said_nothing_is():
    assert words.summary(figures()) == []


@pytest.mark.parametrize(
    ("r", "said"), [(0.05, "no guide to"), (0.244, "a weak guide to"), (0.5, "some guide to"), (0.9, "a good guide to")]
)
def test_a_correlation_is_put_into_words(r, said):
    found = figures()
    found["popularity_stats"]["corr_popularity_interactions"] = r
    assert words.summary(found) == [
        f"What was popular before, by the catalogue, is {said} what is watched (r = {r:.2f})."
    ]


FEW = {"n_movies": 1_000, "top_share_fraction": 1.0, "top_share_percent": 100.0, "top_k_fraction": 0.1}


def concentrated(movies, *, interactions=120, users=14):
    """Figures of a catalogue of 1,000 movies of which some were watched; of fewer than a tenth the top tenth has all."""
    found = figures(
        window={"interactions": interactions, "users": users},
        top_movies=[{"of_watched": 0.25}],
        tenths=[{"watched": 1.0, "recommended": 0.4}],
    )
    found["popularity_stats"] |= FEW
    spread = {
        "gini": {"value": 0.9},
        "coverage": {"value": 0.2},
        "movies": 200,
        "lists": 300,
        "source": "what was recommended",
    }
    return {**found, "watched": {**spread, "movies": movies}, "recommended": {**spread, "gini": {"value": 0.95}}}


def test_the_top_tenth_is_told_only_where_more_movies_than_that_were_watched():
    top, compared, _ = words.summary(concentrated(101))
    assert top == (
        "The top 10 % of movies receive 100 % of all interactions: 120, by 14 users, with 101 of 1,000 movies."
    )
    assert "the most watched tenth of movies is 40 % of what was recommended" in compared


def test_where_fewer_were_watched_it_is_said_how_few_and_nothing_is_compared():
    top, compared, covered = words.summary(concentrated(100))
    assert top == (
        "Only 100 of 1,000 movies were watched, so the top 10 % receive everything: 120 interactions, by 14 users. "
        "The most watched movie has 25 % of them."
    )
    assert compared.endswith("cannot be told from so few movies: look at a longer window.")
    assert covered == "200 of 1,000 movies (20 %) are in any of the 300 lists."


def test_one_is_not_called_several():
    assert "everything: 1 interaction, by 1 user." in words.summary(concentrated(1, interactions=1, users=1))[0]


def test_a_gap_is_told_when_the_intervals_lie_apart():
    found = figures(quality={"groups": [quality("M", 0.1, 0.2), quality("F", 0.3, 0.4)]})
    assert words.summary(found) == [
        "What women will watch is predicted better than what men will (NDCG@20 0.350 against 0.150)."
    ]


def test_none_is_told_when_they_overlap():
    found = figures(quality={"groups": [quality("M", 0.1, 0.35), quality("F", 0.3, 0.4)]})
    (said,) = words.summary(found)
    assert said.startswith("No difference between men and women is proven")


def test_a_small_group_is_not_compared_but_named():
    found = figures(quality={"groups": [quality("M", 0.1, 0.2), quality("F", 0.3, 0.4, small=True)]})
    assert words.summary(found) == ["Too few tested users to conclude anything about: women (50)."]


@pytest.mark.parametrize(("low", "high", "proven"), [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.3, False)])
def test_a_change_is_proven_when_its_interval_leaves_0_out(low, high, proven):
    row = {
        "number": "novelty",
        "group": "all",
        "too_small": False,
        "first": {"value": 2.0},
        "second": {"value": 2.2},
        "difference": {"value": (low + high) / 2, "low": low, "high": high},
    }
    found = figures(comparison={"versions": ["v1", "v2"], "users": 900, "numbers": [row], "notes": []})
    (said,) = words.summary(found)
    assert ("Novelty 2 → 2.2" in said) == proven
    assert ("no number is proven to have changed" in said) != proven


def test_what_the_comparison_notes_is_among_the_sentences():
    found = figures(comparison={"versions": ["v1", "v2"], "users": 1, "numbers": [], "notes": ["Keep this in mind."]})
    assert words.summary(found) == [
        "From v1 to v2, for the same 1 user: no number is proven to have changed.",
        "Keep this in mind.",
    ]
