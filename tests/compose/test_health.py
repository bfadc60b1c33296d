"""What the image's health check says of each command that may run in a container."""

import socket
import subprocess
import sys

import pytest

from tests.compose.conftest import COMPOSE
from tests.compose.test_files import module

health = module(COMPOSE / "health.py")


@pytest.fixture
def nobody(monkeypatch):
    """Other ports than a part's own, which somebody may hold here; none of them listens."""
    parts = {name: ("http://127.0.0.1:1/", wanted) for name, (_, wanted) in health.PARTS.items()}
    monkeypatch.setattr(health, "PARTS", parts)


@pytest.mark.parametrize("part", ["worker", "api", "scheduler", "broker", "up"])
def test_a_part_that_can_be_asked_is_not_well_because_it_runs_or_something_else_beside_it(part, nobody):
    assert health.well([[part, "--port", "1"], ["simulate", "--quiet"]]) == []


@pytest.mark.parametrize("words", [["simulate", "--history", "--quiet"], ["import", "movielens", "/data"]])
def test_what_has_no_port_is_well_while_it_runs(words, nobody):
    assert health.well([words]) == [words[0]]
    assert health.well([]) == []


def test_a_port_that_only_listens_is_no_broker(nobody, monkeypatch):
    monkeypatch.setattr(health, "PATIENCE_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert health.well([["broker", "--port", str(silent.getsockname()[1])]]) == []


def test_a_command_is_found_among_the_processes(tmp_path):
    program = tmp_path / "canarec"
    program.write_text("import time\nprint('up', flush=True)\ntime.sleep(60)\n")
    call = [sys.executable, str(program), "broker", "--home", str(tmp_path), "--port", "9192"]
    with subprocess.Popen(call, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"up\n"
            assert [health.address(words) for words in health.calls() if str(tmp_path) in words] == [
                ("127.0.0.1", 9192)
            ]
        finally:
            process.kill()
