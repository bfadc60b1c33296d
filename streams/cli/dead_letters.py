"""`canarec dead-letters`: what was refused and why, one of them as a whole, and the original bytes published again."""

import base64
import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from models.config import Applied
from models.dead_letters import ATTEMPTS, Header, Letter, Place
from models.errors import REASONS, BadArtifact, CanarecError, UsageError
from streams.cli.options import AGO, Command, Integer, Moment, cluster_options, ms
from streams.clients import Cluster
from streams.home import Home
from streams.shown import console

NOT_FOUND = 4
LONGEST = 4_000  # of a payload on the screen


class PlaceOf(click.ParamType):
    """PARTITION:OFFSET, as `list` shows it."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Place:
        if isinstance(value, Place):
            return value
        found = re.fullmatch(r"(\d{1,9}):(\d{1,18})", value, re.ASCII)
        if found is None:
            self.fail(f"{value[:60]!r} is no PARTITION:OFFSET, 2:17 for instance", param, ctx)
        return Place(int(found[1]), int(found[2]))


def _which(command: Command) -> Command:
    """Options that say which dead letters."""
    for option in (
        click.option(
            "--reason", type=click.Choice(REASONS), metavar="REASON", help="Refused for this (docs/operating.md)."
        ),
        click.option("--topic", help="Refused in this topic, by its name in docs/topics.md or its own."),
        click.option("--since", type=Moment(past=True), help=f"From then on: {AGO}."),
        click.option("--until", type=Moment(past=True), help="Before then."),
    ):
        command = option(command)
    return cluster_options(command)


@click.group("dead-letters")
def dead_letters() -> None:
    """What was refused and why, one of them as a whole, and the original bytes published again.

    \b
    Example:
      canarec dead-letters list --since 24h
      canarec dead-letters show 2:17
      canarec dead-letters replay --reason future_event
    """


@dead_letters.command("list")
@_which
@click.option("--limit", type=Integer(1), default=50, show_default=True, help="The newest; all are counted.")
@click.option("--json", "as_json", is_flag=True, help="For programs: a line each.")
def list_(
    home: Home,
    bootstrap_servers: str,
    reason: str | None,
    topic: str | None,
    since: datetime | None,
    until: datetime | None,
    limit: int,
    as_json: bool,
) -> None:
    """What was refused, oldest first, and how often for which reason.

    \b
    Example:
      canarec dead-letters list --topic rating-events --reason bad_rating --since 7d
    """
    from streams import refused

    applied, cluster = _asked(home, bootstrap_servers)
    found = refused.find(cluster, applied, refused.Wanted(reason, _named(applied, topic), ms(since), ms(until)))
    shown = found.letters[-limit:]
    if as_json:
        for letter in shown:
            click.echo(json.dumps(_fields(letter), ensure_ascii=False))
        return
    if shown:
        table = Table()
        for name in ("place", "time"):
            table.add_column(name, no_wrap=True)
        for name in ("reason", "refused at", "again", "error"):
            table.add_column(name, overflow="fold")
        for letter in shown:
            where, again = letter.source, f"{letter.replays}×" if letter.replays else ""
            said = f"{where.topic} {where.partition}:{where.offset}"
            row = (str(letter.place), letter.timestamp[:19], letter.reason, said, again, letter.error[:300])
            table.add_row(*(escape(_plain(each)) for each in row))
        console().print(table)
    counted = Counter((letter.reason, letter.source.topic) for letter in found.letters)
    for (why, where_), count in counted.most_common():
        click.echo(f"{count:,} {_plain(why)} in {_plain(where_)}")
    hidden = len(found.letters) - len(shown)
    click.echo(f"{len(found.letters):,} dead letters" + (f", the newest {limit:,} are shown" if hidden else ""))
    if found.strangers:
        click.echo(f"warning: {found.strangers:,} messages of the topic are no dead letters", err=True)


@dead_letters.command()
@click.argument("place", type=PlaceOf())
@cluster_options
@click.option("--json", "as_json", is_flag=True, help="For programs.")
@click.option("--raw", is_flag=True, help="Nothing but the original bytes, to stdout.")
def show(place: Place, home: Home, bootstrap_servers: str, as_json: bool, raw: bool) -> None:
    """The dead letter at PLACE: payload, error, where the message was refused, its key and headers.

    Where the dead letter left the payload out, the message is read where it was refused. Exit 4 where there is no such dead letter, 1 where
    the payload is gone.

    \b
    Example:
      canarec dead-letters show 2:17
      canarec dead-letters show 2:17 --raw > message
    """
    from streams import refused

    if as_json and raw:
        raise UsageError("--json or --raw, not both")
    applied, cluster = _asked(home, bootstrap_servers)
    found = refused.at(cluster, applied, place)
    if found is None:
        click.echo(f"canarec: {applied.topic('dead-letters')} has nothing at {place}", err=True)
        sys.exit(NOT_FOUND)
    letter, message = found
    gone = None
    key, value, headers = letter.key, None, letter.headers
    try:
        key, value, headers = refused.original(cluster, letter, message)
    except BadArtifact as error:
        gone = str(error)
    if raw and gone is None:
        click.get_binary_stream("stdout").write(value or b"")
    elif as_json:
        payload = {"payload": None, "gone": gone} if gone else _bytes("payload", value)
        more = {**_bytes("key", key), "headers": [_header(each) for each in headers], **payload}
        click.echo(json.dumps({**_fields(letter), **more}, ensure_ascii=False))
    elif not raw:
        click.echo(_screen(letter, key, value, headers, gone))
    if gone is not None:
        raise CanarecError(gone)


@dead_letters.command()
@click.argument("places", type=PlaceOf(), nargs=-1)
@_which
@click.option("--all", "every", is_flag=True, help="All that the topic has.")
@click.option("--limit", type=Integer(1), help="So many at most, the oldest.")
@click.option(
    "--max-attempts",
    type=Integer(1, 1_000),
    default=ATTEMPTS,
    show_default=True,
    help="How often the same bytes are published again, whatever became of them.",
)
@click.option("--dry-run", is_flag=True, help="Says what it would do.")
@click.option("--json", "as_json", is_flag=True, help="For programs: a line each.")
def replay(
    places: tuple[Place, ...],
    home: Home,
    bootstrap_servers: str,
    reason: str | None,
    topic: str | None,
    since: datetime | None,
    until: datetime | None,
    every: bool,
    limit: int | None,
    max_attempts: int,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Publishes the original bytes again, with their key and headers, to the topic and partition in which they were refused.

    Of PLACES, or of all that the options name, oldest first; what was published again already is passed over unless its place is given.
    Two headers are added: `canarec-dead-letter` and `canarec-replays`, the count. What is refused again carries the count on. Killed
    in the middle, run it again. Exit 1 where one of them could not be published.

    \b
    Example:
      canarec dead-letters replay 2:17
      canarec dead-letters replay --reason future_event --since 2d --dry-run
    """
    from streams import refused

    chosen = (reason, topic, since, until)
    if bool(places) + (any(each is not None for each in chosen)) + every != 1:
        raise UsageError("give PARTITION:OFFSET, or which (--reason, --topic, --since, --until), or --all")
    applied, cluster = _asked(home, bootstrap_servers)
    wanted = refused.Wanted(reason, _named(applied, topic), ms(since), ms(until), frozenset(places))
    with Console(stderr=True).status("reading dead-letters") as status:  # only where a person watches
        found = refused.find(cluster, applied, wanted)
        missing = sorted(set(places) - {letter.place for letter in found.letters})
        if missing:
            raise CanarecError(f"{applied.topic('dead-letters')} has no dead letter at {', '.join(map(str, missing))}")
        steps = refused.plan(
            cluster,
            applied,
            found,
            limit=max_attempts,
            named=bool(places),
            looking=lambda name: status.update(f"reading {name}"),
        )
        if limit is not None:
            steps = _at_most(steps, limit)
        failed = [] if dry_run else refused.replay(cluster, applied, steps, _progress(status.update, steps))
    _report(steps, failed, dry_run=dry_run, as_json=as_json)
    refusals = [step for step in steps if step.refused] if places else []
    if bad := failed or refusals:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise CanarecError(f"dead letter {bad[0].letter.place} is not published again: {bad[0].refused}{more}")


def _at_most(steps: "Sequence[Any]", limit: int) -> list[Any]:
    left, kept = limit, []
    for step in steps:
        if step.refused is None:
            if not left:
                continue
            left -= 1
        kept.append(step)
    return kept


def _progress(update: Callable[[str], None], steps: Sequence[Any]) -> Callable[[int], None]:
    total = sum(step.refused is None for step in steps)
    return lambda done: update(f"published {done:,} of {total:,}")


def _report(steps: Sequence[Any], failed: Sequence[Any], *, dry_run: bool, as_json: bool) -> None:
    wrong = {step.letter.place: step.refused for step in failed}
    counted: Counter[str] = Counter()
    word = "would be published again" if dry_run else "published again"
    for step in steps:
        letter, why = step.letter, step.refused or wrong.get(step.letter.place)
        counted[word if why is None else str(why)] += 1
        if as_json:
            told = {"published": why is None and not dry_run, "replays": step.replays, "refused": why}
            click.echo(json.dumps({**_fields(letter), **told}, ensure_ascii=False))
        elif why is None:
            where = letter.source
            click.echo(f"{letter.place} {_plain(letter.reason)} → {where.topic} {where.partition}, time {step.replays}")
    if not as_json:
        for said, count in counted.most_common():
            click.echo(f"{count:,} {_plain(said)}")
        if not steps:
            click.echo("there are no such dead letters")


def _asked(home: Home, bootstrap_servers: str) -> tuple[Applied, Cluster]:
    if not home.path.is_dir():
        raise UsageError(f"--home {home.path}: no such folder")
    applied, cluster = home.load(), home.cluster(bootstrap_servers)
    cluster.check(timeout_s=5)
    return applied, cluster


def _named(applied: Applied, topic: str | None) -> str | None:
    """Kafka's name of a topic that is given by the contract's name or its own."""
    from models.topics import TOPICS

    if topic is None:
        return None
    named = {name: applied.topic(name) for name in TOPICS}
    if topic not in named and topic not in named.values():
        raise UsageError(f"--topic {topic[:60]!r}: no topic of canarec's")
    return named.get(topic, topic)


def _fields(letter: Letter) -> dict[str, Any]:
    return {
        "partition": letter.place.partition,
        "offset": letter.place.offset,
        "timestamp": letter.timestamp,
        "reason": letter.reason,
        "source": msgspec.structs.asdict(letter.source),
        "error": letter.error,
        "replays": letter.replays,
        "origin": str(letter.root),
        "payload_left_out": not letter.complete,
    }


def _bytes(name: str, value: bytes | None) -> dict[str, str | None]:
    """As text where it is text, else in base64, as dead letters have it."""
    try:
        return {name: None if value is None else value.decode()}
    except UnicodeDecodeError:
        return {name: base64.b64encode(value or b"").decode(), f"{name}_encoding": "base64"}


def _header(header: Header) -> dict[str, str | None]:
    name, value = header
    return {"name": name, **_bytes("value", value.encode() if isinstance(value, str) else value)}


def _screen(letter: Letter, key: bytes | None, value: bytes | None, headers: Sequence[Header], gone: str | None) -> str:
    where = letter.source
    lines = [
        f"dead letter {letter.place} of {letter.timestamp}: {letter.reason}",
        f"error     {letter.error}",
        f"refused   {where.topic} {where.partition}:{where.offset}",
        f"again     {letter.replays} times, first refused as {letter.root}"
        if letter.replays
        else "again     never yet",
        f"key       {_shown(key)}",
        *(f"header    {name}: {_shown(value)}" for name, value in headers),
    ]
    read_there = "" if letter.complete else f" (read at {where.topic} {where.partition}:{where.offset})"
    size = f"{len(value):,} bytes" if value is not None else "none: a tombstone"
    lines.append(f"payload   {gone}" if gone else f"payload   {size}{read_there}")
    if value:
        lines.append(_shown(value))
    return "\n".join(_plain(line) for line in lines)


def _shown(value: str | bytes | None) -> str:
    if value is None:
        return "none"
    try:
        text = value.decode() if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        text = f"base64 {base64.b64encode(value if isinstance(value, bytes) else b'').decode()}"
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… (all of it: --raw)"


def _plain(text: str) -> str:
    """Nothing that a terminal would obey: users write these."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape", "replace").decode() for each in text)
