"""Child processes: they die with their parent, they stop when told, nothing of them stays."""

import os
import signal
import subprocess
import sys
import threading
from functools import partial
from pathlib import Path

import pytest

from streams import processes, tether
from tests.waiting import is_gone, wait_for

PARENT = """
import sys
from streams import processes
child = processes.start(["sleep", "600"])
print(child.pid, flush=True)
sys.stdin.read()
"""
PARENT_ELSEWHERE_THAN_ON_LINUX = """
import subprocess, sys
from streams import tether
code = "import os, sys; sys.path.insert(0, sys.argv[1]); import tether; tether.watch(int(sys.argv[2]), 9, ['sleep', '600'])"
import os
launcher = subprocess.Popen([sys.executable, "-I", "-S", "-c", code, os.path.dirname(tether.__file__), str(os.getpid())])
import psutil
while not (children := psutil.Process(launcher.pid).children()):
    pass
print(children[0].pid, launcher.pid, flush=True)
sys.stdin.read()
"""


eventually = partial(wait_for, seconds=15)


@pytest.mark.parametrize("program", [PARENT, PARENT_ELSEWHERE_THAN_ON_LINUX], ids=["linux", "elsewhere"])
def test_a_child_dies_with_a_killed_parent(program: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert parent.stdin
    assert parent.stdout
    with parent.stdin, parent.stdout:
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        assert pids
        assert not any(map(is_gone, pids))
        parent.kill()
        parent.wait()
        for pid in pids:
            eventually(lambda pid=pid: is_gone(pid), f"end of {pid}")  # type: ignore[misc]


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """Linux ties the death signal to a thread, a trap for whoever starts a child from a pool."""
    os.mkfifo(tmp_path / "ask")
    children: list[processes.Process] = []

    def start() -> None:
        command = ["sh", "-c", f"read answer < {tmp_path}/ask; echo $answer > {tmp_path}/told"]
        children.append(processes.start(command))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    (tmp_path / "ask").write_text("alive\n")  # blocks until the child reads
    assert children[0].wait(10) == 0
    assert (tmp_path / "told").read_text() == "alive\n"


def test_the_child_of_a_parent_that_died_first_never_runs() -> None:
    """The race between fork and prctl: the launcher was told a parent that is not its parent any more."""
    arguments = ["-I", "-S", tether.__file__, "1", str(int(signal.SIGKILL)), "echo", "ran"]
    if os.getpid() == 1:
        pytest.skip("this process is the parent that was to be somebody else")
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, check=False)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGKILL, b"")


def test_the_childs_pid_and_exit_code_are_the_commands() -> None:
    child = processes.start(["sh", "-c", "echo $$; exit 7"], stdout=subprocess.PIPE)
    assert child.stdout
    with child.stdout:
        assert int(child.stdout.readline()) == child.pid
    assert child.wait(10) == 7


def test_a_command_that_does_not_exist_ends_with_127() -> None:
    assert processes.start(["no-such-command"], stderr=subprocess.DEVNULL).wait(10) == 127


def test_a_folder_that_does_not_exist_is_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        processes.start(["true"], cwd=tmp_path / "missing")


@pytest.mark.parametrize("own", [True, False])
def test_a_session_of_its_own_is_out_of_the_terminals_reach(own: bool) -> None:
    child = processes.start(["sleep", "600"], own_session=own)
    assert (os.getsid(child.pid) == child.pid) is own
    assert processes.stop(child, 5) == -signal.SIGTERM


def test_stopping_what_has_ended_gives_its_exit_code() -> None:
    child = processes.start(["sh", "-c", "exit 3"])
    child.wait(10)
    assert processes.stop(child, 0) == 3


def test_one_that_ignores_sigterm_is_killed_with_its_whole_group() -> None:
    stubborn = "trap '' TERM; sleep 600 & echo $!; wait; wait; sleep 600"
    child = processes.start(["sh", "-c", stubborn], stdout=subprocess.PIPE)
    assert child.stdout
    with child.stdout:
        grandchild = int(child.stdout.readline())
    assert processes.stop(child, 0.2) == -signal.SIGKILL
    eventually(lambda: is_gone(grandchild), "end of the grandchild")
