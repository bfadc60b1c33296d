"""Where in a compressed provenance CSV the row of a request may stand: a search unpacks a few megabytes instead of all.

The CSV is compressed as one gzip member after the other (RFC 1952, 2.2), each of whole rows: so each can be read alone. The index
keeps eight bytes of a hash for each row, sorted, beside its member's number; two rows that share them cost a member more.
"""

import io
import re
from collections.abc import Iterable
from hashlib import blake2b
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from models.errors import BadArtifact

_FIRST_CELL = re.compile(rb'(?:"(?:[^"]|"")*"|[^,"]*),')


def index_name(compressed: str) -> str:
    """The file with the index of a compressed CSV: a hidden one beside it.

    >>> index_name("2026-11-27.csv.gz")
    '.2026-11-27.csv.gz.ids'
    """
    return f".{compressed}.ids"


class RowIndexWriter:
    """Takes a CSV's members in their order."""

    def __init__(self) -> None:
        self._hashes: list[int] = []
        self._members: list[int] = []
        self._starts: list[int] = []
        self._unpacked = 0

    def add(self, start: int, lines: Iterable[bytes]) -> None:
        """A member that begins at byte `start` of the compressed file, and its lines."""
        for line in lines:
            self._unpacked += len(line)
            if first := _FIRST_CELL.match(line):
                self._hashes.append(_hash(first[0]))
                self._members.append(len(self._starts))
        self._starts.append(start)

    def dump(self, size: int) -> bytes:
        """The index of a compressed file of so many bytes."""
        hashes = np.array(self._hashes, np.uint64)
        order = np.argsort(hashes, kind="stable")
        file = io.BytesIO()
        np.savez(
            file,
            hashes=hashes[order],
            members=np.array(self._members, np.uint32)[order],
            starts=np.array([*self._starts, size], np.uint64),
            unpacked=np.uint64(self._unpacked),
        )
        return file.getvalue()


class RowIndex:
    """
    `hashes` (rows,) uint64, ascending; `members` (rows,) uint32; `starts` (members + 1,) uint64: where each member begins, and the
    file ends; `unpacked`: bytes of the CSV.
    """

    def __init__(
        self,
        hashes: npt.NDArray[np.uint64],
        members: npt.NDArray[np.uint32],
        starts: npt.NDArray[np.uint64],
        unpacked: int,
    ) -> None:
        self.hashes, self.members, self.starts, self.unpacked = hashes, members, starts, unpacked

    @classmethod
    def load(cls, content: bytes, size: int) -> "RowIndex | None":
        """The index that `dump` made, of a compressed file of so many bytes; None where it is of another state of that file.

        Errors: BadArtifact for what is no index.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as kept:
                index = cls(kept["hashes"], kept["members"], kept["starts"], int(kept["unpacked"]))
        except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
            raise BadArtifact(f"no index of rows: {error}") from error
        return index if index.starts[-1] == size else None

    def spans(self, first_cell: bytes) -> list[tuple[int, int]]:
        """The members that may hold the row that begins with this cell and its comma: first byte and end of each."""
        wanted = np.uint64(_hash(first_cell))
        low, high = np.searchsorted(self.hashes, wanted, "left"), np.searchsorted(self.hashes, wanted, "right")
        return [(int(self.starts[m]), int(self.starts[m + 1])) for m in sorted(set(self.members[low:high].tolist()))]


def _hash(first_cell: bytes) -> int:
    return int.from_bytes(blake2b(first_cell, digest_size=8).digest(), "little")
