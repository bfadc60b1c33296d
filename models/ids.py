"""Text ids as dense whole numbers, in the order they were first seen. Numbers are never given twice and never move."""

from collections.abc import Iterable
from itertools import islice

import numpy as np
import numpy.typing as npt

from models.errors import BadArtifact


class _Numbers(dict[str, int]):
    """Numbers an unknown text at its first look-up, without leaving C for the known ones."""

    __slots__ = ("texts",)

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def __missing__(self, text: str) -> int:
        number = self[text] = len(self.texts)
        self.texts.append(text)
        return number


class Ids:
    """Text ↔ number, append-only.

    >>> movies = Ids(["heat+1995"])
    >>> movies.index("alien+1979"), movies.index("heat+1995"), movies.get("dune+2021"), movies.text(1)
    (1, 0, None, 'alien+1979')
    """

    __slots__ = ("_numbers",)

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._numbers = _Numbers()
        for text in texts:
            self.index(text)

    def __len__(self) -> int:
        """How many numbers were given, erased ones too."""
        return len(self._numbers.texts)

    def __contains__(self, text: str) -> bool:
        return text in self._numbers

    def index(self, text: str) -> int:
        """The number of a text; a new one for a new text."""
        return self._numbers[text]

    def indices(self, texts: Iterable[str]) -> list[int]:
        """`index` of each."""
        return list(map(self._numbers.__getitem__, texts))

    def get(self, text: str) -> int | None:
        """The number of a text, None for one never seen."""
        return self._numbers.get(text)

    def text(self, index: int) -> str:
        """The text of a number, empty if it was erased. IndexError for a number never given."""
        if index < 0:
            raise IndexError(index)
        return self._numbers.texts[index]

    def erase(self, text: str) -> None:
        """Forgets a text; its number stays taken. Seen again, it gets a new one."""
        number = self._numbers.pop(text, None)
        if number is not None:
            self._numbers.texts[number] = ""

    def table(self, count: int | None = None) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        """The first `count` texts (default: all) as one UTF-8 text and the place where each ends."""
        encoded = [text.encode() for text in islice(self._numbers.texts, count)]
        ends = np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)))
        return np.frombuffer(b"".join(encoded), np.uint8), ends

    @classmethod
    def of_table(cls, text: npt.NDArray[np.uint8], ends: npt.NDArray[np.int64]) -> "Ids":
        """The inverse of `table`, with the same numbers. BadArtifact for a table that is not one."""
        ids = cls()
        data, begin = text.tobytes(), 0
        for end in ends.tolist():
            try:
                one = data[begin:end].decode()
            except UnicodeDecodeError:
                raise BadArtifact("a table of ids that is not UTF-8") from None
            if end < begin or end > len(data) or one in ids:
                raise BadArtifact("a table of ids whose ends do not follow each other, or with an id twice")
            if one:
                ids.index(one)
            else:
                ids._numbers.texts.append("")
            begin = end
        if begin != len(data):
            raise BadArtifact("a table of ids with text behind its last end")
        return ids
