"""Ratios of sums with their errors, users as clusters: what one user does twice is not two independent facts.

    r = Σ aᵤ / Σ bᵤ        σ²(r) = k / (k − 1) · Σ (aᵤ − r bᵤ)² / (Σ bᵤ)²        over the k users with bᵤ > 0

The linearised (delta-method) variance of a ratio: Cochran, Sampling Techniques (1977), section 6.3; for click-through rates: Deng,
Knoblich and Lu, Applying the delta method in metric analytics, KDD 2018. Sums are exact, so the order of the users does not matter.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

from models.measures.intervals import NORMAL_975


class Share(NamedTuple):
    """A ratio of sums. None: nothing below the line; an error needs two users."""

    value: float | None
    error: float | None
    users: int


def share(cells: Iterable[tuple[float, float]]) -> Share:
    """From each user's (a, b).

    >>> share([(1, 2), (1, 2), (2, 4)])
    Share(value=0.5, error=0.0, users=3)
    >>> share([(0, 0)])
    Share(value=None, error=None, users=0)
    """
    known = [(a, b) for a, b in cells if b > 0]
    below = math.fsum(b for _, b in known)
    if not known:
        return Share(None, None, 0)
    value = math.fsum(a for a, _ in known) / below
    k = len(known)
    if k < 2:
        return Share(value, None, k)
    squares = math.fsum((a - value * b) ** 2 for a, b in known)
    return Share(value, math.sqrt(k / (k - 1) * squares) / below, k)


class Ratio(NamedTuple):
    """A ratio of two groups' figures and its 95 % interval; None where it cannot be formed."""

    value: float | None
    low: float | None
    high: float | None


def ratio(above: Share, below: Share) -> Ratio:
    """above / below, of different users: R · exp(± 1.96 · √(σ²(a)/a² + σ²(b)/b²)), the delta method on ln R.

    None throughout where either has no value or the lower one is 0; no interval where either is of fewer than two users. An upper one of
    0 says that each of its users had 0: the interval is 0, too.

    >>> ratio(Share(0.4, 0.0, 9), Share(0.5, 0.0, 9))
    Ratio(value=0.8, low=0.8, high=0.8)
    >>> ratio(Share(0.4, None, 1), Share(0.5, 0.1, 9)), ratio(Share(0.4, 0.1, 9), Share(0.0, 0.0, 9))
    (Ratio(value=0.8, low=None, high=None), Ratio(value=None, low=None, high=None))
    """
    if above.value is None or not below.value:
        return Ratio(None, None, None)
    value = above.value / below.value
    if above.error is None or below.error is None:
        return Ratio(value, None, None)
    if not above.value:
        return Ratio(value, 0.0, 0.0)
    factor = math.exp(NORMAL_975 * math.hypot(above.error / above.value, below.error / below.value))
    return Ratio(value, value / factor, value * factor)
