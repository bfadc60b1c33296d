"""Brokers that ask who we are: let in, refused, and told apart from brokers that are not there. Who can reach what canarec starts.

With TLS, ACLs and every part of canarec: test_acl.py.
"""

import json
import os
import socket
import subprocess
import time
from contextlib import suppress

import psutil
import pytest

from streams import processes
from streams.broker import Broker
from streams.clients import Cluster, NoBroker, NotLetIn
from streams.home import Home
from streams.worker import child_command
from tests.broker.gateway import running

CANAREC = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "PLAIN", "sasl.username": "canarec"}
LOGIN = 'org.apache.kafka.common.security.plain.PlainLoginModule required user_canarec="right";'


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """The address at which a broker lets only canarec in, and only with its password."""
    plain, guarded = free_port(), free_port()
    properties = {
        "listeners": f"PLAINTEXT://127.0.0.1:{plain},CONTROLLER://127.0.0.1:0,GUARDED://127.0.0.1:{guarded}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{plain},GUARDED://127.0.0.1:{guarded}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.guarded.plain.sasl.jaas.config": LOGIN,
    }
    with Broker(tmp_path_factory.mktemp("guarded"), port=plain, properties=properties):
        yield f"127.0.0.1:{guarded}"


def test_the_right_password_is_let_in(guarded):
    Cluster(guarded, {**CANAREC, "sasl.password": "right"}).check()


def test_a_wrong_password_is_said_at_once_with_the_keys_to_look_at(guarded):
    begun = time.monotonic()
    with pytest.raises(NotLetIn) as refused:
        Cluster(guarded, {**CANAREC, "sasl.password": "wrong"}).check(30)
    assert time.monotonic() - begun < 15
    said = str(refused.value)
    assert said.startswith(f"the broker at {guarded} refused us (SASL authentication error: Authentication failed")
    assert "kafka.sasl.password" in said
    assert "CANAREC_KAFKA_SASL_" in said
    assert "\n" not in said


def test_another_mechanism_is_refused_with_those_that_the_broker_has(guarded):
    with pytest.raises(NotLetIn, match=r"supported mechanisms: PLAIN.*kafka\.sasl\.mechanisms"):
        Cluster(guarded, {**CANAREC, "sasl.password": "right", "sasl.mechanisms": "SCRAM-SHA-256"}).check()


def test_whoever_names_no_protocol_is_told_of_the_key(guarded):
    with pytest.raises(NoBroker, match=r"hangs up: .*kafka\.security\.protocol"):
        Cluster(guarded).check(2)


@pytest.mark.parametrize("words", ["recommend 42", "simulate", "worker --metrics-port 0"])
def test_a_command_says_so_in_one_line_and_ends_with_1(guarded, tmp_path, words):
    (tmp_path / "config.json").write_text(json.dumps({"kafka": CANAREC}))
    command, *arguments = words.split()
    ended = subprocess.run(
        child_command(command, Home(tmp_path), guarded, *arguments),
        env={**os.environ, "CANAREC_KAFKA_SASL_PASSWORD": "wrong"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert ended.stderr.startswith(f"canarec: the broker at {guarded} refused us (")
    assert len(ended.stderr.splitlines()) == 1


# -- what canarec starts itself ---------------------------------------------------------------------------

TOKEN = "a-token-that-stands-nowhere-else"


@pytest.fixture(scope="module")
def shop(installations):
    with installations() as installation:
        installation.publish_world()
        installation.start_worker()
        installation.ask("u1")
        yield installation


def listening(pid):
    """The addresses at which a process and all that it has started listen."""
    process, found = psutil.Process(pid), set()
    for each in (process, *process.children(recursive=True)):
        with suppress(psutil.NoSuchProcess):  # a child that has just ended
            found |= {c.laddr.ip for c in each.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN}
    return found


def test_a_worker_listens_on_this_machine_only(shop):
    assert listening(shop.workers[0].pid) == {"127.0.0.1"}


def test_a_gateway_listens_on_this_machine_only(shop):
    with running(shop) as api:
        assert listening(api.process.pid) == {"127.0.0.1"}


def test_a_scheduler_listens_on_this_machine_only(shop):
    command = child_command("scheduler", shop.home, shop.cluster.bootstrap_servers, "--metrics-port", "0")
    scheduler = processes.start(command, stderr=subprocess.DEVNULL)
    try:
        assert shop.wait(lambda: listening(scheduler.pid), "its metrics") == {"127.0.0.1"}
    finally:
        processes.stop(scheduler, 10)


def test_a_broker_listens_on_this_machine_only(tmp_path):
    with Broker(tmp_path, port=0) as broker:
        assert {address.removeprefix("::ffff:") for address in listening(broker.pid)} == {"127.0.0.1"}


def test_the_gateway_s_token_is_in_no_reply_no_figure_and_no_log(shop, monkeypatch):
    monkeypatch.setenv("CANAREC_LOG_LEVEL", "debug")
    with running(shop, "--host", "0.0.0.0", token=TOKEN) as api:
        shown = {"Authorization": f"Bearer {TOKEN}"}
        said = [
            *(api.get("/recommend/u1"), api.get("/recommend/u1", Authorization=f"Bearer {TOKEN[:-1]}")),
            *(api.get(path, **shown) for path in ("/recommend/u1?n=0", "/metrics", "/", "/users/u1", "/nowhere")),
        ]
        log = api.log.read_text()
    assert [status for status, _, _ in said] == [401, 401, 400, 200, 200, 200, 404]
    assert not any(TOKEN[:-1] in f"{headers}{body!r}" for _, headers, body in said)
    assert TOKEN[:-1] not in log
