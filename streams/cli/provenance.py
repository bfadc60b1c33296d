"""`canarec provenance`: what made an answer, the answer made again, and why two answers differ."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from models import wire
from models.errors import BadMessage, UsageError
from streams.cli.options import Command, Integer, cluster_options
from streams.home import Home
from streams.shown import console

DIFFERENT, NOT_FOUND = 3, 4
Shows = Callable[[int, int], None]  # how much is done, of how much


class RequestId(click.ParamType):
    """An id as requests have it."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return wire.checked_id("a request id", str(value))
        except BadMessage as error:
            self.fail(str(error), param, ctx)


class Day(click.ParamType):
    """A day in UTC."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        try:
            day = value if isinstance(value, date) else date.fromisoformat(value)
        except ValueError:
            self.fail(f"{str(value)[:40]!r} is no day: 2026-11-27", param, ctx)
        if not 2000 <= day.year < 2200:
            self.fail(f"{value}: nothing was answered then", param, ctx)
        return day


def _found_options(command: Command) -> Command:
    day = click.option(
        "--date", "day", type=Day(), help="The day of the answer, in UTC: only its records are searched."
    )
    return cluster_options(day(command))


@click.group()
def provenance() -> None:
    """What made an answer, the answer made again, and why two answers differ.

    \b
    Example:
      canarec provenance show 5f8a6f0e
    """


@provenance.command()
@click.argument("request_id", type=RequestId())
@_found_options
@click.option("--explain", is_flag=True, help="Which watched movies pulled each one in.")
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def show(request_id: str, home: Home, bootstrap_servers: str, day: date | None, explain: bool, as_json: bool) -> None:
    """The record of REQUEST_ID, with what is known of its model, configuration and movies.

    The CSV is searched; Kafka is asked only for what is not there yet. Exit 4 where there is no such record.

    \b
    Example:
      canarec provenance show 5f8a6f0e --date 2026-11-27
    """
    from pipelines.kept import described
    from pipelines.places import Places
    from streams.cli import proof

    record, where = _record(home, bootstrap_servers, request_id, day)
    known = described(Places(home.path), record)
    because = _because(home, bootstrap_servers, record) if explain and record["status"] == "ok" else None
    if as_json:
        click.echo(json.dumps(proof.as_json(record, where, *known, because), indent=2, ensure_ascii=False))
    else:
        console().print(proof.screen(record, where, *known))
        if because is not None:
            console().print(proof.explained(because, known[2]))


@provenance.command()
@click.argument("request_id", type=RequestId(), required=False)
@_found_options
@click.option("--sample", type=Integer(1, 10_000_000), help="So many records, chosen by chance, instead of one.")
@click.option("--seed", default=0, show_default=True, type=Integer(0, 2**63 - 1), help="Of that choice.")
@click.option("--json", "as_json", is_flag=True, help="For programs; of one request.")
def replay(
    request_id: str | None,
    home: Home,
    bootstrap_servers: str,
    day: date | None,
    sample: int | None,
    seed: int,
    as_json: bool,
) -> None:
    """Makes the list of REQUEST_ID again, from the events and the stored model, and compares it with what was served.

    The same: the same movies in the same order, scores to 1e-4. Exit 0 where it is, 3 where it is another, 4 where there is no such
    record, 1 where it cannot be made again. Of a user who was erased: `erased`, exit 4.

    \b
    Example:
      canarec provenance replay 5f8a6f0e
      canarec provenance replay --sample 10000
    """
    if (request_id is None) == (sample is None):
        raise UsageError("give a REQUEST_ID, or --sample and how many")
    if as_json and request_id is None:
        raise UsageError("--json is for one REQUEST_ID")
    if request_id is not None:
        _replay_one(home, bootstrap_servers, request_id, day, as_json)
    else:
        _replay_some(home, bootstrap_servers, sample or 0, seed, day)


@provenance.command()
@click.argument("one", type=RequestId())
@click.argument("other", type=RequestId())
@_found_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def diff(one: str, other: str, home: Home, bootstrap_servers: str, day: date | None, as_json: bool) -> None:
    """Why the answers to the requests ONE and OTHER differ: model, split, configuration, catalogue, history, question.

    Exit 0 whether they differ or not, 4 where one of them has no record.

    \b
    Example:
      canarec provenance diff 5f8a6f0e 91b2c3d4
    """
    from pipelines import differences
    from pipelines.places import Places
    from streams.cli import proof

    first, second = (_record(home, bootstrap_servers, each, day)[0] for each in (one, other))
    found = differences.between(home.cluster(bootstrap_servers), Places(home.path), first, second)
    if as_json:
        click.echo(json.dumps(differences.as_json(found), indent=2, ensure_ascii=False))
    else:
        console().print(proof.differing(first, second, found))


def _replay_one(home: Home, bootstrap_servers: str, request_id: str, day: date | None, as_json: bool) -> None:
    from pipelines import erasures
    from pipelines.replay import replay as replayed
    from streams.cli import proof

    record, _ = _record(home, bootstrap_servers, request_id, day)
    at = erasures.known(home.artifacts).user(record["user_id"], record["served_at"])
    if at is not None:  # a topic that was not cut yet has the record still
        _not_found(f"{request_id}: erased: the user was erased at {at}")
    if record["status"] == "rejected":
        words = f"{request_id}: was rejected ({record['reason']}): there is no list to make again"
        click.echo(json.dumps(proof.replayed_as_json(None, words), ensure_ascii=False) if as_json else words)
        return
    found = replayed(home.cluster(bootstrap_servers), home.artifacts, record)
    words = proof.replayed(record, found)
    click.echo(json.dumps(proof.replayed_as_json(found, words), ensure_ascii=False) if as_json else words)
    if found.differences:
        sys.exit(DIFFERENT)


def _replay_some(home: Home, bootstrap_servers: str, most: int, seed: int, day: date | None) -> None:
    from pipelines import provenance as library
    from pipelines.places import Places
    from pipelines.replay import ERASED, outcomes, summary
    from streams.cli import proof

    _there(home)
    cluster, applied = home.cluster(bootstrap_servers), home.load()
    cluster.check(timeout_s=5)
    with _bars() as bar:
        chosen = library.sample(most, seed, home.provenance, cluster, applied, day, progress=bar("records"))
        begun = time.monotonic()
        found = outcomes(cluster, Places(home.path), chosen.records, reading=bar("events"))
        counted = summary(_counted(found, len(chosen.records), bar("lists")), chosen.records)
    if not chosen.records:
        _not_found(f"no records{_of(day)} in {home.provenance} and in Kafka")
    click.echo(f"{len(chosen.records):,} of {chosen.of:,} records, seed {seed}")
    click.echo(proof.summarized(counted, time.monotonic() - begun))
    if counted.different:
        sys.exit(DIFFERENT)
    if any(not why.startswith(ERASED) for why in counted.impossible):
        sys.exit(1)


def _record(home: Home, bootstrap_servers: str, request_id: str, day: date | None) -> tuple[dict[str, Any], str]:
    """A record and where it was; exit 4 where there is none."""
    from pipelines import provenance as library

    _there(home)
    found = library.find(request_id, home.provenance, day)
    if found is None:
        cluster, applied = home.cluster(bootstrap_servers), home.load()
        cluster.check(timeout_s=5)
        known = library.reached(cluster, applied, home.provenance)
        found = library.find_in_topic(request_id, cluster, applied, known, day)
    if found is None:
        at = _erased(home, request_id)
        if at is not None:
            _not_found(f"{request_id}: erased: the user was erased at {at}, and the record with them")
        _not_found(f"{request_id!r}: no record{_of(day)} in {home.provenance} and in Kafka")
    return dict(found.record), found.where


def _erased(home: Home, request_id: str) -> str | None:
    from pipelines import erasures

    return erasures.known(home.artifacts).request(request_id)


def _because(home: Home, bootstrap_servers: str, record: dict[str, Any]) -> dict[str, list[str]]:
    """Of each movie of a personal list the watched ones that added most."""
    from pipelines.explain import pulls

    found = pulls(home.cluster(bootstrap_servers), home.load(), record, home.models)
    return {movie: [pull.movie_id for pull in strongest] for movie, strongest in found.items()}


def _there(home: Home) -> None:
    if not home.path.is_dir():
        raise UsageError(f"--home {home.path}: no such folder")


def _not_found(line: str) -> NoReturn:
    click.echo(f"canarec: {line}", err=True)
    sys.exit(NOT_FOUND)


def _of(day: date | None) -> str:
    return f" of {day}" if day else ""


@contextmanager
def _bars() -> Iterator[Callable[[str], Shows]]:
    """Bars on stderr, gone when all is done; each appears with its first step."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def bar(what: str) -> Shows:
            def show(done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bars.add_task(what)
                bars.update(tasks[what], completed=done, total=total)

            return show

        yield bar


def _counted(found: Iterator[Any], total: int, progress: Shows) -> Iterator[Any]:
    for done, outcome in enumerate(found, 1):
        progress(done, total)
        yield outcome
