"""When simulated users come: an open loop whose rate follows day and night and has bursts; and how far taste has drifted by then.

Times are seconds since the start, which is a noon. Knows no clock.

    rate(t) = rate · (1 − night · (1 − cos(2πt / day)) / 2) · (times, in the last lasting_s of every every_s; else 1)
"""

from collections.abc import Iterator
from math import cos, pi

import numpy as np

from models.config import Simulator, TasteDrift


def rate_at(simulator: Simulator, at_s: float) -> float:
    """Requests a second.

    >>> [rate_at(Simulator(rate=20, night=0.9, day_s=100), at_s) for at_s in (0, 25, 50, 100)]
    [20.0, 11.0, 2.0, 20.0]
    """
    sun = (1 + cos(2 * pi * at_s / simulator.day_s)) / 2
    bursts = simulator.bursts
    burst = bursts.times if at_s % bursts.every_s >= bursts.every_s - bursts.lasting_s else 1.0
    return simulator.rate * (1 - simulator.night * (1 - sun)) * burst


def arrivals(simulator: Simulator, rng: np.random.Generator) -> Iterator[float]:
    """The times of requests, without end: a Poisson process of this rate, by thinning one of the highest rate.

    Lewis and Shedler, Simulation of nonhomogeneous Poisson processes by thinning, Naval Research Logistics 26 (1979).
    """
    highest, at_s = simulator.rate * simulator.bursts.times, 0.0
    while True:
        at_s += rng.exponential(1 / highest)
        if rng.random() * highest < rate_at(simulator, at_s):
            yield at_s


def drift_at(drift: TasteDrift, at_s: float) -> float:
    """How far everybody's taste has moved: 0 until `after_s`, then at once or evenly up to `size`.

    >>> gradual = TasteDrift(kind="gradual", after_s=60, over_s=120, size=2)
    >>> [drift_at(gradual, at_s) for at_s in (60, 120, 180, 999)]
    [0.0, 1.0, 2.0, 2.0]
    """
    if drift.kind == "none" or at_s < drift.after_s:
        return 0.0
    return drift.size * (1.0 if drift.kind == "abrupt" else min(1.0, (at_s - drift.after_s) / drift.over_s))
