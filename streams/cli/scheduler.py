"""`canarec scheduler`."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click

from streams.cli.options import Integer, cluster_options, metrics_host_option
from streams.home import Home

if TYPE_CHECKING:
    from models import config
    from models.retraining import Decision
    from pipelines.offer import Offering
    from pipelines.schedule import Ended, Retraining
    from streams.scheduler import Ending


@click.command()
@cluster_options
@click.option(
    "--metrics-port",
    type=Integer(0, 65535),
    help="Prometheus port (default 8001, or any free one if it is taken; 0: any free one).",
)
@metrics_host_option
@click.option("--print-crontab", is_flag=True, help="Print the lines that let cron do all this instead, and end.")
@click.option("--once", is_flag=True, help="Judge the candidate, offer the version that waits, and end: for cron.")
def scheduler(
    home: Home,
    bootstrap_servers: str,
    metrics_port: int | None,
    metrics_host: str,
    print_crontab: bool,
    once: bool,
) -> None:
    """Retrains when the rule says so: every few days if there is enough new, or sooner after drift. Judges the candidate.

    What follows from a verdict is up to `release.automation`: nothing, an event, or a change of the split. A second one of the same
    home stands by. Ctrl-C ends it, and a training that runs; the next one is whole.

    \b
    Example:
      canarec scheduler
      (crontab -l; canarec scheduler --print-crontab) | crontab -
    """
    from pipelines.schedule import EVERY_MINUTE, Outcome, crontab

    if print_crontab:
        logs = home.artifacts / "logs"
        click.echo(crontab(_command(home, bootstrap_servers, "retrain", "--if-due"), logs / "retrain.log"))
        click.echo(crontab(_command(home, bootstrap_servers, "scheduler", "--once"), logs / "canary.log", EVERY_MINUTE))
        return
    from streams import metrics
    from streams import scheduler as process
    from streams.cli.release import releasing

    home.prepare()
    home.load()  # what is wrong with it is said at once
    if once:
        process.once(home.artifacts, (releasing(home, bootstrap_servers), _offering(home, bootstrap_servers)))
        return
    port = process.free_port(metrics_port)
    ending = process.Ending()
    for outcome in get_args(Outcome):
        metrics.RETRAINING.labels(outcome)  # 0 from the beginning: an increase from nothing is none
    process.serve_metrics(port, (*metrics.OF_RETRAINING, *metrics.OF_VERDICTS), metrics_host)
    click.echo(f"metrics at http://{metrics_host}:{port}/metrics; Ctrl-C ends it", err=True)
    jobs = (
        releasing(home, bootstrap_servers),
        _retraining(home, bootstrap_servers, ending),
        _offering(home, bootstrap_servers),
    )
    process.serve(home.artifacts, jobs, ending, process.utc_now)


def _command(home: Home, bootstrap_servers: str, *words: str) -> list[str]:
    """A command for people and cron: the console script beside this interpreter."""
    script = str(Path(sys.executable).with_name("canarec"))
    return [script, *words, "--home", str(home.path), "--bootstrap-servers", bootstrap_servers]


def _retraining(home: Home, bootstrap_servers: str, ending: "Ending") -> "Retraining":
    """The job: looks in this process, trains in a child."""
    from pipelines.due import Looking
    from pipelines.schedule import Retraining
    from streams import scheduler as process

    def say(line: str) -> None:
        process.log.warning("passed_over", says=line)

    looking = Looking(home.cluster(bootstrap_servers), home.artifacts, say)

    def look(now: datetime) -> "tuple[config.Retraining, Decision]":
        applied = home.load()
        return applied.config.retraining, looking.look(applied, now)

    def show(decision: "Decision") -> None:
        _show(decision, home.load().config.retraining.drift)

    return Retraining(look, lambda decision: _trained(home, bootstrap_servers, decision, ending), show)


def _offering(home: Home, bootstrap_servers: str) -> "Offering":
    """The job that offers a version which had to wait."""
    from pipelines.offer import Offering
    from pipelines.places import Places
    from streams import scheduler as process
    from streams.cli.pipeline import offering

    return Offering(
        Places(home.path),
        lambda: home.load().config,
        offering(home, bootstrap_servers),
        lambda told: process.log.info("offered", model_version=told.version, says=told.says),
    )


def _trained(home: Home, bootstrap_servers: str, decision: "Decision", ending: "Ending") -> "Ended":
    """`canarec retrain --if-due` as a child. It announces what it does; a death by a signal is announced here."""
    from models import retraining
    from pipelines.announce import announce
    from pipelines.schedule import Ended
    from streams import metrics
    from streams import scheduler as process

    before = _versions(home)
    done = process.run("retrain", home, bootstrap_servers, ending, "--if-due")
    made = [refused for version, refused in _versions(home) - before]
    if done.code:
        error = f"killed by signal {-done.code}" if done.code < 0 else done.line
        ended = Ended("failed", error)
        if done.code < 0 and not ending.is_set():
            record = retraining.event("failed", decision, process.utc_now(), error=error)
            announce(home.cluster(bootstrap_servers), home.load(), "retraining-events", record)
    else:
        ended = Ended("skipped" if not made else "refused" if all(made) else "finished")
    if not ending.is_set():
        metrics.RETRAINING.labels(ended.outcome).inc()
        process.log.info("retraining", outcome=ended.outcome, rule=decision.rule, reason=ended.error or done.line)
    return ended


def _versions(home: Home) -> set[tuple[str, bool]]:
    """Every version that runs have made, with whether a gate refused it."""
    from models.recommenders.store import list_versions

    folders = ((home.models, False), (home.artifacts / "rejected", True))
    return {(version, refused) for folder, refused in folders for version in list_versions(folder)}


def _show(decision: "Decision", drift: "config.Drift") -> None:
    from models.retraining import drifted
    from streams import metrics

    for gauge in (metrics.NEWEST_VERSION_AGE, metrics.RETRAINING_DUE, metrics.DRIFT_PSI, metrics.DRIFT_ALERT):
        gauge.clear()
    if decision.last is not None and decision.signals is not None:
        metrics.DRIFT_ALERT.labels(decision.last.version).set(drifted(decision.signals, drift))
        if decision.signals.psi is not None:
            metrics.DRIFT_PSI.labels(decision.last.version).set(decision.signals.psi)
    if decision.last is not None and decision.age_days is not None and decision.due_at is not None:
        metrics.NEWEST_VERSION_AGE.labels(decision.last.version).set(86_400 * decision.age_days)
        metrics.RETRAINING_DUE.labels(decision.last.version).set(decision.due_at.timestamp())
