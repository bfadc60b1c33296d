"""Which windows should be written by now: from the answers that somebody gave, and the windows that are written. Knows no topic and no clock."""

from collections import deque
from collections.abc import Sequence

NEAR_MS = 5_000  # at most between an answer's stamp, which decides its window, and when it is told of here
MOST = 1_000  # windows of a length that are waited for at once: the oldest says how late it is


class Late:
    """Windows with answers that are not written yet. A window without answers is never written, and never late.

    >>> late = Late([300], lateness_s=60)
    >>> late.answered(at_ms=10_000)
    >>> late.since_s(now_ms=420_000)
    {300: 60.0}
    >>> late.written(300, end_ms=300_000)
    >>> late.since_s(now_ms=420_000)
    {300: 0.0}
    """

    def __init__(self, windows_s: Sequence[int], lateness_s: float) -> None:
        self._lateness_ms = round(1_000 * lateness_s)
        # Of each length, oldest first: a window's end, and the end of the one which the answer may be in instead.
        self._waiting: dict[int, deque[tuple[int, int]]] = {length: deque() for length in windows_s}

    def answered(self, at_ms: int) -> None:
        """An answer was given; time does not go back."""
        for length, waiting in self._waiting.items():
            end_ms = _end(at_ms, length)
            if waiting and waiting[-1][0] == end_ms:
                waiting.pop()
            if len(waiting) < MOST:
                waiting.append((end_ms, _end(at_ms - NEAR_MS, length)))

    def written(self, window_s: int, end_ms: int) -> None:
        """A window is written, and with it all before it."""
        waiting = self._waiting.get(window_s, deque())
        while waiting and waiting[0][1] <= end_ms:
            waiting.popleft()

    def since_s(self, now_ms: int) -> dict[int, float]:
        """Of each length, for how many seconds its oldest window that is not written could have been; 0 where none is late."""
        oldest = {length: waiting[0][0] if waiting else now_ms for length, waiting in self._waiting.items()}
        return {length: max(0, now_ms - end_ms - self._lateness_ms) / 1_000 for length, end_ms in oldest.items()}


def _end(at_ms: int, length: int) -> int:
    """Of the window that the moment is in."""
    return (at_ms // (1_000 * length) + 1) * 1_000 * length
