"""Synthetic users on the topics: they ask, read their answer, choose, watch, rate and say how content they are.

Who asks and what they do with a list is `models.viewer`'s: from a seed, request by request, whatever the answers' order. Here:
an open loop (who is due asks, answered or not), on one thread, in bounded memory.
"""

import json
import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from models import wire
from models.config import Applied
from models.errors import BadMessage, UsageError
from models.events import Movie, Rating, Watch
from models.history import Histories
from models.ids import Ids
from models.viewer import Person, choose, fan, genre_shares, person, who_asks
from streams.ask import catalog
from streams.clients import Cluster, high_watermarks, messages, whole

MOST_USERS = 100_000  # that a crowd is drawn from
NEWEST_EVENTS = 1_000_000  # that tastes are read from
MOST_WAITING = 50_000  # requests that an answer is waited for; the oldest are given up
PATIENCE_S = 3.0  # for the last answers
SHOW_EVERY_S = 1.0


@dataclass(slots=True)
class Crowd:
    """Who asks: the users that the topics know, by id, with what they watched when this was read."""

    movies: dict[str, Movie]
    users: Sequence[str]
    genders: dict[str, str | None]
    histories: Histories
    shares: dict[str, float]  # of genres in the catalogue
    newcomers: bool = True

    def person(self, seed: int, user_id: str) -> Person:
        """A user whose taste fits what they watched; the seed's where that is too little."""
        watched = (self.movies.get(self.histories.movie_ids.text(m)) for m in self.histories.movies(user_id).tolist())
        known = [movie for movie in watched if movie is not None]
        return fan(user_id, self.genders.get(user_id), known, self.shares, seed=seed)


def crowd(cluster: Cluster, applied: Applied, users: Sequence[str] | None = None) -> Crowd:
    """The crowd that the topics know, or of the given users only. Reads profiles, catalogue and the newest events once."""
    watches, ratings, profiles = (applied.topic(name) for name in ("watch-events", "rating-events", "user-profiles"))
    limits, histories = applied.config.events.limits(), Histories(Ids())
    genders: dict[str, str | None] = {}
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
    histories.finish_loading()
    movies = catalog(cluster, applied)
    if users is None:
        watched = (histories.user_ids.text(number) for number in range(histories.users))
        known = sorted({*genders, *watched})
        known = known[:: -(-len(known) // MOST_USERS)] if len(known) > MOST_USERS else known
    return Crowd(
        movies, known if users is None else users, genders, histories, genre_shares(movies.values()), users is None
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


@dataclass(slots=True)
class Counts:
    """What has happened so far."""

    asked: int = 0
    answered: int = 0
    fallbacks: int = 0
    rejected: int = 0
    selections: int = 0
    watched: int = 0
    rated: int = 0
    given_up: int = 0  # requests whose answer was not waited for any longer
    failed: int = 0  # messages that Kafka did not take
    latency_ms: deque[float] = field(
        default_factory=lambda: deque(maxlen=1_000)
    )  # of the newest answers, since they were due

    def line(self) -> str:
        shown = self.answered - self.rejected
        latency = f", median {np.median(self.latency_ms):.0f} ms" if self.latency_ms else ""
        lost = f", {self.failed} not taken by Kafka" if self.failed else ""
        return (
            f"asked {self.asked:,}, answered {self.answered:,} ({_percent(self.fallbacks, self.answered)} fallback, "
            f"{self.rejected} rejected), click-through {_percent(self.selections, shown)}, "
            f"watched {self.watched:,}, rated {self.rated:,}{latency}{lost}"
        )


def _percent(part: int, whole_: int) -> str:
    return f"{100 * part / whole_:.1f} %" if whole_ else "–"


class _Answered(msgspec.Struct):
    """What a user sees of an answer."""

    request_id: str
    status: str
    recommendations: list[str]


@dataclass(frozen=True, slots=True)
class _Asked:
    number: int
    user_id: str
    due: float


class Simulation:
    """One run. `run` may be told to end by the event that it is handed; nothing else is shared with other threads."""

    def __init__(self, cluster: Cluster, applied: Applied, crowd: Crowd, *, rate: float, seed: int) -> None:
        self.counts = Counts()
        self._cluster, self._applied, self._crowd, self._rate, self._seed = cluster, applied, crowd, rate, seed
        # Repeated ids are not answered again: the decisions come from the seed, the ids do not.
        self._run_id = secrets.token_hex(4)
        self._waiting: OrderedDict[str, _Asked] = OrderedDict()
        self._introduced: OrderedDict[str, None] = OrderedDict()
        self._person = lru_cache(maxsize=10_000)(self._make_person)
        self._limits = applied.config.events.limits()
        self._topics = {
            name: applied.topic(name)
            for name in (
                *("recommendation-requests", "recommendation-feedback", "watch-events", "rating-events"),
                "user-profiles",
            )
        }

    def run(
        self,
        ending: threading.Event,
        seconds: float | None = None,
        show: Callable[[Counts], None] = lambda counts: None,
    ) -> Counts:
        """Asks until `ending`, or for so many seconds and then waits a little for the last answers."""
        answers = self._applied.topic("recommendations")
        self._consumer = self._cluster.consumer(fetch_wait_max_ms=50)
        self._producer = self._cluster.producer(linger_ms=5, acks="all")
        try:
            ends = high_watermarks(self._consumer, answers)
            self._consumer.assign([TopicPartition(answers, partition, end) for partition, end in ends.items()])
            self._loop(ending, seconds, show)
        finally:
            self._producer.flush(5)
            self._consumer.close()
        return self.counts

    def _loop(self, ending: threading.Event, seconds: float | None, show: Callable[[Counts], None]) -> None:
        gaps = np.random.default_rng([self._seed, 2**32])
        begun = shown = time.monotonic()
        until = float("inf") if seconds is None else begun + seconds
        due, number = begun, 0
        while not ending.is_set():
            now = time.monotonic()
            while due <= now and due < until:
                self._ask(number, due)
                number += 1
                due += gaps.exponential(1 / self._rate)
            if due >= until and (not self._waiting or now > until + PATIENCE_S) and now >= until:
                break
            if now - shown >= SHOW_EVERY_S:
                shown = now
                show(self.counts)
            self._take(max(0.001, min(0.05, due - now)) if due < until else 0.05)
            self._producer.poll(0)

    def _ask(self, number: int, due: float) -> None:
        found = who_asks(self._seed, number, len(self._crowd.users), newcomers=self._crowd.newcomers)
        if isinstance(found, str):
            user_id = found
            self._introduce(user_id)
        else:
            user_id = self._crowd.users[found]
        request_id = f"sim-{self._run_id}-{number}"
        self._send("recommendation-requests", user_id, {"request_id": request_id, "user_id": user_id})
        self._waiting[request_id] = _Asked(number, user_id, due)
        self.counts.asked += 1
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
            self.counts.given_up += 1

    def _introduce(self, user_id: str) -> None:
        """Publishes the profile of a new user, once."""
        if user_id in self._introduced:
            return
        self._introduced[user_id] = None
        if len(self._introduced) > MOST_USERS:
            self._introduced.popitem(last=False)
        if user_id not in self._crowd.genders:
            self._send("user-profiles", user_id, msgspec.structs.asdict(self._person(user_id).profile()))

    def _make_person(self, user_id: str) -> Person:
        if user_id.startswith(f"sim-{self._seed}-"):
            return person(self._seed, user_id)  # also when they have watched in another run: the seed's users
        return self._crowd.person(self._seed, user_id)

    def _take(self, wait_s: float) -> None:
        first = self._consumer.poll(wait_s)
        for message in [] if first is None else [first, *self._consumer.consume(1_000, 0)]:
            if (error := message.error()) is not None:
                if error.fatal():
                    raise KafkaException(error)
                continue
            try:
                answer = msgspec.json.decode(message.value() or b"", type=_Answered)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue  # no answer of ours
            asked = self._waiting.pop(answer.request_id, None)
            if asked is not None:
                self._react(asked, answer)

    def _react(self, asked: _Asked, answer: _Answered) -> None:
        counts = self.counts
        counts.answered += 1
        counts.fallbacks += answer.status == "fallback"
        counts.latency_ms.append(1000 * (time.monotonic() - asked.due))
        if answer.status == "rejected":
            counts.rejected += 1
            return
        slate = [self._crowd.movies.get(movie) for movie in answer.recommendations]
        choice = choose(slate, self._person(asked.user_id), np.random.default_rng([self._seed, asked.number, 1]))
        now = wire.rfc3339(int(time.time() * 1000))
        selected = None if choice.place is None else answer.recommendations[choice.place]
        self._send(
            "recommendation-feedback",
            asked.user_id,
            {
                "request_id": answer.request_id,
                "user_id": asked.user_id,
                "selected": selected,
                "satisfaction": round(choice.satisfaction, 3),
                "timestamp": now,
            },
        )
        if selected is None:
            return
        counts.selections += 1
        counts.watched += 1
        what = {"user_id": asked.user_id, "movie_id": selected, "timestamp": now}
        self._send("watch-events", asked.user_id, {**what, "minute": min(choice.minute, self._limits.minute_max)})
        if choice.stars is not None:
            counts.rated += 1
            stars = min(self._limits.rating_max, max(self._limits.rating_min, choice.stars))
            self._send("rating-events", asked.user_id, {**what, "rating": stars})

    def _send(self, topic: str, key: str, fields: dict[str, Any]) -> None:
        try:
            self._producer.produce(
                self._topics[topic],
                json.dumps(fields, ensure_ascii=False).encode(),
                key.encode(),
                on_delivery=self._delivered,
            )
        except BufferError:  # Kafka has been away for long: the loop stays open, what does not fit is counted
            self.counts.failed += 1

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self.counts.failed += error is not None
