"""The scheduler's process: turns, errors, who is at work, children that end with it."""

import fcntl
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from datetime import UTC, datetime
from functools import partial

import pytest
from prometheus_client import Counter, Gauge

from models.errors import CanarecError
from streams import scheduler, worker
from streams.home import Home
from streams.scheduler import run, serve
from tests.waiting import is_gone, wait_for

NOW = datetime(2026, 11, 1, tzinfo=UTC)
PATIENCE_S = 30


until = partial(wait_for, seconds=PATIENCE_S)


class Job:
    """Counts its turns; ends the scheduler after `most`; the first ones fail."""

    def __init__(self, name, ending, *, most, failing=0, wait_s=0.0):
        self.name, self._ending, self._most, self._failing, self._wait_s = name, ending, most, failing, wait_s
        self.turns = []

    def turn(self, now):
        self.turns.append(now)
        if len(self.turns) >= self._most:
            self._ending.set()
        if len(self.turns) <= self._failing:
            raise CanarecError("no broker")
        return self._wait_s


def test_jobs_get_turns_with_the_time_that_is_handed_in(tmp_path):
    ending = threading.Event()
    often, rare = Job("often", ending, most=5), Job("rare", ending, most=99, wait_s=3_600)
    serve(tmp_path, [often, rare], ending, lambda: NOW)
    assert often.turns == [NOW] * 5
    assert len(rare.turns) == 1


def test_once_is_one_turn_of_each_job_unless_a_scheduler_is_at_work(tmp_path):
    ending = threading.Event()
    one, other = Job("one", ending, most=9), Job("other", ending, most=9)
    scheduler.once(tmp_path, [one, other])
    assert (len(one.turns), len(other.turns)) == (1, 1)
    with (tmp_path / "scheduler.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        scheduler.once(tmp_path, [one, other])
    assert (len(one.turns), len(other.turns)) == (1, 1)


def test_an_error_of_a_job_ends_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(scheduler, "AFTER_AN_ERROR_S", 0.01)
    ending = threading.Event()
    job = Job("retraining", ending, most=4, failing=2)
    serve(tmp_path, [job], ending, lambda: NOW)
    assert len(job.turns) == 4


def test_errors_in_a_row_wait_longer_up_to_a_limit():
    class Failing:
        name = "retraining"

        def turn(self, now):
            raise OSError(28, "No space left on device")

    waits, errors = [], 0
    for _ in range(8):
        wait_s, errors = scheduler._turn(Failing(), NOW, errors)
        waits.append(wait_s)
    assert waits == [10, 20, 40, 80, 160, 300, 300, 300]


SERVES = """
import sys, threading
from datetime import UTC, datetime
from pathlib import Path
from streams import processes
from streams.scheduler import Ending, serve

class Job:
    name = "sleep"
    def turn(self, now):
        child = processes.start([sys.executable, "-c", "import time; time.sleep(600)"])
        print(child.pid, flush=True)
        child.wait()
        return 0.0

serve(Path(sys.argv[1]), [Job()], Ending(), lambda: datetime.now(UTC))
"""


@pytest.fixture
def processes_of_ours():
    started = []

    def start(folder):
        process = subprocess.Popen(
            [sys.executable, "-c", SERVES, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def told(process, pattern):
    """What the first line that has it says."""
    for line in process.stdout:
        if found := re.search(pattern, line.strip()):
            return found[1]
    pytest.fail(f"nothing like {pattern}: {process.stderr.read()}")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_second_one_stands_by_and_takes_over_after_a_sigkill_that_leaves_nothing(tmp_path, processes_of_ours):
    first = processes_of_ours(tmp_path)
    child = told(first, r"^(\d+)$")
    second = processes_of_ours(tmp_path)
    assert told(second, "(standing by)")
    assert not is_gone(int(child))
    first.send_signal(signal.SIGKILL)
    until(lambda: is_gone(int(child)), "the child's end")
    assert not is_gone(int(told(second, r"^(\d+)$")))


@pytest.fixture
def home(tmp_path):
    home = Home(tmp_path / "home")
    home.prepare()
    return home


def test_a_command_leaves_its_output_in_a_log_and_its_last_line(home):
    done = run("recommend", home, "127.0.0.1:1", threading.Event(), "--no-such-thing")
    assert done.code == 2
    assert "no-such-thing" in done.line
    log = home.artifacts / "logs" / "recommend.log"
    assert done.line in log.read_text()
    again = run("recommend", home, "127.0.0.1:1", threading.Event(), "--another-thing")
    assert "another-thing" in again.line
    assert "no-such-thing" in log.read_text()


def test_a_command_is_stopped_at_the_end(home):
    ending = threading.Event()
    ending.set()
    done = run("broker", home, "127.0.0.1:1", ending, "--port", "0")
    assert done.code != 0


def test_a_port_that_is_taken_is_another_one(monkeypatch):
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        monkeypatch.setattr(scheduler, "DEFAULT_METRICS_PORT", number)
        assert scheduler.free_port(None) != number
        with pytest.raises(CanarecError, match="--metrics-port"):
            scheduler.free_port(number)


def test_only_its_own_metrics_are_served():
    own, other = Counter("canarec_own", "x", registry=None), Gauge("canarec_others", "x", registry=None)
    own.inc()
    other.set(0)
    port = worker.free_port(0)
    scheduler.serve_metrics(port, [own])
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as page:
        text = page.read().decode()
    assert "canarec_own_total 1.0" in text
    assert "canarec_others" not in text
    assert "canarec_worker_ready" not in text


@pytest.mark.parametrize(("host", "address"), [("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.3")])
def test_metrics_are_served_where_one_is_told_to(host, address):
    port = worker.free_port(0)
    scheduler.serve_metrics(port, [], host)
    with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=5) as page:
        assert page.status == 200


@pytest.mark.usefixtures("configured")  # by no command that ran before
def test_the_log_says_which_jobs_are_at_work(tmp_path, capsys):
    ending = threading.Event()
    serve(tmp_path, [Job("retraining", ending, most=1)], ending, lambda: NOW)
    written = "".join(capsys.readouterr())
    assert "at work" in written
    assert "retraining" in written
