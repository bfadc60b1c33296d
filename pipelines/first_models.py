"""The first models: the recipes of config.json, trained on what the event topics hold now.

Writes only versions that are not there yet; what serves is for the split to say.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from models import wire
from models.config import Applied
from models.errors import BadMessage, NoModel
from models.events import Rating, Watch
from models.recommenders import store
from models.recommenders.base import Progress
from models.recommenders.store import Model
from pipelines.dataset import Dataset
from pipelines.evaluate import table
from pipelines.train import train
from streams.clients import Cluster, messages, whole
from streams.messages import kafka_ms, topic


def missing(models: Path, applied: Applied) -> list[str]:
    """The recipes' versions that are not stored yet."""
    there = store.list_versions(models)
    return [version for version in applied.config.training.versions if version not in there]


def ensure(
    models: Path,
    cluster: Cluster,
    applied: Applied,
    *,
    progress: Callable[[str], Progress] = lambda version: lambda done, total: None,
) -> dict[str, Model]:
    """Trains what is missing, all on one data set; the new versions.

    Errors: NoModel where the topics hold no events, CanarecError where Kafka does not answer.
    """
    versions = missing(models, applied)
    if not versions:
        return {}
    dataset = collect(cluster, applied)
    if not len(dataset):
        raise NoModel("nothing to train from: the event topics are empty (`canarec import movielens FOLDER`)")
    training = applied.config.training
    return {
        version: train(
            dataset,
            training.method(training.versions[version]),
            version,
            models,
            progress=progress(version),
        )
        for version in versions
    }


def report(models: Path, versions: list[str]) -> str:
    """The evaluation of stored versions that have one, beside popularity, as a table."""
    found = {version: dict(store.read_metadata(models, version).evaluation) for version in versions}
    return table({version: figures for version, figures in found.items() if figures})


def collect(cluster: Cluster, applied: Applied) -> Dataset:
    """Every good event of the topics as they end now, committed ones only; bad ones are the stream's dead letters."""
    watches, ratings, profiles = (applied.topic(n) for n in ("watch-events", "rating-events", "user-profiles"))
    limits = applied.config.events.limits()
    reader = cluster.consumer()
    try:
        ranges = whole(reader, (watches, ratings, profiles))
    finally:
        reader.close()
    users: list[str] = []
    movies: list[str] = []
    stars: list[float] = []
    times: list[int] = []
    genders: dict[str, str] = {}
    for some in messages(cluster, ranges):
        for message in some:
            value = message.value()
            try:
                if topic(message) == profiles:
                    profile = wire.profile(value) if value is not None else None
                    user_id = profile.user_id if profile else wire.key_id(message.key())
                    genders.pop(user_id, None)  # deleted or unknown now, whatever it was
                    if profile and profile.gender is not None:
                        genders[user_id] = profile.gender
                    continue
                if topic(message) == ratings:
                    rating = wire.rating(value, kafka_ms(message), limits)
                    stars.append(rating.rating)
                    event: Watch | Rating = rating
                else:
                    event = wire.watch(value, kafka_ms(message), limits)
                    stars.append(float("nan"))
            except BadMessage:
                continue
            users.append(event.user_id)
            movies.append(event.movie_id)
            times.append(event.timestamp_ms)
    called = {watches: "watch-events", ratings: "rating-events", profiles: "user-profiles"}
    offsets: dict[str, dict[str, list[int]]] = {name: {} for name in called.values()}
    for (topic_, partition), (first, after) in sorted(ranges.items()):
        offsets[called[topic_]][str(partition)] = [first, after]
    return Dataset.from_events(
        users, movies, np.array(stars, np.float64), np.array(times, np.int64), offsets=offsets, genders=genders
    )
