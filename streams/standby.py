"""The line between a supervisor and its children: the one that answers, and the one that stands by with everything read.

    supervisor → child    PREPARE (the topics are there), ANSWER (it is your turn)
    child → supervisor    WARM (histories and models are read), ANSWERS

One byte each. The line ends when either side dies.
"""

import contextlib
import socket
import threading
from collections.abc import Sequence
from pathlib import Path

import psutil

from streams import processes

PREPARE, ANSWER, WARM, ANSWERS = (bytes([number]) for number in b"pawA")
START_ANEW_EXIT = (
    75  # what was read is no longer what the topics hold: a standby, which read the same, is of no use either
)


class Turn:
    """When this worker may do what. Without a supervisor: everything, at once."""

    def __init__(self, descriptor: int | None = None) -> None:
        self.prepare, self.answer = threading.Event(), threading.Event()
        self._line = None if descriptor is None else socket.socket(fileno=descriptor)
        if self._line is None:
            self.give_up()
        else:
            threading.Thread(target=self._listen, args=(self._line,), daemon=True, name="supervisor").start()

    def tell(self, what: bytes) -> None:
        """WARM or ANSWERS."""
        if self._line is not None:
            with contextlib.suppress(OSError):  # the supervisor is dead, and takes this process along
                self._line.send(what)

    def give_up(self) -> None:
        """Whoever waits for a turn goes on; it must look whether the worker is ending."""
        self.prepare.set()
        self.answer.set()

    def _listen(self, line: socket.socket) -> None:
        while word := line.recv(1):
            (self.prepare if word == PREPARE else self.answer).set()


class Child:
    """A worker's process, as its supervisor sees it. `command` must end where `--turn` and a descriptor can follow."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            self.process = processes.start(
                [*command, "--turn", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                own_session=False,
                deaf_to_interrupts=True,
            )
        self._line.setblocking(False)
        self._told = b""

    def say(self, what: bytes) -> None:
        """PREPARE or ANSWER."""
        with contextlib.suppress(OSError):  # it is dead: `exit_code` says so
            self._line.send(what)

    def has_told(self, what: bytes) -> bool:
        """WARM or ANSWERS has come."""
        with contextlib.suppress(OSError):  # nothing more yet, or it is dead
            while found := self._line.recv(16):
                self._told += found
        return what in self._told

    def exit_code(self) -> int | None:
        return self.process.poll()

    def is_stopped(self) -> bool:
        """By SIGSTOP: it would not take its turn."""
        try:
            return bool(psutil.Process(self.process.pid).status() == psutil.STATUS_STOPPED)
        except psutil.NoSuchProcess:
            return False

    def stop(self, grace_s: float) -> bool:
        """SIGTERM, then SIGKILL after `grace_s`. True: it ended cleanly; one that never answered leaves nothing unfinished."""
        answered = self.has_told(ANSWERS)
        code = processes.stop(self.process, grace_s if answered else 0.5)
        self._line.close()
        return code == 0 or not answered
