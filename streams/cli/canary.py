"""`canarec canary`: what the split is and how its arms stand; and its changes, each one a line of the audit."""

import getpass
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click
from confluent_kafka import KafkaException
from rich.console import Console

from models.config import Applied, Canary
from models.errors import CanarecError, UsageError
from models.events import CanaryChange
from models.recommenders import store
from models.release import gate as gates
from models.release import rollout
from streams.cli import changes
from streams.cli.config import missing_models
from streams.cli.hints import complete
from streams.cli.options import AGO, Command, Integer, Moment, Number, Seconds, cluster_options, ms
from streams.home import Home
from streams.shown import console
from streams.trial import as_json, head, line, screen, words

if TYPE_CHECKING:
    from pipelines.trial import Following

_TOLD_EVERY_S = 300.0
WORSE, UNDECIDED = 3, 4  # exit codes of `gate`


class Words(click.ParamType):
    """A line of text for the audit: something, not too long, and nothing that a terminal would obey."""

    name = "text"

    def __init__(self, longest: int) -> None:
        self.longest = longest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        words = str(value).strip()
        if not words or not words.isprintable() or len(words) > self.longest:
            self.fail(f"expected a line of 1 to {self.longest} characters", param, ctx)
        return words


def _user_at_host() -> str:
    """Who calls: the login's name and the machine's, and nothing more of either."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname().split('.')[0]}"


def audited(command: Command) -> Command:
    """`who: str` and `why: str | None`."""
    why = click.option("--why", type=Words(1_000), help="The reason, for canary-events.")
    who = click.option("--who", type=Words(256), default=_user_at_host, help="Who does it. [default: user@host]")
    return cluster_options(why(who(command)))


if_any_option = click.option(
    "--if-any", is_flag=True, help="Without a candidate: nothing to do, exit 0. For pipelines."
)


@click.group()
def canary() -> None:
    """The split: how its arms stand, and its changes, each one an event in canary-events.

    A change is in config.json when the command ends, also while no broker answers; workers follow within 5 s.

    \b
    Example:
      canarec canary status
      canarec canary set 25 --why "no complaints at 10 %"
    """


@canary.command()
@cluster_options
@click.option("--since", type=Moment(past=True), help=f"Count from then on: {AGO}. [default: see above]")
@click.option("--at-most", type=Integer(1), help="Answers that are counted, the newest. [default: 250,000]")
@click.option("--json", "in_json", is_flag=True, help="For programs.")
def status(home: Home, bootstrap_servers: str, since: datetime | None, at_most: int | None, in_json: bool) -> None:
    """The split, its versions, and what each arm has done: users, requests, success, latency, clicks, hits, satisfaction.

    Counted is since these two versions are in the split, at most the last 24 hours. Then the verdict so far: the scheduler's, if it
    wrote one down in the last five minutes, else one that is computed now, of the whole trial. Exit 1 where no broker answers: the
    split is shown all the same.

    \b
    Example:
      canarec canary status --since 2h
    """
    from pipelines.arms import AT_MOST, standing
    from pipelines.release import newest
    from streams.cli.release import following

    if not home.path.is_dir():
        raise UsageError(f"--home {home.path}: no such folder")
    applied, versions = home.load(), store.list_versions(home.models)
    if not in_json:
        console().print(head(applied, versions))
    for problem in missing_models(home, applied):
        click.echo(f"warning: {problem}", err=True)
    cluster = home.cluster(bootstrap_servers)
    cluster.check(timeout_s=5)
    _say(changes.tell(home, lambda: cluster, applied))
    with Console(stderr=True).status("reading") as shown:  # only where a person watches
        found = standing(
            cluster,
            applied,
            now_ms=_now_ms(),
            since_ms=ms(since),
            at_most=at_most or AT_MOST,
            looking=lambda topic: shown.update(f"reading {topic}"),
        )
        shown.update("computing the verdict")
        judgement = newest(following(home, bootstrap_servers), applied, _now_ms())
    if in_json:
        click.echo(json.dumps(as_json(applied, versions, found, judgement), ensure_ascii=False))
    else:
        verdict = words(judgement, applied.config.release.automation) if judgement else ()
        console().print(screen(found, applied.config.metrics.group_users_min, verdict))


@canary.command()
@cluster_options
def verify(home: Home, bootstrap_servers: str) -> None:
    """Recomputes every verdict of canary-events from the evidence in its record, and walks their chain.

    Exit 1 where anything is not as it was written: a record, one left out or put in, any event before the newest verdict, or the
    newest verdict of this home. The first bad record is named, and then the others.

    \b
    Example:
      canarec canary verify
    """
    from pipelines.trial import Ledger
    from streams.cli.release import last

    applied, cluster = home.load(), home.cluster(bootstrap_servers)
    cluster.check(timeout_s=5)
    _say(changes.tell(home, lambda: cluster, applied))
    ledger, newest = Ledger(cluster, applied), last(home)
    with Console(stderr=True).status("reading canary-events"):
        ledger.read_on()
    chain, problems = ledger.chain, ledger.problems
    if newest is not None and not chain.knows(newest):
        problems.append(f"the newest verdict that was kept in this home is missing: {newest}")
    if problems:
        for line in problems[1:]:
            click.echo(line, err=True)
        raise CanarecError(
            f"canary-events: {problems[0]}" + (f" (and {len(problems) - 1} more)" if problems[1:] else "")
        )
    whole = "" if chain.whole else "; what was before is not kept any more"
    chains = f"{len(homes)} chains are" if len(homes := chain.homes()) > 1 else "the chain is"
    last_of = [chain.last(one) + (f" of {one or 'an unnamed home'}" if len(homes) > 1 else "") for one in homes or [""]]
    click.echo(f"{chain.records:,} verdicts recomputed, {chains} whole{whole}: newest {', '.join(last_of)}")


@canary.command()
@click.option(
    "--wait",
    "wait_s",
    type=Seconds(0, 30 * 86_400),
    default=0.0,
    show_default=True,
    help="How long a verdict is waited for, at most: seconds, or 15m, 24h.",
)
@cluster_options
def gate(wait_s: float, home: Home, bootstrap_servers: str) -> None:
    """Waits until the candidate is known not to be worse, or to be worse: for pipelines. Changes nothing.

    Exit 0: not worse in any metric, or promoted meanwhile; also where there is no candidate. 3: worse, failing, or rolled back
    meanwhile. 4: neither is known when the time is over.

    \b
    Example:
      canarec canary gate --wait 4h && canarec canary promote
    """
    from streams.cli.release import following

    version = home.load().config.canary.candidate
    if version is None:
        click.echo("no candidate: nothing to wait for")
        return
    home.cluster(bootstrap_servers).check(timeout_s=5)
    trial, until, said, said_at = following(home, bootstrap_servers), time.monotonic() + wait_s, "", 0.0
    while True:
        applied = home.load()
        found, about = _judged(trial, applied, version)
        if about != said or time.monotonic() - said_at > _TOLD_EVERY_S:
            click.echo(f"{datetime.now(UTC):%H:%M:%S} {found.word}: {found.why}")
            said, said_at = about, time.monotonic()
        if found.word == "pass":
            return
        if found.word == "fail":
            sys.exit(WORSE)
        if (left := until - time.monotonic()) <= 0:
            sys.exit(UNDECIDED)
        time.sleep(min(applied.config.release.look_every_s, left))


def _judged(trial: "Following", applied: Applied, version: str) -> "tuple[gates.Told, str]":
    """What is known now, and what of it is worth saying when it changes. Brokers that are away for a while are waited for."""
    from pipelines.release import newest

    if applied.config.canary.candidate != version:
        return gates.told(version, applied.config.canary, None), version
    try:
        judgement = newest(trial, applied, _now_ms())
    except (CanarecError, KafkaException) as error:
        told = gates.Told("wait", str(error.args[0]))
        return told, told.why
    about = "" if judgement is None else f"{judgement.verdict.phase} {judgement.verdict.reason}"
    return gates.told(version, applied.config.canary, judgement), about


@canary.command("set")
@click.argument("percent", type=Number(0, 100))
@if_any_option
@audited
def set_(percent: float, if_any: bool, home: Home, bootstrap_servers: str, who: str, why: str | None) -> None:
    """Another share for the candidate: PERCENT of users, 0 to 100, fractions too. Growing it moves nobody back.

    \b
    Example:
      canarec canary set 60 --why "night shift is over"
    """
    _change(home, bootstrap_servers, lambda now: rollout.stepped(now, percent), "set", who, why, if_any=if_any)


@canary.command()
@if_any_option
@audited
def promote(if_any: bool, home: Home, bootstrap_servers: str, who: str, why: str | None) -> None:
    """The candidate becomes the stable version, for everyone; the version before is kept for a rollback.

    \b
    Example:
      canarec canary promote --why "better in every figure"
    """
    _change(home, bootstrap_servers, rollout.promoted, "promoted", who, why, if_any=if_any)


@canary.command()
@click.option("--to", metavar="VERSION", help="This version for everyone, whatever was before.")
@if_any_option
@audited
def rollback(to: str | None, if_any: bool, home: Home, bootstrap_servers: str, who: str, why: str | None) -> None:
    """One step back: the candidate is out; or, after a promotion, the version before is stable again.

    A second call changes nothing more. Works while no broker answers.

    \b
    Example:
      canarec canary rollback --why "complaints"
      canarec canary rollback --to v1
    """
    move = rollout.rolled_back if to is None else lambda now: rollout.restored(now, to)
    _change(home, bootstrap_servers, move, "rolled_back", who, why, if_any=if_any)


@canary.command()
@audited
def pause(home: Home, bootstrap_servers: str, who: str, why: str | None) -> None:
    """The candidate stays on its step: nothing but people, and harm, changes the split until `resume`.

    \b
    Example:
      canarec canary pause --why "weekend"
    """
    _change(home, bootstrap_servers, rollout.paused, "paused", who, why)


@canary.command()
@audited
def resume(home: Home, bootstrap_servers: str, who: str, why: str | None) -> None:
    """The steps go on after a pause.

    \b
    Example:
      canarec canary resume
    """
    _change(home, bootstrap_servers, rollout.resumed, "resumed", who, why)


def _change(
    home: Home,
    bootstrap_servers: str,
    move: Callable[[Canary], Canary],
    name: CanaryChange,
    who: str,
    why: str | None,
    *,
    if_any: bool = False,
) -> None:
    if if_any and home.load().config.canary.candidate is None:
        click.echo("no candidate: nothing to do")
        return
    before, after = changes.change(home, move, name, who=who, why=why, now_ms=_now_ms())
    now, same = line(after.config.canary), before.sha256 == after.sha256
    click.echo(f"nothing to change: {now}" if same else f"{now}\nwas {line(before.config.canary)}")
    _say(changes.tell(home, lambda: home.cluster(bootstrap_servers), after))


def _say(warning: str | None) -> None:
    if warning is not None:
        click.echo(f"warning: {complete(warning, click.get_current_context().obj or {})}", err=True)


def _now_ms() -> int:
    return int(time.time() * 1000)
