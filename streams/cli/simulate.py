"""`canarec simulate`."""

import signal
import threading
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource
from msgspec.structs import replace

from models.config import Simulator
from models.errors import CanarecError, UsageError
from streams.cli.options import Integer, Number, Seconds, cluster_options
from streams.home import Home

# what `--check` heeds, and what every command takes
CHECKED = ("--check", "--seed", "--tilt", "--home", "--bootstrap-servers")

if TYPE_CHECKING:
    from streams.simulator import Counts


@click.command()
@cluster_options
@click.option("--check", is_flag=True, help="The history of `canarec up` against published figures; needs no broker.")
@click.option("--rate", type=Number(0, 10_000, min_open=True), help="Requests a second. [default: config.json's]")
@click.option("--for", "seconds", type=Seconds(min=0), help="End by itself after so many seconds, or 15m, 24h.")
@click.option("--seed", type=Integer(0, 2**32 - 1), help="The same seed makes the same users. [default: config.json's]")
@click.option(
    "--users", help="Who asks: a range as 1-610, or a file with an id a line. [default: all known, and new ones]"
)
@click.option("--newcomers", type=Number(0, 1), help="Share of the requests that are new users'.")
@click.option("--bots", type=Number(0, 1), help="Share of the requests that are bots'.")
@click.option("--tilt", type=Number(0, 10), help="How far the tastes of men and women lie apart.")
@click.option("--drift", type=click.Choice(["none", "abrupt", "gradual"]), help="Everybody's taste changes.")
@click.option("--drift-after", type=Seconds(0, 1e9), help="So long after the start it begins to: seconds, or 15m, 24h.")
@click.option("--bursts", type=Number(1, 1_000), help="Now and then so many times the requests.")
@click.option("--night", type=Number(0, 1), help="Share of the requests that are missing at midnight.")
@click.option("--day", type=Seconds(0, 1e6, min_open=True), help="From one noon to the next: seconds, or 15m, 24h.")
@click.option("--movielog/--events", default=None, help="Raw lines, some damaged, or events of the contract.")
@click.option("--damage", type=Number(0, 1), help="Share of the lines that have a stray character.")
@click.option("--history", is_flag=True, help="First publish the history of `canarec up`, unless there are other data.")
@click.option("--quiet", is_flag=True, help="Only the summary at the end.")
def simulate(
    home: Home,
    bootstrap_servers: str,
    check: bool,
    seconds: float | None,
    users: str | None,
    history: bool,
    quiet: bool,
    **habits: Any,
) -> None:
    """Users who ask, choose, watch and rate, until Ctrl-C.

    Requests come at the given rate whether or not they are answered. One in twenty is a new user's. What is not given is as
    `simulator` in config.json says; docs/simulator.md tells what it all does.

    \b
    Example:
      canarec simulate --rate 50 --for 60
      canarec simulate --movielog --bots 0.1 --drift abrupt --drift-after 30
      canarec simulate --check
    """
    from streams.crowd import crowd, user_ids
    from streams.simulator import Simulation

    applied = home.load()
    chosen = _chosen(applied.config.simulator, **habits)
    if check:
        _only_what_the_history_heeds()
        _check(chosen)
        return
    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    named = user_ids(users) if users is not None else None
    cluster = home.cluster(bootstrap_servers)
    cluster.check(timeout_s=5)
    if history:
        from models.viewer import Habits
        from pipelines import simulated

        done = simulated.publish_history(cluster, applied, chosen.seed, habits=Habits.of(chosen))
        click.echo(f"history: {sum(done.published.values()):,} published, {sum(done.present.values()):,} there already")
    found = crowd(cluster, applied, named)
    if not quiet:
        click.echo(f"{len(found.users):,} users known, {len(found.movies):,} movies; Ctrl-C ends it")
    simulation = Simulation(cluster, applied, found, chosen)
    counts = simulation.run(ending, seconds, (lambda counts: None) if quiet else LiveLine().show)
    click.echo(counts.line())


def _chosen(
    configured: Simulator,
    *,
    drift: str | None,
    drift_after: float | None,
    bursts: float | None,
    day: float | None,
    **others: Any,
) -> Simulator:
    """The configuration with what the options say instead."""
    return replace(
        configured,
        drift=replace(configured.drift, **_given(kind=drift, after_s=drift_after)),
        bursts=replace(configured.bursts, **_given(times=bursts)),
        **_given(day_s=day, **others),
    )


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _only_what_the_history_heeds() -> None:
    """UsageError where an option is given that `--check` would not heed: of requests, and of what users do with their answers."""
    ctx = click.get_current_context()
    given = [
        max(parameter.opts, key=len)
        for parameter in ctx.command.params
        if ctx.get_parameter_source(parameter.name or "") is ParameterSource.COMMANDLINE
    ]
    if others := [name for name in given if name not in CHECKED]:
        raise UsageError(
            f"--check makes a history, where {', '.join(others)} would do nothing: only --seed and --tilt change it"
        )


def _check(chosen: Simulator) -> None:
    from models import calibration
    from models.simulated import history
    from models.viewer import Habits

    rows = calibration.check(history(chosen.seed, habits=Habits.of(chosen)))
    click.echo(calibration.table(rows))
    if off := [row.target.name for row in rows if not row.kept]:
        raise CanarecError(f"off by more than the tolerance: {', '.join(off)}")


class LiveLine:
    """One line that is written over where a person watches; every fifth one on a line of its own where nobody does."""

    def __init__(self) -> None:
        self._lines = 0

    def show(self, counts: "Counts") -> None:
        self._lines += 1
        if click.get_text_stream("stdout").isatty():
            click.echo(f"\r\x1b[K{counts.line()}\r", nl=False)
        elif self._lines % 5 == 0:
            click.echo(counts.line())
