"""`canarec retrain`."""

from datetime import UTC, datetime

import click

from streams.cli.options import cluster_options, now_option
from streams.home import Home


@click.command()
@cluster_options
@click.option("--if-due", is_flag=True, help="Only if a rule says so: enough days and enough new, or drift.")
@click.option("--dry-run", is_flag=True, help="Say what would be decided, and why; do nothing.")
@now_option
def retrain(home: Home, bootstrap_servers: str, if_due: bool, dry_run: bool, now: datetime | None) -> None:
    """Trains a version from what the topics hold, proves it, publishes it and offers it as the candidate.

    Runs the pipeline of dvc.yaml; where neither data nor training parameters have changed, there is nothing to do. Exit 0 also where
    it is not due, where there is nothing to do, and where a gate refuses the new version.

    \b
    Example:
      canarec retrain
      canarec retrain --if-due --dry-run
    """
    from models import retraining
    from pipelines import due, project
    from pipelines import retrain as retrainings
    from pipelines.places import Places
    from streams import processes, topics
    from streams.cli.pipeline import offering

    home.prepare()
    cluster, applied = home.cluster(bootstrap_servers), home.load()
    cluster.check()
    topics.ensure(cluster, applied)
    if dry_run:
        moment = now or datetime.now(UTC)
        decision = due.look(cluster, applied, home.artifacts, moment, manual=not if_due, say=click.echo)
        click.echo(retraining.explained(decision))
        return
    environment = project.environment(home.path, bootstrap_servers, now)
    trainer = retrainings.Trainer(
        places=Places(home.path),
        cluster=cluster,
        clock=lambda: now or datetime.now(UTC),
        complete=lambda: home.change(retrainings.complete)[1],
        change=offering(home, bootstrap_servers),
        reproduce=lambda: project.reproduce(home.path, processes.start, environment, click.echo),
        say=click.echo,
    )
    trainer.turn(applied, manual=not if_due)
