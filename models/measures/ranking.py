"""How good a ranked list is: recall, NDCG and coverage.

Takes lists and what was held out; knows no model. Lists are (users, k) columns, best first, −1 where a list is shorter. A user
with nothing held out can be neither right nor wrong: NaN, to be left out of means, never 0.

    hit(u, j)   = 1 where the j-th of u's list (j from 1) is among u's held-out movies Rᵤ
    recall@k    = Σⱼ hit(u, j) / |Rᵤ|
    NDCG@k      = Σⱼ hit(u, j) / log₂(j + 1)  ÷  Σ over j = 1 … min(k, |Rᵤ|) of 1 / log₂(j + 1)
    coverage@k  = different movies in all lists / movies of the catalogue

Järvelin and Kekäläinen, Cumulated gain-based evaluation of IR techniques, ACM TOIS 20 (2002), with gains of 0 and 1; coverage:
Ge, Delgado-Battenfeld and Jannach, Beyond accuracy, RecSys 2010. All values are in [0, 1].
"""

import numpy as np

from models.recommenders.base import F64, I32, I64, Bools, Csr


def hits(lists: I32, held_out: Csr) -> Bools:
    """(users, k): whether each place of a list holds one of the user's held-out movies.

    >>> from models.recommenders.base import Rows
    >>> hits(np.array([[5, 3, -1]], np.int32), Rows.of([[3, 4]])).tolist()
    [[False, True, False]]
    """
    indices = np.asarray(held_out.indices, np.int64)
    owners = np.repeat(np.arange(len(lists)), np.diff(held_out.indptr))
    width = int(max(lists.max(initial=0), indices.max(initial=0))) + 1  # user and column as one number
    found = np.isin(np.arange(len(lists))[:, None] * width + lists, owners * width + indices)
    return found & (lists >= 0)


def recall(hit: Bools, held_out: I64) -> F64:
    """recall@k of each user. hit: (users, k); held_out: |Rᵤ|.

    >>> recall(np.array([[True, False], [False, False]]), np.array([4, 0])).tolist()
    [0.25, nan]
    """
    share: F64 = np.divide(hit.sum(axis=1), held_out, out=np.full(len(hit), np.nan), where=held_out > 0)
    return share


def ndcg(hit: Bools, held_out: I64) -> F64:
    """NDCG@k of each user. hit: (users, k); held_out: |Rᵤ|.

    >>> ndcg(np.array([[True, True, False], [False, True, False]]), np.array([2, 1])).round(3).tolist()
    [1.0, 0.631]
    """
    discount = 1 / np.log2(np.arange(2, hit.shape[1] + 2))
    ideal = np.concatenate([[0.0], np.cumsum(discount)])[np.minimum(held_out, hit.shape[1])]
    share: F64 = np.divide(hit @ discount, ideal, out=np.full(len(hit), np.nan), where=ideal > 0)
    return share


def coverage(lists: I32, n_movies: int) -> float:
    """Share of the catalogue's `n_movies` that is in any list; 0 of no movies is 0.

    >>> coverage(np.array([[0, 1], [1, -1]], np.int32), 8)
    0.25
    """
    return len(np.unique(lists[lists >= 0])) / n_movies if n_movies else 0.0


def coverage_without(lists: I32, n_movies: int) -> F64:
    """Coverage if one user were missing, for each user: what `intervals.jackknife` asks for. A list names a movie once.

    >>> coverage_without(np.array([[0, 1], [1, 2]], np.int32), 4).tolist()
    [0.5, 0.5]
    """
    shown = np.bincount(lists[lists >= 0], minlength=max(n_movies, 1))
    alone = ((shown[lists] == 1) & (lists >= 0)).sum(axis=1)
    share: F64 = (np.count_nonzero(shown) - alone) / max(n_movies, 1)
    return share
