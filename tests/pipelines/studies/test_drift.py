"""The drift trigger on simulated streams, in small: the whole study is `make study-drift`, its figures are in docs/retraining.md."""

from dataclasses import replace

from models.config import Drift
from pipelines.studies.drift import ABRUPT, GRADUAL, STATIONARY, delay, stream

SMALL = Drift(events=1_000)
WORLD = {"users": 1_500, "movies": 400, "watched": 30}


def test_a_steady_world_raises_no_alarm():
    looks = list(stream(replace(STATIONARY, events=10_000, **WORLD), 1, SMALL))
    assert len(looks) == 10
    assert not any(look.alarm for look in looks)
    assert all(look.decision.signals.psi < 0.1 for look in looks)


def test_an_abrupt_change_of_taste_is_found_soon_and_not_before():
    assert 0 < delay(replace(ABRUPT, begins=4_000, events=10_000, **WORLD), 1, SMALL) <= 6_000


def test_a_gradual_one_is_found_too():
    assert 0 < delay(replace(GRADUAL, begins=3_000, lasts=8_000, events=13_000, **WORLD), 1, SMALL) <= 10_000
