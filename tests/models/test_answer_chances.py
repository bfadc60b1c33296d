"""What an answer's record says about chance and time, lists with drawn places, and a model's lists of its own."""

import itertools
import json

import pytest

from models.answer import decide, records, rejection, scored_by
from models.config import Exploration
from models.exploration import draw, explores

HISTORY = ["m04", "m08", "m20"]
STABLE = {"canary": {"candidate": None}}
EVERYONE = {**STABLE, "exploration": {"share": 1, "pool": 10, "slots": 2}}


def one(small, settings, history=HISTORY, **fields):
    return decide([small.question(**fields)], small.cut(history), small.world(settings), small.now)[0]


def record(small, settings, history=HISTORY, **fields):
    world, cut = small.world(settings), small.cut(history)
    decision = decide([small.question(**fields)], cut, world, small.now)[0]
    return json.loads(records(decision, cut, world, small.now)[1])


# -- variants -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        ({"percentage": 100}, 1),
        ({"percentage": 0}, 1),
        ({"candidate": None, "percentage": 50}, 1),
        ({"percentage": 0, "forced": {"u": "canary"}}, 1),
        ({"percentage": 30, "forced": {"u": "stable"}}, 1),
    ],
)
def test_where_nothing_is_drawn_the_probability_is_1(small, canary, expected):
    assert record(small, {"canary": canary})["variant_probability"] == expected


def test_a_drawn_variant_has_the_probability_of_its_arm(small):
    settings = {"canary": {"percentage": 12.5}}
    found = [record(small, settings, user=f"u{number}") for number in range(40)]
    assert {one["variant"]: one["variant_probability"] for one in found} == {"canary": 0.125, "stable": 0.875}


def test_a_rejection_has_no_chances(small):
    both = rejection(
        "r", "u", small.question().source, 0, "bad_n", small.cut().offsets, small.world(EVERYONE), small.now
    )
    refused = json.loads(both[1])
    assert (refused["variant_probability"], refused["scoring_ms"]) == (None, None)
    assert not {"explored", "propensities"} & refused.keys()


# -- lists with drawn places ----------------------------------------------------------------------


def test_a_list_is_the_draw_from_the_models_own_ranking(small):
    ranking = one(small, STABLE, n=57)
    world = small.world(EVERYONE)
    decision = one(small, EVERYONE, n=7, request_id="r1")
    expected = draw("r1", 7, 57, world.applied.config.exploration)
    assert decision.movies == [ranking.movies[rank] for rank in expected.ranks]
    assert decision.scores == [ranking.scores[rank] for rank in expected.ranks]
    assert decision.propensities == expected.propensities
    assert sum(movie not in ranking.movies[:7] for movie in decision.movies) == 2


def test_an_explored_answer_is_marked_in_the_answer_and_its_record(small):
    world, cut = small.world(EVERYONE), small.cut(HISTORY)
    decision = decide([small.question(n=4)], cut, world, small.now)[0]
    answer, proof = (json.loads(text) for text in records(decision, cut, world, small.now))
    assert answer["explored"] is proof["explored"] is True
    assert sorted(proof["propensities"]) == [0.05, 0.05, 0.5, 0.5]
    assert "propensities" not in answer


def test_while_some_explore_the_others_records_say_that_nothing_was_drawn(small):
    settings = {**STABLE, "exploration": {"share": 0.3, "pool": 10}}
    exploration = Exploration(share=0.3, pool=10)
    for number in range(30):
        found = record(small, settings, user=f"u{number}", n=5)
        assert found.get("explored", False) == explores(f"u{number}", exploration)
        if "explored" not in found:
            assert found["propensities"] == [1.0] * 5
            assert found["recommendations"] == one(small, STABLE, n=5).movies


def test_without_a_share_nothing_is_other_than_without_exploration(small):
    off = {**STABLE, "exploration": {"share": 0, "slots": 10, "pool": 1_000, "salt": "x"}}
    for number in range(20):
        before, after = (record(small, settings, user=f"u{number}") for settings in (STABLE, off))
        assert before.pop("config_sha256") != after.pop("config_sha256")
        assert before == after
        assert not {"explored", "propensities"} & after.keys()


def test_genres_seen_movies_and_the_catalogue_hold_for_what_is_drawn(small):
    settings = {**EVERYONE, "exploration": {"share": 1, "pool": 1_000, "slots": 10}}
    catalog = [movie for movie in small.catalog if movie.movie_id != "m30"]
    for number in range(30):
        question = small.question(offset=number, n=10, genres=("Even",))
        decision = decide([question], small.cut(HISTORY), small.world(settings, catalog=catalog), small.now)[0]
        assert decision.propensities == pytest.approx([1 / 16] * 10)  # of 30 even movies, 3 seen, 1 gone, 10 listed
        assert all(int(movie[1:]) % 2 == 0 for movie in decision.movies)
        assert not {"m30", *HISTORY} & set(decision.movies)


@pytest.mark.parametrize(("n", "left"), [(56, 1), (57, 0), (58, -1)])
def test_nothing_is_drawn_where_the_model_has_no_movie_more_than_the_list(small, n, left):
    plain, decision = one(small, STABLE, n=n), one(small, EVERYONE, n=n)
    if left > 0:
        assert len(set(decision.movies) - set(plain.movies)) == 1  # one slot, as there is one movie
        assert sorted(decision.propensities) == [1 / 56] + [55 / 56] * 55
    else:
        assert (decision.movies, decision.scores, decision.reason) == (plain.movies, plain.scores, plain.reason)
        assert decision.propensities is None
        assert record(small, EVERYONE, n=n)["propensities"] == [1.0] * len(plain.movies)


@pytest.mark.parametrize("history", [[], ["n03"]])
def test_a_fallback_is_never_explored(small, history):
    plain, found = record(small, STABLE, history), record(small, EVERYONE, history)
    assert found["status"] == "fallback"
    assert found["recommendations"] == plain["recommendations"]
    assert found["propensities"] == [1.0] * 20
    assert "explored" not in found


def test_explorers_and_others_in_one_batch_get_what_each_would_get_alone(small):
    settings = {"exploration": {"share": 0.5, "pool": 30, "slots": 3}}
    asked = [(f"u{row}", 1 + row % 25) for row in range(40)]
    questions = [small.question(user, n) for user, n in asked]
    together = decide(questions, small.cut(*[HISTORY] * 40), small.world(settings), small.now)
    alone = [one(small, settings, user=user, n=n) for user, n in asked]
    assert [(d.movies, d.scores, d.propensities) for d in together] == [
        (d.movies, d.scores, d.propensities) for d in alone
    ]
    assert 5 < sum(d.propensities is not None for d in together) < 35


# -- times ----------------------------------------------------------------------------------------


def ticking(step_s):
    """A stopwatch that moves on by a step whenever it is looked at."""
    ticks = itertools.count()
    return lambda: next(ticks) * step_s


def test_requests_share_the_time_of_their_model(small):
    world = small.world({"canary": {"percentage": 50}})
    questions = [small.question(f"u{row}") for row in range(11)]
    users = [HISTORY] * 10 + [[]]
    decisions = decide(questions, small.cut(*users), world, small.now, seconds=ticking(0.03))
    for version in ("v1", "v2"):
        timed = [d for d in decisions[:10] if d.version == version]
        assert {(d.scoring_ms, d.scored_together) for d in timed} == {(round(30 / len(timed), 4), len(timed))}
    assert (decisions[10].scoring_ms, decisions[10].scored_together) == (None, None)  # popular movies: no model scored


# -- one model alone --------------------------------------------------------------------------------


def test_a_version_alone_gives_the_lists_that_it_would_answer(small):
    shadow = small.world({"canary": {"percentage": 0}, "exploration": {"share": 1}})
    questions = [small.question(f"u{row}", 5 + row) for row in range(6)]
    users = [HISTORY, ["m01"], ["m02", "m04"], ["m05"], [], HISTORY]
    for version in ("v1", "v2"):
        answering = small.world({"canary": {"stable": version, "candidate": None}})
        found = scored_by(version, questions, small.cut(*users), shadow, ticking(0.01))
        expected = decide(questions, small.cut(*users), answering, small.now)
        assert [(d.movies, d.scores) for d in found if d.movies] == [
            (d.movies, d.scores) for d in expected if d.status == "ok"
        ]
        assert (found[4].movies, found[4].failure) == ([], None)
        assert {d.scored_together for d in found} == {6}


def test_a_part_of_a_cut_has_the_histories_of_its_users(small):
    cut = small.cut(HISTORY, [], ["m01", "n02"], known=[True, False, True])
    part = cut.some([2, 1])
    assert [part.movies_of(row).tolist() for row in (0, 1)] == [cut.movies_of(2).tolist(), []]
    assert (part.known, part.offsets, part.behind) == ([True, False], cut.offsets, False)
    assert cut.some([]).indptr.tolist() == [0]
