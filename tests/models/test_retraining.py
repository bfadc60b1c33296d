"""Whether a version is due: the table of the rule, its boundaries, and what a decision says."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Drift, Retraining
from models.measures.drift import Signals
from models.retraining import Counts, Decision, Last, decide, drift_may_ask, drifted, event, explained

MADE = datetime(2026, 11, 1, tzinfo=UTC)
V3 = Last("v3", MADE)
RULE = Retraining(days=3, users=50, interactions=100)
SHIFTED = Signals(5_000, 0.1, 0.2, 0.1, 5_000, (0.9, 0.85, 0.94))
STEADY = Signals(5_000, 0.0999, 0.2, 0.1, 5_000, (0.9, 0.85, 0.94))
AS_GOOD = Signals(5_000, 0.4, None, 0.2, 5_000, (0.94, 0.93, 0.95))
FEW = Signals(4_999)


def asked(days, users=0, interactions=0, signals=None, rule=RULE, last=V3, **options):
    return decide(last, Counts(users, interactions), signals, rule, MADE + timedelta(days=days), **options)


ALMOST = 3 - 1 / 86_400
TABLE = [
    # age, users, interactions, signals → due, rule
    (3, 50, 0, None, True, "time"),
    (3, 0, 100, None, True, "time"),
    (3, 50, 100, None, True, "time"),
    (3, 49, 99, None, False, "time"),
    (3, 0, 0, None, False, "time"),
    (40, 49, 99, None, False, "time"),
    (ALMOST, 5_000, 100_000, None, False, "none"),
    (0, 5_000, 100_000, None, False, "none"),
    (1, 0, 0, SHIFTED, True, "drift"),
    (1 - 1 / 86_400, 0, 0, SHIFTED, False, "none"),
    (2, 0, 0, STEADY, False, "none"),
    (2, 0, 0, AS_GOOD, False, "none"),
    (2, 0, 0, FEW, False, "none"),
    (2, 0, 0, None, False, "none"),
    (3, 50, 0, SHIFTED, True, "time"),
    (3, 0, 0, SHIFTED, True, "drift"),
    (-1, 5_000, 100_000, SHIFTED, False, "time"),
    (-3_000, 5_000, 100_000, SHIFTED, False, "time"),
]


@pytest.mark.parametrize(("days", "users", "interactions", "signals", "due", "rule"), TABLE)
def test_the_rule(days, users, interactions, signals, due, rule):
    found = asked(days, users, interactions, signals)
    assert (found.due, found.rule) == (due, rule)
    assert found.reason.startswith("due: " if due else "skipped: ")


@pytest.mark.parametrize(
    ("signals", "due"),
    [
        (Signals(5_000, 0.3, 0.2, 0.1), True),  # hits alone
        (Signals(5_000, 0.3, None, 0.2, 5_000, (0.9, 0.85, 0.9499)), True),  # NDCG alone
        (Signals(5_000, 0.3, None, 0.2, 5_000, (0.9, 0.85, 0.95)), False),
        (Signals(5_000, 0.3, 0.1, 0.2), False),  # has risen above where it fell from
        (Signals(5_000, 0.3), False),
        (Signals(5_000, None, 0.2, 0.1), False),
    ],
)
def test_drift_is_a_shift_and_a_fall_together(signals, due):
    assert asked(2, signals=signals).due is due


@pytest.mark.parametrize(
    ("users", "interactions", "due"), [(49, 99, False), (50, 50, True), (2, 100, True), (0, 0, False)]
)
def test_the_first_version_needs_no_days_but_enough(users, interactions, due):
    found = asked(0, users, interactions, last=None)
    assert (found.due, found.rule, found.age_days, found.due_at) == (due, "time", None, None)
    assert found.reason.endswith("and no version yet")


def test_nothing_is_never_trained_on_whatever_is_configured():
    nothing = Retraining(users=0, interactions=0)
    assert not asked(0, last=None, rule=nothing).due
    assert asked(3, rule=nothing).due  # there is the version's own data


def test_a_skip_names_both_numbers():
    found = asked(3.25, 12, 80)
    assert found.reason == "skipped: 12 new users of 50 and 80 new interactions of 100 since v3, which is 3.2 days old"
    assert (found.counts, found.thresholds.users, found.thresholds.interactions) == (Counts(12, 80), 50, 100)
    assert found.due_at == MADE + timedelta(days=3)


def test_an_age_that_is_not_yet_three_days_does_not_read_as_three():
    assert "v3 is 2.9 days old of 3.0 days" in asked(ALMOST, 60).reason


def test_a_version_from_the_future_is_told_of_and_never_trained_over():
    found = asked(-4, 500, 500)
    assert "v3 was made at 2026-11-01T00:00:00Z, 4.0 days from now: is a clock wrong?" in found.reason
    assert asked(-4, manual=True).due


def test_clocks_that_differ_by_seconds_are_not_wrong():
    assert asked(-30 / 86_400, 500, 500, rule=Retraining(days=0)).due


def test_asking_for_it_is_a_rule_of_its_own():
    for last in (None, V3):
        found = asked(0, last=last, manual=True)
        assert (found.due, found.rule) == (True, "manual")


@pytest.mark.parametrize(
    ("days", "drift", "last", "may"),
    [
        (1, Drift(), V3, True),
        (0.99, Drift(), V3, False),
        (1, Drift(enabled=False), V3, False),
        (1, Drift(), None, False),
        (-1, Drift(cool_down_days=0), V3, False),
        (0, Drift(cool_down_days=0), V3, True),
    ],
)
def test_when_drift_is_looked_at(days, drift, last, may):
    assert drift_may_ask(last, Retraining(drift=drift), MADE + timedelta(days=days)) is may


def test_a_refused_version_counts_as_a_run():
    assert not asked(2.9, 500, 500, last=Last("v4", MADE, refused=True)).due


@given(
    users=st.integers(0, 200),
    interactions=st.integers(0, 300),
    days=st.floats(-10, 10),
    more=st.integers(0, 100),
)
def test_more_news_never_make_a_version_less_due(users, interactions, days, more):
    assert asked(days, users + more, interactions + more).due >= asked(days, users, interactions).due


def test_what_is_drawn_from_a_decision_is_one_event():
    found = event("skipped", asked(3, 12, 80), MADE + timedelta(days=3))
    assert json.loads(msgspec.json.encode(found)) == {
        "event": "skipped",
        "timestamp": "2026-11-04T00:00:00Z",
        "rule": "time",
        "reason": "skipped: 12 new users of 50 and 80 new interactions of 100 since v3, which is 3.0 days old",
        "counts": {"users": 12, "interactions": 80},
        "thresholds": {
            "days": 3.0,
            "users": 50,
            "interactions": 100,
            "psi": 0.1,
            "psi_events": 5_000,
            "ndcg_drop": 0.05,
            "cool_down_days": 1.0,
        },
        "last_version": "v3",
    }


def test_a_decision_survives_json():
    found = asked(3, 12, 80, SHIFTED)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Decision) == found


def test_the_explanation_has_every_number():
    text = explained(asked(2, 12, 80, SHIFTED))
    assert text.startswith(
        "due: popularity has shifted (PSI 0.100 of 0.1 over 5,000 interactions), and hit@10 has fallen"
    )
    for number in ("12 of 50", "80 of 100", "2026-11-04T00:00:00Z", "0.100 of 0.1", "was 0.200", "(0.850 to 0.940)"):
        assert number in text
    assert "none yet" in explained(asked(0, last=None))
    assert "refused by a gate" in explained(asked(0, last=Last("v4", MADE, refused=True)))


ALERT = "satisfaction of men over women 0.700 (0.600 to 0.800) [stable, 3600 s to 2026-11-02T12:00:00.000Z]"


def test_an_alert_of_stable_asks_sooner_than_time():
    found = asked(1, 0, 1, alerts=[ALERT])
    assert (found.due, found.rule) == (True, "alert")
    assert found.reason.startswith(f"due: {ALERT}; 0 new users of 50 and 1 new interaction of 100")


@pytest.mark.parametrize(
    ("days", "interactions", "rule"),
    [(1 - 1 / 86_400, 1, RULE), (1, 0, RULE), (1, 1, Retraining(on_alert=False))],
    ids=["a young version", "nothing new", "not wanted"],
)
def test_an_alert_alone_asks_for_nothing(days, interactions, rule):
    assert not asked(days, 0, interactions, rule=rule, alerts=[ALERT]).due


@pytest.mark.parametrize(
    ("signals", "has"), [(SHIFTED, True), (STEADY, False), (AS_GOOD, False), (FEW, False), (None, False)]
)
def test_drift_is_a_shift_that_made_the_version_worse(signals, has):
    assert drifted(signals, Drift()) is has
