"""The simulator's history as a data set: what a first start without data publishes. Made by `models.simulated`, from a seed.

Published once, as `pipelines.once` has it. A cluster that already holds data of another origin is left as it is.
"""

from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from typing import cast

import msgspec

from models.config import Applied
from models.events import Rating, Watch
from models.simulated import MOVIES, USERS, history
from models.viewer import USUAL, Habits
from pipelines.movielens import Imported, Progress
from pipelines.once import HEADER, Headers, Once, Outgoing
from streams.clients import Cluster, messages, whole

_PARTS = {"movies": "movie-catalog", "profiles": "user-profiles", "watches": "watch-events", "ratings": "rating-events"}
_REPORT_EVERY = 5_000  # messages


def publish_history(
    cluster: Cluster,
    applied: Applied,
    seed: int,
    progress: Progress = lambda what, lines, share: None,
    *,
    n_users: int = USERS,
    n_movies: int = MOVIES,
    habits: Habits = USUAL,
) -> Imported:
    """Publishes the history of a seed: catalogue, profiles, watch and rating events. A second call changes nothing.

    Keys and times as an importer's; one that was stopped half-way goes on where it was. The topics must exist. CanarecError where
    Kafka refuses.
    """
    cluster.check()
    origin, imported = f"simulated-{seed}", Imported()
    if habits != USUAL:
        origin += f"-{sha256(repr(habits).encode()).hexdigest()[:8]}"
    once = Once(cluster, applied, origin)
    known = {what: once.finished(applied.topic(topic)) for what, topic in _PARTS.items()}
    if all(counts is not None for counts in known.values()):
        for what, counts in known.items():
            imported.published[what], imported.present[what] = 0, (counts or {})["messages"]
        return imported
    if _of_another_origin(cluster, applied, origin):
        return imported
    made = history(seed, n_users=n_users, n_movies=n_movies, habits=habits)
    records: dict[str, list[tuple[str, bytes]]] = {
        "movies": [(movie.movie_id, _json(movie)) for movie in made.movies],
        "profiles": [(profile.user_id, _json(profile)) for profile in made.profiles],
        "watches": [(event.user_id, _event(event)) for event in made.events if isinstance(event, Watch)],
        "ratings": [(event.user_id, _event(event)) for event in made.events if isinstance(event, Rating)],
    }
    for what, topic in _PARTS.items():
        if known[what] is not None:
            imported.published[what], imported.present[what] = 0, len(records[what])
            continue
        sent = once.send(applied.topic(topic), _counted(records[what], partial(progress, what)))
        imported.published[what], imported.present[what] = sent
        once.finish(applied.topic(topic), {"messages": sum(sent)})
    return imported


def _of_another_origin(cluster: Cluster, applied: Applied, origin: str) -> bool:
    """Whether the catalogue begins with a movie that this history did not publish, or there are events without a catalogue."""
    catalog = applied.topic("movie-catalog")
    consumer = cluster.consumer()
    try:
        ranges = whole(consumer, [catalog])
        if not ranges:
            return bool(whole(consumer, [applied.topic(topic) for topic in ("watch-events", "rating-events")]))
    finally:
        consumer.close()
    for batch in messages(cluster, ranges):
        mark = dict(cast(Headers, batch[0].headers() or ())).get(HEADER)
        return not (isinstance(mark, bytes) and mark.startswith(f"{origin}:".encode()))
    return False


def _counted(records: list[tuple[str, bytes]], progress: Callable[[int, float], None]) -> Iterator[Outgoing]:
    for line, (key, value) in enumerate(records, 1):
        if line % _REPORT_EVERY == 0:
            progress(line, line / len(records))
        yield Outgoing(line, key.encode(), value)
    progress(len(records), 1.0)


def _json(record: msgspec.Struct) -> bytes:
    return msgspec.json.encode(
        {name: value for name, value in msgspec.structs.asdict(record).items() if value is not None}
    )


def _event(event: Watch | Rating) -> bytes:
    fields = msgspec.structs.asdict(event)
    fields["timestamp"] = fields.pop("timestamp_ms")
    return msgspec.json.encode(fields)
