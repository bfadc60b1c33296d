"""`canarec up` as a stranger starts it: everything comes up, everything goes down, and the data are there the next time."""

import os
import shlex
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import wait_for

PATIENCE_S = 180  # whoever else uses the machine


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Up:
    """One home, started again and again."""

    def __init__(self, home: Path) -> None:
        self.home, self.port, self.log = home, free_port(), home / "up.log"

    def start(self, *arguments: str) -> "subprocess.Popen[bytes]":
        environment = {k: v for k, v in os.environ.items() if not k.startswith("CANAREC_BOOTSTRAP")}
        command = [sys.executable, "-P", "-c", "from streams.cli import main; main()", "up"]
        options = ["--home", str(self.home), "--port", str(self.port), "--metrics-port", "0", *arguments]
        with self.log.open("wb") as log:
            return subprocess.Popen([*command, *options], stdout=log, stderr=log, env=environment)

    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, words: str, process: "subprocess.Popen[bytes]", seconds: float = PATIENCE_S) -> None:
        def look() -> None:
            assert process.poll() is None, self.said()

        wait_for(lambda: words in self.said(), words, seconds, between=look, said=self.said)

    def processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):
            words = " ".join(process.info["cmdline"] or ())
            if str(self.home) in words or str(self.home) in (process.info["cwd"] or ""):
                found.append(process)
        return found

    def nothing_is_left(self, seconds: float = 15) -> None:
        free = lambda: not self.processes() and self.port_is_free()  # noqa: E731
        wait_for(free, f"processes to end, and port {self.port}", seconds, said=lambda: str(self.processes()))

    def port_is_free(self) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError:
                return False
            return True


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    up = Up(tmp_path_factory.mktemp("up"))
    process = up.start("--for", "1", "--traffic", "20")
    assert process.wait(PATIENCE_S) == 0, up.said()
    yield up
    for process_left in up.processes():
        process_left.kill()


def test_the_first_start_answers_and_ends_by_itself_leaving_nothing(up: Up) -> None:
    process = up.start("--for", "0")
    assert process.wait(PATIENCE_S) == 0
    assert "first answer: ok" in up.said()
    up.nothing_is_left()


def test_what_it_suggests_works_as_it_stands(up: Up) -> None:
    process = up.start()
    up.wait_for("try: ", process)
    hint = up.said().partition("try: ")[2].partition(";")[0]
    canarec, *words = shlex.split(hint)
    assert canarec == "canarec"
    assert words[words.index("--home") + 1] == str(up.home)
    assert words[words.index("--bootstrap-servers") + 1] == f"127.0.0.1:{up.port}"
    command = [sys.executable, "-P", "-c", "from streams.cli import main; main()", *words]
    answered = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.startswith("user 42: ")
    page = up.said().partition("gateway and live page: ")[2].split()[0]
    with urllib.request.urlopen(f"{page}recommend/42?n=3", timeout=30) as answer:
        assert len(answer.read().split(b",")) == 3
    with urllib.request.urlopen(page, timeout=30) as answer:
        assert b"<title>canarec</title>" in answer.read()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0, up.said()


@pytest.mark.parametrize("option", ["--metrics-port", "--api-port"])
def test_a_port_that_is_taken_is_said_before_anything_is_started(tmp_path: Path, option: str) -> None:
    up = Up(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert up.start(option, str(port)).wait(60) == 1
    assert up.said() == f"canarec: {option} {port}: Address already in use; 0 takes any free one\n"
    assert not (tmp_path / "artifacts" / "kafka").exists()


def test_data_that_are_no_data_set_are_said_before_anything_is_started(tmp_path: Path) -> None:
    up = Up(tmp_path)
    assert up.start("--data", str(tmp_path)).wait(60) == 1
    assert up.said().startswith(f"canarec: {tmp_path}: no MovieLens data set: ")
    assert not (tmp_path / "artifacts" / "kafka").exists()


def test_the_next_start_goes_on_with_the_same_data_and_models(up: Up) -> None:
    process = up.start("--for", "0")
    assert process.wait(PATIENCE_S) == 0
    assert "published nothing new" in up.said()
    assert "training" not in up.said()


def test_a_sigkill_of_the_parent_leaves_no_process_no_port_and_no_lock(up: Up) -> None:
    process = up.start()
    up.wait_for("s after the start", process)
    process.kill()
    process.wait()
    up.nothing_is_left()
    assert up.start("--for", "0").wait(PATIENCE_S) == 0, up.said()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything_in_order_with_exit_0(up: Up, number: signal.Signals) -> None:
    process = up.start()
    up.wait_for("s after the start", process)
    process.send_signal(number)
    assert process.wait(PATIENCE_S) == 0, up.said()
    assert "nothing is left running" in up.said()
    up.nothing_is_left()


def test_an_interrupt_before_it_is_ready_leaves_nothing_either(up: Up) -> None:
    process = up.start()
    up.wait_for("broker:", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0, up.said()
    up.nothing_is_left()
