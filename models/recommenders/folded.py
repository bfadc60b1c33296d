"""Fold-ins remembered: a user who asks again without having watched anything since has the same vector.

Remembers by the history itself, not by who it belongs to, so there is nothing to invalidate; each row of a fold-in depends on
its own history alone (`base.Recommender.users`), so a remembered vector is the one that would be computed, to the bit. For one
thread at a time.
"""

from itertools import pairwise

import numpy as np

from models.recommenders.base import F32, Recommender, Rows

CAPACITY_BYTES = 32 * 1_048_576
_OVERHEAD = 300  # of a dictionary entry with its two objects


class FoldIns:
    """The vectors of the newest histories, up to twice `capacity` bytes: one generation fills up while the last one fades."""

    def __init__(self, recommender: Recommender, capacity: int = CAPACITY_BYTES) -> None:
        self._recommender, self._capacity = recommender, capacity
        self._young: dict[bytes, F32] = {}
        self._old: dict[bytes, F32] = {}
        self._size = 0

    def users(self, histories: Rows) -> F32:
        """`Recommender.users` of the histories, (rows, f)."""
        self._forget_oldest()
        bounds = histories.indptr.tolist()
        keys = [histories.indices[first:last].tobytes() for first, last in pairwise(bounds)]
        missing = [row for row, key in enumerate(keys) if not self._known(key)]
        if missing:
            new = self._recommender.users(_some(histories, missing))
            for row, vector in zip(missing, new, strict=True):
                self._remember(keys[row], vector)
        return np.array([self._young[key] for key in keys], np.float32)

    def _known(self, key: bytes) -> bool:
        if key in self._young:
            return True
        vector = self._old.pop(key, None)
        if vector is None:
            return False
        self._remember(key, vector)
        return True

    def _remember(self, key: bytes, vector: F32) -> None:
        self._young[key] = vector.copy()  # a row of a batch would keep the whole batch
        self._size += len(key) + vector.nbytes + _OVERHEAD

    def _forget_oldest(self) -> None:
        if self._size > self._capacity:
            self._old, self._young, self._size = self._young, {}, 0


def _some(histories: Rows, rows: list[int]) -> Rows:
    starts, stops = histories.indptr[rows], histories.indptr[np.array(rows) + 1]
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(stops - starts, out=indptr[1:])
    picked = np.concatenate([np.arange(a, b) for a, b in zip(starts.tolist(), stops.tolist(), strict=True)])
    return Rows(indptr, histories.indices[picked], histories.data[picked])
