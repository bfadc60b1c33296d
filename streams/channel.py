"""Faust channels for batches that an official consumer feeds."""

from typing import Any

import faust
from mode.utils.queues import FlowControlEvent, ThrowableQueue


class Batches(faust.Channel[Any]):
    """An in-memory channel that nothing is dropped from.

    Faust clears and blocks the queues of its own channels at each rebalance of its own consumer, and a stream skips *events*
    then: so this one has a queue of its own, and bare values go through it.
    """

    @property
    def queue(self) -> ThrowableQueue[Any]:
        # one queue for the channel and its clones: it also holds batches until the agent has started
        root: Any = self._root or self
        if root._queue is None:
            root._queue = ThrowableQueue(maxsize=0, flow_control=FlowControlEvent(initially_suspended=False))
        queue: ThrowableQueue[Any] = root._queue
        return queue

    def feed(self, batch: Any) -> None:
        """On the event loop."""
        self.queue.put_nowait(batch)

    def waiting(self) -> list[Any]:
        """Takes out all that waits now."""
        found = []
        while not self.queue.empty():
            found.append(self.queue.get_nowait())
        return found
