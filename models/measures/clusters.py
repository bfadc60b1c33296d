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

    @property
    def low(self) -> float | None:
        """The lower end of its 95 % interval."""
        return None if self.value is None or self.error is None else self.value - NORMAL_975 * self.error


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


def zero_high(users: int) -> float:
    """The upper end of the 95 % interval of a mean in 0 to 1 where each of so many users had 0: 1 − 0.025^(1/users), about 3.7 / users.

    Clopper and Pearson, Biometrika 26 (1934), for the share of those who have more than 0, which no mean in 0 to 1 exceeds.

    >>> round(zero_high(100), 4), round(zero_high(1), 4)
    (0.0362, 0.975)
    """
    return 1.0 - math.pow(0.025, 1 / users)


def share_high(value: float, error: float, users: int) -> float:
    """The upper end of the 95 % interval of a share in 0 to 1: as if four more users of the mean size had come, two with all, two with nothing.

        r′ = (k r + 2) / (k + 4)    r′ + 1.96 √(k (k − 1) σ² + k (r′ − r)² + 2 (1 − r′)² + 2 r′²) / (k + 4)

    and `zero_high` where nobody had more than 0. r + 1.96 σ is far too low where few of a small share were seen: σ is too small then, too.
    For users with one answer each it is Agresti and Coull's, The American Statistician 52 (1998).

    >>> share_high(0.0, 0.0, 100) == zero_high(100)
    True
    >>> of_one = math.sqrt(0.01 * 0.99 / 99)  # of 100
    >>> round(0.01 + NORMAL_975 * of_one, 4), round(share_high(0.01, of_one, 100), 4)
    (0.0296, 0.061)
    """
    if not value:
        return zero_high(users)
    drawn = (users * value + 2) / (users + 4)
    squares = users * (users - 1) * error**2 + users * (drawn - value) ** 2 + 2 * (1 - drawn) ** 2 + 2 * drawn**2
    return drawn + NORMAL_975 * math.sqrt(squares) / (users + 4)


class Ratio(NamedTuple):
    """A ratio of two groups' figures and its 95 % interval; None where it cannot be formed."""

    value: float | None
    low: float | None
    high: float | None


def ratio(above: Share, below: Share) -> Ratio:
    """above / below, of different users, both in 0 to 1: R · exp(± 1.96 · √(σ²(a)/a² + σ²(b)/b²)), the delta method on ln R.

    None throughout where either has no value or the lower one is 0; no interval where either is of fewer than two users. An upper one of
    0 has no such interval: it ends at `zero_high` over the lower one's lower end, and nowhere where that is not above 0.

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
        assert below.low is not None  # it has an error
        return Ratio(value, 0.0, zero_high(above.users) / below.low if below.low > 0 else None)
    factor = math.exp(NORMAL_975 * math.hypot(above.error / above.value, below.error / below.value))
    return Ratio(value, value / factor, value * factor)
