"""What is new since a version's data: a fold of the events above its offsets, in any order and any portions.

Folds; reads nothing, decides nothing. Keeps for each new interaction a number, and whole ones only of the earliest and the latest:
8 bytes an interaction, however many events tell of it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from models.recommenders.base import I64, Bools

MOST = 10_000_000  # interactions that are counted; config.json allows no threshold above
_FRESH = 65_536


class New(NamedTuple):
    """An interaction: the first event of a user and a movie."""

    at_ms: int  # of the broker's clock
    user_id: str
    movie_id: str


class News:
    """New interactions, who they are of, and the `sample` earliest and latest of them.

    >>> news = News(sample=1)
    >>> news.add([New(3, "u", "heat+1995"), New(1, "v", "heat+1995"), New(2, "u", "heat+1995")])
    >>> news.interactions, news.events, len(news.users), news.earliest[0].at_ms, news.latest[0].user_id
    (2, 3, 2, 1, 'u')
    """

    def __init__(self, sample: int) -> None:
        self.events = 0
        self._sample = sample
        self._pairs, self._users = Digests(), Digests()
        self._kept: list[New] = []

    def add(self, events: Sequence[New]) -> None:
        """More events. Beyond MOST interactions events are only counted."""
        self.events += len(events)
        if not events or len(self._pairs) >= MOST:
            return
        new = self._pairs.add(digests((event.user_id, event.movie_id) for event in events))
        found = [event for event, is_new in zip(events, new.tolist(), strict=True) if is_new]
        self._users.add(digests(event.user_id for event in found))
        self._kept += found
        if len(self._kept) > 8 * self._sample:
            self._kept.sort()
            # each half holds the extremes of all so far: whatever comes, nothing in between can be among them
            self._kept = self._kept[: self._sample] + self._kept[-self._sample :]

    @property
    def interactions(self) -> int:
        return len(self._pairs)

    @property
    def users(self) -> I64:
        """The digests of whoever has an interaction, ascending."""
        return self._users.all()

    @property
    def earliest(self) -> list[New]:
        return sorted(self._kept)[: self._sample]

    @property
    def latest(self) -> list[New]:
        """The same ones as the earliest while there are few."""
        return sorted(self._kept)[-self._sample :]


class Digests:
    """A set of 64-bit numbers in 8 bytes each."""

    def __init__(self) -> None:
        self._sorted: I64 = np.empty(0, np.int64)
        self._fresh: set[int] = set()

    def __len__(self) -> int:
        return len(self._sorted) + len(self._fresh)

    def add(self, found: I64) -> Bools:
        """(found,): whether each was not there, and is not the repetition of one before it."""
        unique, first = np.unique(found, return_index=True)
        known = among(unique, self._sorted)
        known |= np.fromiter(map(self._fresh.__contains__, unique.tolist()), np.bool_, len(unique))
        self._fresh.update(unique[~known].tolist())
        if len(self._fresh) > max(_FRESH, len(self._sorted) // 8):
            self._settle()
        new = np.zeros(len(found), np.bool_)
        new[first[~known]] = True
        return new

    def all(self) -> I64:
        """Ascending. Not to be written to."""
        self._settle()
        return self._sorted

    def _settle(self) -> None:
        if self._fresh:
            fresh = np.fromiter(self._fresh, np.int64, len(self._fresh))
            self._sorted = np.sort(np.concatenate((self._sorted, fresh)), kind="stable")
            self._fresh.clear()


def digests(values: Iterable[str | tuple[str, str]]) -> I64:
    """A 64-bit number for each value, for telling equal ones within this process: Python's own, which the next process draws anew.

    Two of n different values get one number with a chance of n² / 2⁶⁵: 3 in a million for MOST.
    """
    return np.fromiter(map(hash, values), np.int64)


def among(values: I64, ascending: I64) -> Bools:
    """Whether each value is in an ascending array.

    >>> among(np.array([1, 2, 9]), np.array([2, 5])).tolist()
    [False, True, False]
    """
    if not len(ascending):
        return np.zeros(len(values), np.bool_)
    place = np.searchsorted(ascending, values)
    place[place == len(ascending)] = 0
    same: Bools = ascending[place] == values
    return same
