"""Whether the times that watches bear can be right: nearly all that come soon after an answer must not be of before it."""

from statistics import median

LOOKED_AT = 100
NEARLY_ALL = 90


class Clocks:
    """Looks at the watches that come within the horizon of an answer, LOOKED_AT at a time.

    >>> clocks = Clocks()
    >>> [told for _ in range(200) if (told := clocks.add(before=True, behind_ms=25_200_000))]
    [25200000, 25200000]
    """

    def __init__(self) -> None:
        self._seen = 0
        self._behind_ms: list[int] = []

    def add(self, *, before: bool, behind_ms: int) -> int | None:
        """One more, `before` the answer by its own time, which is so far behind its arrival.

        With the last of LOOKED_AT of which NEARLY_ALL were before theirs: the median of how far these were behind.
        """
        self._seen += 1
        if before:
            self._behind_ms.append(behind_ms)
        if self._seen < LOOKED_AT:
            return None
        found, self._seen, self._behind_ms = self._behind_ms, 0, []
        return round(median(found)) if len(found) >= NEARLY_ALL else None
