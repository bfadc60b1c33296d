"""`canarec erase`: a user removed from topics, archive, CSV, snapshots and data sets, and a report of what is gone and what is not yet."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec
from rich.console import Console

from models import wire
from models.config import Applied
from models.erasure import PROFILES, Erasure, event, user_digest
from models.errors import BadMessage, CanarecError, UsageError
from models.events import Rating, Watch
from streams.cli.options import cluster_options
from streams.clients import Cluster
from streams.home import Home

if TYPE_CHECKING:
    from pipelines.erase import Held, Traces

PATIENCE_S = 20.0  # for workers that are up to date but for a moment
EVENTS = ("watch-events", "rating-events")
Say = Callable[[str], None]


class UserId(click.ParamType):
    """An id as events have it."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return wire.checked_id("a user id", str(value))
        except BadMessage as error:
            self.fail(str(error), param, ctx)


@click.command()
@click.argument("user_id", type=UserId())
@click.option("--dry-run", is_flag=True, help="Says what there is of the user, and removes nothing.")
@click.option(
    "--regardless",
    is_flag=True,
    help="Cuts topics also before all groups and the CSV have read so far: what they have not read is lost to them.",
)
@click.option("--no-cut", is_flag=True, help="Leaves the topics as they are: in all homes of several but the last.")
@click.option("--json", "as_json", is_flag=True, help="For programs: the report.")
@cluster_options
def erase(
    user_id: str,
    dry_run: bool,
    regardless: bool,
    no_cut: bool,
    as_json: bool,
    home: Home,
    bootstrap_servers: str,
) -> None:
    """Removes USER_ID from topics, archive, provenance CSV, snapshots and data sets, and reports what was removed. It cannot be undone.

    The topics are archived first; a partition is then cut behind the user's last message, since a log cannot forget one user: older
    messages of others stay in the archive alone. Versions that were trained on the user's data are named, and the next training is due. Exit
    1 where something has to wait: run it again, it goes on. Killed in the middle, too.

    \b
    Example:
      canarec erase 42 --dry-run
      canarec erase 42
    """
    from pipelines import erase as library
    from pipelines import erasures, retrain
    from pipelines.places import Places

    if not home.path.is_dir():
        raise UsageError(f"--home {home.path}: no such folder")
    applied, cluster, places = home.load(), home.cluster(bootstrap_servers), Places(home.path)
    cluster.check(timeout_s=5)
    with Console(stderr=True).status("looking") as status:  # only where a person watches
        say: Say = status.update
        archived = library.in_archive(places.archive, user_id)
        in_topics = library.in_topics(cluster, applied, user_id, archived.requests, lambda name: say(f"reading {name}"))
        known = erasures.of_user(home.artifacts, user_digest(user_id))
        if dry_run or (known is None and not in_topics.seen and not archived.seen):
            marked, unknown = library.trained(places, (archived, in_topics))
            _found(archived, in_topics, marked, unknown, as_json=as_json)
            return
        with retrain.alone(places):
            erasure = _begun(places, user_id, known, archived, in_topics)
            patience = None if no_cut else 0.0 if regardless else PATIENCE_S
            _removed(home, cluster, applied, user_id, erasure, in_topics, patience=patience, say=say)
            _told(home, cluster, applied, erasure)
    _report(erasure, erasures.where(home.artifacts, erasure.user_sha256), as_json=as_json)
    if erasure.left and not no_cut:
        more = f" (and {len(erasure.left) - 1} more)" if len(erasure.left) > 1 else ""
        raise CanarecError(f"not all is gone yet: {erasure.left[0]}{more}: run it again later")


def _begun(places: Any, user_id: str, known: Erasure | None, archived: "Traces", in_topics: "Traces") -> Erasure:
    """What is known of the user's answers and of the models, written down before the traces that tell it are removed."""
    from pipelines import erase as library
    from pipelines import erasures

    erasure = known or Erasure(user_digest(user_id), _now())
    marked, unknown = library.trained(places, (archived, in_topics))
    if known is not None and (archived.seen or in_topics.seen):  # what came since an earlier run is to be told, too
        erasure.started_at, erasure.told, erasure.retrained = _now(), False, False
    erasure.merge(models=marked, unknown=unknown, requests=archived.requests | in_topics.requests)
    erasure.left = ["it was not finished"]
    erasures.keep(places.artifacts, erasure)
    return erasure


def _removed(
    home: Home,
    cluster: Cluster,
    applied: Applied,
    user_id: str,
    erasure: Erasure,
    found: "Traces",
    *,
    patience: float | None,
    say: Say,
) -> None:
    """All steps, in an order in which a kill leaves nothing that the next run would not find: topics, where the rest comes from, last.

    patience: seconds that readers of the topics have to catch up; 0: they are not waited for; None: nothing is cut.
    """
    from pipelines import archive as archives
    from pipelines import erase as library
    from pipelines import erasures
    from pipelines.places import Places

    places = Places(home.path)

    def step(what: str, count: int) -> None:
        erasure.add(what, count)
        erasures.keep(home.artifacts, erasure)

    if found.seen or erasure.finished_at is None:
        say("deleting the profile")
        step("profiles", library.tombstones(cluster, applied, user_id, found))
    say("archiving")
    archives.extend(cluster, applied, places.archive)
    say("rewriting the archive")
    step("archive rows", library.from_archive(places.archive, user_id, found.requests))
    say("rewriting the provenance CSV")
    _rows(home, user_id, erasure, step)
    say("removing data sets")
    step("data sets", library.from_pipeline(places, user_id))
    say("writing a snapshot")
    _seed(home, applied, places.archive, found)
    _snapshots(home, user_id, step)
    say("cutting topics")
    held: list[Held] = []
    until = time.monotonic() + (patience or 0)
    while patience is not None:
        # what came since the archiving is found here, and archived by the next run
        now = library.in_topics(cluster, applied, user_id, found.requests)
        rows = _reached(home, cluster, applied)
        gone, held = library.cut(cluster, applied, places.archive, now, rows, regardless=not patience)
        step("messages", gone)
        if not held or time.monotonic() > until:
            break
        say(f"waiting for readers: {held[0].why}")
        time.sleep(1)
    say("looking again")
    _rows(home, user_id, erasure, step)
    _snapshots(home, user_id, step)
    erasure.left = _left(cluster, applied, places.archive, user_id, found, held)
    erasure.finished_at = None if erasure.left else _now()
    erasures.keep(home.artifacts, erasure)


def _rows(home: Home, user_id: str, erasure: Erasure, step: Callable[[str, int], None]) -> None:
    from streams import erasures

    gone = erasures.from_csv(home.provenance, user_id, erasure.user_sha256)
    erasure.merge(requests=filter(None, gone))
    step("CSV rows", len(gone))


def _snapshots(home: Home, user_id: str, step: Callable[[str, int], None]) -> None:
    from streams import erasures

    step("snapshots", erasures.from_snapshots(home.snapshots, user_id))


def _seed(home: Home, applied: Applied, archive: Path, found: "Traces") -> None:
    """Before event topics are cut: what a new worker of this home starts from."""
    from pipelines import archive as archives
    from pipelines import tiles
    from streams import erasures, snapshots

    if not any(found.of(name) for name in EVENTS):
        return
    cuts = {
        applied.topic(name): snapshots.TopicCut(
            {number: snapshots.PartitionCut(after) for number, (_, after) in archives.spans(archive, name).items()},
            snapshots.made_by((tiles.identity(archive, name) or {})["topic_id"], applied.config.events.limits()),
        )
        for name in EVENTS
    }
    erasures.seed(home.snapshots, _events(applied, archive), cuts)


def _events(applied: Applied, archive: Path) -> Iterator[list[Watch | Rating]]:
    from pipelines import erase as library

    limits = applied.config.events
    for rows in library.events(archive, EVENTS[0]):
        times = rows["timestamp"].cast("int64").to_pylist()
        columns = (rows["user_id"].to_pylist(), rows["movie_id"].to_pylist(), rows["minute"].to_pylist(), times)
        yield [Watch(*each) for each in zip(*columns, strict=True) if each[2] <= limits.minute_max]
    for rows in library.events(archive, EVENTS[1]):
        times = rows["timestamp"].cast("int64").to_pylist()
        columns = (rows["user_id"].to_pylist(), rows["movie_id"].to_pylist(), rows["rating"].to_pylist(), times)
        on_scale = (each for each in zip(*columns, strict=True) if limits.rating_min <= each[2] <= limits.rating_max)
        yield [Rating(*each) for each in on_scale]


def _reached(home: Home, cluster: Cluster, applied: Applied) -> dict[int, int] | None:
    """How far the CSV reaches; None where this home has none."""
    from pipelines.provenance import reached

    if not home.provenance.is_dir():
        return None
    return dict(reached(cluster, applied, home.provenance))


def _left(
    cluster: Cluster, applied: Applied, archive: Path, user_id: str, found: "Traces", held: "list[Held]"
) -> list[str]:
    from pipelines import erase as library

    there = library.in_topics(cluster, applied, user_id, found.requests)
    lines = library.left(there, held)
    lines += [f"{PROFILES}/{number}: a profile came while it was erased" for number, _ in there.profiles]
    archived = library.in_archive(archive, user_id, found.requests)
    return lines + [f"archive {name}/{number}: {len(some)} rows" for (name, number), some in archived.seen.items()]


def _told(home: Home, cluster: Cluster, applied: Applied, erasure: Erasure) -> None:
    """The audit: once for each run that found something, when all is gone."""
    from pipelines import erasures
    from pipelines.announce import announce

    if erasure.told or erasure.left:
        return
    announce(cluster, applied, "retraining-events", event(erasure, _now()))
    erasure.told = True
    erasures.keep(home.artifacts, erasure)


def _found(archived: "Traces", in_topics: "Traces", marked: list[str], unknown: list[str], *, as_json: bool) -> None:
    topics = {f"{name}/{number}": len(some) for (name, number), some in sorted(in_topics.seen.items())}
    archive = {f"{name}/{number}": len(some) for (name, number), some in sorted(archived.seen.items())}
    if as_json:
        told = {"topics": topics, "archive": archive, "models": marked, "models_unknown": unknown}
        click.echo(json.dumps(told))
        return
    for what, counts in (("messages in", topics), ("archived rows of", archive)):
        for name, count in counts.items():
            click.echo(f"{count:,} {what} {name}")
    if not topics and not archive:
        click.echo("neither the topics nor the archive hold anything of this user")
    _models(marked, unknown)


def _report(erasure: Erasure, path: Path, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"report": str(path), **msgspec.to_builtins(erasure)}))
        return
    for what, count in erasure.removed.items():
        click.echo(f"{what}: {count:,} removed")
    click.echo(f"answers: {len(erasure.requests):,}; `canarec provenance replay` says of them that they are erased")
    _models(erasure.models, erasure.models_unknown)
    for line in erasure.left:
        click.echo(f"left: {line}")
    click.echo(
        "the brokers remove what is cut or deleted from their disks in their own time (docs/operating.md#erasing-a-user)"
    )
    click.echo(f"report: {path}")


def _models(marked: list[str], unknown: list[str]) -> None:
    if marked:
        click.echo(
            f"models trained on the user's data: {', '.join(marked)}; the next `canarec retrain --if-due` trains"
        )
    if unknown:
        click.echo(f"models whose metadata here do not say what they were trained on: {', '.join(unknown)}")


def _now() -> str:
    return wire.rfc3339(int(time.time() * 1000))
