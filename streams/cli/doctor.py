"""`canarec doctor`."""

import sys

import click

from streams.cli.hints import complete
from streams.cli.options import cluster_options
from streams.home import Home

_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command()
@cluster_options
def doctor(home: Home, bootstrap_servers: str) -> None:
    """What is wrong with this machine, this home and these topics, and what to do. Exit 1 if anything failed.

    \b
    Example:
      canarec doctor --home /srv/canarec --bootstrap-servers kafka:9092
    """
    from streams.doctor import examine

    failed = False
    for check in examine(home, bootstrap_servers):
        line = complete(str(check), click.get_current_context().obj or {})
        click.echo(click.style(line[:4], fg=_COLOURS[check.verdict]) + line[4:])
        failed |= check.verdict == "fail"
    sys.exit(1 if failed else 0)
