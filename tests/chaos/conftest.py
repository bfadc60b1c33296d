"""Faults under traffic: whatever dies, hangs, fills up or lies, each request is answered once, freshly and by the right model.

    pytest tests/chaos                  the short form: each fault once, at a low rate (part of `make test`)
    pytest tests/chaos -m chaos         the full form, minutes of it (`make chaos`)

Tests share an installation; one that fails leaves a new one to the next. How long requests waited
about each fault stands in the report's last lines; the tests assert generous bounds only, since the machine may be busy.
"""

import importlib.util
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from confluent_kafka import KafkaException, TopicPartition

from streams import processes, summary
from streams.broker import Broker
from streams.clients import partitions
from streams.worker import free_port
from tests.waiting import PATIENCE_S, wait_for

HERE = Path(__file__).parent
RATE, SHORT_RATE = 300, 100  # requests a second
_report = pytest.StashKey[list]()


def _beside(path):
    """A file of another folder, or one beside this, as a module."""
    spec = importlib.util.spec_from_file_location(f"chaos_{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


broker_tests = _beside(HERE.parent / "broker" / "conftest.py")
Traffic = _beside(HERE / "traffic.py").Traffic


def pytest_collection_modifyitems(config, items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("chaos")
            item.add_marker(pytest.mark.timeout(1200 if _asked_for(config) else 240))
    if not _asked_for(config):
        left_out = [item for item in items if "full" in getattr(item, "fixturenames", ())]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_generate_tests(metafunc):
    """`faults`: in the full form each of the module's FULL, so many times, is a test; the short form is SHORT in a row."""
    if "faults" in metafunc.fixturenames:
        forms = {"short": metafunc.module.SHORT}
        if _asked_for(metafunc.config):
            forms = {fault.__name__: [fault] * turns for fault, turns in metafunc.module.FULL.items()}
        metafunc.parametrize("faults", forms.values(), ids=forms.keys())


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(_report, []):
        terminalreporter.write_line(line)


def _asked_for(config):
    return config.getoption("markexpr") == "chaos"


@pytest.fixture(scope="session")
def long(pytestconfig):
    """Whether the full form was asked for."""
    return _asked_for(pytestconfig)


@pytest.fixture
def full():
    """For a test that is part of the full form only."""


class Faulty(broker_tests.Installation):
    """An installation whose workers are killed, paused and replaced by odd ones."""

    def __init__(self, servers, folder, **settings):
        super().__init__(servers, folder, **settings)
        self.sound = True  # no test has failed in it
        self.odd = []
        self._begun, self._written = {}, {}

    # -- workers ----------------------------------------------------------------------------------

    def staff(self, count):
        """So many supervised workers answer; more than that are stopped. All of them."""
        running = self.running()
        for worker in running[count:]:
            assert processes.stop(worker, 10) == 0
        return self.ready([*running[:count], *(self.start_worker() for _ in range(count - len(running)))])

    def running(self):
        return [worker for worker in self.workers if worker.poll() is None]

    def ready(self, workers):
        """These workers, once each has caught up and has its share of the requests."""
        for worker in workers:
            self.wait(lambda worker=worker: self._joined(worker), "a worker that answers")
        return workers

    def _joined(self, worker):
        lines = self.log_of(worker).splitlines()
        return any('"assigned"' in line and f'"{self.group}"' in line for line in lines)

    def start_odd(self, what, argument):
        """A worker, not supervised, of `odd_worker.py`, once it answers. It takes the first name of the home that is free."""
        command = [sys.executable, HERE / "odd_worker.py", self.home.path, self.cluster.bootstrap_servers]
        log = (self.home.path / f"worker-odd-{len(self.odd)}.log").open("wb")
        worker = processes.start([*command, str(free_port(0)), what, str(argument)], stdout=log, stderr=log)
        worker.log = log
        self.odd.append(worker)
        return self.ready([worker])[0]

    def log_of(self, worker):
        return Path(worker.log.name).read_text(errors="replace")

    def child_of(self, worker):
        """The process below this supervisor that answers: it listens on the worker's port, and says that it is ready.

        One that has its turn and is not ready yet is not waited for at a stop.
        """

        def listening():
            found = summary.scrape(f"http://127.0.0.1:{worker.metrics_port}/metrics")
            if found is None or not found.ready:
                return None
            for child in psutil.Process(worker.pid).children():
                with suppress(psutil.Error):
                    for one in child.net_connections("tcp"):
                        if one.status == psutil.CONN_LISTEN and one.laddr.port == worker.metrics_port:
                            return child.pid
            return None

        return self.wait(listening, "a child that answers")

    def signal(self, worker, number):
        """A signal for a worker's whole process group: as a terminal does it, or as if it were a machine of its own."""
        if worker.poll() is None:
            os.killpg(worker.pid, number)

    def kill(self, worker):
        """As if its machine had gone: supervisor and children at once."""
        self.signal(worker, signal.SIGKILL)
        worker.wait()

    def stop(self):
        for worker in [*self.workers, *self.odd]:
            self.signal(worker, signal.SIGCONT)
        for worker in self.odd:
            processes.stop(worker, 8)
            worker.log.close()
        super().stop()

    def wait(self, condition, what, seconds=PATIENCE_S):
        """What the condition gives once that is true, whatever becomes of the workers meanwhile."""
        return wait_for(condition, what, seconds, said=self.last_words)

    # -- what is judged ---------------------------------------------------------------------------

    def mark(self):
        """The audit and `logged` begin here: what was before has been judged."""
        for name in ("recommendation-requests", "recommendations", "provenance", "dead-letters"):
            reader = broker_tests.Reader(self.cluster, self.applied.topic(name))
            self._begun[name] = reader.ends()
            reader.close()
        self._written = {path: path.stat().st_size for path in self.home.path.glob("worker-*.log")}

    def all_messages(self, topic):
        """All that was committed to a topic since the mark, each with its message."""
        return super().all_messages(topic, self._begun.get(topic))

    def logged(self, event, **fields):
        """The log entries of this event, with these fields, that all workers have written since the mark."""
        found = []
        for path in sorted(self.home.path.glob("worker-*.log")):
            with path.open("rb") as log:
                log.seek(self._written.get(path, 0))
                for line in log:
                    if f'"{event}"'.encode() in line:
                        entry = json.loads(line)
                        if entry.get("event") == event and fields.items() <= entry.items():
                            found.append(entry)
        return found

    # -- Kafka ------------------------------------------------------------------------------------

    @property
    def group(self):
        return self.applied.group("requests")

    def request_places(self):
        topic = self.applied.topic("recommendation-requests")
        return [TopicPartition(topic, number) for number in partitions(self.cluster.admin(), topic)]

    def insist(self, act, seconds=30):
        """What `act` gives, once Kafka lets it: a group may still count a killed member, a new topic have no leader yet."""
        until = time.monotonic() + seconds
        while True:
            try:
                return act()
            except KafkaException:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)


class Shared:
    """One installation after the other: the next one where a test has failed in the last."""

    def __init__(self, make):
        self._make, self._now = make, None

    def sound(self):
        if self._now is None or not self._now.sound:
            self.close()
            self._now = self._make()
            self._now.publish_world()
        self._now.sound = False  # until the test's requests were judged
        return self._now

    def close(self):
        if self._now is not None:
            self._now.stop()
            self._now = None


@pytest.fixture(scope="session")
def _shared(kafka, tmp_path_factory):
    shared = Shared(lambda: Faulty(kafka, tmp_path_factory.mktemp("home")))
    yield shared
    shared.close()


@pytest.fixture
def faulty(_shared):
    """An installation on the shared broker that the tests share, a sound one."""
    return _shared.sound()


@pytest.fixture
def install(kafka, tmp_path_factory):
    """Makes installations of the test's own, with other settings, on the shared broker."""
    with ExitStack() as stack:

        def make(*, folder=None, **settings):
            installation = Faulty(kafka, folder or tmp_path_factory.mktemp("home"), **settings)
            stack.callback(installation.stop)
            return installation

        yield make


@pytest.fixture
def traffic(pytestconfig, long):
    """Makes traffic for an installation; what it found goes into the report."""
    report = pytestconfig.stash.setdefault(_report, [])

    def make(installation, **options):
        options = {"rate": RATE if long else SHORT_RATE, "users": broker_tests.USERS, **options}
        return Traffic(installation, broker_tests.audit, report, **options)

    return make


class OwnBroker:
    """A broker that the tests may kill, and its installations."""

    def __init__(self, folder, make):
        self.broker = Broker(folder, port=0)
        self.broker.start()
        self.shared = Shared(lambda: make(self.broker.bootstrap_servers))

    def restart(self, traffic, *, away_s=0.0, meanwhile=lambda: None):
        """SIGKILL, and a start on its data after `away_s`."""
        traffic.fault(f"broker killed, away for {away_s:g} s" if away_s else "broker killed")
        self.broker.kill()
        meanwhile()
        time.sleep(away_s)
        watching = threading.Thread(target=self._watch, args=(traffic,), daemon=True)
        watching.start()
        self.broker.start()
        watching.join()

    def _watch(self, traffic):
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.broker.port), 1).close()
            except OSError:
                time.sleep(0.01)
            else:
                traffic.accepted.append(time.monotonic())
                return

    def close(self):
        self.shared.close()
        self.broker.stop(5)


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A broker of the module's own."""
    broker = OwnBroker(
        tmp_path_factory.mktemp("broker"), lambda servers: Faulty(servers, tmp_path_factory.mktemp("home"))
    )
    yield broker
    broker.close()


@pytest.fixture
def faulty_alone(own):
    """The module's installation on its own broker."""
    return own.shared.sound()
