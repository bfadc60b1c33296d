"""What a page asks now and then and what takes a moment: commands of canarec as children, so that answers do not wait for it.

One at a time, a few may wait; a child that takes too long is killed, and none outlives us.
"""

import asyncio
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from models.errors import CanarecError
from streams import processes
from streams.home import Home
from streams.worker import child_command

MOST_WAITING = 4
LIMIT_S = 120.0
NICE = ("nice", "-n", "5")  # questions come first


class TooMany(CanarecError):
    """Others are looking already."""


class TooLong(CanarecError):
    """It was given up."""


@dataclass(frozen=True, slots=True)
class Looked:
    """How a command ended: its exit code, what it wrote, and the last line of what it complained of."""

    code: int
    output: bytes
    complaint: str


class Lookups:
    """Commands of a home that print JSON."""

    def __init__(self, home: Home, bootstrap_servers: str, *, limit_s: float = LIMIT_S) -> None:
        self._home, self._servers, self._limit_s = home, bootstrap_servers, limit_s
        self._pool = ThreadPoolExecutor(1, "lookup")
        self._waiting, self._lock = 0, threading.Lock()
        self._running: processes.Process | None = None
        self._ended = False

    async def run(self, command: str, *arguments: str) -> Looked:
        """A command that knows --json. Errors: TooMany, TooLong."""
        if self._waiting >= MOST_WAITING:
            raise TooMany("others are looking already")
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, command, arguments)
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Kills what runs."""
        with self._lock:
            self._ended = True
            if self._running is not None:
                processes.kill(self._running)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, command: str, arguments: tuple[str, ...]) -> Looked:
        words = [*NICE, *child_command(command, self._home, self._servers, "--json", "--", *arguments)]
        with self._lock:
            if self._ended:
                raise TooLong("the gateway is being stopped")
            self._running = process = processes.start(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            output, complaints = process.communicate(timeout=self._limit_s)
        except subprocess.TimeoutExpired:
            processes.kill(process)
            process.communicate()
            raise TooLong(f"it took longer than {self._limit_s:g} s and was given up") from None
        finally:
            self._running = None
        lines = complaints.decode(errors="replace").strip().splitlines()
        return Looked(process.returncode, output, lines[-1] if lines else "")
