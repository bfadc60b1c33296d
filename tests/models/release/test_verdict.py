"""Verdicts: which rule speaks, in which order, with both numbers; and what must never pass."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Margins, Release
from models.release.evidence import METRICS, UNIT, ArmEvidence, Evidence, Moments, Period
from models.release.verdict import decide

RELEASE = Release()
SOUND = {"success": 0.995, "ctr": 0.3, "hit_rate": 0.2, "satisfaction": 0.6}


def coin(n, rate):
    hits = round(n * rate)
    return Moments(n, hits * UNIT, hits * UNIT**2)


def arm(n, rates=SOUND, *, women=None, share_of_women=0.5, **fields):
    """An arm of n users; `women`: their rates where they differ."""
    half = round(n * share_of_women)
    users = {
        metric: {"M": coin(n - half, rate), "F": coin(half, (women or {}).get(metric, rate))}
        for metric, rate in rates.items()
    }
    return ArmEvidence(
        **{"users": users, "requests": 3 * n, "scorings": 3 * n, "scoring_p99_ms": 10.0, **fields},
    )


def evidence(n=4_000, canary=SOUND, *, stable_n=None, percentage=10.0, **fields):
    given_arms = {"stable_arm": arm(stable_n or n), "canary_arm": arm(n, canary)}
    return Evidence("v1", "v2", **{"percentage": percentage, "held_s": 1e6, **given_arms, **fields})


def off(metric, by):
    return {**SOUND, metric: SOUND[metric] + by}


def test_a_candidate_that_is_not_worse_in_any_metric_goes_on():
    found = decide(evidence(), RELEASE)
    assert (found.outcome, found.phase, found.reason) == ("PASS", "advance", "not_worse")
    assert found.more_users == 0
    assert "−0.0" in found.message


@pytest.mark.parametrize(
    ("metric", "by"), [("success", -0.03), ("ctr", -0.08), ("hit_rate", -0.08), ("satisfaction", -0.08)]
)
def test_one_metric_that_is_worse_is_enough_to_roll_back(metric, by):
    found = decide(evidence(canary=off(metric, by)), RELEASE)
    assert (found.outcome, found.phase, found.reason) == ("FAIL", "rollback", "worse")
    assert found.message.startswith(f"ROLLBACK: {metric}: upper bound −")
    assert "after 4,000 users of v2" in found.message


@pytest.mark.parametrize("metric", METRICS)
def test_all_metrics_must_pass(metric):
    few = arm(500, {metric: SOUND[metric] - RELEASE.margins.ctr / 3}).users[metric]  # neither harm nor proof
    found = decide(
        evidence(canary_arm=msgspec.structs.replace(arm(4_000), users={**arm(4_000).users, metric: few})), RELEASE
    )
    assert found.outcome == "INCONCLUSIVE"
    assert found.phase == "hold"
    assert metric in found.message


def test_a_metric_that_is_null_decides_nothing():
    release = Release(margins=Margins(satisfaction=None))
    quiet = {metric: rate for metric, rate in SOUND.items() if metric != "satisfaction"}
    both = evidence(stable_arm=arm(4_000, quiet), canary_arm=arm(4_000, quiet))
    assert decide(both, release).outcome == "PASS"
    assert decide(both, RELEASE).reason == "few_users"


def test_a_candidate_that_has_not_enough_users_waits_and_says_for_how_many():
    found = decide(evidence(412), RELEASE)
    assert (found.outcome, found.phase, found.reason) == ("INCONCLUSIVE", "hold", "few_users")
    assert "412 users of v2 < 500" in found.message
    assert found.more_users >= 88
    assert f"about {found.more_users:,} more users of v2" in found.message


def test_the_message_of_an_undecided_one_has_both_numbers():
    found = decide(evidence(700), RELEASE)
    assert found.reason == "undecided"
    assert "lower bound −0.0" in found.message
    assert "< margin −0.0" in found.message


def test_the_estimate_is_enough_if_the_difference_stays():
    found = decide(evidence(700), RELEASE)
    assert decide(evidence(round(1.02 * (700 + found.more_users))), RELEASE).outcome == "PASS"


def test_no_data_is_never_success():
    for percentage in (0, 1, 10, 50):
        found = decide(Evidence("v1", "v2", percentage=percentage, held_s=1e9), RELEASE)
        assert (found.outcome, found.phase) == ("INCONCLUSIVE", "hold")
        assert found.more_users is None
    assert decide(evidence(stable_arm=ArmEvidence()), RELEASE).outcome == "INCONCLUSIVE"
    assert decide(evidence(canary_arm=ArmEvidence()), RELEASE).outcome == "INCONCLUSIVE"


@pytest.mark.parametrize("percentage", [0, 1, 5])
def test_small_steps_go_on_by_errors_latency_and_time(percentage):
    small = evidence(400, off("ctr", -0.3), percentage=percentage)
    assert (decide(small, RELEASE).outcome, decide(small, RELEASE).phase) == ("INCONCLUSIVE", "advance")
    early = msgspec.structs.replace(small, held_s=RELEASE.hold_s - 1)
    assert decide(early, RELEASE).reason == "held"
    slow = msgspec.structs.replace(small, canary_arm=arm(400, scoring_p99_ms=12.1))
    assert decide(slow, RELEASE).reason == "slow"
    untimed = msgspec.structs.replace(small, canary_arm=arm(400, scorings=999))
    assert decide(untimed, RELEASE).reason == "no_latency"


def test_many_failures_abort_at_every_step_at_once():
    for percentage in (0, 1, 10, 50):
        failing = ArmEvidence(requests=40, failures=30, failing_users=20)
        found = decide(evidence(percentage=percentage, held_s=0, canary_arm=failing), RELEASE)
        assert (found.outcome, found.phase, found.reason) == ("FAIL", "abort", "errors")
        assert "30 of 40 requests" in found.message


def test_one_user_who_fails_again_and_again_is_no_broken_candidate():
    failing = ArmEvidence(requests=40, failures=30, failing_users=2)
    assert decide(evidence(canary_arm=failing), RELEASE).phase == "hold"


def test_a_crash_aborts_whatever_else_is_wrong():
    found = decide(evidence(crashes=1, config_sha256=("a" * 64, "b" * 64)), RELEASE)
    assert (found.phase, found.reason) == ("abort", "crashed")


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"config_sha256": ("a" * 64, "b" * 64)}, "configurations_differ"),
        ({"wrong_checksums": ("models/v2/factors.npz: SHA-256 expected a, found b",)}, "wrong_checksum"),
        ({"periods": (Period(10, 1_200, 8_800),)}, "sample_ratio"),
    ],
)
def test_figures_that_nobody_can_trust_stop_it_whether_good_or_bad(fields, reason):
    for canary in (SOUND, off("ctr", -0.2)):
        found = decide(evidence(canary=canary, **fields), RELEASE)
        assert (found.outcome, found.phase, found.reason) == ("INCONCLUSIVE", "stop", reason)


def test_a_right_split_and_one_configuration_stop_nothing():
    fine = evidence(periods=(Period(5, 50, 950), Period(10, 1_000, 9_000)), config_sha256=("a" * 64, "a" * 64))
    assert decide(fine, RELEASE).outcome == "PASS"


def test_harm_to_women_holds_a_candidate_that_is_as_good_for_all_together():
    women = {metric: SOUND[metric] - 0.12 for metric in ("ctr",)}
    men = {**SOUND, "ctr": SOUND["ctr"] + 0.12}
    found = decide(evidence(canary_arm=arm(4_000, men, women=women)), RELEASE)
    assert (found.outcome, found.phase, found.reason) == ("INCONCLUSIVE", "hold", "group_harm")
    assert "ctr of F: upper bound −" in found.message


def test_a_group_with_fewer_users_than_100_blocks_nothing():
    mixed = arm(4_000, women={"ctr": 0.0}, share_of_women=99 / 4_000)
    assert decide(evidence(canary_arm=mixed), RELEASE).outcome == "PASS"


@pytest.mark.parametrize(
    ("stable_women", "canary_men", "canary_women", "moved"),
    [
        (0.6, 0.66, 0.54, True),  # 1 → 1.22
        (0.6, 0.54, 0.66, True),  # 1 → 0.82
        (0.5, 0.6, 0.6, False),  # 1.2 → 1
        (0.5, 0.57, 0.65, False),  # 1.2 → 0.88
        (0.6, 0.61, 0.6, False),  # 1 → 1.02
    ],
)
def test_the_satisfaction_ratio_may_move_towards_1_and_not_away(stable_women, canary_men, canary_women, moved):
    release = Release(margins=Margins(satisfaction=None, ctr=None, hit_rate=None))  # the ratio alone
    stable = arm(30_000, women={"satisfaction": stable_women})
    canary = arm(30_000, {**SOUND, "satisfaction": canary_men}, women={"satisfaction": canary_women})
    found = decide(evidence(stable_arm=stable, canary_arm=canary), release)
    assert found.reason == ("ratio_moved" if moved else "not_worse")


def test_a_ratio_that_moves_because_men_gain_holds_it_too():
    gaining = arm(8_000, {**SOUND, "satisfaction": 0.8}, women={"satisfaction": 0.6})
    found = decide(evidence(8_000, canary_arm=gaining), RELEASE)
    assert (found.phase, found.reason) == ("hold", "ratio_moved")
    assert "1.333 with v2, 1.000 with v1" in found.message


@given(
    n=st.integers(0, 3_000),
    rate=st.floats(0.1, 0.5),
    percentage=st.sampled_from([0.0, 1.0, 10.0, 50.0]),
    held=st.floats(0, 1e5),
)
def test_every_evidence_has_a_verdict_in_one_line_and_pass_means_every_bound_is_above_its_margin(
    n, rate, percentage, held
):
    found = decide(evidence(n, {**SOUND, "ctr": rate}, percentage=percentage, held_s=held), RELEASE)
    assert found.message.startswith(f"{found.phase.upper()}: ")
    assert "\n" not in found.message
    if found.outcome == "PASS":
        assert all(bounds.lower > -bounds.margin for bounds in found.metrics.values())
        assert percentage >= RELEASE.decides_from
    assert (found.outcome == "FAIL") == (found.phase in ("abort", "rollback"))


@pytest.mark.parametrize("percentage", [1.0, 10.0])
def test_an_alert_of_the_candidates_windows_holds_it_on_every_step(percentage):
    found = decide(evidence(percentage=percentage, alerts=("CTR has fallen",)), RELEASE)
    assert (found.outcome, found.phase, found.reason) == ("INCONCLUSIVE", "hold", "alert")
    assert found.message == "HOLD: v2: CTR has fallen"


def test_harm_comes_before_an_alert():
    assert decide(evidence(canary=off("ctr", -0.08), alerts=("CTR has fallen",)), RELEASE).phase == "rollback"
