"""How good the serving version's lists have been since then: live hits, and watches that it predicts from what was known before them.

Reads topics and archive and measures with `models`; what follows from it is for `models.retraining`. Bounded: the newest ANSWERS answers,
and as many watches as are handed in.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from confluent_kafka import TopicPartition

from models.config import Applied
from models.ids import Ids
from models.measures import prequential
from models.measures.prequential import Predicted
from models.news import New
from models.recommenders.base import Rows
from models.recommenders.store import Model
from models.wire import UNREADABLE
from pipelines.past import WATCHES, Ranges, events_of, watches
from streams.clients import Cluster, messages, partitions, watermarks
from streams.messages import kafka_ms

ANSWERS = 100_000  # the newest, in all partitions together
PLACES = 10  # of a list: a watch of one of them is a hit
_RECOMMENDATIONS = "recommendations"


class _Answer(msgspec.Struct):
    """What of an answer says whether it was followed."""

    user_id: str | None = None
    status: str = ""
    model_version: str | None = None
    variant: str | None = None
    recommendations: list[str] = []


def live_hits(cluster: Cluster, applied: Applied, version: str, *, since_ms: int, now_ms: int) -> list[float]:
    """hit@10 of each personal list of the stable version since then whose horizon has passed, in the order of the answers.

    1 where one of its first ten movies was watched within `metrics.horizon_s`. An answer's time is the broker's, a watch's as for every
    other hit rate: `models.measures.feedback.watched_ms`.
    """
    horizon_ms = 1_000 * applied.config.metrics.horizon_s
    of_user: dict[str, list[tuple[int, int]]] = {}  # (when, number of the answer)
    shown: list[tuple[int, tuple[int, ...]]] = []
    ids = Ids()
    for some in messages(cluster, _since(cluster, applied.topic(_RECOMMENDATIONS), since_ms, ANSWERS)):
        for message in some:
            try:
                answer = msgspec.json.decode(message.value() or b"", type=_Answer)
            except UNREADABLE:
                continue  # no answer of ours
            at_ms = kafka_ms(message)
            ours = (answer.status, answer.variant, answer.model_version) == ("ok", "stable", version)
            if ours and answer.user_id is not None and at_ms + horizon_ms <= now_ms:
                of_user.setdefault(answer.user_id, []).append((at_ms, len(shown)))
                shown.append((at_ms, tuple(ids.indices(answer.recommendations[:PLACES]))))
    hit = np.zeros(len(shown))
    if shown:
        ranges = _since(cluster, applied.topic(WATCHES), min(at_ms for at_ms, _ in shown))
        for seen in watches(cluster, applied, ranges):
            movie = ids.get(seen.movie_id)
            for at_ms, number in of_user.get(seen.user_id, ()):
                if at_ms <= seen.at_ms < at_ms + horizon_ms and movie in shown[number][1]:
                    hit[number] = 1.0
    in_order = sorted(range(len(shown)), key=lambda number: shown[number][0])
    return [float(hit[number]) for number in in_order]


def predicted(
    cluster: Cluster,
    applied: Applied,
    archive: Path,
    model: Model,
    samples: Sequence[Sequence[New]],
    *,
    below: Ranges,
    above: Ranges,
) -> list[Predicted]:
    """For each sample of new interactions the NDCG with which the model predicts them, each from the events before it.

    below, above: the ranges of the version's data, and of all that came since. Left out: what the user had seen before, since nobody
    recommends it, and who had seen nothing that the model knows.
    """
    column_of = {movie_id: column for column, movie_id in enumerate(model.movie_ids)}
    whose = frozenset(event.user_id for sample in samples for event in sample)
    seen: dict[str, dict[str, int]] = {
        user_id: {} for user_id in whose
    }  # movie → since when, −1 before all that is new
    for events in events_of(cluster, applied, below, archive, whose):
        for event in events:
            seen[event.user_id][event.movie_id] = -1
    for events in events_of(cluster, applied, above, archive, whose):
        for event in events:
            movies = seen[event.user_id]
            movies[event.movie_id] = min(event.at_ms, movies.get(event.movie_id, event.at_ms))
    return [_predicted(model, column_of, sample, seen) for sample in samples]


def _predicted(
    model: Model, column_of: Mapping[str, int], sample: Sequence[New], seen: Mapping[str, Mapping[str, int]]
) -> Predicted:
    histories, watched, whose = [], [], []
    numbers: dict[str, int] = {}
    for event in sample:
        movies = seen[event.user_id]
        if movies.get(event.movie_id, event.at_ms) < event.at_ms:
            continue
        before = [column_of[m] for m, at_ms in movies.items() if at_ms < event.at_ms and m in column_of]
        if before:
            histories.append(sorted(before))
            watched.append(column_of.get(event.movie_id, -1))
            whose.append(numbers.setdefault(event.user_id, len(numbers)))
    ndcg = prequential.ndcg(model.recommender, Rows.of(histories), np.array(watched, np.int32))
    return Predicted(ndcg, np.array(whose, np.int64))


def _since(
    cluster: Cluster, name: str, since_ms: int, most: int | None = None
) -> dict[tuple[str, int], tuple[int, int]]:
    """The messages of a topic from a time on, of each partition its newest share of `most`."""
    consumer = cluster.consumer()
    try:
        numbers = partitions(consumer, name)
        asked = [TopicPartition(name, partition, max(0, since_ms)) for partition in numbers]
        found = {}
        for place in consumer.offsets_for_times(asked, timeout=10):
            if place.offset < 0:
                continue  # nothing since
            low, end = watermarks(consumer, name, place.partition)
            first = max(low, place.offset, end - (most // len(numbers) if most is not None else end))
            if first < end:
                found[name, place.partition] = (first, end)
        return found
    finally:
        consumer.close()
