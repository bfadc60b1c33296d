"""Whether the arms are as large as the split says, to be asked at every look.

A split that is set to 10 % and gives 12 % is broken somewhere, and whoever is missing is not missing by chance: no verdict may
follow from it. Lindon and Malek, Anytime-valid inference for multinomial count data, NeurIPS 2022: under H₀ the Bayes factor

    B = ∏ over the arms of (α_i)_{x_i} / (α)_n  ÷  ∏ θ_i^{x_i}          (rising factorials; their eq. 4: multinomial against Dirichlet)

of a Dirichlet mixture against the shares θ that were set is a martingale from 1; it reaches 1/p with a probability of at most p.
With two arms the Dirichlet is a beta. A product over periods with different shares is a martingale too, and so is a mean of
several: here half of the weight is on an arm that is 12 % too large, half on one 12 % too small (of the smaller share), spread 4 %.
Weight where breaks are expected finds them sooner than the flat prior that knows nothing.
"""

import math
from collections.abc import Iterable

import numpy as np
from scipy.special import betaln, xlogy

from models.recommenders.base import F64

OFF, SPREAD = 0.12, 0.04  # of the smaller share


def log_bayes_factor(canary: F64, stable: F64, share: float) -> F64:
    """ln B of counts of users, for one share of the canary in [0, 1]. Infinite where an arm that nobody may be in has users.

    >>> log_bayes_factor(np.array([100.0, 180.0]), np.array([900.0, 820.0]), 0.1).round(1).tolist()
    [-0.8, 12.0]
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share} is not in [0, 1]")
    if share in (0, 1):
        return np.where((canary if share == 0 else stable) > 0, math.inf, 0.0)
    small = min(share, 1 - share)
    weight = share * (1 - share) / (SPREAD * small) ** 2 - 1  # a beta with this spread
    sides = [
        betaln(a + canary, b + stable) - betaln(a, b)
        for a, b in ((weight * (share + shift), weight * (1 - share - shift)) for shift in (OFF * small, -OFF * small))
    ]
    found: F64 = np.logaddexp(*sides) - math.log(2) - xlogy(canary, share) - xlogy(stable, 1 - share)
    return found


def p_value(periods: Iterable[tuple[float, int, int]]) -> float:
    """A p-value that may be looked at at any time, from (share, users of the canary, users of stable) of each setting of the split.

    min(1, 1/B) with the product of the periods' B. No user: 1.

    >>> p_value([(0.1, 100, 900)]), p_value([(0.1, 180, 820)]) < 1e-5, p_value([(0.0, 1, 99)]), p_value([])
    (1.0, True, 0.0, 1.0)
    """
    total = 0.0
    for share, canary, stable in periods:
        if canary < 0 or stable < 0:
            raise ValueError(f"{canary} and {stable} users")
        total += float(log_bayes_factor(np.float64(canary), np.float64(stable), share))  # type: ignore[arg-type]
    return math.exp(-max(total, 0.0))
