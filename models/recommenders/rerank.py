"""The best list that gives a least number of places to protected movies. Deals in ranks: which movies are protected is not said here.

A model ranks its candidates; a list of n takes some of them. A quota m(i) says how many of the first i places, at least, are for
protected ones: m(0) = 0, and it never falls and never rises by more than 1. Two are of use, with k = ⌊share · n⌋:

    whole list     m(i) = max(0, k − (n − i))         Singh & Joachims, Fairness of Exposure in Rankings, KDD 2018, section 3, in its
                                                      simplest form: a group's share of the places
    every prefix   m(i) = ⌊share · i⌋                 ranked group fairness of FA*IR (Zehlike et al., CIKM 2017, definition 1) with the
                                                      share itself as the bound, as in DetGreedy (Geyik et al., KDD 2019, equation 1)

Let p*(i) be the number of protected movies among the best i candidates. The list whose first i places hold the best
p(i) = max(p*(i), m(i)) protected movies and the best i − p(i) others, for every i, is

  - a list: p rises by 0 or 1 from place to place, since p* and m do;
  - the best one, and not only as a whole: **no list that keeps the quota has a larger sum of scores in its first i places, for any i.**

Why the latter: of all ways to fill i places with q protected movies the best takes the best q and the best i − q others. That sum
is concave in q (both rows of scores fall), and q = p*(i) is its maximum; with q ≥ m(i) it is largest at max(p*(i), m(i)). And if the
sum of every prefix is the largest, so is every sum Σ vᵢ sᵢ with position weights v₁ ≥ v₂ ≥ … ≥ vₙ ≥ 0 (summation by parts), which DCG's are.

So greedy is exact for one such constraint; FA*IR's algorithm builds the same list with two queues.
"""

from math import floor

import numpy as np

from models.recommenders.base import I64, Bools


def least(n: int, share: float) -> int:
    """⌊share · n⌋, as a person computes it.

    >>> least(20, 0.15), least(10, 0.3), least(3, 0.3)
    (3, 3, 0)
    """
    return floor(share * n + 1e-9)  # 0.15 · 20 is 3, and 2.9999999999999996 in binary


def whole_list(n: int, places: int) -> I64:
    """m(1) … m(n) for so many places of n, wherever.

    >>> whole_list(5, 2).tolist()
    [0, 0, 0, 1, 2]
    """
    return np.maximum(0, places - np.arange(n - 1, -1, -1))


def prefixes(n: int, share: float) -> I64:
    """m(1) … m(n) for a share of every prefix.

    >>> prefixes(5, 0.4).tolist()
    [0, 0, 1, 1, 2]
    """
    return np.array([least(i, share) for i in range(1, n + 1)], np.int64)


def ranks(protected: Bools, n: int, share: float, *, every_prefix: bool = False) -> I64:
    """The list: the rank (0 the best) of the candidate in each place.

    protected: of each candidate, best first; besides the n best there must be the best ⌊share · n⌋ protected ones, no other matters.
    Too few candidates or protected ones: what there is, never less than without a quota. Over a whole list the best stand first.

    >>> some = np.array([False, False, False, True, True])
    >>> ranks(some, 3, 0.67).tolist(), ranks(some, 3, 0.67, every_prefix=True).tolist()
    ([0, 3, 4], [0, 3, 4])
    >>> ranks(some, 4, 0.5).tolist(), ranks(some, 4, 0.5, every_prefix=True).tolist()
    ([0, 1, 3, 4], [0, 3, 1, 4])
    """
    marked, others = np.flatnonzero(protected), np.flatnonzero(~protected)
    places, n = min(least(n, share), len(marked)), min(n, len(protected))
    wanted = prefixes(n, share) if every_prefix else whole_list(n, places)
    held = np.minimum(np.maximum(np.cumsum(protected)[:n], wanted), len(marked))  # p(i)
    for_marked = np.diff(held, prepend=0) == 1
    place: I64 = np.empty(n, np.int64)
    place[for_marked] = marked[: np.count_nonzero(for_marked)]
    place[~for_marked] = others[: np.count_nonzero(~for_marked)]
    return place
