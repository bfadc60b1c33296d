"""Whether the candidate fails more often than the stable version may explain, to be asked after every single request.

    H₀   p_canary ≤ p_stable + margin
    U    upper bound of p_stable, at every moment at once, with error α/2
    E    = ∫ over p from p₀ to 1 of (p/p₀)^f ((1−p)/(1−p₀))^(n−f) dp / (1−p₀),      p₀ = U + margin;      reaches 2/α: broken

f of the canary's n requests failed. Under any p ≤ p₀ each likelihood ratio is a supermartingale, so is their mean, and it ever reaches
2/α with a probability of at most α/2 (Ville; Robbins 1970, the beta-binomial mixture of Howard et al. 2021, section 3.2). Nothing is
asymptotic: it holds from the first request on. U is the largest p that the same mixture over all of 0 to 1 does not refute. It is
exact for failures that are independent; one user whose every request fails is not, hence `release.failing_users_min`.
"""

import math

import numpy as np
from scipy.optimize import brentq
from scipy.special import betaincc, betaln, xlogy


def upper_bound(failures: int, requests: int, alpha: float) -> float:
    """U: the failure rate is above it at any time with a probability of at most `alpha`. 1 for no request.

    >>> round(upper_bound(0, 1_000, 0.05), 4), upper_bound(0, 0, 0.05)
    (0.0099, 1.0)
    """
    _check(failures, requests)
    if failures == requests:
        return 1.0
    mixed = betaln(failures + 1, requests - failures + 1)

    def refuted(p: float) -> float:
        return float(mixed - xlogy(failures, p) - (requests - failures) * math.log1p(-p) + math.log(alpha))

    top = 1 - 1e-15
    return float(brentq(refuted, failures / requests, top)) if refuted(top) > 0 else 1.0


def log_evidence(failures: int, requests: int, tolerated: float) -> float:
    """ln E against "the candidate fails in at most this share of requests". 0 for no request.

    >>> round(log_evidence(4, 4, 0.03), 1), log_evidence(0, 0, 0.03)
    (12.4, 0.0)
    """
    _check(failures, requests)
    if not requests or tolerated >= 1:
        return 0.0
    a, b = failures + 1, requests - failures + 1
    with np.errstate(divide="ignore"):
        mass = float(betaln(a, b) + np.log(betaincc(a, b, tolerated)))
    return mass - float(xlogy(failures, tolerated)) - (requests - failures + 1) * math.log1p(-tolerated)


def excess(canary: tuple[int, int], stable: tuple[int, int], margin: float, alpha: float) -> tuple[float, float]:
    """(ln E − ln(2/α), p₀) of (failures, requests) of both arms: from 0 on the candidate is broken, with error `alpha`.

    >>> above, tolerated = excess((10, 20), (1, 2_000), margin=0.02, alpha=1e-4)
    >>> above > 0, round(tolerated, 3)
    (True, 0.03)
    """
    tolerated = min(1.0, upper_bound(*stable, alpha / 2) + margin)
    return log_evidence(*canary, tolerated) - math.log(2 / alpha), tolerated


def _check(failures: int, requests: int) -> None:
    if not 0 <= failures <= requests:
        raise ValueError(f"{failures} failures of {requests} requests")
