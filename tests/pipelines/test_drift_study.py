"""The drift trigger on simulated streams, in small: the whole study is `make study-drift`, its figures are in docs/retraining.md."""

from dataclasses import replace

import pytest

from models.config import Drift
from pipelines.studies.drift import ABRUPT, GRADUAL, STATIONARY, delay, stream

SMALL = Drift(events=1_000)


def test_a_steady_world_raises_no_alarm():
    looks = list(stream(replace(STATIONARY, events=12_000), 1, SMALL))
    assert len(looks) == 12
    assert not any(look.alarm for look in looks)
    assert all(look.decision.signals.psi < 0.1 for look in looks)


@pytest.mark.parametrize("seed", [1, 2])
def test_an_abrupt_change_of_taste_is_found_soon_and_not_before(seed):
    found = delay(replace(ABRUPT, begins=6_000, events=16_000), seed, SMALL)
    assert 0 < found <= 10_000


def test_a_gradual_one_is_found_too():
    found = delay(replace(GRADUAL, begins=4_000, lasts=10_000, events=16_000), 1, SMALL)
    assert 0 < found <= 12_000
