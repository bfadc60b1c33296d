"""What each request is answered: laws on lists, fallbacks and records, on a world small enough to look through."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.answer import check, decide, records, rejection
from models.errors import BadMessage
from models.events import AnswerReason
from models.recommenders.base import Rows
from models.release.split import arm, bucket

ALL_STABLE = {"canary": {"percentage": 0}}
HISTORY = ["m04", "m08", "m20"]  # an even taste

# One world for all examples: nothing in it changes but the numbering, which only grows.
shared = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
number = st.integers(0, 59)
movie_of = number.map("m{:02}".format) | st.integers(0, 11).map("n{:02}".format)
histories = st.lists(movie_of, max_size=25, unique=True)
genres = st.none() | st.sampled_from([("Even",), ("odd",), ("EVEN", "Odd")])
asked = st.fixed_dictionaries({"n": st.integers(1, 100), "exclude_seen": st.booleans(), "genres": genres})


def one(small, world, history=HISTORY, **fields):
    question = small.question(**fields)
    return decide([question], small.cut(history), world, small.now)[0]


def suitable(movie, wanted):
    return wanted is None or ("even" if int(movie[1:]) % 2 == 0 else "odd") in {genre.casefold() for genre in wanted}


# -- lists ----------------------------------------------------------------------------------------


@shared
@given(history=histories, request=asked)
def test_a_list_has_n_movies_no_duplicate_none_seen_and_only_wished_genres(small, history, request):
    decision = one(small, small.world(ALL_STABLE), history, **request)
    movies = decision.movies
    possible = [m for m in (*small.known_movies, *small.new_movies) if suitable(m, request["genres"])]
    left = [m for m in possible if not (request["exclude_seen"] and m in history)]
    assert len(movies) == min(request["n"], len(left))  # never fewer than n while the catalogue has enough
    assert set(movies) <= set(left)
    assert len(set(movies)) == len(movies) == len(decision.scores)
    assert np.isfinite(decision.scores).all()


@shared
@given(batch=st.lists(st.tuples(histories, asked), min_size=1, max_size=12), percentage=st.sampled_from([0, 50, 100]))
def test_batch_equals_single(small, batch, percentage):
    world = small.world({"canary": {"percentage": percentage}})
    questions = [small.question(f"u{row}", **fields) for row, (_, fields) in enumerate(batch)]
    together = decide(questions, small.cut(*(history for history, _ in batch)), world, small.now)
    for question, (history, _), decision in zip(questions, batch, together, strict=True):
        alone = decide([question], small.cut(history), world, small.now)[0]
        assert (alone.movies, alone.scores, alone.status, alone.reason) == (
            decision.movies,
            decision.scores,
            decision.status,
            decision.reason,
        )
        assert (alone.bucket, alone.variant, alone.version) == (decision.bucket, decision.variant, decision.version)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_list_is_the_models_own(small, version):
    world = small.world({"canary": {"stable": version, "percentage": 0}})
    recommender = small.models[version].recommender
    seen = Rows.of([[int(movie[1:]) for movie in HISTORY]])
    columns, scores = recommender.top(recommender.users(seen), 7, excluded=seen).row(0)
    decision = one(small, world, n=7)
    assert (decision.status, decision.reason, decision.version) == ("ok", None, version)
    assert decision.movies == [f"m{column:02}" for column in columns]
    assert decision.scores == scores.tolist()


def test_a_list_does_not_depend_on_the_order_in_which_movies_were_met(small):
    first = one(small, small.world(ALL_STABLE)).movies
    other = type(small)()
    for movie in reversed(small.known_movies):
        other.ids.index(movie)
    assert one(other, other.world(ALL_STABLE)).movies == first


def test_an_even_taste_gets_even_movies(small):
    assert all(int(movie[1:]) % 2 == 0 for movie in one(small, small.world(ALL_STABLE), n=10).movies)


def test_what_the_model_cannot_give_is_filled_from_newer_movies_and_says_so(small):
    decision = one(small, small.world(ALL_STABLE), n=65)
    assert (decision.status, decision.reason) == ("ok", "filled_from_popular")
    assert len(decision.movies) == 65
    assert set(decision.movies[57:]) <= set(small.new_movies)
    assert not set(decision.movies[:57]) & set(small.new_movies)
    assert decision.scores[57:] == [0.0] * 8


def test_a_short_list_that_nothing_can_fill_is_the_models_own_alone(small):
    decision = one(small, small.world(ALL_STABLE, catalog=small.catalog[:60]), n=65)
    assert (decision.status, decision.reason, len(decision.movies)) == ("ok", None, 57)


def test_a_new_user_with_one_watch_gets_a_personal_list(small):
    world = small.world(ALL_STABLE)
    decision = one(small, world, ["m07"], n=5)
    assert decision.status == "ok"
    assert all(int(movie[1:]) % 2 == 1 for movie in decision.movies)


def test_seen_movies_may_come_back_on_demand(small):
    world = small.world(ALL_STABLE)
    assert not set(one(small, world, n=57).movies) & set(HISTORY)
    assert set(one(small, world, n=60, exclude_seen=False).movies) == set(small.known_movies)


@pytest.mark.parametrize("history", [HISTORY, [], ["n03"]], ids=["personal", "unknown", "newer than the model"])
@pytest.mark.parametrize("gone", ["m00", "m06", "n00"])
def test_a_movie_deleted_from_the_catalogue_is_never_recommended(small, history, gone):
    whole, without = small.world(), small.world(catalog=[m for m in small.catalog if m.movie_id != gone])
    before, after = (one(small, world, history, n=100, exclude_seen=False) for world in (whole, without))
    assert gone in before.movies
    assert gone not in after.movies


# -- fallbacks ------------------------------------------------------------------------------------


class Broken:
    """A recommender that fails for whoever watched m13, and only for them."""

    def __init__(self, model, how):
        self._model, self._how, self._ill = model, how, set()
        self.n_movies = model.n_movies

    def users(self, found):
        ill = [13 in found.indices[a:b] for a, b in zip(found.indptr[:-1], found.indptr[1:], strict=True)]
        users = self._model.users(found)
        if self._how == "raises" and any(ill):
            raise ZeroDivisionError("of the model")
        if self._how == "is not finite":
            users[ill] = np.nan
        self._ill |= {vector.tobytes() for vector in users[ill]}
        return users

    def top(self, users, n, excluded=None, allowed=None):
        lists = self._model.top(users, n, excluded, allowed)
        if self._how == "gives a score that is not finite":
            lists.scores[[vector.tobytes() in self._ill for vector in users], 0] = np.nan
        return lists


@pytest.fixture(params=["raises", "is not finite", "gives a score that is not finite"])
def broken(request, small):
    """A world whose stable model fails for some."""
    model = small.model("v1", recommender=Broken(small.models["v1"].recommender, request.param))
    return small.world(ALL_STABLE, models={"v1": model, "v2": small.models["v2"]})


def test_a_failing_model_gives_that_user_a_fallback_and_the_others_their_own_lists(small, broken):
    users = [HISTORY, ["m13", "m15"], ["m01", "m03"], [], ["m13"]]
    questions = [small.question(f"u{row}") for row in range(len(users))]
    decisions = decide(questions, small.cut(*users), broken, small.now)
    whole = decide(questions, small.cut(*users), small.world(ALL_STABLE), small.now)
    assert [d.reason for d in decisions] == [None, "model_failed", None, "unknown_user", "model_failed"]
    for row in (0, 2, 3):
        assert (decisions[row].movies, decisions[row].failure) == (whole[row].movies, None)
    for row in (1, 4):
        assert len(decisions[row].movies) == 20
        assert not set(users[row]) & set(decisions[row].movies)
        assert decisions[row].failure


def test_a_version_that_is_not_at_hand_has_failed(small):
    world = small.world({"canary": {"percentage": 100}}, models={"v1": small.models["v1"]})
    decision = one(small, world)
    assert (decision.status, decision.reason, decision.version, decision.variant) == (
        "fallback",
        "model_failed",
        "v2",
        "canary",
    )
    assert len(decision.movies) == 20
    assert not set(decision.movies) & set(HISTORY)


def situation(small, name):
    """History, question fields and what is known, for each reason."""
    late = {"age_ms": 60_001}
    return {
        "unknown_user": ([], {}, {"known": [False]}),
        "no_history": ([], {}, {"known": [True]}),
        "no_history, all newer than the model": (["n03", "n04"], {}, {}),
        "history_behind": (HISTORY, {}, {"behind": True}),
        "deadline_passed": (HISTORY, late, {}),
        "deadline_passed before anything else": (HISTORY, late, {"behind": True}),
    }[name]


SITUATIONS = [
    "unknown_user",
    "no_history",
    "no_history, all newer than the model",
    "history_behind",
    "deadline_passed",
    "deadline_passed before anything else",
]


@pytest.mark.parametrize("name", SITUATIONS)
def test_each_fallback_says_why_and_gives_popular_movies_not_yet_seen(small, name):
    history, fields, known = situation(small, name)
    world = small.world(ALL_STABLE)
    decision = decide([small.question(**fields)], small.cut(history, **known), world, small.now)[0]
    assert (decision.status, decision.reason) == ("fallback", name.split(",")[0].split()[0])
    popular = [small.ids.text(index) for index in world.models["v1"].popular]
    assert decision.movies == [movie for movie in popular if movie not in history][:20]
    model = world.models["v1"].model
    expected = dict(zip(model.movie_ids, model.popularity.tolist(), strict=True))
    assert decision.scores == [float(expected.get(movie, 0)) for movie in decision.movies]


def test_every_reason_of_a_fallback_has_its_situation():
    from typing import get_args

    covered = {name.split(",")[0].split()[0] for name in SITUATIONS} | {
        "model_failed",
        "filled_from_popular",
        "overloaded",
    }
    assert covered == set(get_args(AnswerReason))


@pytest.mark.parametrize("name", SITUATIONS)
@pytest.mark.parametrize("unit", ["user", "request"])
@pytest.mark.parametrize("percentage", [0, 50, 100])
def test_variant_and_version_of_a_fallback_stay_those_of_the_split(small, name, unit, percentage):
    history, fields, known = situation(small, name)
    world = small.world({"canary": {"percentage": percentage, "unit": unit}})
    for offset in range(5):
        question = small.question(f"u{offset}", offset=offset, **fields)
        decision = decide([question], small.cut(history, **known), world, small.now)[0]
        canary = world.applied.config.canary
        assert (decision.bucket, decision.variant) == arm(question.request.user_id, question.request.request_id, canary)
        assert decision.version == {"stable": "v1", "canary": "v2"}[decision.variant]


def test_a_new_movie_is_in_fallback_lists(small):
    assert set(one(small, small.world(ALL_STABLE), []).movies) & set(small.new_movies)


def test_a_request_just_in_time_is_not_late(small):
    assert one(small, small.world(ALL_STABLE), age_ms=60_000).status == "ok"
    assert one(small, small.world({"serving": {"deadline_ms": 2}}), age_ms=3).reason == "deadline_passed"


def test_without_shedding_an_old_request_in_time_gets_its_own_list(small):
    assert one(small, small.world(ALL_STABLE), age_ms=59_000).status == "ok"


def test_with_shedding_what_waited_longer_gets_popular_movies(small):
    world = small.world({"serving": {"shed_after_ms": 500}})
    assert [one(small, world, age_ms=age).reason for age in (500, 501)] == [None, "overloaded"]


def test_past_its_deadline_a_request_is_not_called_shed(small):
    world = small.world({"serving": {"shed_after_ms": 500, "deadline_ms": 1_000}})
    assert one(small, world, age_ms=1_001).reason == "deadline_passed"


@pytest.mark.parametrize("wanted", [("Even",), ("EVEN",), ("even",)])
@pytest.mark.parametrize("history", [HISTORY, ["m01", "m03"], []], ids=["even taste", "odd taste", "unknown"])
def test_genres_are_respected_whatever_their_case(small, history, wanted):
    movies = one(small, small.world(ALL_STABLE), history, genres=wanted).movies
    assert len(movies) == 20
    assert all(int(movie[1:]) % 2 == 0 for movie in movies)


def test_a_genre_that_no_movie_has_is_refused_by_its_name(small):
    with pytest.raises(BadMessage, match="Western") as refused:
        check(small.question(genres=("even", "Western")).request, small.world())
    assert refused.value.reason == "unknown_genre"
    check(small.question(genres=("even",)).request, small.world())
    check(small.question(genres=("Western",)).request, small.world(catalog=()))  # nothing is known of genres yet


def test_with_neither_catalogue_nor_model_there_is_an_empty_fallback(small):
    decision = one(small, small.world(models={}, catalog=()))
    assert (decision.status, decision.reason, decision.movies) == ("fallback", "model_failed", [])


def test_no_questions_no_decisions(small):
    assert decide([], small.cut(), small.world(), small.now) == []


# -- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("history", [HISTORY, []], ids=["ok", "fallback"])
def test_a_record_is_every_field_of_the_answer_and_the_proof(small, history):
    world = small.world({"canary": {"percentage": 12.5}})
    question = small.question(n=3, genres=("Even",), exclude_seen=False, offset=14)
    cut = small.cut(history)
    decision = decide([question], cut, world, small.now)[0]
    answer, record = (json.loads(text) for text in records(decision, cut, world, small.now + 4))
    model = world.models[decision.version].model
    expected = {
        "request_id": "r-u-14",
        "user_id": "u",
        "status": decision.status,
        "recommendations": decision.movies,
        "scores": decision.scores,
        "model_id": model.model_id,
        "model_version": decision.version,
        "variant": decision.variant,
        "source": {"topic": "requests", "partition": 0, "offset": 14},
        "served_at": "2023-11-14T22:13:20.004Z",
        "latency_ms": 7,
    }
    if decision.reason:
        expected["reason"] = decision.reason
    assert answer == expected
    assert record == {
        **answer,
        "asked": {"n": 3, "genres": ["Even"], "exclude_seen": False},
        "canary_percentage": 12.5,
        "bucket": decision.bucket,
        "config_sha256": world.applied.sha256,
        "model_sha256": model.sha256,
        "data_version": model.data_version,
        "catalog_sha256": world.catalog.sha256,
        "history_offsets": {"watch-events": {"0": 5}},
        "variant_probability": {"stable": 0.875, "canary": 0.125}[decision.variant],
        "scoring_ms": None,  # nobody timed it
        "scored_together": None,
    }


def test_a_record_names_no_model_where_none_was_at_hand(small):
    world, cut = small.world(models={}), small.cut(HISTORY)
    decision = decide([small.question()], cut, world, small.now)[0]
    answer, record = (json.loads(text) for text in records(decision, cut, world, small.now))
    assert (answer["model_id"], record["model_sha256"], record["data_version"]) == (None, None, None)
    assert answer["model_version"] in ("v1", "v2")


def test_a_record_says_that_a_variant_was_forced_and_only_then(small):
    world = small.world({"canary": {"percentage": 0, "forced": {"tester": "canary"}}})
    made = {}
    for user in ("tester", "u1"):
        decision = decide([small.question(user)], small.cut(["m00", "m02", "m04"]), world, small.now)[0]
        made[user] = json.loads(records(decision, small.cut(["m00", "m02", "m04"]), world, small.now)[1])
    assert made["tester"]["forced"] is True
    assert (made["tester"]["variant"], made["tester"]["model_version"]) == ("canary", "v2")
    assert made["tester"]["bucket"] == bucket("tester", world.applied.config.canary.salt)
    assert "forced" not in made["u1"]


def test_in_an_a_a_split_both_variants_are_told_apart_and_answered_by_one_version(small):
    world = small.world({"canary": {"stable": "v1", "candidate": "v1", "percentage": 50}})
    questions = [small.question(f"u{offset}", offset=offset) for offset in range(40)]
    made = [decide([question], small.cut(["m00", "m02", "m04"]), world, small.now)[0] for question in questions]
    assert {decision.variant for decision in made} == {"stable", "canary"}
    assert {(decision.version, decision.status) for decision in made} == {("v1", "ok")}
    assert len({tuple(decision.movies) for decision in made}) == 1


def test_a_clock_behind_the_brokers_makes_no_negative_latency(small):
    world, cut = small.world(), small.cut(HISTORY)
    decision = decide([small.question(age_ms=-50)], cut, world, small.now)[0]
    assert json.loads(records(decision, cut, world, small.now)[0])["latency_ms"] == 0


def test_a_rejection_has_neither_split_nor_model_nor_list(small):
    world, question = small.world(), small.question(offset=3)
    both = rejection("r", None, question.source, small.now - 9, "bad_n", small.cut().offsets, world, small.now)
    answer, record = (json.loads(text) for text in both)
    assert {key: answer[key] for key in ("request_id", "user_id", "status", "reason", "latency_ms")} == {
        "request_id": "r",
        "user_id": None,
        "status": "rejected",
        "reason": "bad_n",
        "latency_ms": 9,
    }
    assert (answer["recommendations"], answer["variant"], answer["model_version"]) == ([], None, None)
    assert {**record, **answer} == record
    assert (record["bucket"], record["asked"], record["config_sha256"]) == (None, None, world.applied.sha256)


def test_answers_of_every_status_have_the_same_fields(small):
    world, cut = small.world(ALL_STABLE), small.cut(HISTORY)
    ok = json.loads(records(decide([small.question()], cut, world, small.now)[0], cut, world, small.now)[1])
    refused = json.loads(rejection("r", "u", small.question().source, 0, "bad_n", cut.offsets, world, small.now)[1])
    assert set(refused) - {"reason"} == set(ok)
