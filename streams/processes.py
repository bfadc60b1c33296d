"""Child processes that cannot outlive their parent, and how to stop them. Knows nothing of what they run.

On Linux the kernel itself kills the child when the parent dies, by whatever death (`prctl(PR_SET_PDEATHSIG)`); elsewhere
the launcher stays beside the child and watches its parent. Both live in `tether.py`, which is what is executed first.
"""

import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO

from streams import tether

Process = subprocess.Popen[bytes]


def start(
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: IO[bytes] | int | None = None,
    stderr: IO[bytes] | int | None = None,
    pass_fds: Sequence[int] = (),
    own_session: bool = True,
    death_signal: signal.Signals = signal.SIGKILL,
    deaf_to_interrupts: bool = False,
) -> Process:
    """Starts `command`, which gets `death_signal` when this process ends, even by SIGKILL. Standard input is empty.

    `own_session`: in a session of its own, so that the Ctrl-C of a terminal reaches the parent only, which can then stop its
    children in order. Only the child itself is tied to us: one that has children of its own starts them with this function too.
    `deaf_to_interrupts`: SIGINT is blocked from its first moment on, for one that shares our session and is ended by us.

    The child's pid is that of `command` (elsewhere than on Linux: of the launcher, which passes SIGTERM on). May be called
    from any thread. A command that does not exist ends with 127, as in a shell.
    """

    def fork() -> Process:
        # A mask outlives exec: no handler could be set before the interpreter has started.
        signal.pthread_sigmask(signal.SIG_BLOCK if deaf_to_interrupts else signal.SIG_UNBLOCK, [signal.SIGINT])
        return subprocess.Popen(
            # -I -S: no site-packages, no PYTHON* variables, about 20 ms.
            [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(death_signal)), *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            start_new_session=own_session,
        )

    return _in_the_forking_thread(fork)


def stop(process: Process, grace_s: float) -> int:
    """Ends `process` and returns its exit code: SIGTERM, then SIGKILL after `grace_s`. One that has ended is left alone.

    The SIGKILL goes to the whole group of a process that leads one, so that nothing stays behind.
    """
    if process.poll() is None:
        process.terminate()
    try:
        return process.wait(grace_s)
    except subprocess.TimeoutExpired:
        kill(process)
        return process.wait()


def kill(process: Process) -> None:
    """SIGKILL at once, for the whole group where `process` leads one. Does not wait."""
    if process.poll() is not None:
        return  # its number may already belong to somebody else
    if os.getpgid(process.pid) == process.pid:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


# Linux sends the death signal when the *thread* that forked ends, not the process: a child started from a pool's thread would
# die with that thread. So one thread, which never ends, forks for all. It is a daemon: it lives until the process is gone.
_Job = tuple[Callable[[], Process], Future[Process]]
_jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
_forker: tuple[int, threading.Thread] | None = None
_forker_lock = threading.Lock()


def _in_the_forking_thread(fork: Callable[[], Process]) -> Process:
    global _forker, _jobs  # noqa: PLW0603 - one for the process, as the kernel has it
    with _forker_lock:
        if _forker is None or _forker[0] != os.getpid():  # a forked copy of this process has no threads but one
            _jobs = queue.SimpleQueue()
            thread = threading.Thread(target=_fork_for_all, args=(_jobs,), name="forker", daemon=True)
            thread.start()
            _forker = (os.getpid(), thread)
        result: Future[Process] = Future()
        _jobs.put((fork, result))
    return result.result()


def _fork_for_all(jobs: queue.SimpleQueue[_Job]) -> None:
    while True:
        fork, result = jobs.get()
        try:
            result.set_result(fork())
        except OSError as error:  # handed to the caller: this thread must not end
            result.set_exception(error)
