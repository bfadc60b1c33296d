"""How unevenly something is spread over a catalogue: Gini, Lorenz curve, tenths by popularity, self-information.

Takes counts of each movie, those that nobody watched or was shown among them; reads nothing and knows no user but by number.
"""

import numpy as np

from models.recommenders.base import F64, I32, I64

TENTHS = 10


def gini(counts: I64) -> float | None:
    """0 where every movie has the same, near 1 where one has all; null of nothing.

        G = Σᵢ (2i − n − 1) xᵢ / (n Σᵢ xᵢ)        x ascending, i from 1 to n

    counts: (movies of the catalogue,). For lists: Fleder and Hosanagar, Blockbuster culture's next rise or fall, Management
    Science 55 (2009).

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 8])), gini(np.array([0, 0]))
    (0.0, 0.75, None)
    """
    n, total = len(counts), int(counts.sum())
    if not total:
        return None
    return float((2 * np.arange(1, n + 1) - n - 1) @ np.sort(counts) / (n * total))


def gini_without(counts: I64, user: I32, movie: I32, n_users: int) -> F64:
    """G if one user were missing, for each user: what `intervals.jackknife` asks for.

    Where a user has each movie once, by ranks: of movies with the same count, one less each leaves them in order if the lowest ranks
    are theirs. Where one has a movie more often, by Σᵢⱼ max(xᵢ, xⱼ) = Σᵢ (2i − 1) xᵢ, of which only that user's movies change.
    user, movie: (entries,) of which `counts` are made. NaN where nobody else has anything.

    >>> gini_without(np.array([1, 1, 2]), np.array([0, 0, 1, 1]), np.array([0, 2, 1, 2]), 2).round(9).tolist()
    [0.333333333, 0.333333333]
    """
    n, entries = len(counts), user.astype(np.int64)
    order = np.sort(counts)
    lowest = np.searchsorted(order, counts) + 1
    tied, alike = np.unique(entries * (n + 1) + lowest[movie], return_counts=True)
    ranks = np.bincount(tied // (n + 1), (tied % (n + 1)) * alike + alike * (alike - 1) / 2, minlength=n_users)
    in_order = float(order @ np.arange(1, n + 1))
    ranked = in_order - ranks
    again, times = np.unique(entries * n + movie, return_counts=True)
    first = np.searchsorted(again, np.arange(n_users + 1, dtype=np.int64) * n)
    above = _above(order)
    for one in np.unique(again[times > 1] // n):
        some = slice(first[one], first[one + 1])
        was = counts[again[some] % n]
        ranked[one] = in_order + _ranked_more(order, above, was, was - times[some])
    left = (counts.sum() - np.bincount(user, minlength=n_users)).astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        without: F64 = np.where(left > 0, 2 * ranked / (n * left) - (n + 1) / n, np.nan)
    return without


def _ranked_more(order: I64, above: I64, was: I64, now: I64) -> float:
    """By how much Σᵢ i·xᵢ changes where some of the counts were `was` and are `now`. order: all, ascending; above: `_above` of it."""
    old, new = np.sort(was), np.sort(now)
    gone = 2 * _maxima(was, order, above) - _maxima(was, old, _above(old))
    come = 2 * (_maxima(now, order, above) - _maxima(now, old, _above(old))) + _maxima(now, new, _above(new))
    return (come - gone + int(now.sum()) - int(was.sum())) / 2


def _maxima(some: I64, order: I64, above: I64) -> int:
    """Σᵢⱼ max(someᵢ, orderⱼ)."""
    rank = np.searchsorted(order, some, "right")
    return int(some @ rank + above[rank].sum())


def _above(order: I64) -> I64:
    """The sum of the counts from each rank on."""
    return np.append(np.cumsum(order[::-1])[::-1], 0)


def lorenz(counts: I64, points: int = 100) -> list[tuple[float, float]]:
    """(share of movies, share of all counts that they have), the least popular movies first; from none to all.

    M. O. Lorenz, Publications of the American Statistical Association 9 (1905). Nothing counted: no curve.

    >>> lorenz(np.array([6, 3, 1, 0]), points=2)
    [(0.0, 0.0), (0.5, 0.1), (1.0, 1.0)]
    """
    if not counts.sum():
        return []
    cumulated = np.concatenate([[0], np.cumsum(np.sort(counts))]) / counts.sum()
    at = np.unique(np.rint(np.linspace(0, len(counts), points + 1)).astype(np.int64))
    return [(float(place / len(counts)), float(cumulated[place])) for place in at]


def tenths(counts: I64) -> I32:
    """(movies,): 0 for the most popular tenth of the movies, 9 for the least; the k-th begins at movie ⌊k·n/10⌋, at a tie by place.

    >>> tenths(np.array([5, 9, 0, 1])).tolist()
    [4, 2, 9, 7]
    """
    place = np.empty(len(counts), np.int64)
    place[np.argsort(-counts, kind="stable")] = np.arange(len(counts))
    bounds = np.arange(1, TENTHS) * len(counts) // TENTHS
    return np.searchsorted(bounds, place, side="right").astype(np.int32)


def self_information(interactions: I64, n_users: int) -> F64:
    """How surprising each movie is, in bits: I(i) = −log₂(users of i / all users). One without users counts as if it had one.

    Its mean over what is shown is the novelty. Zhou, Kuscsik, Liu, Medo, Wakeling and Zhang, PNAS 107 (2010), "surprisal".

    >>> self_information(np.array([8, 2, 0]), 8).tolist()
    [0.0, 2.0, 3.0]
    """
    share = np.maximum(interactions, 1) / max(n_users, 1)
    bits: F64 = np.maximum(-np.log2(share), 0.0)  # no −0.0 either
    return bits
