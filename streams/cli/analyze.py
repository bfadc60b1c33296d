"""`canarec analyze`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from models.errors import CanarecError, UsageError
from streams.cli.options import AGO, Folder, Moment, cluster_options, ms, now_option
from streams.home import Home

if TYPE_CHECKING:
    from models.config import Applied
    from models.recommenders.store import Model
    from pipelines.analysis.observed import Observed, Window

BROKER_WAIT_S = 2


@click.command()
@click.option("--data", type=Folder(exists=True), help="A MovieLens folder instead of the archive.")
@click.option("--since", type=Moment(), help=f"Only what happened from then on: {AGO}.")
@click.option("--until", type=Moment(), help="Only what happened before then.")
@click.option("--compare", nargs=2, metavar="V1 V2", help="What changed from one model version to the other.")
@now_option
@cluster_options
def analyze(
    home: Home,
    bootstrap_servers: str,
    data: Path | None,
    since: datetime | None,
    until: datetime | None,
    compare: tuple[str, str] | None,
    now: datetime | None,
) -> None:
    """Popularity, breadth and fairness of what was watched and of what is recommended, as numbers and as a page.

    From the archive, which is extended first if a broker answers, or from a MovieLens folder. Writes artifacts/analysis/latest.json and
    latest.html, both also under the time of the call. docs/analysis.md says what each number means.

    \b
    Example:
      canarec analyze
      canarec analyze --data ml-latest-small
      canarec analyze --since 7d --compare v1 v2
    """
    from models.recommenders import store
    from pipelines import analyze as library
    from pipelines.analysis import report, versions, words
    from pipelines.analysis.observed import Window

    window = Window(ms(since), ms(until))
    if window.since_ms is not None and window.until_ms is not None and window.since_ms >= window.until_ms:
        raise UsageError("--since must be before --until")
    if compare is not None and compare[0] == compare[1]:
        raise UsageError(f"--compare {compare[0]} {compare[1]}: a version is compared with another one")
    applied = home.load()
    models = [store.read(home.models, version) for version in compare or ()]
    if data is None:
        observed = _archived(home, bootstrap_servers, applied, window, models)
    else:
        observed = _folder(data, applied, window)
    if not len(observed.dataset):
        raise CanarecError(
            f"{observed.source} has no interactions{_between(since, until)}: there is nothing to analyze"
        )
    training = applied.config.training
    judged = library.judge(observed, training.next, training.method(training.recipes[training.next]))
    figures = library.analyze(observed, judged)
    if models:
        figures["comparison"] = versions.compare(observed, *models)
    page = report.write(home.artifacts / "analysis", figures, now or datetime.now(UTC))
    for sentence in words.summary(figures):
        click.echo(sentence)
    click.echo(page)


def _archived(
    home: Home, bootstrap_servers: str, applied: "Applied", window: "Window", models: "list[Model]"
) -> "Observed":
    from pipelines.analysis.observed import from_archive
    from pipelines.places import Places

    folder = Places(home.path).archive
    try:
        _extend(home, bootstrap_servers, applied, folder)
    except CanarecError as error:
        if not folder.is_dir():
            raise
        click.echo(f"the archive as it is: {error}", err=True)
    trained = [model.metadata.data_version.get("offsets", {}) for model in models]
    return from_archive(folder, applied.config.events, window, trained=trained)


def _extend(home: Home, bootstrap_servers: str, applied: "Applied", folder: Path) -> None:
    """What the analysis reads of the topics, if a broker answers soon."""
    from pipelines import archive
    from pipelines.analysis.observed import READ
    from streams import topics

    cluster = home.cluster(bootstrap_servers)
    cluster.check(timeout_s=BROKER_WAIT_S)
    topics.ensure(cluster, applied)
    for finding in archive.extend(cluster, applied, folder, topics=READ).findings:
        click.echo(finding, err=True)


def _folder(data: Path, applied: "Applied", window: "Window") -> "Observed":
    from pipelines.analysis.observed import from_movielens
    from streams.cli.imports import Bars

    with Bars() as bars:
        return from_movielens(data, applied.config.events.limits(), window, report=bars.report, progress=bars.show)


def _between(since: datetime | None, until: datetime | None) -> str:
    return "".join(f" {word} {at.isoformat()}" for word, at in (("from", since), ("before", until)) if at is not None)
