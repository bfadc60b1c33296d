"""When a window's figures are an alert: men and women unequally satisfied, or CTR and hit rate fallen together. Decides; tells nobody.

    fairness   R = mean satisfaction of M / of F
               alert where R < ratio_min and its interval's upper end < 1, or R > ratio_max and its lower end > 1
    fall       of CTR and of hit rate: the upper end of the window's interval < (1 − fall) · the lower end of the reference's
               alert where both have fallen: people choose less of what they are shown, and watch less of it

Few users are no finding, in neither direction: insufficient_data. Intervals are of 95 %; a fall in both metrics, by two intervals that do
not touch and beyond a margin, is far rarer by chance than 5 % of the windows (docs/metrics.md).
"""

import math
from collections.abc import Iterable
from typing import Literal

import msgspec

from models.measures.clusters import Ratio, Share
from models.measures.intervals import NORMAL_975

Status = Literal["ok", "alert", "insufficient_data"]


class Thresholds(msgspec.Struct, frozen=True):
    """Of `metrics` in config.json, as records carry them."""

    ratio_min: float = 0.85
    ratio_max: float = 1.15
    group_users_min: int = 100
    fall: float = 0.1


class Level(msgspec.Struct, frozen=True):
    """CTR and hit rate of a window, or of several, with their standard errors, and the users they are of: the fewer of the two."""

    ctr: float
    ctr_error: float
    hit_rate: float
    hit_rate_error: float
    users: int
    windows: int = 1


def fairness(found: Ratio, men: int, women: int, thresholds: Thresholds) -> Status:
    """The contract's status. `men`, `women`: users of each who said how satisfied they are.

    >>> fairness(Ratio(0.8, 0.7, 0.9), 100, 100, Thresholds())
    'alert'
    >>> fairness(Ratio(0.8, 0.7, 1.0), 100, 100, Thresholds()), fairness(Ratio(0.8, 0.7, 0.9), 99, 100, Thresholds())
    ('ok', 'insufficient_data')
    """
    if min(men, women) < thresholds.group_users_min or found.value is None or found.low is None or found.high is None:
        return "insufficient_data"
    low = found.value < thresholds.ratio_min and found.high < 1
    high = found.value > thresholds.ratio_max and found.low > 1
    return "alert" if low or high else "ok"


def level(ctr: Share, hit_rate: Share) -> Level | None:
    """None where a figure or its error is missing."""
    if ctr.value is None or ctr.error is None or hit_rate.value is None or hit_rate.error is None:
        return None
    return Level(ctr.value, ctr.error, hit_rate.value, hit_rate.error, min(ctr.users, hit_rate.users))


def reference(levels: Iterable[Level | None]) -> Level | None:
    """The mean of the windows before, each with the weight of its users; None without any.

        r = Σ nᵢ rᵢ / Σ nᵢ        σ(r) = √(Σ nᵢ² σᵢ²) / Σ nᵢ

    >>> reference([Level(0.2, 0.01, 0.1, 0.01, 50), None, Level(0.4, 0.01, 0.1, 0.01, 50)]).ctr.__round__(9)
    0.3
    """
    known = [found for found in levels if found is not None and found.users]
    if not known:
        return None
    users = sum(found.users for found in known)

    def mean(values: Iterable[float]) -> float:
        return math.fsum(found.users * value for found, value in zip(known, values, strict=True)) / users

    def error(values: Iterable[float]) -> float:
        return (
            math.sqrt(math.fsum((found.users * value) ** 2 for found, value in zip(known, values, strict=True))) / users
        )

    return Level(
        mean(found.ctr for found in known),
        error(found.ctr_error for found in known),
        mean(found.hit_rate for found in known),
        error(found.hit_rate_error for found in known),
        users,
        sum(found.windows for found in known),
    )


def fall(now: Level | None, before: Level | None, thresholds: Thresholds) -> Status:
    """Whether CTR and hit rate have fallen together.

    >>> before = Level(0.20, 0.005, 0.10, 0.004, 1_000)
    >>> fall(Level(0.14, 0.005, 0.06, 0.004, 400), before, Thresholds()), fall(Level(0.14, 0.005, 0.1, 0.004, 400), before, Thresholds())
    ('alert', 'ok')
    >>> fall(Level(0.14, 0.005, 0.06, 0.004, 99), before, Thresholds()), fall(None, before, Thresholds())
    ('insufficient_data', 'insufficient_data')
    """
    if now is None or before is None or min(now.users, before.users) < thresholds.group_users_min:
        return "insufficient_data"
    pairs = (
        (now.ctr, now.ctr_error, before.ctr, before.ctr_error),
        (now.hit_rate, now.hit_rate_error, before.hit_rate, before.hit_rate_error),
    )
    fallen = all(
        value + NORMAL_975 * error < (1 - thresholds.fall) * (was - NORMAL_975 * was_error)
        for value, error, was, was_error in pairs
    )
    return "alert" if fallen else "ok"
