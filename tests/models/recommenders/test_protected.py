"""Which movies a configuration protects."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.config import Exposure
from models.recommenders.protected import Protected, head

GENRES = ("drama", "war", "musical")
TAGS = np.array([[1, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 0, 0, 1, 0]], bool)
POPULARITY = np.array([50, 30, 10, 5, 5])  # Drama 90 of 110 mentions, War 15, Musical 5
NOBODY = np.empty(0, np.int32)


def protected(history=NOBODY, **settings):
    found = Protected.of(Exposure(share=0.2, **settings), POPULARITY, GENRES, TAGS)
    return np.flatnonzero(found.of_user(np.array(history, np.int32))).tolist()


@given(st.lists(st.integers(0, 20), max_size=12), st.floats(0.01, 0.99))
def test_the_head_is_the_fewest_movies_with_the_share(counts, fraction):
    counts = np.array(counts, np.int64)
    chosen = head(counts, fraction)
    if counts.sum():
        assert counts[chosen].sum() >= fraction * counts.sum()
        assert counts[chosen].sum() - counts[chosen].min() < fraction * counts.sum()
        assert counts[chosen].min() >= counts[~chosen].max(initial=0)


def test_movies_outside_the_head_are_protected():
    assert protected(head_fraction=0.5) == [1, 2, 3, 4]
    assert protected(head_fraction=0.6) == [2, 3, 4]


def test_rare_genres_are_those_outside_the_head_of_genres():
    assert protected(protect="genres", head_fraction=0.5) == [2, 3]  # War and Musical
    assert protected(protect="genres", head_fraction=0.9) == [3]


def test_named_genres_are_protected_whatever_their_case():
    assert protected(protect="genres", genres=("MUSICAL", "Western")) == [3]


def test_a_genre_that_no_movie_has_protects_nothing():
    assert protected(protect="genres", genres=("Western",)) == []


def test_own_genres_are_those_that_the_user_watches_more_than_all_do():
    """Of this history Drama is half, War half: War is watched more than by others, who have 82 % Drama and 14 % War."""
    assert protected([1, 3, 2], protect="own_genres") == [3]  # War and Musical; Drama and War is half of it
    assert protected([0], protect="own_genres") == [0, 1]


def test_who_has_no_history_has_no_genres_of_their_own():
    assert protected(protect="own_genres") == []
