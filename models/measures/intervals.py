"""How sure a figure is: intervals over users.

Resamples or leaves out whole users, since what one user does twice is not two independent facts. Randomness comes in as a
Generator; the same generator state gives the same interval.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.recommenders.base import F64, I64

AT_ONCE = 4_000_000  # drawn users held in memory at a time
NORMAL_975 = 1.959963984540054  # the normal distribution's 97.5 % quantile


class Interval(NamedTuple):
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


def mean(values: F64, rng: np.random.Generator, draws: int = 2_000) -> Interval:
    """Mean over users, percentile bootstrap: users drawn with replacement, the 2.5 % and 97.5 % points of the draws' means.

    values: one for each user; NaN (nothing to say about this user) is left out. No user: NaN throughout.
    Efron and Tibshirani, An Introduction to the Bootstrap (1993), section 13.3.

    >>> mean(np.full(5, 0.5), np.random.default_rng(0))
    Interval(value=0.5, low=0.5, high=0.5)
    """
    known = values[~np.isnan(values)]
    return _percentile(
        known.mean() if len(known) else np.nan, [known[drawn].mean(axis=1) for drawn in _drawn(len(known), rng, draws)]
    )


def difference(a: F64, b: F64, rng: np.random.Generator, draws: int = 2_000) -> Interval:
    """mean(a) − mean(b) over the same users, paired: each draw takes a user's a and b together. NaN in either: left out.

    >>> difference(np.array([1.0, 3.0, 2.0]), np.array([0.5, 2.5, 1.5]), np.random.default_rng(0))
    Interval(value=0.5, low=0.5, high=0.5)
    """
    return mean(a - b, rng, draws)


def ratio(a: F64, b: F64, rng: np.random.Generator, draws: int = 2_000) -> Interval:
    """mean(a) / mean(b) over the same users, paired. NaN where mean(b) is 0.

    >>> ratio(np.array([1.0, 3.0, 2.0]), np.array([2.0, 6.0, 4.0]), np.random.default_rng(0))
    Interval(value=0.5, low=0.5, high=0.5)
    """
    known = ~(np.isnan(a) | np.isnan(b))
    a, b = a[known], b[known]
    with np.errstate(invalid="ignore", divide="ignore"):
        value = a.sum() / b.sum()
        return _percentile(value, [a[drawn].sum(axis=1) / b[drawn].sum(axis=1) for drawn in _drawn(len(a), rng, draws)])


def widening(new: tuple[F64, F64], old: tuple[F64, F64], rng: np.random.Generator, draws: int = 2_000) -> Interval:
    """|mean new₁ − mean new₂| − |mean old₁ − mean old₂|: by how much the gap between two groups of users has grown, −1 to 1.

    Users are drawn within their group, new and old together. NaN in either: left out. A group without users: NaN throughout.

    >>> widening((np.full(3, 0.5), np.full(2, 0.2)), (np.full(3, 0.4), np.full(2, 0.2)), np.random.default_rng(0)).value.__round__(9)
    0.1
    """
    first, second = (
        [a[known], b[known]] for a, b in zip(new, old, strict=True) for known in [~(np.isnan(a) | np.isnan(b))]
    )
    if not (len(first[0]) and len(second[0])):
        return Interval(np.nan, np.nan, np.nan)
    value = abs(first[0].mean() - second[0].mean()) - abs(first[1].mean() - second[1].mean())
    means = [
        [
            np.concatenate(parts)
            for parts in zip(*([a[drawn].mean(axis=1) for a in group] for drawn in some), strict=True)
        ]
        for group in (first, second)
        for some in [_drawn(len(group[0]), rng, draws)]
    ]
    (new_first, old_first), (new_second, old_second) = means
    return _percentile(value, [abs(new_first - new_second) - abs(old_first - old_second)])


def in_blocks(rng: np.random.Generator, *totals: F64, most: int = 2_000) -> tuple[F64, ...]:
    """Users joined by chance into `most` blocks as large as each other: the totals of each block, for `ratio`.

    For many users: to draw blocks costs as much for a million as for two thousand, and the interval is as wide, give or take
    1/√(2·most) of its width. totals: (users,) each, the same users; no more users than `most`: as they are.

    >>> in_blocks(np.random.default_rng(0), np.ones(10), most=5)[0].tolist()
    [2.0, 2.0, 2.0, 2.0, 2.0]
    """
    n = len(totals[0])
    if n <= most:
        return totals
    block = rng.permutation(n) % most
    return tuple(np.bincount(block, each, minlength=most).astype(np.float64) for each in totals)


def jackknife(value: float, without: F64) -> Interval:
    """A figure that is no mean, from its values when one user is left out: value ± 1.96 standard errors.

    For counts of different things (coverage) the bootstrap is wrong: it draws some users twice, others never, and so always
    sees fewer. σ² = (n−1)/n · Σ(θ₍ᵢ₎ − mean θ)². Efron and Tibshirani, section 11.2; for numbers of species: Burnham and
    Overton, Biometrika 65 (1978). Fewer than two users: NaN bounds.

    >>> jackknife(0.5, np.array([0.5, 0.5]))
    Interval(value=0.5, low=0.5, high=0.5)
    """
    if len(without) < 2:
        return Interval(value, np.nan, np.nan)
    error = float(np.sqrt((len(without) - 1) * np.square(without - without.mean()).mean()))
    return Interval(value, value - NORMAL_975 * error, value + NORMAL_975 * error)


def _drawn(users: int, rng: np.random.Generator, draws: int) -> Iterator[I64]:
    """Users of `draws` samples, in portions of (some draws, users)."""
    if users:
        portion = max(1, AT_ONCE // users)
        for start in range(0, draws, portion):
            yield rng.integers(0, users, (min(portion, draws - start), users))


def _percentile(value: float, draws: list[npt.NDArray[np.float64]]) -> Interval:
    if not draws:
        return Interval(np.nan, np.nan, np.nan)
    low, high = np.quantile(np.concatenate(draws), [0.025, 0.975])
    return Interval(float(value), float(low), float(high))
