"""A stream worker: the process that answers, and the supervisor that starts it again when it dies."""

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import KafkaException
from prometheus_client import start_http_server

from models.errors import CanarecError
from streams import processes, topics
from streams.clients import Cluster, NoBroker
from streams.home import Home
from streams.names import claim

if TYPE_CHECKING:
    from streams.app import Worker

log = structlog.get_logger()

DEFAULT_METRICS_PORT = 8000
STOP_S = 5.0  # a batch in flight, its commit, the good-bye to the group
SECOND_SIGNAL_S = 1.0
QUICK_DEATH_S = 20.0
LONGEST_BACKOFF_S = 4.0
BROKER_S = 60.0


def child_command(command: str, home: Home, bootstrap_servers: str, *arguments: str) -> list[str]:
    """A command of canarec as a child: this interpreter, and no module of the current folder in its way."""
    return [
        sys.executable,
        "-P",
        "-c",
        "from streams.cli import main; main()",
        command,
        *("--home", str(home.path), "--bootstrap-servers", bootstrap_servers),
        *arguments,
    ]


def supervise(home: Home, bootstrap_servers: str, name: str | None, metrics_port: int | None) -> int:
    """Keeps one worker alive until SIGTERM or SIGINT; the exit code. The first death is made good at once."""
    home.prepare()
    applied = home.load()
    cluster = home.cluster(bootstrap_servers)
    _wait_for_broker(cluster)
    topics.ensure(cluster, applied)
    mine = claim(home.workers, name)
    port = free_port(metrics_port)
    log.info("worker starts", worker=mine.name, metrics=f"http://127.0.0.1:{port}/metrics")
    ending = threading.Event()
    signals = _Signals(ending)
    command = child_command("worker", home, bootstrap_servers, "--child", mine.name, "--metrics-port", str(port))
    deaths = 0
    while True:
        begun = time.monotonic()
        signals.child = child = processes.start(command, own_session=False)
        if ending.is_set():
            child.terminate()
        code = _wait(child, ending)
        if ending.is_set():
            return 0 if code == 0 else 1
        deaths = deaths + 1 if time.monotonic() - begun < QUICK_DEATH_S else 1
        backoff = min(LONGEST_BACKOFF_S, 0.0 if deaths == 1 else 0.5 * 2 ** (deaths - 2))
        log.error("worker died, starting it again", worker=mine.name, exit_code=code, after_s=backoff)
        if ending.wait(backoff):
            return 0


def _wait_for_broker(cluster: Cluster) -> None:
    """A worker may be started before its brokers; NoBroker when they do not come."""
    until = time.monotonic() + BROKER_S
    while True:
        try:
            cluster.check()
            return
        except NoBroker as error:
            if time.monotonic() > until:
                raise
            log.warning("waiting for a broker", error=str(error))


def _wait(child: processes.Process, ending: threading.Event) -> int:
    """The child's exit code; once we are ending it has STOP_S left."""
    while child.poll() is None:
        if ending.wait(0.05):
            return processes.stop(child, STOP_S)
    return child.returncode


class _Signals:
    """SIGTERM and SIGINT end the worker cleanly; a second one, a second or more later, at once."""

    def __init__(self, ending: threading.Event) -> None:
        self.ending, self.child = ending, None
        self._first = 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)

    child: processes.Process | None

    def _received(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if not self._first:
            self._first = now
            self.ending.set()
        elif now - self._first >= SECOND_SIGNAL_S:
            if self.child is not None:
                processes.kill(self.child)
            os._exit(128 + number)


def run(home: Home, bootstrap_servers: str, name: str, metrics_port: int) -> int:
    """The worker itself, in this process, until a signal; the exit code."""
    from streams.app import build_app  # faust and scipy: the supervisor does without

    start_http_server(metrics_port, addr="127.0.0.1")
    try:
        app = build_app(home, home.cluster(bootstrap_servers), home.load(), name)
        return asyncio.run(_run(app))
    except (CanarecError, KafkaException) as error:  # the supervisor tries again
        log.error("worker cannot start", error=str(error))
        return 1


async def _run(app: "Worker") -> int:
    stop, first = asyncio.Event(), 0.0

    def received() -> None:
        nonlocal first
        if not first:
            first = time.monotonic()
            stop.set()
        elif time.monotonic() - first >= SECOND_SIGNAL_S:
            os._exit(130)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, received)
    starting = asyncio.ensure_future(app.start())
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if starting.done():
        starting.result()
        if not stop.is_set():
            await app.wait_for_stopped(stopping)
    crashed = app.crashed
    # Faust waits for its brokers without a limit: what counts has been stopped by then
    try:
        await asyncio.wait_for(app.stop(), STOP_S - 1)
    except TimeoutError:
        log.warning("faust did not stop in time")
    if crashed:
        log.error("faust crashed", error=str(app.crash_reason))
    sys.stderr.flush()
    os._exit(70 if crashed else 0)  # threads of libraries may linger: everything of ours has ended


def free_port(wanted: int | None) -> int:
    """The port that was asked for, or CanarecError; without a wish the default one, or any free one; 0: any free one."""
    for port in (DEFAULT_METRICS_PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if wanted is not None:
                    raise CanarecError(f"--metrics-port {port}: {error.strerror}; 0 takes any free one") from None
                continue
            return int(probe.getsockname()[1])
    raise CanarecError("no free port for metrics")
