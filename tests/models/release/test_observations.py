"""One observation a user: what counts, who is left out, and that order does not matter."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.events import Feedback
from models.release.evidence import UNIT, ArmEvidence, Moments
from models.release.observations import Observations

HORIZON = 1_000


def observed(events, *, until=10 * HORIZON):
    found = Observations(HORIZON)
    for event in events:
        play(found, event)
    found.close(until)
    return found


def play(found, event):
    kind, *rest = event
    if kind == "answered":
        request, user, variant, at_ms = rest
        found.answered(request, user, variant, ["a", "b"], ok=at_ms % 3 > 0, group="F", at_ms=at_ms)
    elif kind == "said":
        request, selected, satisfaction, at_ms, *user = rest
        found.said(Feedback(request, *(user or [None]), selected, satisfaction, None), at_ms)
    else:
        found.watched(*rest)


def values(found, variant="canary", group="F"):
    """Metric → (users, mean)."""
    return {m: (g[group].n, g[group].total / g[group].n / UNIT) for m, g in found.users(variant).items() if group in g}


def test_a_user_is_one_value_in_each_metric_however_many_answers_they_got():
    found = observed(
        [
            ("answered", "r1", "u", "canary", 1),
            ("answered", "r2", "u", "canary", 3),
            ("said", "r1", "a", 0.5, 10),
            ("said", "r2", None, 1.0, 12),
            ("watched", "u", "b", 2),
        ]
    )
    assert values(found) == {"success": (1, 0.5), "ctr": (1, 0.5), "hit_rate": (1, 0.5), "satisfaction": (1, 0.75)}
    assert found.users("stable") == {}


def test_a_user_is_entered_once_when_the_horizon_has_closed():
    found = Observations(HORIZON)
    play(found, ("answered", "r1", "u", "canary", 1))
    found.close(HORIZON)
    assert found.users("canary") == {}
    found.close(HORIZON + 1)
    before = found.users("canary")
    assert before["ctr"]["F"].n == 1
    for event in [("answered", "r2", "u", "canary", 2_000), ("said", "r1", "a", None, 3_000)]:
        play(found, event)
    found.close(9_000)
    assert found.users("canary") == before


def test_an_answer_that_is_told_twice_counts_once():
    told = [("answered", "r1", "u", "canary", 1), ("answered", "r2", "u", "canary", 3), ("said", "r1", "a", 0.5, 10)]
    assert observed([*told, *told]).users("canary") == observed(told).users("canary")


def test_what_happens_after_the_horizon_does_not_count():
    found = observed(
        [
            ("answered", "r1", "u", "canary", 1),
            ("answered", "r2", "u", "canary", HORIZON + 1),
            ("said", "r1", "a", 1.0, HORIZON + 1),
            ("watched", "u", "a", HORIZON + 1),
        ]
    )
    assert values(found) == {"success": (1, 1.0), "ctr": (1, 0.0), "hit_rate": (1, 0.0)}


def test_users_who_changed_arm_are_left_out_of_both():
    found = observed([("answered", "r1", "u", "stable", 1), ("answered", "r2", "u", "canary", 5)])
    assert found.users("stable") == found.users("canary") == {}
    assert found.changed_arm == 1


def test_who_was_entered_for_stable_is_not_entered_again_for_the_canary():
    found = Observations(HORIZON)
    play(found, ("answered", "r1", "u", "stable", 1))
    found.close(5_000)
    play(found, ("answered", "r2", "u", "canary", 6_000))
    found.close(20_000)
    assert found.users("stable")["success"]["F"].n == 1
    assert found.users("canary") == {}


def test_a_watch_before_the_answer_or_of_another_movie_is_no_hit():
    for watch in [("watched", "u", "a", 0), ("watched", "u", "c", 5), ("watched", "other", "a", 5)]:
        assert values(observed([("answered", "r", "u", "canary", 1), watch]))["hit_rate"] == (1, 0.0)


def test_who_reports_no_satisfaction_has_none():
    assert "satisfaction" not in values(observed([("answered", "r", "u", "canary", 1), ("said", "r", "a", None, 5)]))


def test_feedback_that_names_another_user_is_not_this_users():
    answered = ("answered", "r", "u", "canary", 1)
    nothing = values(observed([answered]))
    assert nothing["ctr"] == (1, 0.0)
    assert values(observed([answered, ("said", "r", "a", 1.0, 5, "v")])) == nothing
    assert values(observed([answered, ("said", "r", "a", 1.0, 5, "u")]))["ctr"] == (1, 1.0)


def test_a_selection_of_a_movie_that_was_not_listed_is_no_click():
    found = values(observed([("answered", "r", "u", "canary", 1), ("said", "r", "c", 0.5, 5)]))
    assert (found["ctr"], found["satisfaction"]) == ((1, 0.0), (1, 0.5))


events = st.lists(
    st.one_of(
        st.tuples(
            st.just("answered"),
            st.sampled_from(["r1", "r2", "r3", "r4"]),
            st.sampled_from("uv"),
            st.sampled_from(["stable", "canary"]),
            st.integers(0, 3_000),
        ),
        st.tuples(
            st.just("said"),
            st.sampled_from(["r1", "r2", "r3", "r4"]),
            st.none() | st.sampled_from("ac"),
            st.none() | st.sampled_from([0.0, 0.3, 1.0]),
            st.integers(0, 3_000),
            st.none() | st.sampled_from("uv"),
        ),
        st.tuples(st.just("watched"), st.sampled_from("uv"), st.sampled_from("abc"), st.integers(0, 3_000)),
    ),
    max_size=14,
    unique_by=lambda event: event[:2] if event[0] == "answered" else object(),
)


@given(events=events, data=st.data())
def test_the_order_of_arrival_does_not_matter(events, data):
    shuffled = data.draw(st.permutations(events))
    one, other = observed(events), observed(shuffled)
    for variant in ("stable", "canary"):
        assert one.users(variant) == other.users(variant)
    assert one.changed_arm == other.changed_arm


@pytest.mark.parametrize(
    "bad",
    [
        ("said", "r1", "a", 1.5, 5),
        ("said", "r1", "a", -0.1, 5),
        ("said", "r1", "a", math.nan, 5),
        ("answered", "r9", "u", "control", 5),
    ],
)
def test_illegal_input_leaves_the_state_unchanged(bad):
    good = [("answered", "r1", "u", "canary", 1), ("said", "r1", "a", 0.5, 10)]
    found = Observations(HORIZON)
    for event in good:
        play(found, event)
    with pytest.raises(ValueError, match=r"satisfaction|variant"):
        play(found, bad)
    found.close(9_000)
    assert found.users("canary") == observed(good).users("canary")


@pytest.mark.parametrize("sums", [(1, UNIT + 1, UNIT**2), (0, 1, 0), (2, UNIT, UNIT**2 // 4), (2, 10, 10 * UNIT + 1)])
def test_sums_that_no_values_have_are_refused(sums):
    with pytest.raises(ValueError, match="sums"):
        Moments(*sums)


@given(st.lists(st.floats(0, 1), max_size=30))
def test_sums_are_those_of_the_values(parts):
    found = sum((Moments().with_value(value) for value in parts), Moments())
    assert found.n == len(parts)
    assert found.total == pytest.approx(UNIT * sum(parts), abs=len(parts))
    assert 0 <= found.sample.mean <= 1


def test_more_failures_than_requests_are_refused():
    with pytest.raises(ValueError, match="requests"):
        ArmEvidence(requests=3, failures=4, failing_users=1)
