"""The memory of answered request ids, of a fixed size: who asks again is recognised, and so is another question
under a known id.

An id's own message is not its repetition: read again after a rewind, it comes from the same place.
"""

import struct
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import islice
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events import Request

Verdict = Literal["new", "answered", "repeated", "conflicting"]
"""`answered`: its own answer is committed; it is read again because somebody believed offsets from the past."""

FORMAT = 2
_HEAD = struct.Struct("<HQH")  # format, topic, positions

ENTRY = np.dtype([("id", "<u8"), ("content", "<u8"), ("partition", "<u2"), ("offset", "<i8")])
"""One answered id as `canarec-answered` carries it, 26 bytes, with the place of its request."""

POSITION = np.dtype([("partition", "<u2"), ("next", "<i8")])
"""How far a request partition is answered, as `canarec-answered` carries it."""

Pending = dict[int, tuple[int, int, int, int]]
"""Ids that are being answered: id → content, partition, offset, time."""

_RUN = 65_536


class Repeats:
    """The newest `capacity` answered ids (at most two runs more), none older than the window.

    Exact for what it holds: an id is known by 64 bits of BLAKE2b; among a million ids a new one is mistaken for a known one
    once in 10^13.
    """

    def __init__(self, capacity: int, window_ms: int) -> None:
        self.capacity, self.window_ms = capacity, window_ms
        self._recent: dict[int, _Known] = {}
        self._runs: list[_Run] = []  # newest first
        # taken at once: a worker's memory does not grow with the requests that it has answered
        self._free = [_Run() for _ in range(capacity // _RUN + 2)]

    def __len__(self) -> int:
        return len(self._recent) + sum(run.length for run in self._runs)

    def judge_all(self, asked: Sequence["Asked"], pending: Pending) -> list[Verdict]:
        """`judge` for each, in order."""
        oldest = list(islice(pending, 2 * len(asked)))
        frozen = self._frozen([*(one.id for one in asked), *oldest])
        self._drop_done(pending, oldest, frozen)
        return [self.judge(*one, pending, frozen) for one in asked]

    def judge(
        self,
        id_: int,
        content: int,
        partition: int,
        offset: int,
        now_ms: int,
        pending: Pending | None = None,
        frozen: Mapping[int, "_Known"] | None = None,
    ) -> Verdict:
        """Is the message at this place the first with its id? Id and content are those of `digest(request)`.

        A new one is noted in `pending`, what is being answered and not committed yet; without, it counts as answered. What is
        only pending must be forgotten when it cannot be committed any more: else two workers could each leave a request to
        the other.
        """
        known = self._find(id_, now_ms, self._frozen([id_]) if frozen is None else frozen)
        own: Verdict = "answered"
        if known is None and pending is not None:
            own, known = "new", self._within(pending.get(id_), now_ms)
            if known is None:
                pending[id_] = (content, partition, offset, now_ms)
                return "new"
        if known is None:
            self.remember(id_, content, partition, offset, now_ms)
            return "new"
        known_content, known_partition, known_offset = known
        if (known_partition, known_offset) == (partition, offset):
            return own
        return "repeated" if known_content == content else "conflicting"

    def knows(self, ids: Sequence[int], now_ms: int) -> list[bool]:
        """Whether each id was answered, as far as this memory goes.

        >>> repeats = Repeats(10, 1_000)
        >>> repeats.remember(7, 1, 0, 0, 50)
        >>> repeats.knows([7, 8], 100), repeats.knows([7], 1_051)
        ([True, False], [False])
        """
        frozen = self._frozen(ids)
        return [self._find(id_, now_ms, frozen) is not None for id_ in ids]

    def remember(self, id_: int, content: int, partition: int, offset: int, at_ms: int) -> None:
        """An id that was answered. The first place counts where two workers answered at once."""
        self.remember_all([(id_, content, partition, offset)], at_ms)

    def remember_all(self, entries: Iterable[tuple[int, int, int, int]], at_ms: int) -> None:
        """What a message of `canarec-answered` holds (`unpacked`)."""
        recent = self._recent
        for id_, content, partition, offset in entries:
            known = recent.get(id_)
            if known is not None and at_ms - known[3] <= self.window_ms:
                continue
            recent[id_] = (content, partition, offset, at_ms)
            if len(recent) >= _RUN:
                self._freeze(at_ms)
                recent = self._recent

    def _drop_done(self, pending: Pending, oldest: Sequence[int], frozen: Mapping[int, "_Known"]) -> None:
        """Forgets of the oldest what is committed by now; no clock of another message says so. The rest goes to the end:
        what has left the memory before it was looked at would keep all behind it.
        """
        for id_ in oldest:
            _, *place, asked_ms = waits = pending.pop(id_)
            known = self._known(id_, frozen)
            if known is None or (list(known[1:3]) != place and self._within(known, asked_ms) is None):
                pending[id_] = waits

    def _find(self, id_: int, now_ms: int, frozen: Mapping[int, "_Known"]) -> tuple[int, int, int] | None:
        return self._within(self._known(id_, frozen), now_ms)

    def _known(self, id_: int, frozen: Mapping[int, "_Known"]) -> "_Known | None":
        """However old."""
        return self._recent.get(id_) or frozen.get(id_)

    def _within(self, known: "_Known | None", now_ms: int) -> tuple[int, int, int] | None:
        return None if known is None or now_ms - known[3] > self.window_ms else known[:3]

    def _frozen(self, ids: Sequence[int]) -> dict[int, "_Known"]:
        """What the runs hold of these ids, the newest of each: one search of each run for all of them."""
        wanted: NDArray[np.uint64] = np.sort(np.fromiter(ids, np.uint64, len(ids)))
        found: dict[int, _Known] = {}
        for run in reversed(self._runs):
            found |= run.found(wanted)
        return found

    def _freeze(self, now_ms: int) -> None:
        run = self._free.pop() if self._free else _Run()
        run.fill(self._recent)
        self._runs.insert(0, run)
        self._recent = {}
        while len(self._runs) * _RUN > self.capacity + _RUN or (
            self._runs and now_ms - self._runs[-1].newest_ms > self.window_ms
        ):
            self._free.append(self._runs.pop())


class Asked(NamedTuple):
    """A request of which `judge_all` says whether it is new."""

    id: int
    content: int
    partition: int
    offset: int
    now_ms: int


_Known = tuple[int, int, int, int]  # content, partition, offset, time


class _Run:
    """Ids that do not change any more, sorted: 34 bytes each."""

    def __init__(self) -> None:
        self.ids = np.full(_RUN, 0, np.uint64)  # `full` writes: `zeros` would take the memory later, page by page
        self.rows = np.full(_RUN, 0, [("content", "u8"), ("partition", "u2"), ("offset", "i8"), ("time", "i8")])
        self.length, self.newest_ms = 0, 0

    def fill(self, entries: Mapping[int, _Known]) -> None:
        """With other ids, `_RUN` at most."""
        self.length = len(entries)
        ids: NDArray[np.uint64] = np.fromiter(entries, np.uint64, self.length)
        order = np.argsort(ids)
        self.ids[: self.length] = ids[order]
        self.rows[: self.length] = np.array(list(entries.values()), self.rows.dtype)[order]
        self.newest_ms = int(self.rows["time"][: self.length].max())

    def found(self, wanted: NDArray[np.uint64]) -> dict[int, _Known]:
        """Those of the sorted ids that it holds."""
        ids = self.ids[: self.length]
        at = np.minimum(np.searchsorted(ids, wanted), self.length - 1)
        hit = ids[at] == wanted
        return dict(zip(wanted[hit].tolist(), self.rows[at[hit]].tolist(), strict=True))


def digest(request: Request) -> tuple[int, int]:
    """What names a request and what names its content: two 64-bit numbers. The time of asking is not content."""
    content = f"{request.user_id}\0{request.n}\0{request.exclude_seen}\0{request.genres}"
    return named(request.request_id), _hash(content.encode())


def digest_unreadable(request_id: str, value: bytes) -> tuple[int, int]:
    """The same for a request that is rejected: its bytes are its content."""
    return named(request_id), _hash(value)


def named(request_id: str) -> int:
    """What names a request: 64 bits."""
    return _hash(request_id.encode())


def packed(topic: int, positions: Mapping[int, int], entries: Sequence[tuple[int, int, int, int]]) -> bytes:
    """A message of `canarec-answered`: request partition → next offset, then (id, content, partition, offset) of each answer.

    It is written in the transaction that commits these offsets, or above them: so it bears witness to them. `topic` (`topic_number`) tells
    which requests' topic they are of: in one that was made anew the same offsets mean other requests.

    >>> unpacked(packed(7, {3: 70_000}, [(1, 2, 3, 69_999)]), 7)
    ({3: 70000}, [(1, 2, 3, 69999)])
    """
    told = np.array(list(positions.items()), POSITION)
    return _HEAD.pack(FORMAT, topic, len(told)) + told.tobytes() + np.array(entries, ENTRY).tobytes()


def unpacked(value: bytes, topic: int) -> tuple[dict[int, int], list[tuple[int, int, int, int]]] | None:
    """The positions and the entries that `packed` wrote; None where it speaks of another topic, or another hand wrote it."""
    if len(value) < _HEAD.size:
        return None
    format_, of, count = _HEAD.unpack_from(value)
    begin = _HEAD.size + count * POSITION.itemsize
    if (format_, of) != (FORMAT, topic) or len(value) < begin or (len(value) - begin) % ENTRY.itemsize:
        return None
    told = np.frombuffer(value, POSITION, count, _HEAD.size)
    return dict(told.tolist()), np.frombuffer(value, ENTRY, offset=begin).tolist()


def topic_number(topic_id: str) -> int:
    """A topic's id in 64 bits."""
    return _hash(topic_id.encode())


def _hash(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
