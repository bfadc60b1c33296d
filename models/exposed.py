"""A batch of lists in which protected movies have their least share. Asks the model for what its own lists lack; sends nothing.

Which movies are protected says `models.recommenders.protected`, which list is then the best one `models.recommenders.rerank`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.config import Exposure
from models.events import Reranked
from models.recommenders import rerank
from models.recommenders.base import F32, I32, I64, Bools, Recommender, Rows, Top
from models.recommenders.protected import Protected


@dataclass(frozen=True, slots=True)
class Exposed:
    """What a batch needs beside its lists."""

    exposure: Exposure
    movies: Sequence[Bools]  # protected ones, of each row
    best: Top  # of these, for the rows whose list has too few

    @classmethod
    def of(
        cls,
        protected: Protected,
        recommender: Recommender,
        users: F32,
        wanted: I64,
        histories: Rows,
        excluded: Rows,
        allowed: Sequence[Bools | None],
        lists: Top,
    ) -> "Exposed":
        """lists: the `wanted` best movies of each user, or more. Asks for no protected movie that they have."""
        bounds = histories.indptr
        movies = [protected.of_user(histories.indices[bounds[r] : bounds[r + 1]]) for r in range(len(wanted))]
        least = np.array([rerank.least(n, protected.exposure.share) for n in wanted.tolist()], np.int64)
        for r, n in enumerate(wanted.tolist()):
            columns, _ = lists.row(r)
            if len(columns) < n or np.count_nonzero(movies[r][columns[:n]]) >= least[r]:
                least[r] = 0
        masks = [mine if mask is None else mask & mine for mask, mine in zip(allowed, movies, strict=True)]
        return cls(protected.exposure, movies, recommender.top(users, least, excluded, masks))

    def list(self, row: int, columns: I32, scores: F32, n: int, movie_ids: Sequence[str]) -> tuple[I32, F32, Reranked]:
        """The n best of a row that keep the share, then others as they rank, as many as before; and what was changed."""
        best, their_scores = self.best.row(row)
        before, share = len(columns), self.exposure.share
        new = ~np.isin(best, columns)  # they rank behind all of `columns`
        columns, scores = np.concatenate([columns, best[new]]), np.concatenate([scores, their_scores[new]])
        marked = self.movies[row][columns]
        ranks = rerank.ranks(marked, n, share, every_prefix=self.exposure.every_prefix)
        told = Reranked(
            least=rerank.least(n, share),
            protected=int(np.count_nonzero(marked[ranks])),
            added=[movie_ids[c] for c in columns[ranks[ranks >= n]].tolist()],
            removed=[movie_ids[c] for c in np.delete(columns[:n], ranks[ranks < n]).tolist()],
        )
        order = np.concatenate([ranks, np.setdiff1d(np.arange(len(columns)), ranks)])[:before]
        return columns[order], scores[order], told
