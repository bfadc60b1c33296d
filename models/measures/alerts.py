"""When a window's figures are an alert: men and women unequally satisfied, or CTR and hit rate fallen together. Decides; tells nobody.

    fairness   R = mean satisfaction of M / of F
               alert where R < ratio_min and its interval's upper end < 1, or R > ratio_max and its lower end > 1
               R has no number where all women say 0: alert where men are surely above what women may be
    fall       of CTR and of hit rate, of the same answers: the upper end of the window's interval < (1 − fall) · the lower end of the
               reference's; alert where both have fallen: people choose less of what they are shown, and watch less of it

Few users are no finding, in neither direction: insufficient_data. Intervals are of 95 %; a fall in both metrics, by two intervals that do
not touch and beyond a margin, is far rarer by chance than 5 % of the windows, however small the rates (docs/metrics.md).
"""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

import msgspec

from models.measures.clusters import Ratio, Share, share_high, zero_high
from models.measures.intervals import NORMAL_975

Status = Literal["ok", "alert", "insufficient_data"]


class Thresholds(msgspec.Struct, frozen=True):
    """Of `metrics` in config.json, as records carry them."""

    ratio_min: float = 0.85
    ratio_max: float = 1.15
    group_users_min: int = 100
    fall: float = 0.1
    fall_windows: int = 12


class Level(msgspec.Struct, frozen=True):
    """CTR and hit rate of the answers whose horizon passed in a window, or in several, with their standard errors, and of how many users.

    Of several windows: the users of the largest one. `model_version`: of all these answers; None where they are of several.
    """

    ctr: float
    ctr_error: float
    hit_rate: float
    hit_rate_error: float
    users: int
    windows: int = 1
    model_version: str | None = None


def fairness(found: Ratio, men: Share, women: Share, thresholds: Thresholds) -> Status:
    """The contract's status of `ratio(men, women)`: how satisfied those of each were who said so.

    >>> men, women = Share(0.4, 0.02, 100), Share(0.5, 0.02, 100)
    >>> fairness(Ratio(0.8, 0.7, 0.9), men, women, Thresholds()), fairness(Ratio(0.8, 0.7, 1.0), men, women, Thresholds())
    ('alert', 'ok')
    >>> fairness(Ratio(0.8, 0.7, 0.9), men._replace(users=99), women, Thresholds())
    'insufficient_data'
    """
    if min(men.users, women.users) < thresholds.group_users_min:
        return "insufficient_data"
    if found.value is None:  # every woman said 0
        return "alert" if men.low is not None and men.low > zero_high(women.users) else "ok"
    low = found.value < thresholds.ratio_min and found.high is not None and found.high < 1
    high = found.value > thresholds.ratio_max and found.low is not None and found.low > 1
    return "alert" if low or high else "ok"


def level(ctr: Share, hit_rate: Share, model_version: str | None = None) -> Level | None:
    """Of both figures of the same answers. None where one or its error is missing."""
    if ctr.value is None or ctr.error is None or hit_rate.value is None or hit_rate.error is None:
        return None
    return Level(ctr.value, ctr.error, hit_rate.value, hit_rate.error, ctr.users, model_version=model_version)


def reference(levels: Sequence[Level]) -> Level | None:
    """The mean of the windows before, each with the weight of its users; None without any.

        r = Σ nᵢ rᵢ / Σ nᵢ        σ(r) ≤ Σ nᵢ σᵢ / Σ nᵢ

    How many users were in several of the windows is not known: the bound holds whoever was (Minkowski), with equality where all were in
    all. For the same reason `users` is the largest of the windows' numbers, and not their sum.

    >>> before = [Level(0.2, 0.01, 0.1, 0.01, 50), Level(0.4, 0.01, 0.1, 0.01, 150)]
    >>> found = reference(before)
    >>> round(found.ctr, 9), round(found.ctr_error, 9), found.users, found.windows
    (0.35, 0.01, 150, 2)
    """
    if len(levels) < 2:
        return levels[0] if levels else None
    weight = sum(found.users for found in levels)

    def mean(values: Iterable[float]) -> float:
        return math.fsum(found.users * value for found, value in zip(levels, values, strict=True)) / weight

    versions = {found.model_version for found in levels}
    return Level(
        mean(found.ctr for found in levels),
        mean(found.ctr_error for found in levels),
        mean(found.hit_rate for found in levels),
        mean(found.hit_rate_error for found in levels),
        max(found.users for found in levels),
        sum(found.windows for found in levels),
        only(versions),
    )


def only(versions: Collection[str | None]) -> str | None:
    """The version of answers that are all of one; None where they are of several.

    >>> only({"v2"}), only({"v2", "v3"})
    ('v2', None)
    """
    return next(iter(versions)) if len(versions) == 1 else None


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
        share_high(value, error, now.users) < (1 - thresholds.fall) * (was - NORMAL_975 * was_error)
        for value, error, was, was_error in pairs
    )
    return "alert" if fallen else "ok"
