"""Who asks: the users that the topics know, what they watched, and the catalogue that they know. Read once, from any client's side."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Message

from models import wire
from models.config import Applied
from models.errors import BadMessage, UsageError
from models.events import Movie, Rating, Watch
from models.history import Histories
from models.ids import Ids
from models.viewer import USUAL, Habits, Person, fan, genre_shares, renown
from streams.ask import catalog
from streams.clients import Cluster, messages, whole

MOST_USERS = 100_000  # that a crowd is drawn from
NEWEST_EVENTS = 1_000_000  # that tastes are read from


@dataclass(slots=True)
class Crowd:
    """Who asks: the users that the topics know, by id, with what they watched when this was read."""

    movies: dict[str, Movie]
    users: Sequence[str]
    genders: dict[str, str | None]
    histories: Histories
    shares: dict[str, float]  # of genres in the catalogue
    newcomers: bool = True  # whether others may come, too
    renowned: Mapping[str, float] = field(default_factory=dict)  # `renown`'s, by movie

    def person(self, seed: int, user_id: str, habits: Habits = USUAL) -> Person:
        """A user whose taste fits what they watched; the seed's where that is too little."""
        known = [movie for name in self.seen(user_id) if (movie := self.movies.get(name)) is not None]
        return fan(user_id, self.genders.get(user_id), known, self.shares, seed=seed, habits=habits)

    def seen(self, user_id: str) -> list[str]:
        """The movies that this user had watched or rated."""
        return [self.histories.movie_ids.text(movie) for movie in self.histories.movies(user_id).tolist()]


def crowd(cluster: Cluster, applied: Applied, users: Sequence[str] | None = None) -> Crowd:
    """The crowd that the topics know, or of the given users only. Reads profiles, catalogue and the newest events once."""
    watches, ratings, profiles = (applied.topic(name) for name in ("watch-events", "rating-events", "user-profiles"))
    limits, histories = applied.config.events.limits(), Histories(Ids())
    genders: dict[str, str | None] = {}
    watched: Counter[str] = Counter()
    consumer = cluster.consumer()
    try:
        ranges = whole(consumer, [watches, ratings, profiles])
    finally:
        consumer.close()
    most = NEWEST_EVENTS // max(1, sum(topic != profiles for topic, _ in ranges))
    for (topic, partition), (first, after) in ranges.items():
        if topic != profiles:
            ranges[topic, partition] = (max(first, after - most), after)
    for batch in messages(cluster, ranges):
        events: list[Watch | Rating] = []
        for message in batch:
            try:
                if message.topic() == profiles:
                    _apply_profile(message, genders)
                elif message.topic() == watches:
                    events.append(wire.watch(message.value(), message.timestamp()[1], limits))
                else:
                    events.append(wire.rating(message.value(), message.timestamp()[1], limits))
            except BadMessage:
                continue  # a dead letter of the worker
        histories.apply(events)
        watched.update(event.movie_id for event in events)
    histories.finish_loading()
    movies = catalog(cluster, applied)
    if users is None:
        known = sorted({*genders, *(histories.user_ids.text(number) for number in range(histories.users))})
        known = known[:: -(-len(known) // MOST_USERS)] if len(known) > MOST_USERS else known
    popular = {name: movie.popularity for name, movie in movies.items() if movie.popularity is not None}
    return Crowd(
        movies,
        known if users is None else users,
        genders,
        histories,
        genre_shares(movies.values()),
        newcomers=users is None,
        renowned=renown(popular or {name: float(watched[name]) for name in movies}),
    )


def _apply_profile(message: Message, genders: dict[str, str | None]) -> None:
    if message.value() is None:
        genders.pop(wire.key_id(message.key()), None)
    else:
        profile = wire.profile(message.value())
        genders[profile.user_id] = profile.gender


def user_ids(text: str) -> list[str]:
    """The users that `--users` names: a range as 1-610, or a file with an id a line. UsageError for what is neither.

    >>> user_ids("7-9")
    ['7', '8', '9']
    """
    if found := re.fullmatch(r"(\d{1,12})-(\d{1,12})", text):
        first, last = int(found[1]), int(found[2])
        if last < first:
            raise UsageError(f"--users: {text}: the range ends before it begins")
        if last - first >= MOST_USERS:
            raise UsageError(f"--users: {text}: more than {MOST_USERS:,} users")
        return [str(number) for number in range(first, last + 1)]
    try:
        with Path(text).open() as file:
            found_ids = file.read(MOST_USERS * 257).split("\n")[: MOST_USERS + 1]  # a device has no end
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--users: {text}: neither a range as 1-610 nor a file of ids ({error})") from None
    ids = [line.strip() for line in found_ids if line.strip()]
    if not ids:
        raise UsageError(f"--users: {text}: not one id in it")
    return ids
