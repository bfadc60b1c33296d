"""How every test waits: for a condition, never for a time; among others for a process's end."""

import time
from collections.abc import Callable
from typing import TypeVar

import psutil

T = TypeVar("T")

PATIENCE_S = 60.0


def wait_for(
    condition: Callable[[], T],
    what: str,
    seconds: float = PATIENCE_S,
    *,
    between: Callable[[], object] = lambda: None,
    said: Callable[[], str] = lambda: "",
    every_s: float = 0.02,
) -> T:
    """What the condition gives once that is true: nothing, zero and an empty list are not.

    `between` two looks it may find that waiting is in vain, and raise; `said` is what a failure shows below `what`.
    """
    until = time.monotonic() + seconds
    while not (found := condition()):
        between()
        assert time.monotonic() < until, f"waited {seconds} s for {what}\n{said()}"
        time.sleep(every_s)
    return found


def is_gone(pid: int) -> bool:
    """It has ended, whether or not its parent has noticed."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
