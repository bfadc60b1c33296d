"""Whether the world has moved away from what a version was trained on: its popularity, and the version's quality with it.

Measures; what follows from it is for `models.retraining` to say. No measure needs the clock or chance.

    PSI     popularity now against then, over ten groups of movies            Σᵢ (qᵢ − pᵢ) · ln(qᵢ / pᵢ)
    ADWIN   where the mean of a stream changed, however long it had been steady
    ratio   the mean of a stream's newest part over that of its oldest, with a 95 % interval

PSI tells that people watch other movies than before, the other two that the lists have become worse. Either alone is no reason to
train: popularity may shift where the model knows its way as well, and quality may fall because a worker fell back.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import log, sqrt
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.measures.intervals import NORMAL_975, Interval
from models.measures.prequential import Predicted
from models.recommenders.base import F64, I32, I64
from models.recommenders.popular import order

GROUPS = 10
CHECKED_EVERY = 32  # values between two tests of ADWIN


def deciles(popularity: I64, groups: int = GROUPS) -> I32:
    """(movies,): each movie's group by popularity, 0 the most popular, so that each group has about as many *interactions*.

    A movie's group is ⌊groups · (interactions of more popular movies + half its own) / all⌋; numbers that no movie has are closed up,
    so a movie with a third of all interactions is a group alone. Movies without interactions are in the last one, equals stand by
    column. Groups of as many *movies* would leave nearly all interactions in the first.

    >>> deciles(np.array([0, 4, 1, 1, 2, 0]), groups=2).tolist()
    [1, 0, 1, 1, 1, 1]
    """
    if not popularity.any():
        return np.zeros(len(popularity), np.int32)
    ranked = order(popularity)
    counts = popularity[ranked]
    middle = np.cumsum(counts) - counts / 2
    group = np.minimum(np.floor(groups * middle / counts.sum()), groups - 1)
    found = np.empty(len(popularity), np.int32)
    found[ranked] = np.unique(group, return_inverse=True)[1]
    return found


def by_group(columns: I32, group: I32) -> I64:
    """Interactions of each group; a column of −1 (a movie that the version does not know) counts in the last.

    >>> by_group(np.array([0, 1, 1, -1], np.int32), np.array([0, 1, 2], np.int32)).tolist()
    [1, 2, 1]
    """
    n = int(group.max(initial=0)) + 1
    known = group[columns] if len(group) else np.zeros(len(columns), np.int32)
    return np.bincount(np.where(columns < 0, n - 1, known), minlength=n).astype(np.int64)


def psi(then: npt.NDArray[np.integer[Any]], now: npt.NDArray[np.integer[Any]]) -> float:
    """The population stability index of two counts over the same groups, ≥ 0; 0 where they are equal, or either is empty.

    Σᵢ (qᵢ − pᵢ) ln(qᵢ/pᵢ) with half a count added to each group, so that an empty one does not make it infinite. Symmetric (it is
    Jeffreys' divergence, Proc. R. Soc. A 186, 1946). By the rule of thumb of credit scoring (Siddiqi, Credit Risk Scorecards, 2006)
    0.1 is a shift and 0.25 a large one. Without any shift it is about χ²(B − 1) · (1/N + 1/M) for B groups and N, M counts (Yurdakul
    and Naranjo, Journal of Risk Model Validation 14, 2020): 10 groups and 5,000 counts give 0.002; 2,000 movies as groups give 0.4,
    an alarm for ever.

    >>> round(psi(np.array([50, 50]), np.array([90, 10])), 2), psi(np.array([3, 4]), np.array([3, 4]))
    (0.85, 0.0)
    """
    if not then.sum() or not now.sum():
        return 0.0
    p, q = ((counts + 0.5) / (counts.sum() + 0.5 * len(counts)) for counts in (then, now))
    return max(0.0, float(np.sum((q - p) * np.log(q / p))))


@dataclass(frozen=True, slots=True)
class Change:
    """The mean of a stream changed; found after its `at`-th value (from 1)."""

    at: int
    before: float
    after: float


class Adwin:
    """An adaptive window over values in [0, 1]: the longest suffix of the stream whose mean has not demonstrably changed.

    Bifet and Gavaldà, Learning from time-changing data with adaptive windowing, SDM 2007; this is ADWIN2. The window W is kept as an
    exponential histogram: buckets of 1, 2, 4, … values, at most `most` of a size, so O(most · log |W|) numbers. For every cut of W
    between two buckets into an older W₀ and a newer W₁ (n₀ and n₁ values, n = n₀ + n₁, means μ̂₀ and μ̂₁), while any has

        |μ̂₀ − μ̂₁| ≥ ε_cut = √(2/m · σ²_W · ln(2/δ′)) + 2/(3m) · ln(2/δ′)       their eq. 3.1
        1/m = 1/n₀ + 1/n₁,  δ′ = δ / ln n,  σ²_W the variance of W

    the oldest bucket is dropped. δ bounds the chance that one test errs on a steady stream of *independent* values. Bucket sums are
    exact for values that add up exactly (hits). Tested after each `every` values. ValueError for a value outside [0, 1], NaN too:
    the bound holds for no other.

    >>> adwin = Adwin()
    >>> [change.at for hit in [1] * 300 + [0] * 300 if (change := adwin.add(hit))][0], adwin.mean
    (320, 0.0)
    """

    __slots__ = ("_delta", "_every", "_most", "_rows", "_seen")

    def __init__(self, delta: float = 0.002, *, most: int = 5, every: int = CHECKED_EVERY) -> None:
        if not 0 < delta < 1 or most < 2 or every < 1:
            raise ValueError(f"delta {delta} must be in (0, 1), most {most} at least 2, every {every} at least 1")
        self._delta, self._most, self._every = delta, most, every
        self._seen = 0
        self._rows: list[list[tuple[float, float]]] = [[]]  # row i: (sum, sum of squares) of 2^i values, oldest first

    def __len__(self) -> int:
        """|W|"""
        return sum(len(row) << size for size, row in enumerate(self._rows))

    @property
    def buckets(self) -> int:
        return sum(map(len, self._rows))

    @property
    def mean(self) -> float:
        """μ̂_W; NaN before the first value."""
        n = len(self)
        return sum(bucket[0] for row in self._rows for bucket in row) / n if n else float("nan")

    def add(self, value: float) -> Change | None:
        """One value more; the change, where a test found one: the means on both sides of the cut that shows it best."""
        if not 0 <= value <= 1:
            raise ValueError(f"{value} is not in [0, 1]")
        self._seen += 1
        self._insert(value)
        if self._seen % self._every:
            return None
        first = None
        while found := self._cut():
            first = first or found
            self._drop()
        return first and Change(self._seen, *first)

    def _insert(self, value: float) -> None:
        self._rows[0].append((value, value * value))
        for size, row in enumerate(self._rows):
            if len(row) <= self._most:
                return
            (one, one_squared), (other, other_squared) = row.pop(0), row.pop(0)
            if size + 1 == len(self._rows):
                self._rows.append([])
            self._rows[size + 1].append((one + other, one_squared + other_squared))

    def _drop(self) -> None:
        self._rows[-1].pop(0)
        while len(self._rows) > 1 and not self._rows[-1]:
            self._rows.pop()

    def _cut(self) -> tuple[float, float] | None:
        """μ̂₀ and μ̂₁ of the cut that exceeds its ε_cut most, if any does."""
        n = len(self)
        if n < 2:
            return None
        total = sum(bucket[0] for row in self._rows for bucket in row)
        squares = sum(bucket[1] for row in self._rows for bucket in row)
        variance = max(0.0, squares / n - (total / n) ** 2)
        confidence = log(2 / min(1.0, self._delta / log(n)))  # ln(2/δ′)
        best, most = None, 0.0
        older, n_older = 0.0, 0
        for size in range(len(self._rows) - 1, -1, -1):
            for bucket in self._rows[size]:
                older, n_older = older + bucket[0], n_older + (1 << size)
                n_newer = n - n_older
                if not n_newer:
                    break
                before, after = older / n_older, (total - older) / n_newer
                inverse = 1 / n_older + 1 / n_newer  # 1/m
                excess = abs(before - after) - sqrt(2 * inverse * variance * confidence) - 2 / 3 * inverse * confidence
                if excess >= most:
                    best, most = (before, after), excess
        return best


class Level:
    """The level that a stream in [0, 1] had before it fell, and the one it has now.

    A fall that ADWIN finds stands until ADWIN finds that the level has come back: several small falls in a row are one from the first
    level to the last, as in a slow decline.

    >>> level = Level()
    >>> level.add([1] * 300 + [0] * 300)
    >>> level.before, level.now
    (1.0, 0.0)
    """

    __slots__ = ("_adwin", "before")

    def __init__(self, delta: float = 0.002) -> None:
        self._adwin = Adwin(delta)
        self.before: float | None = None  # None: has not fallen

    @property
    def now(self) -> float:
        """NaN before the first value."""
        return self._adwin.mean

    def add(self, values: Iterable[float]) -> None:
        """Values in the order of their times."""
        for value in values:
            change = self._adwin.add(value)
            if change is None:
                continue
            if change.after < change.before:
                if self.before is None:  # later ones are of what is left of it in the window: few values, and chance
                    self.before = change.before
            elif self.before is not None and self._adwin.mean >= self.before:
                self.before = None


def unpaired_ratio(now: F64, now_users: I64, then: F64, then_users: I64) -> Interval:
    """mean(now) / mean(then) of two samples of events, each with its user, and the 95 % interval: value ± 1.96 standard errors.

    What one user does twice is not two facts, so users are the units. For a mean x̄ of n events of U users
    σ² = U/(U − 1) · Σᵤ (Σ_{i of u} (xᵢ − x̄))² / n² (Cochran, Sampling Techniques, 1977, section 6: a ratio of totals over users), and
    for r = x̄/ȳ, σ_r² = (σ_x² + r² σ_y²) / ȳ² (the delta method). Users who are in both samples make the interval wider than it
    need be. Fewer than two users in either, or mean(then) = 0: NaN.

    >>> unpaired_ratio(np.array([0.0, 0.5, 1.0]), np.arange(3), np.ones(4), np.arange(4)).value
    0.5
    """
    (x, x_squared), (y, y_squared) = _mean(now, now_users), _mean(then, then_users)
    if not y > 0:
        return Interval(np.nan, np.nan, np.nan)
    ratio = x / y
    error = sqrt(x_squared + ratio**2 * y_squared) / y
    return Interval(ratio, ratio - NORMAL_975 * error, ratio + NORMAL_975 * error)


def _mean(values: F64, users: I64) -> tuple[float, float]:
    """The mean over events and its σ² over users."""
    who = np.unique(users, return_inverse=True)[1]
    n_users = int(who.max(initial=-1)) + 1
    if n_users < 2:
        return np.nan, np.nan
    mean = float(values.mean())
    off = np.bincount(who, values - mean)
    return mean, n_users / (n_users - 1) * float(np.square(off).sum()) / len(values) ** 2


class Signals(msgspec.Struct, frozen=True):
    """What the live events since a version was trained say. None: too little to say it, or it was not asked for."""

    psi_events: int = 0  # interactions that psi compares with the version's data
    psi: float | None = None
    hit_before: float | None = None  # hit@10 before it fell; None also where it did not
    hit_now: float | None = None
    ndcg_events: int = 0  # watches in the newer sample
    ndcg_ratio: tuple[float, float, float] | None = None  # now / at first: value, low, high


def signals(
    *,
    popularity: I64,
    columns: I32,
    events: int,
    hits: Level | None = None,
    then: Predicted | None = None,
    now: Predicted | None = None,
) -> Signals:
    """The signals from what happened since the version's data.

    popularity: (movies,) interactions of that data with each movie. columns: each new interaction's movie, oldest first, −1 for one that
    the version does not know; the newest `events` are compared with `popularity`. hits: fed with each answer's hit@10. then, now: the
    first and the newest watches, two samples that do not overlap, predicted by one model; at least half of `events` each, since
    nothing can be predicted for who has no history. (Offline NDCG is no reference: its candidates are others.)
    """
    shift = None
    if len(columns) >= events:
        group = deciles(popularity)
        known = np.bincount(group, popularity).astype(np.int64)
        shift = psi(known, by_group(columns[-events:], group))
    ratio = None
    if then is not None and now is not None and 2 * min(len(then.ndcg), len(now.ndcg)) >= events:
        found = unpaired_ratio(now.ndcg, now.user, then.ndcg, then.user)
        ratio = (found.value, found.low, found.high) if np.isfinite(found).all() else None
    level = np.nan if hits is None else hits.now
    return Signals(
        psi_events=min(len(columns), events),
        psi=shift,
        hit_before=None if hits is None else hits.before,
        hit_now=None if np.isnan(level) else level,
        ndcg_events=0 if now is None else len(now.ndcg),
        ndcg_ratio=ratio,
    )
