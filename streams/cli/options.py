"""Options that several commands share, and the types of arguments: what is refused here is exit code 2, in one line."""

import math
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from streams.home import Home

Command = Callable[..., Any]

_SERVER = re.compile(r"(?:[A-Za-z_]+://)?(?:\[[0-9A-Fa-f:.%]+\]|[\w.-]+)(?::(?P<port>\d{1,5}))?", re.ASCII)


class Folder(click.Path):
    """A folder's path. One that is not there is none where `exists`, and no other thing may be at its place."""

    def __init__(self, *, exists: bool = False) -> None:
        super().__init__(exists=exists, file_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            if not os.fspath(value):
                self.fail("an empty path", param, ctx)
            if Path(value).exists() and not Path(value).is_dir():
                self.fail(f"{value}: not a folder" + (": unpack it first" if self.exists else ""), param, ctx)
        except OSError as error:
            self.fail(f"{_shortened(value)}: {error.strerror}", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number in a range. Neither NaN, which no comparison finds outside, nor an infinity."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Moment(click.ParamType):
    """A time as RFC 3339 has it; UTC where no zone is given."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value.upper())
        except ValueError:
            self.fail(f"{_shortened(value)!r} is not RFC 3339, 2026-11-27T08:00:00Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


class Host(click.ParamType):
    """A host's name or address."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[\w.:%-]{1,253}", value, re.ASCII) or any(len(part) > 63 for part in value.split(".")):
            self.fail(f"{_shortened(value)!r} is no host name or address", param, ctx)
        return str(value)


def _shortened(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."


def given(ctx: click.Context, parameter: click.Parameter, value: str) -> None:
    """Keeps an option that was not left to its default, for the commands that an error suggests (`streams.cli.hints`)."""
    if isinstance(ctx.obj, dict) and ctx.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT:
        ctx.obj[parameter.opts[0]] = value


def _home(ctx: click.Context, parameter: click.Parameter, value: Path) -> Home:
    given(ctx, parameter, str(value.absolute()))
    return Home(value.absolute())


def servers(ctx: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    """--bootstrap-servers, checked as far as that goes without asking."""
    if value is None:
        return None
    for server in value.split(","):
        found = _SERVER.fullmatch(server.strip())
        if found is None or not 0 < int(found["port"] or 9092) < 65_536:
            raise click.BadParameter(f"{_shortened(value)!r}: expected HOST:PORT, several with commas between")
    given(ctx, parameter, value)
    return value


home_option = click.option(
    "--home",
    type=Folder(),
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
    callback=servers,
    help="Kafka brokers (CANAREC_BOOTSTRAP_SERVERS).",
)


metrics_host_option = click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    type=Host(),
    help="Where metrics are served. Nobody is asked who they are.",
)

now_option = click.option(
    "--now", type=Moment(), envvar="CANAREC_NOW", hidden=True, help="The time, for tests of what time decides."
)


def cluster_options(command: Command) -> Command:
    """`home: Home` and `bootstrap_servers: str`."""
    return home_option(bootstrap_option(command))
