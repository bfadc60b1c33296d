"""`canarec up`: everything on this machine, in order, and down again in the opposite one."""

import contextlib
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.live import Live
from rich.progress import Progress

from models.config import Applied
from models.errors import CanarecError, UsageError
from pipelines import movielens
from streams import processes, summary, topics
from streams.broker import Broker
from streams.cli.broker import FetchBar
from streams.cli.hints import suggestion
from streams.cli.options import Folder, Integer, Number, Seconds, home_option, servers
from streams.clients import Cluster
from streams.home import Home
from streams.worker import child_command, free_port

DEFAULT_PORT = 9092
API_PORT = 8082
READY_S = 120
LOG_BYTES = 10_000_000
LINE_EVERY_S = 5.0


class Ended(BaseException):
    """Ctrl-C or SIGTERM. Not a KeyboardInterrupt: after one inside an import, Python ends as if killed, whoever caught it."""


@click.command()
@home_option
@click.option(
    "--bootstrap-servers",
    envvar="CANAREC_BOOTSTRAP_SERVERS",
    callback=servers,
    help="An existing cluster; without, a broker is started.",
)
@click.option(
    "--port",
    default=DEFAULT_PORT,
    type=Integer(0, 65535),
    show_default=True,
    help="Port of the broker that is started.",
)
@click.option("--data", type=Folder(exists=True), help="A MovieLens folder; without, the simulator's history.")
@click.option(
    "--for", "seconds", type=Seconds(min=0), help="End by itself so many seconds, or 15m, 24h, after it was ready."
)
@click.option(
    "--traffic", type=Number(0, 10_000), help="Simulated requests a second; 0 for none (default: config.json)."
)
@click.option(
    "--metrics-port",
    type=Integer(0, 65535),
    help="Prometheus port of the worker (default 8000, or any free one).",
)
@click.option(
    "--api-port",
    type=Integer(0, 65535),
    help="Port of the gateway and the live page (default 8082, or any free one).",
)
def up(
    home: Home,
    bootstrap_servers: str | None,
    port: int,
    data: Path | None,
    seconds: float | None,
    traffic: float | None,
    metrics_port: int | None,
    api_port: int | None,
) -> None:
    """Everything on this machine: broker, topics, data, first two models, worker, scheduler, gateway with the live page, simulated users, a
    live summary.

    Ctrl-C, or --for, ends it in order and leaves nothing running; the next start goes on with the same data.

    \b
    Example:
      canarec up --data ml-latest-small --for 60
    """
    _different(
        {"--port": port if bootstrap_servers is None else None, "--metrics-port": metrics_port, "--api-port": api_port}
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    console = Console()
    with contextlib.suppress(Ended), contextlib.ExitStack() as running:
        _start_and_watch(
            running, console, home, bootstrap_servers, port, data, seconds, traffic, metrics_port, api_port
        )
    console.print("stopped, nothing is left running")


def _different(ports: dict[str, int | None]) -> None:
    """UsageError where two parts would listen at one port."""
    at: dict[int, str] = {}
    for option, port in ports.items():
        if port and port in at:
            raise UsageError(f"{option} and {at[port]} are both {port}: they need two")
        if port:
            at[port] = option


def _interrupt(number: int, frame: object) -> None:
    """The first Ctrl-C or SIGTERM ends whatever is being done; from then on we are stopping, in order."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise Ended


def _start_and_watch(
    running: contextlib.ExitStack,
    console: Console,
    home: Home,
    bootstrap_servers: str | None,
    port: int,
    data: Path | None,
    seconds: float | None,
    traffic: float | None,
    metrics_port: int | None,
    api_port: int | None,
) -> None:
    begun = time.monotonic()
    home.prepare()
    applied = home.load()
    if metrics_port:
        free_port(metrics_port)  # what is wrong with the call is said before anything is started
    if api_port:
        free_port(api_port, option="--api-port")
    if data is not None:
        movielens.read(data, applied.config.events.limits())
    broker = None
    if bootstrap_servers is None:
        broker = running.enter_context(_broker(home, port, console))
        bootstrap_servers = broker.bootstrap_servers
    cluster = home.cluster(bootstrap_servers)
    created = topics.ensure(cluster, applied)
    console.print(f"topics: {len(created)} created" if created else "topics: all there")
    _feed(cluster, applied, data, console)
    _train(home, cluster, applied, console)
    url, worker = running.enter_context(_worker(home, bootstrap_servers, metrics_port))
    if api_port is None and metrics_port == API_PORT:
        api_port = 0  # the worker listens there, soon
    page, api = running.enter_context(_api(home, bootstrap_servers, api_port))
    _until(lambda: bool((found := summary.scrape(url)) and found.ready), home, "worker", worker)
    console.print(f"worker: metrics at {url}, log in {home.artifacts / 'logs' / 'worker.log'}", soft_wrap=True)
    _until(lambda: _healthy(page), home, "api", api)
    console.print(f"gateway and live page: {page}")
    _first_answer(cluster, applied, console)
    console.print(f"ready {time.monotonic() - begun:.1f} s after the start")
    rate = applied.config.simulator.rate if traffic is None else traffic
    children = {"worker": worker, "api": api, "scheduler": running.enter_context(_scheduler(home, bootstrap_servers))}
    if rate:
        children["simulator"] = running.enter_context(_simulator(home, bootstrap_servers, rate))
    running.callback(console.print, "stopping …")

    def check() -> None:
        if broker is not None and (failure := broker.failure()):
            raise failure
        for name, child in children.items():
            if child.poll() is not None:
                raise CanarecError(f"the {name} ended by itself: see {home.artifacts / 'logs' / name}.log")

    _watch(console, url, page, bootstrap_servers, seconds, applied.config.metrics.group_users_min, check)


@contextlib.contextmanager
def _broker(home: Home, port: int, console: Console) -> Iterator[Broker]:
    broker = Broker(home.kafka, port=port)
    broker.start(fetching=FetchBar().show, saying=lambda step: console.print(f"{step} …"))
    console.print(f"broker: {broker.bootstrap_servers}, data in {broker.folder.path}")
    try:
        yield broker
    finally:
        broker.stop()


def _feed(cluster: Cluster, applied: Applied, data: Path | None, console: Console) -> None:
    """The data folder, or the simulator's history; what was published before is not published again."""
    from models.viewer import Habits
    from pipelines import simulated
    from streams.cli.imports import Bars

    with Bars() as bars:
        if data is not None:
            done = movielens.publish(data, cluster, applied, bars.show, report=bars.report)
        else:
            chosen = applied.config.simulator
            done = simulated.publish_history(cluster, applied, chosen.seed, bars.show, habits=Habits.of(chosen))
    if not done.published and not done.present:
        console.print("data: the topics hold another data set, which stays as it is")
        return
    new = ", ".join(f"{number:,} {what}" for what, number in done.published.items() if number)
    old = ", ".join(f"{number:,} {what}" for what, number in done.present.items() if number)
    bad = f"; {done.bad_lines:,} bad lines left out" if done.bad_lines else ""
    console.print(f"data: published {new or 'nothing new'}; there already: {old or 'nothing'}{bad}", highlight=False)


def _train(home: Home, cluster: Cluster, applied: Applied, console: Console) -> None:
    """The versions of the split that are not there yet."""
    from pipelines import first_models

    versions = first_models.missing(home.models, applied)
    if versions:
        console.print(f"training {', '.join(versions)} …")
        with Progress(console=console, transient=True) as bars:
            first_models.ensure(home.models, cluster, applied, progress=lambda version: _training_bar(bars, version))
    table = first_models.report(home.models, list(applied.config.training.versions))
    console.print(f"models, on each user's newest 20 %:\n{table}", highlight=False, soft_wrap=True)


def _training_bar(bars: Progress, version: str) -> Callable[[int, int], None]:
    task = bars.add_task(version)
    return lambda done, total: bars.update(task, completed=done, total=total)


@contextlib.contextmanager
def _child(home: Home, name: str, command: list[str]) -> Iterator[processes.Process]:
    """A part of ours as a process, its output in artifacts/logs/."""
    log = home.artifacts / "logs" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > LOG_BYTES:
        log.replace(log.with_suffix(".log.1"))
    with log.open("ab") as output:
        process = processes.start(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        processes.stop(process, 10)


@contextlib.contextmanager
def _worker(home: Home, bootstrap_servers: str, metrics_port: int | None) -> Iterator[tuple[str, processes.Process]]:
    port = free_port(metrics_port)
    command = child_command("worker", home, bootstrap_servers, "--metrics-port", str(port))
    with _child(home, "worker", command) as process:
        yield f"http://127.0.0.1:{port}/metrics", process


@contextlib.contextmanager
def _api(home: Home, bootstrap_servers: str, api_port: int | None) -> Iterator[tuple[str, processes.Process]]:
    """Ends before the worker: who waits gets an answer."""
    port = free_port(api_port, default=API_PORT, option="--api-port")
    command = child_command("api", home, bootstrap_servers, "--port", str(port))
    with _child(home, "api", command) as process:
        yield f"http://127.0.0.1:{port}/", process


def _until(ready: Callable[[], bool], home: Home, name: str, process: processes.Process) -> None:
    """Waits for a part that was started."""
    log, until = home.artifacts / "logs" / f"{name}.log", time.monotonic() + READY_S
    while not ready():
        if process.poll() is not None:
            raise CanarecError(f"the {name} ended: see {log}")
        if time.monotonic() > until:
            raise CanarecError(f"the {name} is not ready: see {log}")
        time.sleep(0.1)


def _healthy(page: str) -> bool:
    try:
        with urllib.request.urlopen(f"{page}health", timeout=summary.SCRAPE_S) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _first_answer(cluster: Cluster, applied: Applied, console: Console) -> None:
    """One request through everything: only then are we ready."""
    from streams.ask import ask

    begun = time.monotonic()
    answer = ask(cluster, applied, {"user_id": "1", "n": 5}, timeout_s=60)
    console.print(
        f"first answer: {answer['status']} by {answer['model_version']} after {time.monotonic() - begun:.2f} s: "
        + ", ".join(answer["recommendations"])
    )


@contextlib.contextmanager
def _scheduler(home: Home, bootstrap_servers: str) -> Iterator[processes.Process]:
    command = child_command("scheduler", home, bootstrap_servers, "--metrics-port", "0")
    with _child(home, "scheduler", command) as process:
        yield process


@contextlib.contextmanager
def _simulator(home: Home, bootstrap_servers: str, rate: float) -> Iterator[processes.Process]:
    command = child_command("simulate", home, bootstrap_servers, "--rate", str(rate), "--quiet")
    with _child(home, "simulator", command) as process:
        yield process


def _watch(
    console: Console,
    url: str,
    page: str,
    bootstrap_servers: str,
    seconds: float | None,
    group_users_min: int,
    check: Callable[[], None],
) -> None:
    """The live summary until the time is over; whatever `check` raises when a part ended by itself."""
    until = time.monotonic() + seconds if seconds is not None else float("inf")

    def still_running(longest_s: float) -> bool:
        check()
        time.sleep(max(0.0, min(longest_s, until - time.monotonic())))
        return time.monotonic() < until

    given = dict(click.get_current_context().obj or {})
    if bootstrap_servers != f"127.0.0.1:{DEFAULT_PORT}":
        given["--bootstrap-servers"] = bootstrap_servers
    hints = [suggestion("recommend 42 -n 10", given), f"{page} in a browser", "Ctrl-C ends everything"]
    if console.is_terminal:
        with Live(summary.screen(None, url, hints, group_users_min), console=console, refresh_per_second=2) as live:
            while still_running(1.0):
                live.update(summary.screen(summary.scrape(url), url, hints, group_users_min))
        return
    console.print("; ".join(f"try: {hint}" for hint in hints), soft_wrap=True)
    while still_running(LINE_EVERY_S):
        console.print(summary.line(summary.scrape(url), group_users_min), soft_wrap=True, highlight=False)
    console.print(summary.screen(summary.scrape(url), url, hints, group_users_min))
