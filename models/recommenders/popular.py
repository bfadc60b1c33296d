"""Popularity: the baseline that a model must beat, and the list for whoever no model can answer.

Counts and orders; which movies a user must not get again is the caller's to say.
"""

from dataclasses import dataclass

import numpy as np

from models.recommenders.base import F32, I32, I64, Bools, Csr, Top


def counts(interactions: Csr, n_movies: int) -> I64:
    """Interactions of each column, (n_movies,).

    >>> from models.recommenders.base import Rows
    >>> counts(Rows.of([[0, 2], [2]]), 4).tolist()
    [1, 0, 2, 0]
    """
    return np.bincount(np.asarray(interactions.indices), minlength=n_movies).astype(np.int64)


def order(popularity: I64) -> I32:
    """Columns from the most to the least popular, equals by column, (n_movies,).

    >>> order(np.array([1, 0, 2, 1])).tolist()
    [2, 0, 3, 1]
    """
    return np.argsort(-popularity, kind="stable").astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Popular:
    """Movies by popularity, frozen with a model so that a replay gives the same fallback."""

    popularity: I64
    order: I32

    @classmethod
    def of(cls, popularity: I64) -> "Popular":
        return cls(popularity, order(popularity))

    def unseen(self, n: int, seen: I32, allowed: Bools | None = None) -> I32:
        """The n most popular columns that are not in `seen` and, with `allowed`, that it allows; fewer where fewer are left.

        >>> Popular.of(np.array([1, 0, 2, 1])).unseen(2, np.array([2], np.int32)).tolist()
        [0, 3]
        """
        # Of the first n + len(seen) at least n are unseen: no need to look at the whole catalogue.
        candidates = self.order if allowed is None else self.order[allowed[self.order]]
        candidates = candidates[: n + len(seen)]
        return candidates[~np.isin(candidates, seen)][:n]

    def top(self, n: int, excluded: Csr) -> Top:
        """The same for a batch, in the shape that models answer in; scores are counts."""
        rows = len(excluded.indptr) - 1
        columns = np.full((rows, n), -1, np.int32)
        scores: F32 = np.full((rows, n), -np.inf, np.float32)
        found = np.zeros(rows, np.int64)
        hidden = np.zeros(
            len(self.order), np.bool_
        )  # a table for all rows: `unseen` sorts what was seen, ten times the work
        for row in range(rows):
            seen = excluded.indices[excluded.indptr[row] : excluded.indptr[row + 1]]
            candidates = self.order[: n + len(seen)]
            hidden[seen] = True
            best = candidates[~hidden[candidates]][:n]
            hidden[seen] = False
            found[row] = len(best)
            columns[row, : len(best)] = best
            scores[row, : len(best)] = self.popularity[best]
        return Top(columns, scores, found)
