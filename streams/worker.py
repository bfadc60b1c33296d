"""A stream worker: the process that answers, and the supervisor that starts it again when it dies."""

import asyncio
import errno
import gc
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import KafkaException
from prometheus_client import start_http_server

from models.errors import CanarecError
from streams import crashes, processes, scribe, topics
from streams.clients import Cluster, NoBroker
from streams.home import Home
from streams.names import claim
from streams.standby import ANSWER, ANSWERS, PREPARE, START_ANEW_EXIT, WARM, Child, Turn

if TYPE_CHECKING:
    from streams.app import Worker

log = structlog.get_logger()

DEFAULT_METRICS_PORT = 8000
STOP_S = 5.0  # a batch in flight, its commit, the good-bye to the group
ALL_STOPPED_S = 4.5  # with the writers, whose rows wait for the next start otherwise
WINDOWS_S = 1.0  # the good-bye to its group: what was not written will be
SECOND_SIGNAL_S = 1.0
QUICK_DEATH_S = 5.0
LONGEST_BACKOFF_S = 4.0
BROKER_S = 60.0
LOOK_S = 0.02
PORT_S = 3.0
# Python's own thresholds look through some thousand objects of a batch many times while it is answered, and through all that lives every
# few seconds, for a tenth of a second: a quarter of a burst's time. Cycles are rare here, they are what it looks for, and may wait.
COLLECT = 20_000, 20, 20


def child_command(command: str, home: Home, bootstrap_servers: str, *arguments: str) -> list[str]:
    """A command of canarec as a child: this interpreter, and no module of the current folder in its way."""
    return [
        sys.executable,
        "-P",
        "-c",
        "from streams.cli import main; main()",
        *command.split(),
        *("--home", str(home.path), "--bootstrap-servers", bootstrap_servers),
        *arguments,
    ]


def supervise(
    home: Home,
    bootstrap_servers: str,
    name: str | None,
    metrics_port: int | None,
    metrics_host: str = "127.0.0.1",
    *,
    standby: bool,
) -> int:
    """Keeps one worker alive until SIGTERM or SIGINT; the exit code. `standby`: a second process is ready to take over."""
    home.prepare()
    applied = home.load()
    cluster = home.cluster(bootstrap_servers)
    mine = claim(home.workers, name)
    port = free_port(metrics_port, PORT_S)
    pair = Pair(
        child_command(
            "worker",
            home,
            bootstrap_servers,
            *("--child", mine.name, "--metrics-port", str(port), "--metrics-host", metrics_host),
        ),
        standby=standby,
        name=mine.name,
        crashed=lambda code: _note_crash(home, mine.name, code),
    )
    command = child_command("worker", home, bootstrap_servers)
    writers = (
        scribe.Scribe(home.provenance, command),
        scribe.Scribe(home.windows, command, option="--windows", what="windows", grace_s=WINDOWS_S),
    )
    ending = Ending(pair)
    try:
        _wait_for_broker(cluster, ending)
        if not ending.is_set():
            topics.ensure(cluster, applied)
            log.info("worker starts", worker=mine.name, metrics=f"http://{metrics_host}:{port}/metrics")
            pair.begin()
        while not ending.wait(LOOK_S):
            pair.look(ending)
            if pair.active.has_told(ANSWERS):  # its start needs the processor more
                for writer in writers:
                    writer.look()
    finally:
        until = time.monotonic() + ALL_STOPPED_S
        clean = pair.stop()
        left_s = max(1.0, until - time.monotonic())
        with ThreadPoolExecutor(len(writers)) as pool:  # where no broker is, each takes all of its time
            list(pool.map(lambda writer: writer.stop(left_s), writers))
    return 0 if clean else 1


class Pair:
    """The child that answers, and the one that has read everything and stands by."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        standby: bool,
        name: str,
        crashed: Callable[[int], None] = lambda code: None,
    ) -> None:
        self._command, self._wanted, self._name, self._crashed = command, standby, name, crashed
        self._log = log.bind(worker=name)
        self.active = Child(command)  # its imports take as long as the broker's answers to the supervisor
        self.spare: Child | None = None
        self._spare_due = 0.0  # not before
        self._spare_deaths = self._deaths = 0
        self._since = 0.0

    def begin(self) -> None:
        """The topics are there."""
        self.active.say(PREPARE)
        self._give_turn()

    def look(self, ending: threading.Event) -> None:
        """Starts, replaces and promotes."""
        if (code := self.active.exit_code()) is not None:
            self._replace(code, ending)
        elif self.spare is not None:
            if (code := self.spare.exit_code()) is not None:
                self.spare, self._spare_deaths = None, self._spare_deaths + 1
                self._spare_due = time.monotonic() + _backoff(self._spare_deaths + 1)
                self._log.warning("standby died", exit_code=code)
        elif self._wanted and self.active.has_told(ANSWERS) and time.monotonic() > self._spare_due:
            self.spare = Child(self._command)
            self.spare.say(PREPARE)

    def _replace(self, code: int, ending: threading.Event) -> None:
        self._deaths = self._deaths + 1 if time.monotonic() - self._since < QUICK_DEATH_S else 1
        if self.spare is not None and (code == START_ANEW_EXIT or self.spare.is_stopped()):
            processes.kill(self.spare.process)
            self.spare = None
        warm = self.spare is not None and self.spare.has_told(WARM)
        wait_s = _backoff(self._deaths)
        self._log.error("worker died, another one takes over", exit_code=code, warm=warm, after_s=wait_s)
        if crashes.is_fault(code):
            self._crashed(code)
        if ending.wait(wait_s):
            return
        self.active, self.spare = self.spare or Child(self._command), None
        self.active.say(PREPARE)
        self._give_turn()

    def _give_turn(self) -> None:
        self._since = time.monotonic()
        self.active.say(ANSWER)

    def stop(self) -> bool:
        """Ends both; True where the active one ended cleanly."""
        if self.spare is not None:
            processes.kill(self.spare.process)
        return self.active.stop(STOP_S)

    def kill(self) -> None:
        """At once."""
        for child in (self.active, self.spare):
            if child is not None:
                processes.kill(child.process)


def _backoff(deaths: int) -> float:
    """The first death is made good at once; doubling from half a second then."""
    return 0.0 if deaths <= 1 else min(LONGEST_BACKOFF_S, 0.5 * 2 ** min(deaths - 2, 10))


def _note_crash(home: Home, name: str, code: int) -> None:
    """For the canary: who answers next does not wait for a disk that is full."""
    try:
        crashes.note(home.workers, name, code, int(time.time() * 1000))
    except OSError as error:
        log.error("a crash cannot be noted", worker=name, exit_code=code, error=str(error))


def _wait_for_broker(cluster: Cluster, ending: threading.Event) -> None:
    """A worker may be started before its brokers; NoBroker when they do not come."""
    until = time.monotonic() + BROKER_S
    while not ending.is_set():
        try:
            cluster.check()
            return
        except NoBroker as error:
            if time.monotonic() > until:
                raise
            log.warning("waiting for a broker", error=str(error))


class Ending(threading.Event):
    """Set by SIGTERM and SIGINT; a second one, a second or more later, kills the children and ends the supervisor at once."""

    def __init__(self, pair: Pair) -> None:
        super().__init__()
        self._pair, self._first = pair, 0.0
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._received)

    def _received(self, number: int, frame: object) -> None:
        now = time.monotonic()
        if not self._first:
            self._first = now
            self.set()
        elif now - self._first >= SECOND_SIGNAL_S:
            self._pair.kill()
            os._exit(128 + number)


def run(
    home: Home, bootstrap_servers: str, name: str, metrics_port: int, turn: Turn, metrics_host: str = "127.0.0.1"
) -> int:
    """The worker itself, in this process, until a signal; the exit code."""
    from streams.app import build_app  # faust and scipy: the supervisor does without

    gc.set_threshold(*COLLECT)
    scribe.expose(home.provenance)
    threading.Thread(
        target=_serve_metrics, args=(metrics_host, metrics_port, turn), daemon=True, name="metrics"
    ).start()
    turn.prepare.wait()
    try:
        app = build_app(home, home.cluster(bootstrap_servers), home.load(), name, turn=turn)
        return asyncio.run(_run(app))
    except (CanarecError, KafkaException) as error:  # the supervisor tries again
        log.error("worker cannot start", error=str(error))
        return 1


def _serve_metrics(host: str, port: int, turn: Turn) -> None:
    """From this worker's turn on: before, the port is its predecessor's, whose end may take a moment."""
    turn.answer.wait()
    until = time.monotonic() + PORT_S
    while True:
        try:
            start_http_server(port, addr=host)
            return
        except OSError as error:
            if time.monotonic() > until:
                log.critical("metrics cannot be served", port=port, error=error.strerror)
                os._exit(1)
            time.sleep(0.05)


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
    os._exit(
        70 if crashed else 0 if app.parts.clean else 1
    )  # threads of libraries may linger: everything of ours has ended


def free_port(
    wanted: int | None,
    patience_s: float = 0.0,
    *,
    default: int = DEFAULT_METRICS_PORT,
    option: str = "--metrics-port",
) -> int:
    """The port that was asked for, or CanarecError; without a wish the default one, or any free one; 0: any free one.

    `patience_s`: so long a worker that was killed just now may take to give the wanted one back.
    """
    until = time.monotonic() + patience_s
    for port in (default, 0) if wanted is None else (wanted,):
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                    return int(probe.getsockname()[1])
                except OSError as error:
                    if wanted is None:
                        break
                    if error.errno != errno.EADDRINUSE or time.monotonic() >= until:
                        raise CanarecError(f"{option} {port}: {error.strerror}; 0 takes any free one") from None
            time.sleep(0.05)
    raise CanarecError(f"{option}: no port is free")
