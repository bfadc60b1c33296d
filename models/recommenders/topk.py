"""The exact n best movies for a batch of users, without looking at most movies.

Chooses; knows nothing of how vectors were learned, of ids or of popularity. No state but the shelf, which never changes.

A score is a dot product, and |u·v| ≤ |u||v|. So movies stand on a shelf by falling |v|, panel after panel is scored by one
matrix product, and a user is done as soon as |u||v| of the next movie is below the n-th best score so far (Teflioudi, Gemulla
and Mykytiuk, LEMP, SIGMOD 2015). In models of implicit feedback |v| follows popularity: a few panels do for nearly everybody.

The matrix product only proposes: whatever its rounding could have put into the list is scored again in double precision,
each movie by itself. So a list does not depend on the batch, on the threads or on the BLAS that proposed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.recommenders.base import F32, F64, I32, I64, Bools, Csr, Top

BATCH = 64  # users in one matrix product: the panels of scores stay in the cache
HEAD = 1024  # movies in the first panel; each next one is twice as wide
BLOCKS = 512  # groups of a panel whose maxima give a first lower bound of the n-th best
LOWEST = float(np.finfo(np.float32).min)  # excluded movies score −inf, which is lower


class Shelf:
    """Movie vectors by falling norm. `vectors`: float32 (n movies, f), finite, row = column of the catalogue."""

    def __init__(self, vectors: F32) -> None:
        norms = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1))
        order = np.argsort(-norms, kind="stable")
        self.columns: I32 = order.astype(np.int32)  # place on the shelf → column
        self.places: I32 = np.empty_like(self.columns)  # column → place on the shelf
        self.places[order] = np.arange(len(order), dtype=np.int32)
        self.norms: F64 = norms[order]
        self.vectors: F32 = np.ascontiguousarray(vectors[order], dtype=np.float32)
        # Rounding of a float32 dot product of length f is below f·eps/2, relative to |u||v| (Higham 2002, eq. 3.5). Twice that
        # can part two scores; twice again covers all other casts to float32 here.
        self.rounding = 2.0 * max(vectors.shape[1], 1) * float(np.finfo(np.float32).eps)

    def __len__(self) -> int:
        return len(self.columns)


def best(
    shelf: Shelf,
    users: F32,
    n: int | I64,
    excluded: Csr | None = None,
    allowed: Sequence[Bools | None] | None = None,
) -> Top:
    """The n best movies for each user, by falling score; of equal scores the lower column first.

    users: float32 (users, f). n: one number, or one for each user. excluded: row r holds the columns that user r must not
    get. allowed: for each user None or one bool for each column.
    Fewer than n are left: fewer come back, never padding or an excluded movie. A user whose vector is not finite gets none.

    >>> shelf = Shelf(np.array([[1, 0], [3, 0], [2, 0]], np.float32))
    >>> best(shelf, np.array([[1, 0]], np.float32), 2).row(0)
    (array([1, 2], dtype=int32), array([3., 2.], dtype=float32))
    """
    wanted = np.minimum(np.broadcast_to(np.asarray(n, np.int64), len(users)), len(shelf))
    width = int(wanted.max(initial=0))
    top = Top(
        np.full((len(users), width), -1, np.int32),
        np.full((len(users), width), -np.inf, np.float32),
        np.zeros(len(users), np.int64),
    )
    for start in range(0, len(users), BATCH):
        some = slice(start, start + BATCH)
        barred = _Barred.of(shelf, excluded, start, min(start + BATCH, len(users)), allowed)
        contenders = _contenders(shelf, users[some], wanted[some], barred)
        _settle(shelf, contenders, wanted[some], Top(top.columns[some], top.scores[some], top.counts[some]))
    return top


def of_scores(scores: F32, wanted: I64, columns: I32, *, lowest: float = LOWEST) -> Top:
    """The same where every score is known already, for models without movie vectors.

    scores: (users, places), −inf where a movie must not be given. wanted: n of each user. columns: the column of each place,
    ascending. lowest: a score below it is not given; fewer than n left come back as fewer, as in `best`.

    >>> of_scores(np.array([[1, 3, 3, 0]], np.float32), np.array([2]), np.array([0, 4, 5, 9], np.int32)).row(0)
    (array([4, 5], dtype=int32), array([3., 3.], dtype=float32))
    """
    width = min(int(wanted.max(initial=0)), len(columns))
    top = Top(
        np.full((len(scores), width), -1, np.int32),
        np.full((len(scores), width), -np.inf, np.float32),
        np.zeros(len(scores), np.int64),
    )
    for start in range(0, len(scores), BATCH):
        some = slice(start, start + BATCH)
        n = np.minimum(wanted[some], width)
        floor = np.maximum(_nth_block(scores[some], np.maximum(n, 1)), np.float32(lowest))
        row, place = np.nonzero(scores[some] >= floor[:, None])
        score = scores[some][row, place]
        order = np.lexsort((place, -score, row))
        row, place, score = row[order], place[order], score[order]
        rank = np.arange(len(row)) - np.searchsorted(row, np.arange(len(n)))[row]
        keep = rank < n[row]
        row, place, rank, score = row[keep], place[keep], rank[keep], score[keep]
        top.columns[some][row, rank] = columns[place]
        top.scores[some][row, rank] = score
        top.counts[some] = np.bincount(row, minlength=len(n))
    return top


class _Contenders(NamedTuple):
    """Movies that can be in a list, as flat arrays."""

    row: I64
    place: I64
    score: F64


class _Barred(NamedTuple):
    """What each row of a batch must not get."""

    row: I64  # excluded (row, place) pairs
    place: I32
    allowed: Sequence[Bools | None] | None  # by column

    @classmethod
    def of(
        cls, shelf: Shelf, excluded: Csr | None, start: int, stop: int, allowed: Sequence[Bools | None] | None
    ) -> "_Barred":
        """For users start … stop − 1."""
        masks = None if allowed is None else allowed[start:stop]
        if excluded is None:
            return cls(np.empty(0, np.int64), np.empty(0, np.int32), masks)
        indptr = np.asarray(excluded.indptr[start : stop + 1])
        columns = excluded.indices[indptr[0] : indptr[-1]]
        if len(columns) and columns.min() < 0:  # would count from the end and hide another movie
            raise IndexError(f"excluded column {columns.min()} is below 0")
        return cls(np.repeat(np.arange(stop - start), np.diff(indptr)), shelf.places[columns], masks)

    def hide(self, scores: F32, shelf: Shelf, active: I64, start: int) -> None:
        """Set to −inf what the lines of `scores` (rows `active`, ascending; places from `start` on) must not get."""
        stop = start + scores.shape[1]
        here = (self.place >= start) & (self.place < stop)
        row, place = self.row[here], self.place[here]
        if len(row):
            line = np.searchsorted(active, row)
            line[line == len(active)] = 0
            still = active[line] == row
            scores[line[still], place[still] - start] = -np.inf
        if self.allowed is not None:
            for line_of, user in enumerate(active):
                mask = self.allowed[user]
                if mask is not None:
                    scores[line_of, ~mask[shelf.columns[start:stop]]] = -np.inf


def _contenders(shelf: Shelf, users: F32, wanted: I64, barred: _Barred) -> _Contenders:
    """Every movie of the true lists, and few others, with exact scores."""
    size = np.sqrt(np.square(users, dtype=np.float64).sum(axis=1))
    slack = (shelf.rounding * shelf.norms[0]) * size if len(shelf) else size
    floor = np.full(len(users), LOWEST)  # nothing below floor − slack can be in the row's list
    with np.errstate(over="ignore", invalid="ignore"):
        sane = size * shelf.norms[:1].sum() < -LOWEST  # False for NaN, too
    active = np.flatnonzero(sane & (wanted > 0))
    rows: list[I64] = []
    places: list[I64] = []
    proposed: list[F32] = []
    start, width = 0, HEAD
    while len(active) and start < len(shelf):
        stop = min(start + width, len(shelf))
        scores = users[active] @ shelf.vectors[start:stop].T
        barred.hide(scores, shelf, active, start)
        floor[active] = np.maximum(floor[active], _nth_block(scores, wanted[active]))
        line = np.maximum(floor[active] - slack[active], LOWEST).astype(np.float32)
        found = np.flatnonzero(scores >= line[:, None])
        row, place = np.divmod(found, stop - start)
        rows.append(active[row])
        places.append(place + start)
        proposed.append(scores.ravel()[found])
        if stop < len(shelf):
            active = active[size[active] * shelf.norms[stop] >= floor[active] - slack[active]]
        start, width = stop, width * 2
    if not rows:
        return _Contenders(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    row, place, score = np.concatenate(rows), np.concatenate(places), np.concatenate(proposed)
    keep = score >= floor[row] - slack[row]  # the floor has risen since
    row, place = row[keep], place[keep]
    # Each product and sum of one pair alone, in one order: equal vectors give equal bits, so ties are ties.
    exact = np.multiply(users[row], shelf.vectors[place], dtype=np.float64).sum(axis=1)
    return _Contenders(row, place, exact)


def _nth_block(scores: F32, wanted: I64) -> F32:
    """A lower bound of each row's n-th best score: the n-th best of the maxima of disjoint groups; LOWEST if there is none."""
    groups = min(scores.shape[1], BLOCKS)
    depth = scores.shape[1] // groups
    # Group g holds the columns g, g + groups, …: the maximum then runs along memory.
    maxima = scores[:, : depth * groups].reshape(len(scores), depth, groups).max(axis=1)
    enough = wanted <= groups
    if not enough.any():
        return np.full(len(scores), LOWEST, np.float32)
    nth = np.where(enough, groups - wanted, 0)
    maxima.sort(axis=1)
    bound = np.take_along_axis(maxima, nth[:, None], axis=1)[:, 0]
    return np.where(enough & (bound > LOWEST), bound, np.float32(LOWEST))


def _settle(shelf: Shelf, contenders: _Contenders, wanted: I64, top: Top) -> None:
    """Sort the contenders and write the first n of each row into `top`."""
    row, place, score = contenders
    column = shelf.columns[place]
    order = np.lexsort((column, -score, row))
    row = row[order]
    first = np.searchsorted(row, np.arange(len(wanted)))
    rank = np.arange(len(row)) - first[row]
    keep = rank < wanted[row]
    row, rank, order = row[keep], rank[keep], order[keep]
    top.columns[row, rank] = column[order]
    top.scores[row, rank] = score[order]
    top.counts[:] = np.bincount(row, minlength=len(wanted))
