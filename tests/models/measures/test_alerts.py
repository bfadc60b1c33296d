"""Alerts: what is one, which are in force, and whom they blame."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.measures.alerts import Level, Thresholds, fairness, fall, reference
from models.measures.clusters import Ratio, Share, ratio, share, share_high, zero_high
from models.measures.reports import Fairness, FeedbackLoop, GroupFigures, Levels, in_force, to_blame
from models.wire import rfc3339

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
        (Ratio(0.0, 0.0, None), "ok"),
    ],
)
def test_the_contracts_status(found, status):
    assert fairness(found, said_by(100), said_by(100), RULE) == status


def said_by(users, value=0.5, error=0.01):
    return Share(value, error, users)


@pytest.mark.parametrize(
    ("men", "status"),
    [(0.5, "alert"), (0.056, "alert"), (0.055, "ok"), (0.0, "ok")],
    ids=["far", "just", "not", "both"],
)
def test_where_every_woman_said_0_men_must_surely_be_above_what_women_may_be(men, status):
    """0.0362 for a hundred women, and 1.96 standard errors of the men's mean."""
    women = said_by(100, 0.0, 0.0)
    assert fairness(ratio(said_by(100, men), women), said_by(100, men), women, RULE) == status


def test_the_bound_of_those_who_all_said_0_holds_where_it_is_tightest():
    """The mean of so many who say 1 with this chance and else 0: at the bound, all say 0 in 2.5 % of the draws."""
    import numpy as np

    drawn = np.random.default_rng(5).random((20_000, 100)) < zero_high(100)
    assert 0.022 < (drawn.sum(axis=1) == 0).mean() < 0.028


@pytest.mark.parametrize(("men", "women"), [(99, 100), (100, 99), (0, 1_000)])
def test_fewer_than_a_hundred_users_are_insufficient_data(men, women):
    assert fairness(Ratio(0.5, 0.4, 0.6), said_by(men), said_by(women), RULE) == "insufficient_data"


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


@pytest.mark.parametrize("users", [100, 400])
@pytest.mark.parametrize("answers", ["one", "many alike"])
def test_the_upper_end_of_a_small_share_is_surely_above_it(users, answers):
    """In 4,000 windows; `many alike`: 1 to 40 answers a user, and whoever chooses does so each time. 1.96 errors are too little."""
    import numpy as np

    rng = np.random.default_rng(13)
    for truth in (0.01, 0.02, 0.05, 0.1, 0.3):
        below, below_wald = 0, 0
        for _ in range(4_000):
            shown = np.ones(users) if answers == "one" else np.minimum(rng.geometric(1 / 10, users), 40)
            chosen = shown * (rng.random(users) < truth)
            value = chosen.sum() / shown.sum()
            error = (users / (users - 1) * ((chosen - value * shown) ** 2).sum()) ** 0.5 / shown.sum()
            below += share_high(value, error, users) < truth
            below_wald += value + 1.96 * error < truth
        assert below / 4_000 < 0.05
        if truth < 0.02:
            assert below_wald / 4_000 > 0.08


def test_the_upper_end_grows_with_what_was_seen():
    ends = [share_high(n / 100, (n / 100 * (1 - n / 100) / 99) ** 0.5, 100) for n in range(60)]
    assert ends == sorted(ends)


@pytest.mark.parametrize("chosen", [0, 1])
def test_a_small_window_with_next_to_nothing_chosen_is_no_fall_of_small_rates(chosen):
    """The reference's lower ends, less a tenth, are 0.034 and 0.031; for one of a hundred 1.96 errors end at 0.0296."""
    before = Level(0.04, 0.001, 0.036, 0.001, 20_000)
    error = (chosen / 100 * (1 - chosen / 100) / 99) ** 0.5
    assert fall(Level(chosen / 100, error, chosen / 100, error, 100), before, RULE) == "ok"


def test_a_large_window_in_which_nothing_is_chosen_is_a_fall_of_small_rates():
    before = Level(0.04, 0.001, 0.036, 0.001, 20_000)
    assert fall(Level(0.0, 0.0, 0.0, 0.0, 400), before, RULE) == "alert"


@pytest.mark.parametrize(("before_users", "users"), [(2_000, 100), (400, 150), (20_000, 400)])
@pytest.mark.parametrize("windows", [1, 12])
def test_chance_alone_is_no_fall_however_small_the_rates(before_users, users, windows):
    """CTR 2 %, hit rate 1 %, nothing changed; nobody watches what they did not choose. 4,000 windows."""
    import numpy as np

    rng = np.random.default_rng(17)

    def level(among):
        chosen = rng.binomial(among, 0.02)
        shares = [chosen / among, rng.binomial(chosen, 0.5) / among]
        ctr, hit_rate = ((share, (share * (1 - share) / (among - 1)) ** 0.5) for share in shares)
        return Level(*ctr, *hit_rate, among)

    seen = sum(
        fall(level(users), reference([level(before_users) for _ in range(windows)]), RULE) == "alert"
        for _ in range(4_000)
    )
    assert seen / 4_000 < 0.002


def test_the_reference_is_the_mean_of_the_windows_before_by_users():
    found = reference([Level(0.1, 0.0, 0.2, 0.0, 100), Level(0.4, 0.0, 0.5, 0.0, 200)])
    assert (found.ctr, found.hit_rate, found.windows) == (pytest.approx(0.3), pytest.approx(0.4), 2)
    assert reference([]) is None


def test_the_same_users_in_twelve_windows_are_no_more_than_in_one():
    """Their habits are the same in all windows: the mean of twelve is as unsure as one, and its error says so."""
    import numpy as np

    rng = np.random.default_rng(3)
    means, errors = [], []
    for _ in range(300):
        habit = rng.random(150) < 0.3  # of each user, in every window
        found = share((float(chosen), 1.0) for chosen in habit)
        level = Level(found.value, found.error, found.value, found.error, found.users)
        before = reference([level] * 12)
        means.append(before.ctr)
        errors.append(before.ctr_error)
        assert before.users == 150
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.15)


@pytest.mark.parametrize(
    ("users", "fall_by", "found"),
    [(2_000, 0.5, 0.999), (2_000, 0.4, 0.88), (2_000, 0.3, 0.27), (2_000, 0.2, 0.003), (20_000, 0.2, 0.88)],
)
def test_how_often_a_fall_is_found_is_what_the_page_says(users, fall_by, found):
    """docs/metrics.md: one answer a user, CTR 0.3 and hit rate 0.1 before; 2,000 windows, each with twelve before it."""
    import numpy as np

    rng = np.random.default_rng(7)

    def level(*shares):
        ctr, hit_rate = (rng.binomial(users, value) / users for value in shares)
        return Level(ctr, (ctr * (1 - ctr) / users) ** 0.5, hit_rate, (hit_rate * (1 - hit_rate) / users) ** 0.5, users)

    seen = 0
    for _ in range(2_000):
        before = reference([level(0.3, 0.1) for _ in range(12)])
        seen += fall(level(0.3 * (1 - fall_by), 0.1 * (1 - fall_by)), before, RULE) == "alert"
    assert seen / 2_000 == pytest.approx(found, abs=0.02)


def loop(end_ms, users=100, window_s=300, variant="stable", **more):
    level = Level(0.3, 0.01, 0.1, 0.01, users, model_version="v1")
    fields = {
        "window_start": rfc3339(end_ms - 1_000 * window_s), "window_end": rfc3339(end_ms), "window_s": window_s,
        "model_version": "v2", "variant": variant, "requests": 1, "ctr": None, "hit_rate": None, "coverage": None,
        "exposure_gini": None, "mean_popularity": None, "genres_per_list": None, "users": 1, "shown": 1, "selections": 0,
        "past_horizon": 1, "hits": 0, "model_versions": {}, "popularity_source": None, "level": level, "reference": level,
        "status": "alert", "thresholds": RULE, "horizon_s": 1_800, "lateness_s": 60, "offsets": {}, "hit_offsets": {},
        "popularity_offsets": None,
    }  # fmt: skip
    return FeedbackLoop(**fields | more)


def test_windows_are_compared_with_those_right_before_and_never_with_older_ones():
    levels = Levels()
    for number in range(-14, 1):  # window −14 ends that many lengths before END_MS
        levels.add(loop(END_MS + 300_000 * number, users=100 + number))
    levels.add(loop(END_MS, users=999))  # a second record of a window
    levels.add(loop(END_MS, users=999, window_s=600))
    levels.add(loop(END_MS, users=999, variant="canary"))
    found = [level.users for level in levels.before(300, "stable", END_MS, 12)]
    assert found == list(range(89, 101))
    assert levels.before(300, "stable", END_MS + 12 * 300_000, 12) == []
    assert [level.users for level in levels.before(300, "stable", END_MS - 300_000, 2)] == [98, 99]
    levels.forget(300, END_MS - 300_000)
    assert [level.users for level in levels.before(300, "stable", END_MS, 12)] == [100]
    assert len(levels.before(600, "stable", END_MS, 1)) == 1


def test_an_alert_for_a_fall_blames_the_version_whose_answers_fell():
    """Its windows are of answers one horizon older than the newest ones, which may be another candidate's."""
    found = in_force([loop(END_MS, variant="canary")], END_MS)
    assert len(to_blame(found, "v1")) == 1
    assert to_blame(found, "v2") == ()


def record(variant="stable", status="alert", end_ms=END_MS, window_s=300, version="v1", **more):
    fields = {
        "window_start": rfc3339(end_ms - 1_000 * window_s), "window_end": rfc3339(end_ms), "window_s": window_s,
        "model_version": version, "variant": variant, "groups": {}, "satisfaction_ratio": 0.7, "ci_low": 0.6, "ci_high": 0.8,
        "status": status, "thresholds": RULE, "horizon_s": 1_800, "lateness_s": 60, "offsets": {}, "hit_offsets": {},
    }  # fmt: skip
    return Fairness(**fields | more)


def test_an_alert_without_a_ratio_says_who_is_not_satisfied():
    men = GroupFigures(users=120, requests=130, ctr=0.3, hit_rate=0.1, satisfaction=0.5, reporting_users=110)
    found = record(groups={"M": men}, satisfaction_ratio=None, ci_low=None, ci_high=None)
    (alert,) = in_force([found], END_MS)
    assert alert.line.startswith("satisfaction of men 0.500, of women 0 [stable, 300 s")


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
