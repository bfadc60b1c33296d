"""Answers by an EASE model: the same decisions as for any model, and what it says nothing about is said honestly."""

import numpy as np
import pytest

from models.answer import decide
from models.recommenders.base import Rows
from models.recommenders.ease import Ease

MOVIES, TAKING_PART = 60, 40
STABLE = {"canary": {"candidate": None}}
HISTORY = ["m00", "m02", "m08"]


@pytest.fixture(scope="module")
def recommender():
    """Even users watched even movies, odd users odd ones; of 60 movies the 40 most watched take part: m00 … m39."""
    rng = np.random.default_rng(0)
    users = [np.sort(rng.choice(20, 9, replace=False)) * 2 + user % 2 for user in range(300)]
    users += [[40 + user] for user in range(20)]  # the others have one watch each
    recipe = {"regularization": 20.0, "movies": TAKING_PART, "neighbours": 40}
    return Ease.fit(Rows.of(users), MOVIES, recipe, 0)


@pytest.fixture
def ease(small, recommender):
    return small.world(STABLE, models={"v1": small.model("v1", recommender=recommender)})


def one(small, world, history, **question):
    return decide([small.question(**question)], small.cut(history), world, small.now)[0]


def test_a_taste_gets_its_own_movies_of_those_that_take_part(small, ease):
    decision = one(small, ease, HISTORY, n=10)
    assert (decision.status, decision.reason) == ("ok", None)
    numbers = [int(movie[1:]) for movie in decision.movies]
    assert all(number % 2 == 0 and number < TAKING_PART for number in numbers)
    assert not set(decision.movies) & set(HISTORY)
    assert decision.scores == sorted(decision.scores, reverse=True)
    assert min(decision.scores) > 0


def test_what_the_model_cannot_rank_is_filled_from_popular_each_movie_once(small, ease):
    decision = one(small, ease, HISTORY, n=69)
    assert (decision.status, decision.reason) == ("ok", "filled_from_popular")
    assert len(decision.movies) == len(set(decision.movies)) == 69
    assert not set(decision.movies) & set(HISTORY)
    ranked = sum(score > 0 for score in decision.scores)
    assert decision.scores[ranked:] == [0.0] * (69 - ranked)
    assert {"m59", "n00"} <= set(decision.movies[ranked:])


def test_a_genre_is_kept_to_in_the_list_and_in_what_fills_it(small, ease):
    decision = one(small, ease, HISTORY, n=30, genres=("Even",))
    assert {int(movie[1:]) % 2 for movie in decision.movies} == {0}
    assert len(decision.movies) == 30


@pytest.mark.parametrize("history", [["m45"], ["m45", "n03"]])
def test_a_history_that_says_nothing_to_the_model_is_no_history(small, ease, history):
    decision = one(small, ease, history)
    assert (decision.status, decision.reason) == ("fallback", "no_history")
    assert len(decision.movies) == 20
    assert not set(history) & set(decision.movies)


def test_seen_movies_may_come_back_on_demand(small, ease):
    assert set(HISTORY) & set(one(small, ease, HISTORY, exclude_seen=False).movies)


def test_a_movie_deleted_from_the_catalogue_is_never_recommended(small, recommender):
    without = [movie for movie in small.catalog if movie.movie_id not in ("m04", "m50")]
    world = small.world(STABLE, models={"v1": small.model("v1", recommender=recommender)}, catalog=without)
    assert not {"m04", "m50"} & set(one(small, world, HISTORY, n=100).movies)


def test_a_batch_gets_the_lists_of_its_users_alone_to_the_bit(small, ease):
    rng = np.random.default_rng(1)
    users = [[f"m{m:02}" for m in rng.choice(MOVIES, rng.integers(1, 12), replace=False)] for _ in range(80)]
    questions = [small.question(f"u{row}", n=int(rng.integers(1, 70)), offset=row) for row in range(len(users))]
    together = decide(questions, small.cut(*users), ease, small.now)
    for question, user, decision in zip(questions, users, together, strict=True):
        alone = decide([question], small.cut(user), small_copy(ease), small.now)[0]
        assert (alone.status, alone.reason, alone.movies, alone.scores) == (
            decision.status,
            decision.reason,
            decision.movies,
            decision.scores,
        )


def small_copy(world):
    """The same world without anything remembered of earlier users."""
    return type(world).of(
        world.applied, {name: servable.model for name, servable in world.models.items()}, world.catalog, world.ids
    )
