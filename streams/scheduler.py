"""The scheduler's process: jobs that get their turns until a signal, each in a thread of its own; and commands of ours that they run as children.

Knows no job's business. One scheduler of a home is at work, the others stand by and take over when it ends, by whatever death; its children
die with it.
"""

import fcntl
import os
import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog
from confluent_kafka import KafkaException
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.metrics import MetricWrapperBase

from models.errors import CanarecError
from streams import processes, worker
from streams.home import Home
from streams.worker import child_command

log = structlog.get_logger()

DEFAULT_METRICS_PORT = 8001
AFTER_AN_ERROR_S = 10.0  # doubling up to LONGEST_S
LONGEST_S = 300.0
STOP_S = 10.0
LOG_BYTES = 10_000_000
_STANDBY_S = 0.5
_LOOK_S = 0.1


class Job(Protocol):
    """Something that is done again and again."""

    name: str

    def turn(self, now: datetime) -> float:
        """Does what is due now; the seconds until its next turn."""


class Ending(threading.Event):
    """Set by SIGTERM and SIGINT."""

    def __init__(self) -> None:
        super().__init__()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.set())


def serve(folder: Path, jobs: Sequence[Job], ending: threading.Event, now: Callable[[], datetime]) -> None:
    """Gives the jobs their turns until the end: a verdict does not wait for a training. `folder`: where the lock of who is at work lies."""
    descriptor = _at_work(folder / "scheduler.lock", ending)
    if descriptor is None:
        return
    try:
        log.info("scheduler at work", jobs=[job.name for job in jobs])
        with ThreadPoolExecutor(len(jobs), "job") as pool:
            running = [pool.submit(_again, job, ending, now) for job in jobs]
            wait(running, return_when=FIRST_EXCEPTION)
            ending.set()  # a job that has failed for no known reason ends the others, too
        for each in running:
            each.result()
    finally:
        os.close(descriptor)


def _again(job: Job, ending: threading.Event, now: Callable[[], datetime]) -> None:
    errors = 0
    while True:
        wait_s, errors = _turn(job, now(), errors)
        if ending.wait(wait_s):
            return


def once(folder: Path, jobs: Sequence[Job]) -> None:
    """One turn of each job, unless a scheduler of this home is at work. Errors are the jobs'."""
    descriptor = _locked(folder / "scheduler.lock")
    if descriptor is None:
        log.info("a scheduler of this home is at work: nothing to do")
        return
    try:
        for job in jobs:
            job.turn(utc_now())
    finally:
        os.close(descriptor)


def free_port(wanted: int | None) -> int:
    """The port that was asked for, or CanarecError; without a wish the default one, or any free one."""
    if wanted is not None:
        return worker.free_port(wanted)
    try:
        return worker.free_port(DEFAULT_METRICS_PORT)
    except CanarecError:
        return worker.free_port(0)


def serve_metrics(port: int, instruments: Iterable[MetricWrapperBase], host: str = "127.0.0.1") -> None:
    """These and no others: a worker's gauges would read 0 here."""
    registry = CollectorRegistry()
    for instrument in instruments:
        registry.register(instrument)
    start_http_server(port, addr=host, registry=registry)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended: `code` below 0 is the signal that killed it. `line` is the last that it wrote."""

    code: int
    line: str


def run(command: str, home: Home, bootstrap_servers: str, ending: threading.Event, *arguments: str) -> Done:
    """A command of canarec as a child, its output in artifacts/logs. It is stopped when the end comes, and dies with this process."""
    path = home.artifacts / "logs" / f"{command}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_BYTES:
        path.replace(path.with_suffix(".log.1"))
    with path.open("ab") as output:
        begin = output.tell()
        process = processes.start(
            child_command(command, home, bootstrap_servers, *arguments), stdout=output, stderr=output
        )
        while process.poll() is None:
            if ending.wait(_LOOK_S):
                processes.stop(process, STOP_S)
    return Done(process.returncode, _last_line(path, begin))


def _turn(job: Job, now: datetime, errors: int) -> tuple[float, int]:
    """The wait until the job's next turn, and its errors in a row."""
    try:
        return job.turn(now), 0
    except (CanarecError, KafkaException, OSError) as error:
        wait_s = min(LONGEST_S, AFTER_AN_ERROR_S * 2 ** min(errors, 10))
        log.error(f"{job.name}: cannot look", error=str(error), again_in_s=wait_s)
        return wait_s, errors + 1


def _at_work(path: Path, ending: threading.Event) -> int | None:
    """The lock, as soon as nobody else has it; None where the end comes first."""
    standing_by = False
    while (descriptor := _locked(path)) is None:
        if not standing_by:
            log.info("another scheduler of this home is at work: standing by", lock=str(path))
            standing_by = True
        if ending.wait(_STANDBY_S):
            return None
    return descriptor


def _locked(path: Path) -> int | None:
    """The lock, or None where somebody else has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def _last_line(path: Path, begin: int) -> str:
    with path.open("rb") as file:
        file.seek(max(begin, file.seek(0, os.SEEK_END) - 10_000))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
