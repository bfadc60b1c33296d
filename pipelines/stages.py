"""The stages of dvc.yaml, one function each: reads what the stages before have written, writes its own files, says in a line what it did.

What a stage means is said where it is done; here it only finds its files. Parameters are `training` in config.json.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pyarrow.parquet as pq

from models.config import Applied, Recipe
from models.errors import BadArtifact, CanarecError, UsageError
from models.gates.data import DataFigures
from models.recommenders import store
from pipelines import analyze as analysis
from pipelines import archive as archives
from pipelines import dataset as datasets
from pipelines import gate, measured, tiles, versions
from pipelines.analysis import observed
from pipelines.analysis.words import plotted, summary
from pipelines.evaluate import learn, lists, measure, table
from pipelines.offer import WARM_WAIT_S, Change, offer, unmoved
from pipelines.parquet import Damaged
from pipelines.places import Places
from pipelines.publish import Published, load
from pipelines.publish import publish as published
from streams.clients import Cluster

TRAINED_ON = ("watch-events", "rating-events", "user-profiles", "movie-catalog")

Say = Callable[[str], None]


def archive(places: Places, cluster: Cluster, applied: Applied, say: Say) -> None:
    """Topics → Parquet. archive.json names what the later stages read of it: unless that changes, they have nothing to do."""
    report = archives.extend(cluster, applied, places.archive)
    for finding in report.findings:
        say(finding)
    limits = applied.config.events
    topics: dict[str, Any] = {}
    for topic in TRAINED_ON:
        spans = {str(number): list(span) for number, span in archives.spans(places.archive, topic).items()}
        rows = sum(pq.read_metadata(path).num_rows for path in archives.files(places.archive, topic))
        topics[topic] = {"partitions": spans, "rows": rows}  # rows: an erased user leaves a gap in no range
    kept = {"minute_max": limits.minute_max, "rating_min": limits.rating_min, "rating_max": limits.rating_max}
    measured.write_json(places.archived, {"events": kept, "topics": topics})
    say(f"{report.rows:,} messages archived, in {report.files} files")


def dataset(places: Places, applied: Applied, now: datetime, say: Say) -> None:
    """Parquet → dataset.npz, if the data gate lets it pass; else Refused."""
    now_ms = (now - datetime(1970, 1, 1, tzinfo=now.tzinfo)) // timedelta(milliseconds=1)
    with _mending(places):
        examined = gate.examine(places.archive, applied.config, _figures_before(places), now_ms=now_ms)
    for finding in examined.findings:
        if finding.outcome == "noted":
            say(finding.says)
    gate.settle(examined, places.pipeline)
    figures = examined.figures
    say(f"{figures.interactions:,} interactions of {figures.users:,} users with {figures.movies:,} movies")


def train(places: Places, applied: Applied, name: str, say: Say) -> None:
    """dataset.npz → models/<name>.npz, trained on everything. The same data and recipe give the same bytes."""
    data, recipe = datasets.read(places.dataset), applied.config.training.method(_recipe(applied, name))
    recommender = learn(data, recipe)
    buffer = io.BytesIO()
    store.pack(buffer, recommender.arrays())
    measured.write_bytes(places.trained(name), buffer.getvalue())
    say(f"{name}: {buffer.tell() / 1e6:.1f} MB")


def evaluate(places: Places, applied: Applied, say: Say) -> None:
    """Every recipe on the same split by time, with models of their own: those of `train` have seen what is held out."""
    data = datasets.read(places.dataset)
    training = applied.config.training
    recipes = {name: training.method(recipe) for name, recipe in training.recipes.items()}
    found = {name: (recipe, measure(data, recipe, validation=training.validation)) for name, recipe in recipes.items()}
    measured.keep(places, found)
    say(table({name: evaluation.figures for name, (_, evaluation) in found.items()}))


def analyze(places: Places, applied: Applied, say: Say) -> None:
    """What is in the data, and how well the next recipe would serve whom."""
    training = applied.config.training
    name, recipe = training.next, training.method(training.recipes[training.next])
    with _mending(places):
        window = observed.of_dataset(datasets.read(places.dataset), places.archive)
    quality = measured.of(places, window.dataset, recipe).model
    served = lists(load(places.trained(name), recipe), window.dataset.rows())
    figures = analysis.analyze(window, analysis.Judged(name, quality, analysis.lists_of(window, served.columns)))
    measured.write_json(places.analysis, figures)
    for plot, points in plotted(figures).items():
        measured.write_json(places.plots / f"{plot}.json", points)
    for sentence in summary(figures):
        say(sentence)


def publish(
    places: Places, applied: Applied, now: datetime, change: Change, say: Say, *, wait_s: float = WARM_WAIT_S
) -> Published:
    """The next version: published or refused; pushed to the remote, which takes the oldest; offered, or left to wait."""
    done = published(places, applied.config, now)
    measured.write_json(places.published, done.written())  # at once: what follows may be killed, the version is there
    say(done.says)
    offer_and_keep(places, applied, change, say, wait_s=wait_s)
    return done


def offer_and_keep(places: Places, applied: Applied, change: Change, say: Say, *, wait_s: float = WARM_WAIT_S) -> None:
    """What follows once a version is there. What cannot be done is said: versions serve without it, and the next run tries again."""
    try:
        if (told := offer(places, applied.config, change, wait_s=wait_s)) is not None:
            say(told.says)
    except (CanarecError, OSError) as error:
        say(f"not offered: {error}")
    try:
        keep(places, applied, change, say)
    except (CanarecError, OSError) as error:
        say(f"not in the remote yet, nothing more was removed: {error}")


def keep(places: Places, applied: Applied, change: Change, say: Say) -> None:
    """Pushes versions and removes the oldest, here and of the refused ones. Errors: those of `versions.keep`."""
    most = applied.config.retraining.versions_at_hand
    removed = versions.keep(places, lambda look: unmoved(change, look), most)
    versions.forget_refused(places, most)
    if removed:
        say(f"{', '.join(removed)}: in the remote only; `canarec models fetch {removed[-1]}` brings it back")


@contextmanager
def _mending(places: Places) -> Iterator[None]:
    """A file of the archive that turns out to be damaged is set aside: the next run of `archive` fills the hole. BadArtifact."""
    try:
        yield
    except Damaged as error:
        with tiles.alone(places.archive):
            raise tiles.set_aside(error) from error


def _recipe(applied: Applied, name: str) -> Recipe:
    recipes = applied.config.training.recipes
    if name not in recipes:
        raise UsageError(f"{name!r} is none of training.recipes: {', '.join(recipes)}")
    return recipes[name]


def _figures_before(places: Places) -> DataFigures | None:
    """The figures of the data of the newest version that has some."""
    for version in reversed(store.list_versions(places.models)):
        try:
            figures = store.read_metadata(places.models, version).data_version.get("figures")
        except BadArtifact:
            continue  # `canarec models verify` tells
        if figures is not None:
            return gate.recalled(figures)
    return None
