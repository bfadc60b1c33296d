"""What followed answers, found without a table of answers: columns of numbers that are sorted once.

Knows no window and no variant. Ids become 64 bits of their BLAKE2b: the same everywhere, and two of ten million differ but for once in
400,000 such tables. Memory: 24 bytes for each feedback, 16 for each watch. The order in which things are added does not matter.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from models.recommenders.base import F64, I64, Bools

Keys = npt.NDArray[np.uint64]

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ / golden ratio: Knuth, The Art of Computer Programming 3, section 6.4


def key(text: str) -> int:
    """An id as 64 bits.

    >>> key("u1") == key("u1"), key("u1") == key("u2")
    (True, False)
    """
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def keys(texts: Sequence[str]) -> Keys:
    """Of each id its key."""
    return np.fromiter(map(key, texts), np.uint64, len(texts))


class Newest:
    """Of each key the newest value; of two with the same time the larger.

    >>> newest = Newest()
    >>> newest.add(7, 10, 0.5)
    >>> newest.add(7, 20, 0.25)
    >>> newest.find(np.array([6, 7], np.uint64)).tolist()
    [nan, 0.25]
    """

    def __init__(self) -> None:
        self._key, self._at, self._value = array("Q"), array("q"), array("d")
        self._found: tuple[Keys, F64] | None = None

    def add(self, key: int, at_ms: int, value: float) -> None:
        self._key.append(key)
        self._at.append(at_ms)
        self._value.append(value)
        self._found = None

    def find(self, wanted: Keys) -> F64:
        """The value of each key; NaN where there is none."""
        if self._found is None:
            self._found = self._sorted()
        known, values = self._found
        if not len(known):
            return np.full(len(wanted), np.nan)
        place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        return np.where(known[place] == wanted, values[place], np.nan)

    def _sorted(self) -> tuple[Keys, F64]:
        key, at, value = (np.array(column) for column in (self._key, self._at, self._value))
        order = np.lexsort((value, at, key))
        key, value = key[order], value[order]
        last = np.append(key[1:] != key[:-1], np.ones(min(1, len(key)), np.bool_))
        return key[last], value[last]


class Watches:
    """Who watched which movie when.

    >>> watches = Watches()
    >>> watches.add(1, 5, 100)
    >>> watches.follow(np.array([1, 1], np.uint64), np.array([90, 101]), [[4, 5], [5]], 50).tolist()
    [True, False]
    """

    def __init__(self) -> None:
        self._pair, self._at = array("Q"), array("q")
        self._found: tuple[Keys, I64] | None = None

    def add(self, user: int, movie: int, at_ms: int) -> None:
        self._pair.append(((user * int(_ODD)) ^ movie) & 0xFFFFFFFFFFFFFFFF)
        self._at.append(at_ms)
        self._found = None

    def follow(self, users: Keys, shown_ms: I64, movies: Sequence[Sequence[int]], horizon_ms: int) -> Bools:
        """Whether each user watched one of the listed movies at a time in [shown, shown + horizon)."""
        if self._found is None:
            pair, at = np.array(self._pair, np.uint64), np.array(self._at, np.int64)
            order = np.lexsort((at, pair))
            self._found = pair[order], at[order]
        pair, at = self._found
        owner = np.repeat(np.arange(len(users)), [len(some) for some in movies])
        listed = np.fromiter((movie for some in movies for movie in some), np.uint64, len(owner))
        with np.errstate(over="ignore"):
            wanted = (users * _ODD)[owner] ^ listed
        first, after = np.searchsorted(pair, wanted), np.searchsorted(pair, wanted, "right")
        followed = np.zeros(len(users), np.bool_)
        for place in np.flatnonzero(first < after):  # few: most lists are not followed
            whose, end = owner[place], int(after[place])
            when = bisect_left(at, shown_ms[whose], int(first[place]), end)
            followed[whose] |= when < end and at[when] < shown_ms[whose] + horizon_ms
        return followed
