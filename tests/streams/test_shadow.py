"""A worker's shadow: what is compared, what is dropped, and when it is told. With a broker: tests/broker/test_shadow.py."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from prometheus_client import REGISTRY

from models.answer import decide
from models.config import parse
from streams.shadow import AT_ONCE, Shadow, sample
from tests.models.conftest import SmallWorld

HISTORY = ["m04", "m08", "m20"]
IN_SHADOW = {"canary": {"percentage": 0}, "release": {"shadow_share": 1}}


@pytest.fixture
def small():
    return SmallWorld()


@pytest.fixture
def shadow():
    with ThreadPoolExecutor(1) as pool:
        yield Shadow(pool)


def sampled(small, settings=IN_SHADOW, histories=(HISTORY,), *, models=None):
    world = small.world(settings, models=models)
    cut = small.cut(*histories)
    questions = [small.question(f"u{row}") for row in range(len(histories))]
    return sample(decide(questions, cut, world, small.now, seconds=lambda: 0.0), cut, world)


def counted(outcome):
    return REGISTRY.get_sample_value("canarec_shadow_requests_total", {"outcome": outcome}) or 0.0


@pytest.mark.parametrize(
    "settings",
    [
        {"canary": {"percentage": 1}},
        {"canary": {"candidate": None, "percentage": 0}},
        {**IN_SHADOW, "release": {"shadow_share": 0}},
        {"canary": {"percentage": 0, "forced": {"u0": "canary"}}, "release": {"shadow_share": 1}},
    ],
    ids=["a step", "no candidate", "no share", "a forced user"],
)
def test_nothing_is_compared_where_the_candidate_is_not_in_the_shadow(small, settings):
    assert sampled(small, settings) is None


def test_a_candidate_that_could_not_be_loaded_is_not_compared(small):
    assert sampled(small, models={"v1": small.models["v1"]}) is None


def test_only_what_stables_model_was_asked_for_is_compared(small):
    found = sampled(small, histories=[[], HISTORY, ["n01"], []])
    assert [question.request.user_id for question in found.questions] == ["u1", "u2"]
    assert found.cut.movies_of(0).tolist() == small.cut(HISTORY).movies_of(0).tolist()


def test_no_more_are_compared_at_once_than_a_batch_can_wait_for(small, shadow):
    found = sampled(small, histories=[HISTORY] * 20)
    assert (len(found.questions), found.left_out) == (AT_ONCE, 20 - AT_ONCE)
    before = counted("dropped")
    shadow.offer(found, idle=True)
    assert counted("dropped") - before == 20 - AT_ONCE


def test_under_load_everything_is_dropped_and_counted(small, shadow):
    before, ok = counted("dropped"), counted("ok")
    shadow.offer(sampled(small, histories=[HISTORY] * 3), idle=False)
    assert (counted("dropped") - before, counted("ok")) == (3, ok)
    applied, figures = shadow.due(parse("{}"))
    assert (figures.requests, figures.dropped) == (0, 3)
    assert applied.config.canary.percentage == 0


def test_both_versions_score_and_are_timed(small, shadow):
    shadow.compare(sampled(small, histories=[HISTORY, ["m01"], ["m02"]]))
    _, figures = shadow.due(parse("{}"))
    assert (figures.requests, figures.errors, figures.empty) == (3, 0, 0)
    assert 0 < figures.overlap <= 1
    assert {variant: timing.mean > 0 for variant, timing in figures.scoring_ms.items()} == {
        "stable": True,
        "canary": True,
    }


def test_one_version_as_both_overlaps_with_itself_alone(small, shadow):
    canary = {"stable": "v1", "candidate": "v1", "percentage": 0}
    shadow.compare(sampled(small, {**IN_SHADOW, "canary": canary}))
    assert shadow.due(parse("{}"))[1].overlap == 1


class Ill:
    """A recommender that raises for everybody."""

    n_movies = 60

    def users(self, histories):
        raise ZeroDivisionError("of the candidate")


def test_a_candidate_that_raises_is_counted_and_nothing_else_happens(small, shadow):
    ill = {**small.models, "v2": small.model("v2", recommender=Ill(), sha256="ill")}
    before = counted("error")
    shadow.compare(sampled(small, histories=[HISTORY] * 2, models=ill))
    _, figures = shadow.due(parse("{}"))
    assert (figures.requests, figures.errors, figures.overlap) == (2, 2, None)
    assert counted("error") - before == 2


def test_news_is_told_once_when_the_shadow_ends_and_not_before_its_minute(small, shadow):
    found = sampled(small)
    shadow.compare(found)
    assert shadow.due(found.world.applied) is None  # it goes on, and a minute has not passed
    assert shadow.due(parse("{}")) is not None
    assert shadow.due(parse("{}")) is None


def test_another_candidate_is_counted_anew(small, shadow):
    shadow.compare(sampled(small))
    shadow.compare(sampled(small, models={**small.models, "v2": small.model("v2", sha256="other")}))
    assert shadow.due(parse("{}"))[1].requests == 1
