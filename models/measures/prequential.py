"""How well a model predicts each watch from what was known before it, the watches themselves being the test.

Measures; which watches and histories those are is the caller's. Test-then-train: Gama, Sebastião and Rodrigues, On evaluating
stream learning algorithms, Machine Learning 90 (2013). What is watched is one movie, so a list's ideal gain is 1 and

    NDCG@n = 1 / log₂(place + 1)     place from 1; 0 where the movie is not among the n best unseen ones, or the model has no such movie
"""

from typing import NamedTuple

import numpy as np

from models.recommenders.base import F64, I32, I64, Recommender, Rows

N = 20
AT_ONCE = 1_024  # watches


class Predicted(NamedTuple):
    """The NDCG of each of some watches, and whose it is."""

    ndcg: F64
    user: I64


def ndcg(recommender: Recommender, histories: Rows, watched: I32, n: int = N) -> F64:
    """(watches,): each one's NDCG@n, in [0, 1].

    histories: a row of columns for each watch, what its user had seen before, never the watched movie itself. watched: the column, −1 for a movie
    that the model does not know.
    """
    found = np.zeros(len(watched))
    for start in range(0, len(watched), AT_ONCE):
        ends = histories.indptr[start : start + AT_ONCE + 1]
        part = slice(ends[0], ends[-1])
        some = Rows(ends - ends[0], histories.indices[part], histories.data[part])
        top = recommender.top(recommender.users(some), n, excluded=some)
        wanted = watched[start : start + AT_ONCE, None]
        row, place = np.nonzero((top.columns == wanted) & (wanted >= 0))
        found[start + row] = 1 / np.log2(place + 2)
    return found
