"""`canarec pipeline`: the stages of dvc.yaml, for DVC to run."""

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime

import click

from models.config import Canary
from streams import tether, topics
from streams.cli.options import cluster_options, now_option
from streams.home import Home

STAGES = ("archive", "dataset", "train", "evaluate", "analyze", "publish")


@click.command(hidden=True)
@click.argument("stage", type=click.Choice(STAGES))
@click.argument("recipe", required=False)
@now_option
@cluster_options
def pipeline(stage: str, recipe: str | None, home: Home, bootstrap_servers: str, now: datetime | None) -> None:
    """One STAGE of dvc.yaml; `train` takes the name of a RECIPE. `dvc repro` runs them in their order.

    \b
    Example:
      canarec pipeline train als --home .
    """
    from pipelines import stages
    from pipelines.places import Places

    if sys.platform == "linux":  # a DVC that was killed must not leave a stage behind that writes
        tether.die_with(os.getppid(), signal.SIGKILL)
    if (recipe is None) == (stage == "train"):
        raise click.UsageError("expected: train RECIPE, or another stage alone")
    places, applied, now = Places(home.path), home.load(), now or datetime.now(UTC)
    if stage == "archive":
        cluster = home.cluster(bootstrap_servers)
        cluster.check()
        topics.ensure(cluster, applied)
        stages.archive(places, cluster, applied, click.echo)
    elif stage == "dataset":
        stages.dataset(places, applied, now, click.echo)
    elif stage == "publish":
        stages.publish(places, applied, now, offering(home, bootstrap_servers), click.echo)
    elif stage == "train":
        stages.train(places, applied, str(recipe), click.echo)
    else:
        {"evaluate": stages.evaluate, "analyze": stages.analyze}[stage](places, applied, click.echo)


def offering(home: Home, bootstrap_servers: str) -> Callable[[Callable[[Canary], Canary], str], None]:
    """How a new version becomes the candidate: in config.json at once, in canary-events as soon as Kafka takes it."""
    from streams.cli import changes

    def change(move: Callable[[Canary], Canary], why: str) -> None:
        now_ms = int(1_000 * datetime.now(UTC).timestamp())
        _, after = changes.change(home, move, "offered", who="retrain", why=why, now_ms=now_ms)
        if (line := changes.tell(home, lambda: home.cluster(bootstrap_servers), after)) is not None:
            click.echo(line)

    return change
