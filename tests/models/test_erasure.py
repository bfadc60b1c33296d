"""Erasures as they are kept and told: digests for names, versions by the offsets of their data."""

from datetime import UTC, datetime, timedelta

import pytest

from models.config import Retraining
from models.erasure import Erased, Erasure, event, request_digest, trained_on, user_digest
from models.retraining import Counts, Last, decide

AT = "2026-11-27T08:00:00.000Z"


def test_a_user_and_a_request_of_one_name_have_different_digests():
    assert user_digest("42") != request_digest("42")


def test_an_erased_user_is_known_by_the_name_alone():
    erased = Erased.of([Erasure(user_digest("42"), AT)])
    assert (erased.user("42"), erased.user("43"), erased.user(None)) == (AT, None, None)


@pytest.mark.parametrize(
    ("written", "is_erased"), [("2026-11-27T07:59:59.999Z", True), ("2026-11-27T08:00:00.001Z", False)]
)
def test_what_came_after_the_erasure_is_another_users(written, is_erased):
    erased = Erased.of([Erasure(user_digest("42"), AT)])
    assert (erased.user("42", written) is not None) == is_erased


def test_requests_are_merged_and_kept_as_digests():
    erasure = Erasure(user_digest("42"), AT)
    erasure.merge(requests=["r1"])
    erasure.merge(requests=["r1", "r2"])
    erased = Erased.of([erasure])
    assert len(erasure.requests) == 2
    assert (erased.request("r1"), erased.request("r3")) == (AT, None)


def test_a_version_that_is_found_to_be_trained_is_not_unknown_any_more():
    erasure = Erasure(user_digest("42"), AT)
    erasure.merge(unknown=["v1", "v2"])
    erasure.merge(models=["v1"])
    assert (erasure.models, erasure.models_unknown) == (["v1"], ["v2"])


@pytest.mark.parametrize(("offset", "expected"), [(4, False), (5, True), (8, True), (9, False)])
def test_a_version_was_trained_on_the_offsets_from_first_to_below_next(offset, expected):
    spans = {"watch-events": {"1": [5, 9]}}
    assert trained_on(spans, {("watch-events", 1): {offset}}) == expected
    assert not trained_on(spans, {("watch-events", 0): {offset}})
    assert not trained_on(spans, {("rating-events", 1): {offset}})


def test_the_event_names_nobody():
    erasure = Erasure(user_digest("somebody"), AT, requests=[request_digest("r1")])
    assert "somebody" not in str(event(erasure, AT))


@pytest.mark.parametrize(("erased", "rule"), [(0, "none"), (1, "erasure")])
def test_an_erasure_makes_a_training_due_before_its_time(erased, rule):
    made = datetime(2026, 11, 27, tzinfo=UTC)
    decision = decide(Last("v3", made), Counts(0, 0), None, Retraining(), made + timedelta(hours=1), erased=erased)
    assert (decision.rule, decision.due) == (rule, bool(erased))
