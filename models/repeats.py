"""The memory of answered request ids, of a fixed size: who asks again is recognised, and so is another question
under a known id.

An id's own message is not its repetition: read again after a rewind, it comes from the same place.
"""

import struct
from collections.abc import Iterable
from hashlib import blake2b
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from models.events import Request

Verdict = Literal["new", "repeated", "conflicting"]

ENTRY = np.dtype([("id", "<u8"), ("content", "<u8"), ("offset", "<i8")])
"""One answered id as `canarec-answered` carries it, 24 bytes; the partition is the message's own."""

Pending = dict[int, tuple[int, int, int]]
"""Ids that are being answered: id → content, partition, offset."""

_RUN = 65_536


class Repeats:
    """The newest `capacity` answered ids (at most two runs more), none older than the window.

    Exact for what it holds: an id is known by 64 bits of BLAKE2b; among a million ids a new one is mistaken for a known one
    once in 10^13.
    """

    def __init__(self, capacity: int, window_ms: int) -> None:
        self.capacity, self.window_ms = capacity, window_ms
        self._recent: dict[int, tuple[int, int, int, int]] = {}  # id → content, partition, offset, time
        self._runs: list[_Run] = []  # newest first

    def __len__(self) -> int:
        return len(self._recent) + sum(len(run.ids) for run in self._runs)

    def judge(
        self, entry: tuple[int, int], partition: int, offset: int, now_ms: int, pending: Pending | None = None
    ) -> Verdict:
        """Is the message at this place the first with its id? `entry` is `digest(request)`.

        A new one is noted in `pending`, what is being answered and not committed yet; without, it counts as answered. What is
        only pending must be forgotten when it cannot be committed any more: else two workers could each leave a request to
        the other.
        """
        id_, content = entry
        known = self._find(id_, now_ms)
        if known is None and pending is not None:
            known = pending.get(id_)
            if known is None:
                pending[id_] = (content, partition, offset)
                if len(pending) > _RUN:
                    self._drop_committed(pending, now_ms)
                return "new"
        if known is None:
            self.remember(id_, content, partition, offset, now_ms)
            return "new"
        known_content, known_partition, known_offset = known
        if (known_partition, known_offset) == (partition, offset):
            return "new"
        return "repeated" if known_content == content else "conflicting"

    def remember(self, id_: int, content: int, partition: int, offset: int, at_ms: int) -> None:
        """An id that was answered. The first place counts where two workers answered at once."""
        known = self._recent.get(id_)
        if known is not None and at_ms - known[3] <= self.window_ms:
            return
        self._recent[id_] = (content, partition, offset, at_ms)
        if len(self._recent) >= _RUN:
            self._freeze(at_ms)

    def remember_all(self, entries: NDArray[np.void], partition: int, at_ms: int) -> None:
        """What a message of `canarec-answered` holds (`unpacked`)."""
        found = entries
        for id_, content, offset in zip(
            found["id"].tolist(), found["content"].tolist(), found["offset"].tolist(), strict=True
        ):
            self.remember(id_, content, partition, offset, at_ms)

    def _drop_committed(self, pending: Pending, now_ms: int) -> None:
        for id_ in [id_ for id_ in pending if self._find(id_, now_ms) is not None]:
            del pending[id_]

    def _find(self, id_: int, now_ms: int) -> tuple[int, int, int] | None:
        known = self._recent.get(id_)
        if known is not None:
            return known[:3] if now_ms - known[3] <= self.window_ms else None
        for run in self._runs:
            row = int(np.searchsorted(run.ids, np.uint64(id_)))
            if row < len(run.ids) and int(run.ids[row]) == id_:
                if now_ms - int(run.times[row]) > self.window_ms:
                    return None
                return int(run.contents[row]), int(run.partitions[row]), int(run.offsets[row])
        return None

    def _freeze(self, now_ms: int) -> None:
        self._runs.insert(0, _Run(self._recent))
        self._recent = {}
        while len(self._runs) * _RUN > self.capacity + _RUN or (
            self._runs and now_ms - self._runs[-1].newest_ms > self.window_ms
        ):
            self._runs.pop()


class _Run:
    """Ids that do not change any more, sorted: 34 bytes each."""

    def __init__(self, entries: dict[int, tuple[int, int, int, int]]) -> None:
        ids: NDArray[np.uint64] = np.fromiter(entries, np.uint64, len(entries))
        order = np.argsort(ids)
        rows = np.array(list(entries.values()), dtype=[("c", "u8"), ("p", "i2"), ("o", "i8"), ("t", "i8")])[order]
        self.ids = ids[order]
        self.contents, self.partitions = rows["c"].copy(), rows["p"].copy()
        self.offsets, self.times = rows["o"].copy(), rows["t"].copy()
        self.newest_ms = int(self.times.max())


def digest(request: Request) -> tuple[int, int]:
    """What names a request and what names its content: two 64-bit numbers. The time of asking is not content."""
    content = f"{request.user_id}\0{request.n}\0{request.exclude_seen}\0{request.genres}"
    return _hash(request.request_id.encode()), _hash(content.encode())


def digest_unreadable(request_id: str, value: bytes) -> tuple[int, int]:
    """The same for a request that is rejected: its bytes are its content."""
    return _hash(request_id.encode()), _hash(value)


def packed(next_offset: int, entries: Iterable[tuple[int, int, int]]) -> bytes:
    """A message of `canarec-answered`: the request partition's next offset, then (id, content, offset) of each answer.

    It is written in the transaction that commits `next_offset`, so it bears witness to it.
    """
    return struct.pack("<q", next_offset) + np.array(list(entries), ENTRY).tobytes()


def unpacked(value: bytes) -> tuple[int, NDArray[np.void]]:
    """The next offset and the entries that `packed` wrote."""
    return struct.unpack_from("<q", value)[0], np.frombuffer(value, ENTRY, offset=8)


def _hash(text: bytes) -> int:
    return int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
