"""What people watch and who is served how well, in figures: concentration on popular movies, breadth of genres, quality by group.

Takes counts and figures; reads nothing. Users of unknown gender are a group, users and movies without interactions count as 0.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from models.measures.feedback import group_of
from models.recommenders.base import F64, I32, I64, Bools

TOP_K = 0.1  # the head: this share of the catalogue
GROUPS = ("M", "F", "other", "unknown")
AT_ONCE = 1 << 28  # users × genres in memory
SHRINK_USER, SHRINK_MOVIE = 10, 25  # pseudo-ratings at 0, of each user's and each movie's deviation

Figures = dict[str, Any]


def popularity_stats(interactions: I64, popularity: F64 | None, top_k: float = TOP_K) -> Figures:
    """How much of all that is watched is the head's, and whether the catalogue's popularity says so.

    corr = Pearson's r of popularity and interactions, over the movies that have a popularity; null below two, or where one of
    them is the same for all. top share = interactions of the ⌊top_k · n⌋ (at least 1) most watched movies / all, null of none.

    interactions, popularity: (movies of the catalogue,), NaN where a movie has no popularity; None where nobody has.

    >>> popularity_stats(np.array([5, 1, 1, 1, 0, 0, 0, 0, 1, 1]), np.arange(10.0))["top_share_percent"]
    50.0
    """
    n = len(interactions)
    total = int(interactions.sum())
    head = np.sort(interactions)[::-1][: max(1, int(top_k * n))].sum()
    share = float(head) / total if total else None
    return {
        "n_movies": n,
        "corr_popularity_interactions": None if popularity is None else _pearson(popularity, interactions),
        "top_share_fraction": share,
        "top_share_percent": None if share is None else 100 * share,
        "top_k_fraction": top_k,
    }


def genres_met(user: I32, movie: I32, genres: Sequence[Sequence[str]], n_users: int) -> I64:
    """(users,): distinct genres among each one's movies. Of lists, where `user` numbers the lists.

    user, movie: (interactions,); genres: of each movie, empty where none is known.

    >>> genres_met(np.array([0, 0]), np.array([0, 1]), [["Drama", "War"], ["War"]], 2).tolist()
    [2, 0]
    """
    table = {genre: place for place, genre in enumerate(sorted({genre for some in genres for genre in some}))}
    sizes = np.array([len(some) for some in genres], np.int64)
    ends = np.cumsum(sizes)
    flat = np.array([table[genre] for some in genres for genre in some], np.int64)
    counts = np.zeros(n_users, np.int64)
    step = max(1, AT_ONCE // max(len(table), 1))
    for first in range(0, n_users, step):
        some = slice(None) if step >= n_users else np.flatnonzero((user >= first) & (user < first + step))
        who, what = user[some] - first, movie[some]
        met = np.zeros((min(step, n_users - first), len(table)), np.bool_)
        for nth in range(int(sizes.max(initial=0))):  # the nth genre of every interaction's movie
            has = sizes[what] > nth
            met[who[has], flat[(ends - sizes)[what[has]] + nth]] = True
        counts[first : first + step] = met.sum(axis=1)
    return counts


def genre_diversity(user: I32, movie: I32, genres: Sequence[Sequence[str]], n_users: int) -> Figures:
    """Distinct genres of what each user watched. Percentiles between two users are interpolated.

    >>> genre_diversity(np.array([0, 0]), np.array([0, 1]), [["Drama", "War"], ["War"]], 2)["mean_genres"]
    1.0
    """
    counts = genres_met(user, movie, genres, n_users)
    low, middle, high = np.percentile(counts, [10, 50, 90]) if n_users else (None, None, None)
    return {
        "n_users": n_users,
        "mean_genres": float(counts.mean()) if n_users else None,
        "median_genres": None if middle is None else float(middle),
        "p10_genres": None if low is None else float(low),
        "p90_genres": None if high is None else float(high),
    }


def fairness(
    genders: Sequence[str | None],
    interactions: I64,
    ratings: Mapping[str, F64],
    quality: Mapping[str, F64],
    squared_errors: tuple[I32, F64],
) -> list[Figures]:
    """One row for each group that has users.

    genders, interactions: of each user. ratings: {"sum", "count"} of each user's ratings, in stars. quality: {"ndcg_at_20",
    "recall_at_20"} of each user, NaN where nothing was held out. squared_errors: (user, error²) of each held-out rating.
    """
    groups = np.array([group_of(gender) for gender in genders], dtype=object)
    owner, squared = squared_errors
    rows = []
    for group in GROUPS:
        member: Bools = groups == group
        if not member.any():
            continue
        rated = ratings["count"][member].sum()
        errors = squared[member[owner]]
        rows.append(
            {
                "group": group,
                "n_users": int(member.sum()),
                "n_interactions": int(interactions[member].sum()),
                "mean_rating": float(ratings["sum"][member].sum() / rated) if rated else None,
                **{name: _mean(values[member]) for name, values in quality.items()},
                "rmse": float(np.sqrt(errors.mean())) if len(errors) else None,
            }
        )
    return rows


def predicted_ratings(user: I32, movie: I32, stars: F64, held: Bools, n_users: int, n_movies: int) -> F64:
    """A rating as the mean, the movie's deviation and the user's: what the lists' models, which know no stars, are not asked.

        b_i = Σ (r − μ) / (n_i + 25)        b_u = Σ (r − μ − b_i) / (n_u + 10)        r̂ = μ + b_i + b_u

    Learned from the ratings that are not held; one for each rating. Koren, Factor in the neighbors, ACM TKDD 4 (2010), section 2.1.
    """
    known = ~held
    mean = float(stars[known].mean()) if known.any() else 0.0
    of_movie = _shrunk(movie[known], stars[known] - mean, n_movies, SHRINK_MOVIE)
    of_user = _shrunk(user[known], stars[known] - mean - of_movie[movie[known]], n_users, SHRINK_USER)
    predicted: F64 = mean + of_movie[movie] + of_user[user]
    return predicted


def _shrunk(place: I32, deviation: F64, n: int, shrink: int) -> F64:
    total = np.bincount(place, deviation, minlength=n).astype(np.float64)
    shrunk: F64 = total / (np.bincount(place, minlength=n) + shrink)
    return shrunk


def _pearson(popularity: F64, interactions: I64) -> float | None:
    known = ~np.isnan(popularity)
    x, y = popularity[known], interactions[known].astype(np.float64)
    if len(x) < 2 or x.std() == 0 or y.std() == 0:
        return None
    return float(np.corrcoef(x, y)[0, 1])


def _mean(values: F64) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else None
