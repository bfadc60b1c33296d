"""What followed answers, found without a table of answers: columns of numbers that are sorted once.

Knows no window and no variant. Ids become 64 bits of their BLAKE2b: the same everywhere, and two of ten million differ but for once in
400,000 such tables. Memory: 40 bytes for each feedback, 16 for each watch. The order in which things are added does not matter.
"""

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from models.recommenders.base import I64, Bools

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


NOBODY = 0  # a feedback's user or movie, where it names none


class Heard(NamedTuple):
    """Feedback on some answers, one row each: of an answer by time, at a tie by satisfaction."""

    answer: I64  # which one
    at_ms: I64
    selected: Bools  # a movie of its list, by its user
    satisfaction: I64  # −1: none that counts
    other_user: Bools  # names another user than was answered: nothing of it counts
    not_in_list: Bools  # selects a movie that was not listed


class Told:
    """What feedback said of requests: of whom, of which movie, when, and how satisfied.

    >>> told = Told()
    >>> told.add(7, NOBODY, 5, 10, -1)
    >>> told.add(7, 3, NOBODY, 20, 9)
    >>> told.of(np.array([6, 7], np.uint64), np.array([1, 2], np.uint64), [[4], [4, 5]]).selected.tolist()
    [True, False]
    """

    def __init__(self) -> None:
        self._request, self._user, self._movie = array("Q"), array("Q"), array("Q")
        self._at, self._satisfaction = array("q"), array("q")
        self._found: tuple[Keys, Keys, Keys, I64, I64] | None = None

    def add(self, request: int, user: int, movie: int, at_ms: int, satisfaction: int) -> None:
        """`user` and `movie`: NOBODY for none; `satisfaction`: −1 for none."""
        self._request.append(request)
        self._user.append(user)
        self._movie.append(movie)
        self._at.append(at_ms)
        self._satisfaction.append(satisfaction)
        self._found = None

    def of(self, requests: Keys, users: Keys, movies: Sequence[Sequence[int]]) -> Heard:
        """The rows of these answers: of each its request, who was answered, and the list."""
        if self._found is None:
            self._found = self._sorted()
        request, user, movie, at_ms, satisfaction = self._found
        first, after = np.searchsorted(request, requests), np.searchsorted(request, requests, "right")
        owner = np.repeat(np.arange(len(requests)), after - first)
        # of each answer first, first + 1, …: rows count up, less where their answer's begin
        rows = np.arange(len(owner)) + np.repeat(first - np.cumsum(after - first) + (after - first), after - first)
        named, chosen = user[rows], movie[rows]
        other = (named != NOBODY) & (named != users[owner])
        pairs = zip(owner.tolist(), chosen.tolist(), strict=True)
        listed = np.fromiter((one in movies[of] for of, one in pairs), np.bool_, len(owner))
        chose = (chosen != NOBODY) & ~other
        return Heard(
            owner, at_ms[rows], chose & listed, np.where(other, -1, satisfaction[rows]), other, chose & ~listed
        )

    def _sorted(self) -> tuple[Keys, Keys, Keys, I64, I64]:
        request, user, movie = (np.array(column, np.uint64) for column in (self._request, self._user, self._movie))
        at, satisfaction = np.array(self._at, np.int64), np.array(self._satisfaction, np.int64)
        order = np.lexsort((satisfaction, at, request))
        return request[order], user[order], movie[order], at[order], satisfaction[order]


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
