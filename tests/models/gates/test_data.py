"""The data gate: what stops a training, what is only said, and who is too heavy."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import DataGate
from models.gates.data import DataFigures, HeavyUser, heavy, judge

GOOD = DataFigures(
    events=1_200,
    interactions=1_000,
    users=100,
    movies=50,
    duplicates=10,
    ahead=0,
    refused={"not_json": 3},
    catalogue=60,
    unknown_movies=5,
    groups={"F": 400, "M": 500},
    heavy=(),
)
GATE = DataGate()
counts = st.lists(st.integers(1, 10_000), min_size=1, max_size=60)


def stopped(figures, before=None, **gate):
    return [f.check for f in judge(figures, msgspec.structs.replace(GATE, **gate), before) if f.stops]


def test_good_data_stop_nothing():
    assert stopped(GOOD, GOOD) == []


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"users": 19}, "users"),
        ({"interactions": 99, "unknown_movies": 0}, "interactions"),
        ({"refused": {"bad_rating": 70}}, "refused"),
        ({"ahead": 61}, "ahead"),
        ({"duplicates": 601}, "duplicates"),
        ({"unknown_movies": 201}, "unknown_movies"),
    ],
)
def test_each_figure_beyond_its_limit_stops(changes, check):
    assert stopped(replace(GOOD, **changes)) == [check]


@pytest.mark.parametrize(
    "changes",
    [
        {"users": 20},
        {"interactions": 100, "unknown_movies": 0},
        {"events": 95, "refused": {"bad_rating": 5}},
        {"ahead": 60},
        {"duplicates": 600},
        {"unknown_movies": 200},
    ],
)
def test_what_is_exactly_at_its_limit_passes(changes):
    assert stopped(replace(GOOD, **changes)) == []


def test_a_reason_has_both_numbers_and_what_was_refused():
    (finding,) = [f for f in judge(replace(GOOD, refused={"bad_rating": 300}), GATE) if f.stops]
    assert (
        finding.says == "refused: 300 of 1,500 messages are no events (bad_rating 300): 20.0%, at most 5.0% are allowed"
    )
    assert (finding.found, finding.limit) == (0.2, 0.05)


def test_an_empty_data_set_stops_for_its_counts_alone():
    nothing = DataFigures(
        events=0, interactions=0, users=0, movies=0, duplicates=0, ahead=0, refused={}, catalogue=0, unknown_movies=0,
        groups={}, heavy=(),
    )  # fmt: skip
    assert stopped(nothing) == ["users", "interactions"]
    assert stopped(nothing, GOOD) == ["users", "interactions"]


def test_without_a_catalogue_no_movie_is_unknown():
    findings = judge(replace(GOOD, catalogue=0, unknown_movies=1_000), GATE)
    assert [f.outcome for f in findings if f.check == "unknown_movies"] == ["noted"]


@pytest.mark.parametrize(("what", "outcome"), [("leave_out", "noted"), ("stop", "stopped")])
def test_a_heavy_user_is_left_out_or_stops_the_run_and_is_named(what, outcome):
    bot = HeavyUser(user_id="bot", events=1_200, interactions=1, events_share=0.5, interactions_share=0.001)
    gate = msgspec.structs.replace(GATE, heavy_users=what)
    (finding,) = [f for f in judge(replace(GOOD, heavy=(bot,)), gate) if f.check == "heavy_user"]
    assert (finding.outcome, finding.found, finding.limit) == (outcome, 0.5, 0.1)
    assert "'bot' made 50.0% of the events" in finding.says


def test_a_group_that_vanished_stops():
    assert stopped(replace(GOOD, groups={"M": 900}), GOOD) == ["group"]
    assert stopped(replace(GOOD, groups={"F": 199, "M": 500}), GOOD) == ["group"]
    assert stopped(replace(GOOD, groups={"F": 200, "M": 500}), GOOD) == []


def test_a_group_of_a_few_may_go_by_chance():
    before = replace(GOOD, groups={"F": 400, "M": 500, "x": 50})
    assert stopped(GOOD, before) == []


def test_profiles_that_come_for_the_first_time_are_no_loss():
    assert stopped(GOOD, replace(GOOD, groups={})) == []


def test_a_bot_that_writes_half_of_all_events_is_found_though_it_watches_one_movie():
    events = np.array([*[10] * 100, 1_000])
    interactions = np.array([*[10] * 100, 1])
    assert [found[:2] for found in heavy(events, interactions, 0.1)] == [(100, 0.5)]


def test_a_bot_that_watches_everything_once_is_found():
    assert [found.user for found in heavy(np.array([900, *[9] * 100]), np.array([900, *[9] * 100]), 0.1)] == [0]


def test_a_large_bot_does_not_hide_a_smaller_one():
    events = np.array([90_000, 900, *[10] * 90])
    assert [found.user for found in heavy(events, events, 0.1)] == [0, 1]


@given(counts, st.floats(0.01, 1))
def test_of_whom_is_left_nobody_has_more_than_the_limit(events, share_max):
    events = np.array(events)
    interactions = np.minimum(events, 7)
    gone = [found.user for found in heavy(events, interactions, share_max)]
    left = np.delete(events, gone), np.delete(interactions, gone)
    assert len(left[0]) > 0
    for each in left:
        assert each.max() / each.sum() <= max(share_max, 2 / len(each))


@given(counts, st.floats(0.01, 1))
def test_whoever_is_left_out_had_more_than_the_limit(events, share_max):
    found = heavy(np.array(events), np.array(events), share_max)
    assert all(max(one.events_share, one.interactions_share) > share_max for one in found)


def test_few_users_with_even_parts_are_not_heavy():
    assert heavy(np.array([10, 10, 10]), np.array([10, 10, 10]), 0.1) == []
    assert heavy(np.array([10]), np.array([10]), 0.1) == []
    assert heavy(np.array([], np.int64), np.array([], np.int64), 0.1) == []
