"""Drift: shifts known by construction, no alarm from chance, and the window against a plain list."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.measures.drift import GROUPS, Adwin, Level, by_group, deciles, psi, signals, unpaired_ratio
from models.measures.prequential import Predicted

COUNTS = st.lists(st.integers(0, 1_000), min_size=2, max_size=12)


# -- popularity -------------------------------------------------------------------------------------


@given(popularity=st.lists(st.integers(0, 500), min_size=1, max_size=80))
def test_groups_are_numbered_without_a_gap_from_the_most_popular_on(popularity):
    counts = np.array(popularity)
    group = deciles(counts)
    assert sorted(set(group.tolist())) == list(range(group.max() + 1))
    assert group.max() < GROUPS
    ranked = group[np.argsort(-counts, kind="stable")]
    assert (np.diff(ranked) >= 0).all()


def test_groups_have_about_as_many_interactions_each():
    popularity = np.round(10_000 / (np.arange(2_000) + 10)).astype(np.int64)
    shares = by_group(np.repeat(np.arange(2_000, dtype=np.int32), popularity), deciles(popularity)) / popularity.sum()
    assert len(shares) == GROUPS
    assert shares.min() > 0.07
    assert shares.max() < 0.13


@given(then=COUNTS, now=COUNTS)
def test_the_index_is_symmetric_and_not_below_zero(then, now):
    n = min(len(then), len(now))
    p, q = np.array(then[:n]), np.array(now[:n])
    assert psi(p, q) == pytest.approx(psi(q, p))
    assert psi(p, q) >= 0


def test_the_index_against_the_formula():
    p, q = np.array([20, 30, 50]), np.array([50, 30, 20])
    shares = [(counts + 0.5) / 101.5 for counts in (p, q)]
    expected = sum((b - a) * np.log(b / a) for a, b in zip(*shares, strict=True))
    assert psi(p, q) == pytest.approx(expected)


def test_the_index_of_two_draws_from_one_popularity_is_far_below_the_threshold():
    """Its mean is (B − 1)(1/N + 1/M): 0.0019."""
    popularity = np.round(10_000 / (np.arange(2_000) + 10)).astype(np.int64)
    rng, group = np.random.default_rng(0), deciles(popularity)
    then = by_group(np.repeat(np.arange(2_000, dtype=np.int32), popularity), group)
    drawn = [
        psi(then, by_group(rng.choice(2_000, 5_000, p=popularity / popularity.sum()).astype(np.int32), group))
        for _ in range(200)
    ]
    assert np.mean(drawn) == pytest.approx(9 * (1 / 5_000 + 1 / then.sum()), rel=0.15)
    assert max(drawn) < 0.01


# -- ADWIN ------------------------------------------------------------------------------------------


def slow_cut(window, delta):
    """Every cut of a plain list, by the paper's equation 3.1."""
    n, variance = len(window), float(np.var(window))
    confidence = np.log(2 / min(1.0, delta / np.log(n)))
    for k in range(1, n):
        older, newer = window[:k], window[k:]
        inverse = 1 / k + 1 / (n - k)
        limit = np.sqrt(2 * inverse * variance * confidence) + 2 / 3 * inverse * confidence
        if abs(np.mean(older) - np.mean(newer)) >= limit:
            return True
    return False


@pytest.mark.parametrize("seed", range(4))
def test_a_change_is_found_where_the_paper_finds_one(seed):
    """With one value a bucket the window is a plain list."""
    rng = np.random.default_rng(seed)
    values = np.concatenate([rng.random(120) < 0.3, rng.random(120) < 0.8]).astype(float)
    adwin = Adwin(most=10_000, every=1)
    window = []
    for value in values:
        window.append(value)
        found = adwin.add(value)
        assert (found is not None) == (len(window) > 1 and slow_cut(window, 0.002))
        window = window[len(window) - len(adwin) :]
        assert adwin.mean == pytest.approx(np.mean(window))
        if found:
            return
    pytest.fail("no change was found")


def test_the_window_is_logarithmic():
    adwin = Adwin()
    for value in (np.random.default_rng(0).random(50_000) < 0.1).astype(float):
        adwin.add(value)
    assert len(adwin) == 50_000
    assert adwin.buckets <= 5 * np.log2(50_000) + 5


def test_a_steady_stream_raises_hardly_any_alarm():
    """30 streams of 5,000: δ = 0.002 bounds one test, and the bound is a loose one."""
    rng = np.random.default_rng(2)
    found = 0
    for _ in range(30):
        adwin = Adwin()
        found += any(adwin.add(value) for value in (rng.random(5_000) < 0.15).astype(float))
    assert found <= 1


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_value_out_of_range_changes_nothing(value):
    adwin = Adwin()
    adwin.add(0.5)
    with pytest.raises(ValueError, match="is not in"):
        adwin.add(value)
    assert (len(adwin), adwin.mean) == (1, 0.5)


def test_the_level_before_a_slow_decline_is_the_first_one():
    level, rng = Level(), np.random.default_rng(1)
    for share in (0.5, 0.35, 0.2, 0.05):
        level.add((rng.random(2_000) < share).astype(float))
    assert level.before == pytest.approx(0.5, abs=0.04)
    assert level.now == pytest.approx(0.05, abs=0.03)


def test_a_level_that_has_come_back_has_not_fallen():
    level, rng = Level(), np.random.default_rng(1)
    level.add((rng.random(2_000) < 0.3).astype(float))
    level.add((rng.random(2_000) < 0.05).astype(float))
    assert level.before == pytest.approx(0.3, abs=0.04)
    level.add((rng.random(6_000) < 0.5).astype(float))
    assert level.before is None


def test_a_level_that_only_rises_has_not_fallen():
    level = Level()
    level.add([0.0] * 500 + [1.0] * 500)
    assert level.before is None
    assert level.now > 0.95


# -- NDCG -------------------------------------------------------------------------------------------


def test_the_ratio_covers_the_truth_in_19_of_20_draws():
    rng, covered = np.random.default_rng(5), 0
    for _ in range(400):
        quality = rng.beta(2, 6, 300)  # users differ, and each has four events
        users = np.repeat(np.arange(300), 4)
        then = (rng.random(1_200) < quality[users]).astype(float)
        now = (rng.random(1_200) < 0.8 * rng.beta(2, 6, 300)[users]).astype(float)
        found = unpaired_ratio(now, users, then, users)
        covered += found.low <= 0.8 <= found.high
    assert 0.92 <= covered / 400 <= 0.98


def test_what_one_user_does_twice_is_not_two_facts():
    values = np.random.default_rng(0).random(200)
    alone = unpaired_ratio(values, np.arange(200), values, np.arange(200))
    twice = unpaired_ratio(np.repeat(values, 2), np.repeat(np.arange(200), 2), values, np.arange(200))
    assert twice.high - twice.low == pytest.approx(alone.high - alone.low, rel=0.01)


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_users_say_nothing(n):
    few, many = np.ones(n), np.ones(5)
    assert np.isnan(unpaired_ratio(few, np.arange(n), many, np.arange(5))).all()
    assert np.isnan(unpaired_ratio(many, np.arange(5), few, np.arange(n))).all()


# -- together ---------------------------------------------------------------------------------------

POPULARITY = np.array([50, 30, 20])


def predicted(n, value=0.5):
    return Predicted(np.full(n, value), np.arange(n))


def test_one_interaction_too_few_says_nothing_of_popularity():
    columns = np.zeros(100, np.int32)
    assert signals(popularity=POPULARITY, columns=columns[:99], events=100).psi is None
    found = signals(popularity=POPULARITY, columns=columns, events=100)
    assert found.psi > 0.1
    assert found.psi_events == 100


def test_only_the_newest_interactions_are_compared():
    alike = np.repeat(np.arange(3, dtype=np.int32), POPULARITY)
    other = np.full(500, -1, np.int32)
    found = signals(popularity=POPULARITY, columns=np.concatenate([other, alike]), events=100)
    assert found.psi < 0.001


@pytest.mark.parametrize(("then", "now", "said"), [(50, 50, True), (49, 50, False), (50, 49, False), (0, 0, False)])
def test_half_of_the_events_must_have_been_predicted(then, now, said):
    columns = np.zeros(100, np.int32)
    found = signals(
        popularity=POPULARITY, columns=columns, events=100, then=predicted(then), now=predicted(now, value=0.25)
    )
    assert (found.ndcg_ratio is not None) is said
    if said:
        assert found.ndcg_ratio[0] == 0.5


def test_what_was_not_looked_at_is_not_said():
    found = signals(popularity=POPULARITY, columns=np.zeros(100, np.int32), events=100)
    assert (found.hit_before, found.hit_now, found.ndcg_ratio) == (None, None, None)
    assert signals(popularity=POPULARITY, columns=np.zeros(1, np.int32), events=100, hits=Level()).hit_now is None
