"""When users come: as many as the rate says, fewer at night, more in a burst; and when their taste changes."""

from itertools import islice, takewhile

import numpy as np
import pytest

from models.config import Bursts, Simulator, TasteDrift
from models.traffic import arrivals, drift_at, rate_at


def come(simulator: Simulator, seconds: float, seed: int = 1) -> np.ndarray:
    return np.array(list(takewhile(lambda at_s: at_s < seconds, arrivals(simulator, np.random.default_rng(seed)))))


def test_a_seed_has_its_times_and_they_grow() -> None:
    simulator = Simulator(rate=50, night=0.5, day_s=10)
    first, again, other = (list(islice(arrivals(simulator, np.random.default_rng(seed)), 500)) for seed in (1, 1, 2))
    assert first == again != other
    assert first == sorted(first)


def test_the_rate_is_the_mean_number_in_a_second() -> None:
    assert len(come(Simulator(rate=100), 50)) == pytest.approx(5_000, abs=300)


def test_night_is_quieter_by_its_share() -> None:
    simulator = Simulator(rate=200, night=0.8, day_s=20)
    hour = come(simulator, 100) % 20
    noon, midnight = np.sum((hour < 1) | (hour > 19)), np.sum((hour > 9) & (hour < 11))
    assert midnight / noon == pytest.approx(0.2, abs=0.06)
    assert rate_at(Simulator(rate=9, night=1.0, day_s=8), 4) == 0.0


def test_a_burst_multiplies_the_rate_while_it_lasts_and_no_longer() -> None:
    simulator = Simulator(rate=20, bursts=Bursts(times=10, every_s=10, lasting_s=2))
    at_s = come(simulator, 100) % 10
    assert np.sum(at_s >= 8) / 20 == pytest.approx(200, rel=0.1)
    assert np.sum(at_s < 8) / 80 == pytest.approx(20, rel=0.1)


def test_there_are_no_bursts_nights_or_drift_unless_they_are_asked_for() -> None:
    assert {rate_at(Simulator(rate=7), at_s) for at_s in range(0, 90_000, 100)} == {7}
    assert {drift_at(TasteDrift(), at_s) for at_s in range(0, 1_000, 10)} == {0.0}


@pytest.mark.parametrize("kind", ["abrupt", "gradual"])
def test_taste_changes_only_after_its_moment(kind: str) -> None:
    drift = TasteDrift(kind=kind, after_s=30, over_s=10, size=3)  # type: ignore[arg-type]
    assert {drift_at(drift, at_s) for at_s in np.linspace(0, 29.9, 100)} == {0.0}
    assert {drift_at(drift, at_s) for at_s in (40, 41, 1e9)} == {3.0}
    assert drift_at(drift, 35) == {"abrupt": 3.0, "gradual": 1.5}[kind]
