"""The brokers' clock, as far as a client can know it: deadlines are judged by it, whatever this machine believes."""

import time


class BrokerClock:
    """Our own clock until a broker has stamped a message, then corrected by what its stamps prove.

    A message that was sent at `sent_ms` and acknowledged at `acknowledged_ms`, both by our clock, was stamped in between. So each
    stamp bounds the difference of the clocks from both sides; the estimate moves no further than the bounds ask.
    """

    def __init__(self) -> None:
        self._ahead_ms = 0.0  # the broker's clock less ours

    @staticmethod
    def local_ms() -> float:
        return time.time() * 1000

    def learn(self, stamp_ms: float, sent_ms: float, acknowledged_ms: float) -> None:
        """From one message that a broker stamped."""
        self._ahead_ms = min(max(self._ahead_ms, stamp_ms - acknowledged_ms), stamp_ms + 1 - sent_ms)

    def now_ms(self) -> int:
        """The time at the broker, in milliseconds since 1970."""
        return int(self.local_ms() + self._ahead_ms)
