"""The launcher of `processes.py`: ties this process to its parent, then becomes the command. Standard library only, no imports of ours.

python -I -S tether.py PARENT_PID SIGNAL COMMAND [ARGUMENT…]
"""

import os
import signal
import sys
from typing import NoReturn

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
NOT_FOUND = 127  # as a shell exits
POLL_S = 0.2


def become(parent: int, death_signal: int, command: list[str]) -> NoReturn:
    """Linux: the kernel keeps the promise, and keeps it across exec."""
    die_with(parent, death_signal)
    _exec(command)


def die_with(parent: int, death_signal: int) -> None:
    """Linux: this process gets the signal when its parent ends, by whatever death."""
    import ctypes

    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before we asked for the signal, which will then never come
        sys.exit(128 + death_signal)


def watch(parent: int, death_signal: int, command: list[str]) -> NoReturn:
    """Elsewhere: stay beside the command, look whether the parent is still there, pass SIGTERM and SIGINT on."""
    child = os.fork()
    if child == 0:
        _exec(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: os.kill(child, received))
    # A timer, not a sleep: the wait below returns at once when the child ends.
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, death_signal) if os.getppid() != parent else None)
    signal.setitimer(signal.ITIMER_REAL, POLL_S, POLL_S)
    _, status = os.waitpid(child, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:  # end as the command ended, so that the parent sees the same
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    sys.exit(code)


def _exec(command: list[str]) -> NoReturn:
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        sys.exit(NOT_FOUND)


if __name__ == "__main__":
    tie = become if sys.platform == "linux" else watch
    tie(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
