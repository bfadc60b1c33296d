"""What this worker knows: every user's history, the profiles and the catalogue, read from the topics; and the barrier.

Each worker reads all partitions without a group, so the partition an event came in by does not matter and any worker can take
over any request at once. What is refused here is skipped: the agents on the same topics write the dead letters.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec
import numpy as np
import structlog
from confluent_kafka import KafkaException, Message

from models import wire
from models.answer import Cut
from models.catalog import Catalog
from models.config import Applied
from models.erasure import HEADER
from models.errors import BadArtifact, BadMessage
from models.events import Movie, Profile, Rating, Watch
from models.history import Histories, Ids
from streams import metrics, snapshots
from streams.clients import Cluster
from streams.messages import Place, headers, kafka_ms, source
from streams.tail import Ends, Followed, Identity, Tail, Unchanged

log = structlog.get_logger()
T = TypeVar("T")

SNAPSHOT_EVERY_S = 60
SNAPSHOT_EVENTS = 50_000  # fewer new events than this are quicker read again than written down


class Known:
    """Histories, profiles and catalogue with the offsets they were made from. One lock, the tail's, guards them all."""

    def __init__(self, cluster: Cluster, applied: Applied, folder: Path, *, on_fatal: Callable[[], None]) -> None:
        self.ids = Ids()  # of movies: shared by histories, catalogue and models
        self.histories = Histories(self.ids)
        self.profiles: dict[str, Profile] = {}
        self.movies: dict[str, Movie] = {}
        self.catalog_changes = 0
        self.applied_events = 0
        self._folder, self._limits = folder, applied.config.events.limits()
        self.wait_s = applied.config.serving.freshness_wait_ms / 1000
        self._shown_events = -1
        self._saved_events, self._saved_at = 0, -float(SNAPSHOT_EVERY_S)
        self._events = tuple(applied.topic(name) for name in ("watch-events", "rating-events"))
        self.live = False  # what came before the start is history, not an outcome
        self.watched: list[Callable[[Sequence[Watch | Rating]], None]] = []
        follow = {
            self._events[0]: Followed(self._parse_watches, self._apply_events),
            self._events[1]: Followed(self._parse_ratings, self._apply_events),
            applied.topic("user-profiles"): Followed(_parse_profiles, self._apply_profiles),
            applied.topic("movie-catalog"): Followed(_parse_movies, self._apply_movies),
        }
        self.tail = Tail(cluster, follow, name="histories", starts=self._restore, on_fatal=on_fatal)
        self.event_topics = Unchanged(self.tail, self._events)
        self._event_places = [place for place in self.tail.places if place[0] in self._events]

    # -- the barrier ------------------------------------------------------------------------------

    def ends(self) -> "Asked":
        """Asked for after a batch's last request was consumed: what was acknowledged before the request is below."""
        return Asked(dict(self.tail.positions), self.tail.ends(self._event_places))

    def caught_up(self, asked: "Asked") -> bool:
        """Waits, `freshness_wait_ms` at most, until every event below the ends is in the histories."""
        begun = time.monotonic()
        try:
            targets = asked.ends.settled(self.wait_s)
        except (KafkaException, TimeoutError) as error:
            log.warning("the ends of the event topics are unknown", error=str(error))
            return False
        if any(end < asked.positions[place] for place, end in targets.items()):
            log.warning(
                "an event topic ends before what was read of it: it was made anew, or its broker has just come back"
            )
            return False
        reached = self.tail.wait(targets, begun + self.wait_s)
        metrics.FRESHNESS.observe(time.monotonic() - begun)
        return reached

    def cut(self, user_ids: Sequence[str], *, behind: bool = False) -> Cut:
        """The users' histories and the offsets they were made from, in one critical section."""
        with self.tail.lock:
            indptr, movies = self.histories.batch(user_ids)
            sizes = np.diff(indptr).tolist()
            known = [size > 0 or user in self.profiles for user, size in zip(user_ids, sizes, strict=True)]
            offsets = self._offsets()
        return Cut(indptr, movies, known, msgspec.Raw(msgspec.json.encode(offsets)), behind)

    def _offsets(self) -> dict[str, dict[str, int]]:
        offsets: dict[str, dict[str, int]] = {topic: {} for topic in self._events}
        for topic, partition in self._event_places:
            offsets[topic][str(partition)] = self.tail.positions[topic, partition]
        return offsets

    # -- the fold ---------------------------------------------------------------------------------

    def _parse_watches(self, messages: list[Message]) -> list[Watch | Rating]:
        return _parsed(messages, lambda m: wire.watch(m.value(), kafka_ms(m), self._limits))

    def _parse_ratings(self, messages: list[Message]) -> list[Watch | Rating]:
        return _parsed(messages, lambda m: wire.rating(m.value(), kafka_ms(m), self._limits))

    def _apply_events(self, events: list[Watch | Rating]) -> None:
        self.histories.apply(events)
        self.applied_events += len(events)
        if self.live:
            for listener in self.watched:
                listener(events)

    def _apply_profiles(self, changes: "list[tuple[str, Profile | Gone]]") -> None:
        for user_id, profile in changes:
            if isinstance(profile, Profile):
                self.profiles[user_id] = profile
                continue
            self.profiles.pop(user_id, None)
            # At a start the topics and snapshots were erased already, and what is there of the user came later.
            if profile.erased and self.live:
                self.histories.forget(user_id)

    def _apply_movies(self, changes: "list[tuple[str, Movie | Gone]]") -> None:
        for movie_id, movie in changes:
            if isinstance(movie, Gone):
                self.movies.pop(movie_id, None)
            else:
                self.ids.index(movie_id)
                self.movies[movie_id] = movie
        self.catalog_changes += len(changes)

    def catalog(self) -> tuple[int, Catalog]:
        """The catalogue of this moment, and the count of changes that it is made of."""
        with self.tail.lock:
            changes, movies = self.catalog_changes, list(self.movies.values())
        return changes, Catalog.of(movies, self.ids)

    # -- life -------------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Reads the topics to their present end; from here on events are applied as they come."""
        begun = time.monotonic()
        self.tail.start()
        self.tail.catch_up(lambda left: log.info("reading histories", messages_left=left))
        with self.tail.lock:
            self.histories.finish_loading()
            self.live = True
        log.info("histories read", events=self.applied_events, seconds=round(time.monotonic() - begun, 2))

    def show(self) -> None:
        """Sets the gauges; counting the interactions of millions takes a tenth of a second, so only when they changed."""
        if self.applied_events == self._shown_events:
            return
        with self.tail.lock:
            metrics.USERS.set(self.histories.users)
            metrics.INTERACTIONS.set(self.histories.n_interactions)
            self._shown_events = self.applied_events

    # -- the local snapshot -----------------------------------------------------------------------

    def _restore(self, tail: Tail) -> dict[Place, int]:
        """The histories as a snapshot has them, and where the topics go on behind it; nothing where none fits.

        The worker's own snapshot, or else the home's, of the archive: topics that were cut (`canarec erase`) begin in the middle.
        """
        found = None
        for folder in (self._folder, self._folder.parent / snapshots.SEED):
            snapshot = snapshots.load(folder)
            if snapshot is None:
                continue
            found = found or tail.identities(self._events)
            if (why := self._mismatch(snapshot, found)) is None:
                try:
                    self.histories = Histories.from_arrays(snapshot.arrays, self.ids)
                except BadArtifact as error:
                    why = str(error)
            if why is None:
                return self._restored(snapshot)
            log.warning("snapshot not used", folder=str(folder), why=why)
            if folder == self._folder:
                snapshots.drop(folder)
        return {}

    def _mismatch(self, snapshot: snapshots.Snapshot, found: Mapping[str, Identity]) -> str | None:
        for topic in self._events:
            cut, now = snapshot.topics.get(topic), found[topic]
            if cut is None:
                return f"{topic} is not in the snapshot"
            why = snapshots.mismatch(cut, snapshots.made_by(now.id, self._limits), now.lows, now.ends)
            if why is not None:
                return f"{topic}: {why}"
        return None

    def _restored(self, snapshot: snapshots.Snapshot) -> dict[Place, int]:
        log.info("snapshot restored", users=self.histories.users, interactions=self.histories.n_interactions)
        return {
            (topic, partition): cut.next_offset
            for topic, topic_cut in snapshot.topics.items()
            for partition, cut in topic_cut.partitions.items()
        }

    def save_if_worth(self) -> None:
        """Writes a snapshot when enough has changed since the last one."""
        new = self.applied_events - self._saved_events
        if new >= SNAPSHOT_EVENTS and time.monotonic() - self._saved_at > SNAPSHOT_EVERY_S:
            self.save()

    def save(self) -> None:
        """Writes a snapshot; one that cannot be written costs nothing but the time of the next start."""
        try:
            identities = self.tail.identities(self._events, timeout_s=2)
        except (KafkaException, TimeoutError) as error:
            log.warning("no snapshot now", error=str(error))
            return
        with self.tail.lock:
            frozen, events = self.histories.freeze(), self.applied_events
            cuts = {
                topic: snapshots.TopicCut(
                    {
                        partition: snapshots.PartitionCut(
                            self.tail.positions[topic, partition], identity.lows[partition]
                        )
                        for partition in identity.lows
                    },
                    snapshots.made_by(identity.id, self._limits),
                )
                for topic, identity in identities.items()
            }
        try:
            snapshots.save(self._folder, frozen.columns(), cuts)
            metrics.SNAPSHOTS.labels("saved").inc()
        except OSError as error:
            metrics.SNAPSHOTS.labels("failed").inc()
            log.error("snapshot not written", error=str(error))
        self._shown_events = -1
        self._saved_events, self._saved_at = events, time.monotonic()


class Gone(NamedTuple):
    """A tombstone. `erased`: nothing at all of the user may stay."""

    erased: bool = False


class Asked(NamedTuple):
    """The ends of the event topics that were asked for, and how far the reader was then."""

    positions: dict[Place, int]
    ends: Ends


def _parsed(messages: list[Message], parse: Callable[[Message], Watch | Rating]) -> list[Watch | Rating]:
    events = []
    for message in messages:
        try:
            events.append(parse(message))
        except BadMessage:
            continue  # a dead letter of the agent on this topic
        except Exception:  # the agent's dead letter says internal_error
            log.exception("an event cannot be read", **msgspec.structs.asdict(source(message)))
    return events


def _parse_profiles(messages: list[Message]) -> "list[tuple[str, Profile | Gone]]":
    return _changes(messages, wire.profile, lambda profile: profile.user_id)


def _parse_movies(messages: list[Message]) -> "list[tuple[str, Movie | Gone]]":
    return _changes(messages, wire.movie, lambda movie: movie.movie_id)


def _changes(
    messages: list[Message], parse: Callable[[bytes | None], T], id_of: Callable[[T], str]
) -> "list[tuple[str, T | Gone]]":
    changes: list[tuple[str, T | Gone]] = []
    for message in messages:
        try:
            if message.value() is None:
                changes.append((wire.key_id(message.key()), Gone(HEADER in dict(headers(message)))))
            else:
                record = parse(message.value())
                changes.append((id_of(record), record))
        except BadMessage:
            continue  # a dead letter of the agent on this topic
        except Exception:  # the agent's dead letter says internal_error
            log.exception("a record cannot be read", **msgspec.structs.asdict(source(message)))
    return changes
