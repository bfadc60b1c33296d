"""Options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from streams.home import Home

Command = Callable[..., Any]


def _home(ctx: click.Context, parameter: click.Parameter, value: Path) -> Home:
    return Home(value.absolute())


home_option = click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("."),
    envvar="CANAREC_HOME",
    callback=_home,
    help="Folder with config.json and artifacts/ (default: the current one; CANAREC_HOME).",
)

bootstrap_option = click.option(
    "--bootstrap-servers",
    default="127.0.0.1:9092",
    show_default=True,
    envvar="CANAREC_BOOTSTRAP_SERVERS",
    help="Kafka brokers (CANAREC_BOOTSTRAP_SERVERS).",
)


def cluster_options(command: Command) -> Command:
    """`home: Home` and `bootstrap_servers: str`."""
    return home_option(bootstrap_option(command))
