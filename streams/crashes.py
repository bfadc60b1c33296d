"""Deaths by a fault in native code: a supervisor notes each in `artifacts/workers/<name>.crashes`, one line, `<milliseconds> <signal>`.

A model's exceptions are caught and counted as failures of its requests; what kills the whole process leaves no answer that could be
counted. SIGKILL is not among them: people, tests and the kernel's memory killer send it for many reasons.
"""

import signal
from pathlib import Path

FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})
MOST_LINES = 1_000  # of a file; a worker that dies at once, again and again, fills it in an hour


def is_fault(exit_code: int) -> bool:
    """Whether a process that ended so was killed by a fault of its own.

    >>> is_fault(-11), is_fault(-9), is_fault(1)
    (True, False, False)
    """
    return -exit_code in FAULTS


def note(workers: Path, name: str, exit_code: int, now_ms: int) -> None:
    """Keeps a death. OSError where the disk does not take it."""
    path = workers / f"{name}.crashes"
    lines = path.read_text().splitlines() if path.exists() else []
    path.write_text("".join(f"{line}\n" for line in [*lines[1 - MOST_LINES :], f"{now_ms} {-exit_code}"]))


def since(workers: Path, at_ms: int) -> int:
    """How many of the home's workers have died so from that time on. A line that is cut off is none."""
    lines = [line.split() for path in workers.glob("*.crashes") for line in path.read_text().splitlines()]
    return sum(len(words) == 2 and words[0].isdigit() and int(words[0]) >= at_ms for words in lines)
