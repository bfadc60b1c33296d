"""Lists in which protected movies have a least share: what is served, what the record says, and that nothing else changes."""

import json

import numpy as np
import pytest

from models.answer import decide, records, scored_by
from models.config import Exposure
from models.exploration import draw
from models.recommenders.base import Rows
from models.recommenders.ease import Ease
from models.recommenders.protected import head

HISTORY = ["m04", "m08", "m20"]  # of a fan of even movies
STABLE = {"canary": {"candidate": None}}
ODD = {**STABLE, "exposure": {"share": 0.3, "protect": "genres", "genres": ["Odd"]}}


def answered(small, settings, history=HISTORY, *, catalog=None, models=None, **fields):
    world, cut = small.world(settings, catalog=catalog, models=models), small.cut(history)
    decision = decide([small.question(**fields)], cut, world, small.now)[0]
    return decision, json.loads(records(decision, cut, world, small.now)[1])


def odd(movies):
    return [movie for movie in movies if int(movie[1:]) % 2]


def test_the_list_is_the_best_that_keeps_the_share(small):
    ranking = answered(small, STABLE, n=57)[0].movies
    decision, record = answered(small, ODD, n=10)
    plain = ranking[:10]
    expected = sorted([*odd(ranking)[:3], *[m for m in ranking if not odd([m])][:7]], key=ranking.index)
    assert not odd(plain)
    assert decision.movies == expected
    assert record["reranked"] == {
        "least": 3,
        "protected": 3,
        "added": odd(ranking)[:3],
        "removed": [movie for movie in plain if movie not in expected],
    }


def test_scores_stay_the_models(small):
    ranking = answered(small, STABLE, n=57)[0]
    score_of = dict(zip(ranking.movies, ranking.scores, strict=True))
    decision, _ = answered(small, ODD, n=10)
    assert decision.scores == [score_of[movie] for movie in decision.movies]
    assert decision.scores == sorted(decision.scores, reverse=True)


def test_with_every_prefix_the_share_holds_from_the_top(small):
    settings = {**STABLE, "exposure": {**ODD["exposure"], "every_prefix": True}}
    decision, _ = answered(small, settings, n=20)
    for n in range(1, 21):
        assert len(odd(decision.movies[:n])) == 3 * n // 10


def test_a_list_that_has_the_share_is_the_models_own(small):
    settings = {**STABLE, "exposure": {**ODD["exposure"], "genres": ["Even"]}}
    decision, record = answered(small, settings, n=10)
    assert decision.movies == answered(small, STABLE, n=10)[0].movies
    assert (record["reranked"]["added"], record["reranked"]["removed"]) == ([], [])


def test_without_a_share_nothing_is_other_than_without_exposure(small):
    off = {**STABLE, "exposure": {"share": 0, "protect": "genres", "genres": ["Odd"], "every_prefix": True}}
    one, other = (answered(small, settings, n=10)[1] for settings in (STABLE, off))
    assert one.pop("config_sha256") != other.pop("config_sha256")
    assert one == other
    assert "reranked" not in one


def test_batch_and_single_are_the_same(small):
    settings = {"exposure": {"share": 0.25, "protect": "own_genres"}}
    histories = [[f"m{(7 * user + k) % 60:02}" for k in range(user)] for user in range(1, 12)]
    world = small.world(settings)
    questions = [small.question(user=f"u{user}", n=5 + user, offset=user) for user in range(11)]
    together = decide(questions, small.cut(*histories), world, small.now)
    for question, history, decision in zip(questions, histories, together, strict=True):
        (alone,) = decide([question], small.cut(history), world, small.now)
        assert (alone.movies, alone.reranked) == (decision.movies, decision.reranked)


def test_movies_outside_the_head_get_their_places(small):
    """The lower its number, the more popular a movie: the model's own list is popular."""
    model = small.models["v1"]
    tail = {model.movie_ids[c] for c in np.flatnonzero(~head(model.popularity, 0.9))}
    settings = {**STABLE, "exposure": {"share": 0.5, "protect": "movies", "head_fraction": 0.9}}
    assert len(tail.intersection(answered(small, STABLE, n=10)[0].movies)) < 5
    assert len(tail.intersection(answered(small, settings, n=10)[0].movies)) == 5


def test_a_request_for_genres_gets_no_other(small):
    decision, record = answered(small, ODD, n=10, genres=("Even",))
    assert decision.movies == answered(small, STABLE, n=10, genres=("Even",))[0].movies
    assert record["reranked"] == {"least": 3, "protected": 0, "added": [], "removed": []}


@pytest.mark.parametrize("left", [0, 2])
def test_where_too_few_protected_movies_are_left_the_list_has_those_and_is_no_shorter(small, left):
    catalog = [
        m
        for m in small.catalog
        if m.movie_id[0] == "m" and (int(m.movie_id[1:]) % 2 == 0 or m.movie_id < f"m{2 * left:02}")
    ]
    decision, record = answered(small, ODD, n=10, catalog=catalog)
    assert len(set(decision.movies)) == 10
    assert record["reranked"]["protected"] == len(odd(decision.movies)) == left


def test_a_list_longer_than_what_the_model_has_is_filled_as_ever(small):
    plain, decision = (answered(small, settings, n=65)[0] for settings in (STABLE, ODD))
    assert (decision.movies, decision.reason) == (plain.movies, plain.reason)


def test_seen_movies_stay_out(small):
    history = [*HISTORY, *odd(small.known_movies)[:20]]
    decision, _ = answered(small, ODD, history=history, n=20)
    assert not set(history) & set(decision.movies)
    assert len(odd(decision.movies)) >= 6


def test_a_fallback_is_popular_movies_and_nothing_else(small):
    (plain, one), (decision, other) = (answered(small, settings, history=[], n=10) for settings in (STABLE, ODD))
    assert decision.movies == plain.movies
    assert not {"reranked"} & (one.keys() | other.keys())


def test_places_are_drawn_from_what_ranks_behind_the_reranked_list(small):
    ranking = answered(small, STABLE, n=57)[0].movies
    exposed = answered(small, ODD, n=10)[0].movies
    behind = [movie for movie in ranking if movie not in exposed]
    settings = {**ODD, "exploration": {"share": 1, "pool": 10, "slots": 2}}
    decision, record = answered(small, settings, n=10, request_id="r1")
    drawn = draw("r1", 10, 20, small.world(settings).applied.config.exploration)
    assert decision.movies == [[*exposed, *behind][rank] for rank in drawn.ranks]
    assert record["reranked"]["added"] == odd(exposed)


def test_a_models_lists_of_its_own_are_not_reranked(small):
    found = [
        scored_by("v1", [small.question(n=10)], small.cut(HISTORY), small.world(settings), lambda: 0.0)[0].movies
        for settings in (STABLE, ODD)
    ]
    assert found[0] == found[1]


def test_ease_gives_the_best_list_too(small):
    rng = np.random.default_rng(0)
    rows = Rows.of([np.sort(rng.choice(60, 12, replace=False)) for _ in range(200)])
    model = small.model(
        "v1", recommender=Ease.fit(rows, 60, {"regularization": 5.0, "movies": 60, "neighbours": 60}, 0)
    )
    models = {"v1": model, "v2": small.models["v2"]}
    ranking = answered(small, STABLE, models=models, n=57)[0].movies
    settings = {**STABLE, "exposure": {**ODD["exposure"], "share": 0.8}}
    decision, _ = answered(small, settings, models=models, n=10)
    assert len(odd(ranking[:10])) < 8
    assert sorted(decision.movies) == sorted([*odd(ranking)[:8], *[m for m in ranking[:57] if not odd([m])][:2]])


def test_what_is_protected_is_found_out_once_for_model_and_configuration(small):
    world = small.world(ODD)
    other = {**ODD, "canary": {"candidate": None, "percentage": 5}}
    after = type(world).of(small.world(other).applied, small.models, world.catalog, world.ids, before=world)
    changed = {**ODD, "exposure": {"share": 0.1}}
    another = type(world).of(small.world(changed).applied, small.models, world.catalog, world.ids, before=world)
    assert after.protected["v1"] is world.protected["v1"]
    assert another.protected["v1"].exposure == Exposure(share=0.1)
    assert not small.world(STABLE).protected
