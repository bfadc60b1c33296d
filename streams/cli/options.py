"""Options that several commands share, and the types of arguments: what is refused here is exit code 2, in one line."""

import math
import os
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from streams.home import Home

Command = Callable[..., Any]

_EPOCH = datetime.fromtimestamp(0, UTC)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
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

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class Integer(click.IntRange):
    """An integer in a range."""

    name = "integer"


class Seconds(Number):
    """A duration: a number of seconds in a range, or 90s, 15m, 24h, 7d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return super().convert(value if (found := _duration(value)) is None else found, param, ctx)


class Moment(click.ParamType):
    """A time as RFC 3339 has it, UTC where no zone is given; or how long ago: 90s, 15m, 24h, 7d. None before 1970; `past`: nor after now."""

    name = "time"

    def __init__(self, *, past: bool = False) -> None:
        self.past = past

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        now, ago = datetime.now(UTC), _duration(value)
        try:
            moment = datetime.fromisoformat(value.upper()) if ago is None else now - timedelta(seconds=ago)
        except ValueError:
            self.fail(
                f"{_shortened(value)!r} is neither RFC 3339, 2026-11-27T08:00:00Z, nor 90s, 15m, 24h or 7d", param, ctx
            )
        except OverflowError:  # longer ago than there are years
            moment = datetime.min
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if moment < _EPOCH:
            self.fail(f"{_shortened(value)!r} is before 1970", param, ctx)
        if self.past and moment >= now:
            self.fail(f"{_shortened(value)!r} is not over yet", param, ctx)
        return moment


class Host(click.ParamType):
    """A host's name or address."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not re.fullmatch(r"[\w.:%-]{1,253}", value, re.ASCII) or any(len(part) > 63 for part in value.split(".")):
            self.fail(f"{_shortened(value)!r} is no host name or address", param, ctx)
        return str(value)


def ms(moment: datetime | None) -> int | None:
    """In milliseconds since 1970."""
    return None if moment is None else round(1_000 * moment.timestamp())


def _duration(value: Any) -> float | None:
    """In seconds; None where it does not end in s, m, h or d.

    >>> [_duration(text) for text in ("90s", "1.5h", "7d", "90", "d")]
    [90.0, 5400.0, 604800.0, None, None]
    """
    found = re.fullmatch(r"(\d{1,7}(?:\.\d+)?)([smhd])", value, re.ASCII) if isinstance(value, str) else None
    return None if found is None else float(found[1]) * _SECONDS[found[2]]


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

AGO = "RFC 3339, or 90s, 15m, 24h, 7d ago"

now_option = click.option(
    "--now", type=Moment(), envvar="CANAREC_NOW", hidden=True, help="The time, for tests of what time decides."
)


def cluster_options(command: Command) -> Command:
    """`home: Home` and `bootstrap_servers: str`."""
    return home_option(bootstrap_option(command))
