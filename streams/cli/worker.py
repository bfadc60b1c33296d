"""`canarec worker`."""

import sys

import click

from streams.cli.options import Integer, cluster_options, metrics_host_option
from streams.home import Home


@click.command()
@cluster_options
@click.option(
    "--metrics-port",
    type=Integer(0, 65535),
    help="Prometheus port (default 8000, or any free one if it is taken; 0: any free one).",
)
@metrics_host_option
@click.option("--name", help="Unique in the group (default: one kept in the home).")
@click.option(
    "--standby/--no-standby",
    default=True,
    show_default=True,
    help="Keep a second process that has read everything and takes over when the first one dies; twice the memory.",
)
@click.option("--child", hidden=True, help="The worker itself, under this claimed name.")
@click.option("--scribe", hidden=True, type=int, help="The writer of the provenance CSV, with this lock.")
@click.option("--windows", hidden=True, type=int, help="The writer of windows, with this lock.")
@click.option("--turn", hidden=True, type=int, help="A child's line to its supervisor.")
def worker(
    home: Home,
    bootstrap_servers: str,
    metrics_port: int | None,
    metrics_host: str,
    name: str | None,
    standby: bool,
    child: str | None,
    scribe: int | None,
    windows: int | None,
    turn: int | None,
) -> None:
    """One stream worker, supervised. Start as many as there are partitions, on as many machines.

    \b
    Example:
      canarec worker --metrics-port 8001
    """
    from streams import scribe as csv
    from streams.standby import Turn
    from streams.worker import run, supervise

    if scribe is not None:
        sys.exit(csv.run(home, bootstrap_servers))
    if windows is not None:
        from pipelines import windows as closing
        from streams.agents.windows import run as write_windows

        sys.exit(write_windows(home, bootstrap_servers, closing.Closing, closing))
    if child is not None:
        sys.exit(run(home, bootstrap_servers, child, metrics_port or 0, Turn(turn), metrics_host))
    sys.exit(supervise(home, bootstrap_servers, name, metrics_port, metrics_host, standby=standby))
