"""`canarec simulate`."""

import signal
import threading
from typing import TYPE_CHECKING

import click

from streams.cli.options import Number, cluster_options
from streams.home import Home

if TYPE_CHECKING:
    from streams.simulator import Counts


@click.command()
@cluster_options
@click.option("--rate", type=Number(0, 10_000, min_open=True), help="Requests a second. [default: config.json's]")
@click.option("--for", "seconds", type=Number(min=0), help="End by itself after so many seconds.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), help="The same seed makes the same users. [default: config.json's]"
)
@click.option(
    "--users", help="Who asks: a range as 1-610, or a file with an id a line. [default: all known, and new ones]"
)
@click.option("--quiet", is_flag=True, help="Only the summary at the end.")
def simulate(
    home: Home,
    bootstrap_servers: str,
    rate: float | None,
    seconds: float | None,
    seed: int | None,
    users: str | None,
    quiet: bool,
) -> None:
    """Users who ask, choose, watch and rate, until Ctrl-C.

    Requests come at the given rate whether or not they are answered. One in twenty is a new user's.

    \b
    Example:
      canarec simulate --rate 50 --for 60
    """
    from streams.simulator import Simulation, crowd, user_ids

    ending = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.set())
    named = user_ids(users) if users is not None else None
    applied, cluster = home.load(), home.cluster(bootstrap_servers)
    cluster.check(timeout_s=5)
    chosen = applied.config.simulator
    found = crowd(cluster, applied, named)
    if not quiet:
        click.echo(f"{len(found.users):,} users known, {len(found.movies):,} movies; Ctrl-C ends it")
    simulation = Simulation(
        cluster, applied, found, rate=rate or chosen.rate, seed=chosen.seed if seed is None else seed
    )
    counts = simulation.run(ending, seconds, (lambda counts: None) if quiet else LiveLine().show)
    click.echo(counts.line())


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
