"""Alerts: what is one, which are in force, and whom they blame."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.measures.alerts import Level, Thresholds, fairness, fall, reference
from models.measures.clusters import Ratio, ratio, share
from models.measures.reports import Fairness, in_force, to_blame

RULE = Thresholds()
END_MS = 1_700_000_100_000


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (Ratio(0.849, 0.7, 0.999), "alert"),
        (Ratio(0.849, 0.7, 1.0), "ok"),
        (Ratio(0.85, 0.8, 0.9), "ok"),
        (Ratio(1.151, 1.001, 1.3), "alert"),
        (Ratio(1.151, 1.0, 1.3), "ok"),
        (Ratio(1.15, 1.1, 1.2), "ok"),
        (Ratio(1.0, 0.9, 1.1), "ok"),
        (Ratio(None, None, None), "insufficient_data"),
        (Ratio(0.5, None, None), "insufficient_data"),
    ],
)
def test_the_contracts_status(found, status):
    assert fairness(found, 100, 100, RULE) == status


@pytest.mark.parametrize(("men", "women"), [(99, 100), (100, 99), (0, 1_000)])
def test_fewer_than_a_hundred_users_are_insufficient_data(men, women):
    assert fairness(Ratio(0.5, 0.4, 0.6), men, women, RULE) == "insufficient_data"


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 5)), max_size=20), st.randoms(use_true_random=False))
def test_a_share_does_not_depend_on_the_order_of_users(cells, rng):
    first = share(cells)
    rng.shuffle(cells)
    assert share(cells) == first


def test_the_interval_is_that_of_the_simulated_truth():
    """Coverage of 95 % intervals for a ratio of means, users with different numbers of reports: 2,000 draws."""
    import numpy as np

    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(2_000):
        shares = []
        for mean in (0.5, 0.6):
            reports = rng.integers(1, 6, 120)
            level = np.clip(rng.normal(mean, 0.15, 120), 0, 1)
            shares.append(share(zip((level * reports).tolist(), reports.tolist(), strict=True)))
        found = ratio(*shares)
        covered += found.low <= 0.5 / 0.6 <= found.high
    assert 0.93 < covered / 2_000 < 0.97


def test_a_fall_needs_both():
    before = Level(0.2, 0.001, 0.1, 0.001, 1_000)
    assert fall(Level(0.1, 0.001, 0.05, 0.001, 1_000), before, RULE) == "alert"
    assert fall(Level(0.1, 0.001, 0.1, 0.001, 1_000), before, RULE) == "ok"
    assert fall(Level(0.2, 0.001, 0.05, 0.001, 1_000), before, RULE) == "ok"


def test_a_fall_that_is_small_or_unsure_is_none():
    before = Level(0.2, 0.001, 0.1, 0.001, 1_000)
    assert fall(Level(0.185, 0.001, 0.0925, 0.001, 1_000), before, RULE) == "ok"
    assert fall(Level(0.1, 0.06, 0.05, 0.03, 1_000), before, RULE) == "ok"


def test_the_reference_is_the_mean_of_the_windows_before_by_users():
    found = reference([Level(0.1, 0.0, 0.2, 0.0, 100), None, Level(0.4, 0.0, 0.5, 0.0, 200)])
    assert (found.ctr, found.hit_rate, found.users, found.windows) == (pytest.approx(0.3), pytest.approx(0.4), 300, 2)
    assert reference([None]) is None


def record(variant="stable", status="alert", end_ms=END_MS, window_s=300, version="v1"):
    from models.wire import rfc3339

    return Fairness(
        window_start=rfc3339(end_ms - 1_000 * window_s), window_end=rfc3339(end_ms), window_s=window_s,
        model_version=version, variant=variant, groups={}, satisfaction_ratio=0.7, ci_low=0.6, ci_high=0.8,
        status=status, thresholds=RULE, horizon_s=1_800, lateness_s=60, offsets={}, hit_offsets={},
    )  # fmt: skip


def test_the_newest_window_of_each_length_decides():
    over = record(status="ok", end_ms=END_MS + 300_000)
    assert in_force([record(), over], END_MS + 300_000) == []
    found = in_force([record(), record(window_s=3_600), over], END_MS + 300_000)
    assert [alert.window_s for alert in found] == [3_600]
    assert found[0].line.startswith("satisfaction of men over women 0.700 (0.600 to 0.800) [stable, 3600 s to 2023-")


def test_a_window_of_long_ago_says_nothing():
    late_ms = 1_000 * (3 * 300 + 60)
    assert len(in_force([record()], END_MS + late_ms)) == 1
    assert in_force([record()], END_MS + late_ms + 1) == []


def test_a_candidate_is_blamed_for_its_own_alerts_only():
    mine = record("canary", version="v2")
    assert len(to_blame(in_force([mine], END_MS), "v2")) == 1
    assert to_blame(in_force([mine], END_MS), "v3") == ()
    assert to_blame(in_force([mine, record()], END_MS), "v2") == ()
