"""From answers, feedback and watches in the order of time to evidence: what counts, where, and that looking changes nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import Canary, Release
from models.events import Feedback, ShadowFigures, Timing, Watch
from models.release.evidence import ArmEvidence, Moments, Period
from models.release.trial import CHANGEOVER_MS, Record, Trial, tick_ms
from models.release.verdict import decide

HORIZON_MS = 2_000
SPLIT = Canary(stable="v1", candidate="v2", percentage=10)


def trial(canary=SPLIT, **release):
    return Trial(canary, Release(**release), HORIZON_MS)


def answer(user, variant="stable", *, request=None, percentage=10.0, **fields):
    version = {"stable": "v1", "canary": "v2"}[variant]
    known = {"status": "ok", "recommendations": ["heat"], "latency_ms": 5, "config_sha256": "c"}
    known |= {"variant": variant, "model_version": version, "model_sha256": version, "scoring_ms": 1.0}
    request = request or f"r-{user}"
    return Record(request_id=request, user_id=user, canary_percentage=percentage, **{**known, **fields})


def evidence(found, percentage=10, **more):
    return found.evidence(percentage, held_s=0, **more)


def test_without_a_candidate_there_is_no_trial():
    with pytest.raises(ValueError, match="without a candidate"):
        trial(Canary(candidate=None))


def test_requests_failures_and_users_are_told_apart():
    found = trial()
    for number in range(4):
        found.answered(number, answer("u1", "canary", request=f"r{number}", status="fallback", reason="model_failed"))
    found.answered(5, answer("u2", "canary", status="fallback", reason="no_history"))
    found.answered(6, answer("u3", "canary"))
    arm = evidence(found).canary_arm
    assert (arm.requests, arm.failures, arm.failing_users) == (6, 4, 1)


@pytest.mark.parametrize(
    "left_out",
    [
        answer("u", forced=True),
        answer("u", model_version="v0"),
        answer("u", "canary", model_version="v1"),
        answer("u", status="rejected"),
        answer(None),
        Record("r", "u", "rejected", [], 1),
    ],
)
def test_what_belongs_to_no_arm_is_in_none(left_out):
    found = trial()
    found.answered(1, left_out)
    found.reach(1 + 10 * HORIZON_MS)
    assert (evidence(found).stable_arm, evidence(found).canary_arm) == (ArmEvidence(), ArmEvidence())
    assert evidence(found).periods == ()


def test_users_count_for_the_split_once_at_the_share_that_they_met_first():
    found = trial()
    found.answered(1, answer("u0", percentage=0.0))  # nobody could meet the candidate
    found.answered(2, answer("u0", percentage=5.0))
    found.answered(3, answer("u1", "canary", percentage=5.0))
    found.answered(4, answer("u0", "canary", percentage=10.0))
    found.answered(5, answer("u2", percentage=10.0))
    assert evidence(found).periods == (Period(5, 1, 1), Period(10, 0, 1))


def test_a_worker_that_takes_the_versions_late_does_not_tilt_the_split():
    changed_ms = 50_000
    found = Trial(SPLIT, Release(), HORIZON_MS, since_ms=changed_ms)
    for number in range(400):  # of the late worker; the candidate before was v0
        late, at_ms = number % 2, changed_ms + 10 * number
        found.answered(
            at_ms,
            answer(f"a{number}", "canary" if late else "stable", percentage=50.0, model_version="v0" if late else "v1"),
        )
    assert evidence(found, 50).periods == ()
    for number in range(400):
        found.answered(
            changed_ms + CHANGEOVER_MS + number,
            answer(f"a{number}", "canary" if number % 2 else "stable", percentage=50.0),
        )
    assert evidence(found, 50).periods == (Period(50, 200, 200),)
    assert decide(evidence(found, 50), Release()).reason != "sample_ratio"


def test_where_requests_are_split_requests_are_counted():
    found = trial(Canary(stable="v1", candidate="v2", unit="request"))
    found.answered(1, answer("u", request="r1"))
    found.answered(2, answer("u", "canary", request="r2"))
    assert evidence(found).periods == (Period(10, 1, 1),)


def test_observations_begin_where_quality_decides_so_that_nobody_is_left_out_for_a_smaller_step():
    found = trial(decides_from=10)
    found.answered(100, answer("u", percentage=5.0, request="r0"))
    found.answered(300, answer("u", "canary", percentage=10.0))
    found.reach(300 + 2 * HORIZON_MS)
    assert evidence(found).canary_arm.moments("success") == Moments().with_value(1.0)
    assert evidence(found).stable_arm.users == {}


def test_a_user_is_entered_with_what_they_did_and_the_group_they_said():
    found = trial()
    found.profile("u", "F")
    found.answered(100, answer("u", "canary"))
    found.said(200, Feedback("r-u", "u", "heat", 0.75, None))
    found.watched(300, Watch("u", "heat", 90, 300))
    found.reach(100 + HORIZON_MS + tick_ms(HORIZON_MS))
    users = evidence(found).canary_arm.users
    assert {metric: groups["F"] for metric, groups in users.items()} == {
        **dict.fromkeys(("success", "ctr", "hit_rate"), Moments().with_value(1.0)),
        "satisfaction": Moments().with_value(0.75),
    }


def test_a_watch_of_an_old_log_is_no_hit_when_it_comes():
    found, at_ms = trial(), 1_700_000_000_000
    found.answered(at_ms, answer("u", "canary"))
    found.watched(at_ms + 5, Watch("u", "heat", 90, at_ms - 86_400_000))
    found.reach(at_ms + HORIZON_MS + tick_ms(HORIZON_MS))
    assert evidence(found).canary_arm.moments("hit_rate") == Moments().with_value(0.0)


def test_a_watch_of_somebody_who_was_answered_nothing_is_forgotten_at_once():
    found = trial()
    found.answered(1, answer("u"))
    found.watched(2, Watch("somebody", "heat", 90, 2))
    assert not found._quality._watches


def test_in_the_shadow_its_comparisons_are_the_requests():
    def figures(requests, errors, p99):
        timing = {"stable": Timing(1.0, 2.0), "canary": Timing(1.0, p99)} if p99 else {}
        return ShadowFigures("t", requests, errors, 0, 0, 0.5, timing)

    found = trial()
    found.answered(1, answer("u", percentage=0.0))
    shown = evidence(found, 0, shadow=[figures(100, 3, 4.0), figures(300, 0, 8.0), figures(7, 7, None)])
    assert (shown.canary_arm.requests, shown.canary_arm.failures) == (407, 10)
    assert (shown.canary_arm.scorings, shown.canary_arm.scoring_p99_ms) == (400, 7.0)
    assert (shown.stable_arm.requests, shown.stable_arm.failures, shown.stable_arm.scoring_p99_ms) == (407, 0, 2.0)
    assert evidence(found, 0).canary_arm == ArmEvidence()


def test_workers_differ_only_when_a_change_is_over():
    found = trial()
    now = 100_000
    found.answered(now - 3_000, answer("a", config_sha256="new"))
    found.answered(now - 2_000, answer("b", config_sha256="old"))
    found.answered(now - 1_000, answer("c", config_sha256="new"))
    assert found.configurations(now, now - 3_000) == ("new",)
    assert found.configurations(now, now - CHANGEOVER_MS) == ("new", "old")
    assert found.configurations(now, None) == ("new", "old")
    assert found.configurations(now + 60_000, None) == ()


def test_every_file_that_a_version_answered_from_is_known():
    found = trial()
    found.answered(1, answer("a"))
    found.answered(2, answer("b", model_sha256="other"))
    assert found.files("v1") == ("other", "v1")
    assert found.files("v2") == ()


@st.composite
def histories(draw):
    """What forty users did, in order of time."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    events = []
    for user in range(40):
        at_ms, variant = int(rng.integers(0, 20_000)), "canary" if user % 3 == 0 else "stable"
        for number in range(int(rng.integers(1, 4))):
            request = f"r{user}-{number}"
            at_ms += int(rng.integers(1, HORIZON_MS))
            events.append((at_ms, "answered", answer(f"u{user}", variant, request=request)))
            said = Feedback(request, None, "heat" if rng.random() < 0.5 else None, float(rng.random()), None)
            events.append((at_ms + int(rng.integers(1, 3_000)), "said", said))
            events.append((at_ms + int(rng.integers(1, 3_000)), "watched", Watch(f"u{user}", "heat", 1, 0)))
        events.append((int(rng.integers(0, 20_000)), "profile", (f"u{user}", "MF"[int(rng.integers(2))])))
    return sorted(events, key=lambda event: event[0])


def told(events, looks, until_ms):
    found = trial()
    looks = sorted(looks)
    for at_ms, name, event in events:
        while looks and looks[0] <= at_ms:
            found.reach(found.tick(looks.pop(0)))
        if at_ms >= until_ms:
            break
        found.reach(at_ms)
        if name == "profile":
            found.profile(*event)
        else:
            getattr(found, name)(at_ms, event)
    found.reach(until_ms)
    return evidence(found)


@settings(max_examples=30)
@given(histories(), st.lists(st.integers(0, 40_000), max_size=20), st.integers(1, 300))
def test_looking_changes_nothing(events, looks, ticks):
    until_ms = ticks * tick_ms(HORIZON_MS)
    assert told(events, looks, until_ms) == told(events, [], until_ms)
