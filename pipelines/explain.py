"""Why a movie was recommended: which watched ones pulled it in. From the events below the recorded offsets and the stored model.

Reads as much of the event topics as the answer was made of, for one user, and computes with the model that answered.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models import wire
from models.config import Applied
from models.errors import BadArtifact, BadMessage
from models.events import Rating, Watch
from models.history import Histories
from models.ids import Ids
from models.recommenders import store
from streams.clients import Cluster, messages, partitions, watermarks
from streams.messages import kafka_ms, topic

Offsets = Mapping[str, Mapping[str, int]]  # topic → partition → next offset, as a provenance record has them


class Pull(NamedTuple):
    """What a watched movie adds to the score of a recommended one."""

    movie_id: str
    score: float


def history_of(cluster: Cluster, applied: Applied, user_id: str, offsets: Offsets) -> Histories:
    """The history that one user had when every event below the offsets, and no other, was known.

    BadArtifact where the topics no longer hold all of it.
    """
    watches, limits, histories = applied.topic("watch-events"), applied.config.events.limits(), Histories(Ids())
    mark = user_id.encode()
    for batch in messages(cluster, _ranges(cluster, offsets)):
        events: list[Watch | Rating] = []
        for message in batch:
            value = message.value()
            # Nearly all are of others: parse none that cannot name this user. An escape may hide the name.
            if value is None or (mark not in value and b"\\" not in value):
                continue
            parse = wire.watch if topic(message) == watches else wire.rating
            try:
                event = parse(value, kafka_ms(message), limits)
            except BadMessage:
                continue  # a dead letter of the worker
            if event.user_id == user_id:
                events.append(event)
        histories.apply(events)
    histories.finish_loading()
    return histories


def pulls(
    cluster: Cluster, applied: Applied, record: Mapping[str, Any], models: Path, *, most: int = 3
) -> dict[str, list[Pull]]:
    """For each movie of a personal list (a provenance record, status ok) the watched ones that added most, strongest first.

    Only what adds is named, and never the movie itself; a movie newer than the model has none. Errors: NoModel, BadArtifact (also where the model is not
    the one that answered).
    """
    model = store.read(models, str(record["model_version"]))
    if model.sha256 != record["model_sha256"]:
        raise BadArtifact(f"model {model.version} is not the one that answered: its checksum is another")
    histories = history_of(cluster, applied, str(record["user_id"]), record["history_offsets"])
    column_of = {movie_id: column for column, movie_id in enumerate(model.movie_ids)}
    watched = {histories.movie_ids.text(m) for m in histories.movies(str(record["user_id"])).tolist()}
    history = np.array(sorted(column_of[movie] for movie in watched if movie in column_of), np.int32)
    listed = [movie for movie in record["recommendations"] if movie in column_of]
    found: dict[str, list[Pull]] = {movie: [] for movie in record["recommendations"]}
    if not len(history) or not listed:
        return found
    added = model.recommender.explain(history, np.array([column_of[movie] for movie in listed], np.int32))
    for row, movie in enumerate(listed):
        adding = [
            Pull(model.movie_ids[column], float(score)) for column, score in zip(history, added[row], strict=True)
        ]
        adding = [pull for pull in adding if pull.score > 0 and pull.movie_id != movie]
        found[movie] = sorted(adding, key=lambda pull: -pull.score)[:most]
    return found


def _ranges(cluster: Cluster, offsets: Offsets) -> dict[tuple[str, int], tuple[int, int]]:
    consumer = cluster.consumer()
    try:
        ranges = {}
        for name, ends in offsets.items():
            there = partitions(consumer, name)
            for partition, after in ends.items():
                if int(partition) not in there:
                    raise BadArtifact(f"topic {name} has no partition {partition} any more")
                low, _ = watermarks(consumer, name, int(partition))
                if low > 0:
                    raise BadArtifact(f"topic {name}, partition {partition}: events before offset {low} are gone")
                ranges[name, int(partition)] = (0, after)
        return ranges
    finally:
        consumer.close()
