"""Which movies have a least share of each list (config.json's `exposure`). How they come by it is said in `rerank`.

Knows movies as columns and genres as rows of tags; built once for a model and a configuration.
"""

from dataclasses import dataclass

import numpy as np

from models.config import Exposure
from models.recommenders.base import F64, I32, I64, Bools


def head(counts: I64, fraction: float) -> Bools:
    """The most watched ones that together have this share of all interactions: as few as that takes; of equals the first.

    The short head of a long tail, as in Abdollahpouri, Burke & Mobasher, Managing Popularity Bias in Recommender Systems with
    Personalized Re-ranking, FLAIRS 2019.

    >>> head(np.array([1, 5, 3, 1]), 0.6).tolist(), head(np.array([0, 0]), 0.5).tolist()
    ([False, True, True, False], [False, False])
    """
    order = np.argsort(-counts, kind="stable")
    before = np.cumsum(counts[order]) - counts[order]
    chosen = np.zeros(len(counts), np.bool_)
    chosen[order] = before < fraction * counts.sum()
    return chosen


@dataclass(frozen=True, slots=True, eq=False)
class Protected:
    """Of one model's movies."""

    exposure: Exposure
    movies: Bools | None  # (columns,); None: each user's own
    tags: Bools  # (genres, columns): which movie has which genre
    shares: F64  # (genres,): of all mentions of genres among the interactions

    @classmethod
    def of(cls, exposure: Exposure, popularity: I64, genres: tuple[str, ...], tags: Bools) -> "Protected":
        """popularity: interactions of each column. genres: casefolded, in the order of the rows of `tags`."""
        mentions = tags @ popularity
        shares = mentions / max(1, mentions.sum())
        if exposure.protect == "movies":
            return cls(exposure, ~head(popularity, exposure.head_fraction), tags, shares)
        if exposure.protect == "own_genres":
            return cls(exposure, None, tags, shares)
        if exposure.genres is None:
            rare = np.logical_not(head(mentions, exposure.head_fraction))
        else:
            wanted = {genre.casefold() for genre in exposure.genres}
            rare = np.array([genre in wanted for genre in genres], np.bool_)
        movies: Bools = np.logical_or.reduce(tags[rare], axis=0)
        return cls(exposure, movies, tags, shares)

    def of_user(self, history: I32) -> Bools:
        """(columns,): for a user with this history.

        With `own_genres` the movies all of whose genres have a larger share in the history than among all interactions: one bit
        of what Steck, Calibrated Recommendations, RecSys 2018, asks for, and one that has an exact best list.
        """
        if self.movies is not None:
            return self.movies
        mentions = self.tags[:, history].sum(axis=1)
        own = mentions > self.shares * mentions.sum()
        found: Bools = self.tags[own].any(axis=0) & ~self.tags[~own].any(axis=0)
        return found
