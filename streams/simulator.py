"""Synthetic users on the topics: they ask, read their answer, choose, watch, rate and say how content they are.

Who asks and what they do with a list is `models.viewer`'s, when they come `models.traffic`'s: from a seed, request by request, whatever
the answers' order. Here: an open loop (who is due asks, answered or not), on one thread, in bounded memory.
"""

import json
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition

from models import movielog, wire
from models.config import Applied, Simulator
from models.events import Rating, Watch
from models.traffic import arrivals, drift_at
from models.viewer import (
    Choice,
    Habits,
    Person,
    bot_choice,
    choose,
    drifted,
    fashion,
    is_bot,
    is_newcomer,
    person,
    who_asks,
)
from models.wire import UNREADABLE
from streams.clients import Cluster, high_watermarks
from streams.crowd import MOST_USERS, Crowd

MOST_WAITING = 50_000  # requests that an answer is waited for; the oldest are given up
PATIENCE_S = 3.0  # for the last answers
SHOW_EVERY_S = 1.0
HOST = "canarec:8082"  # in the lines of answers


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
    bots: int = 0  # requests of theirs, all of which are among the others
    lines: int = 0  # to `movielog`
    damaged: int = 0  # of these
    given_up: int = 0  # requests whose answer was not waited for any longer
    failed: int = 0  # messages that Kafka did not take
    latency_ms: deque[float] = field(
        default_factory=lambda: deque(maxlen=1_000)
    )  # of the newest answers, since they were due

    def line(self) -> str:
        shown = self.answered - self.rejected
        latency = f", median {np.median(self.latency_ms):.0f} ms" if self.latency_ms else ""
        bots = f", {self.bots:,} by bots" if self.bots else ""
        lines = f", {self.lines:,} lines, {self.damaged:,} of them damaged" if self.lines else ""
        lost = f", {self.failed} not taken by Kafka" if self.failed else ""
        return (
            f"asked {self.asked:,}{bots}, answered {self.answered:,} ({_percent(self.fallbacks, self.answered)} fallback, "
            f"{self.rejected} rejected), click-through {_percent(self.selections, shown)}, "
            f"watched {self.watched:,}, rated {self.rated:,}{lines}{latency}{lost}"
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
    at_s: float  # the same, since the start


@dataclass(frozen=True, slots=True)
class _User:
    """Somebody, and what they have watched, in this run, too."""

    person: Person
    seen: set[str]


class Simulation:
    """One run. `run` may be told to end by the event that it is handed; nothing else is shared with other threads."""

    def __init__(self, cluster: Cluster, applied: Applied, crowd: Crowd, chosen: Simulator) -> None:
        self.counts = Counts()
        self._cluster, self._applied, self._crowd, self._chosen = cluster, applied, crowd, chosen
        self._seed, self._habits, self._fashion = chosen.seed, Habits.of(chosen), fashion(chosen.seed)
        # Repeated ids are not answered again: the decisions come from the seed, the ids do not.
        self._run_id = secrets.token_hex(4)
        self._waiting: OrderedDict[str, _Asked] = OrderedDict()
        self._introduced: OrderedDict[str, None] = OrderedDict()
        self._user = lru_cache(maxsize=10_000)(self._make_user)
        self._limits = applied.config.events.limits()
        self._topics = {
            name: applied.topic(name)
            for name in (
                *("recommendation-requests", "recommendation-feedback", "watch-events", "rating-events"),
                *("user-profiles", "movielog"),
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
        coming = arrivals(self._chosen, np.random.default_rng([self._seed, 2**32]))
        begun = shown = time.monotonic()
        until = float("inf") if seconds is None else begun + seconds
        due, number = begun + next(coming), 0
        while not ending.is_set():
            now = time.monotonic()
            while due <= now and due < until:
                self._ask(number, due, due - begun)
                number += 1
                due = begun + next(coming)
            if due >= until and (not self._waiting or now > until + PATIENCE_S) and now >= until:
                break
            if now - shown >= SHOW_EVERY_S:
                shown = now
                show(self.counts)
            self._take(max(0.001, min(0.05, due - now)) if due < until else 0.05)
            self._producer.poll(0)

    def _ask(self, number: int, due: float, at_s: float) -> None:
        found = who_asks(
            self._seed,
            number,
            len(self._crowd.users),
            newcomers=self._chosen.newcomers if self._crowd.newcomers else 0.0,
            bots=self._chosen.bots,
            numeric=self._chosen.movielog,
        )
        user_id = found if isinstance(found, str) else self._crowd.users[found]
        if is_bot(self._seed, user_id):
            self.counts.bots += 1
        elif isinstance(found, str):
            self._introduce(user_id, number)
        request_id = f"sim-{self._run_id}-{number}"
        self._send("recommendation-requests", user_id, {"request_id": request_id, "user_id": user_id})
        self._waiting[request_id] = _Asked(number, user_id, due, at_s)
        self.counts.asked += 1
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
            self.counts.given_up += 1

    def _introduce(self, user_id: str, number: int) -> None:
        """Publishes the profile of a new user, once."""
        if user_id in self._introduced:
            return
        self._introduced[user_id] = None
        if len(self._introduced) > MOST_USERS:
            self._introduced.popitem(last=False)
        if user_id not in self._crowd.genders:
            self._send("user-profiles", user_id, msgspec.structs.asdict(self._user(user_id).person.profile()))
            if self._chosen.movielog:
                self._line(movielog.AccountCreated(user_id, _now_ms()), np.random.default_rng([self._seed, number, 4]))

    def _make_user(self, user_id: str) -> _User:
        seen = set(self._crowd.seen(user_id))
        if is_newcomer(self._seed, user_id):
            made = person(
                self._seed, user_id, self._habits
            )  # also when they have watched in another run: the seed's users
        else:
            made = self._crowd.person(self._seed, user_id, self._habits)
        return _User(made, seen)

    def _take(self, wait_s: float) -> None:
        first = self._consumer.poll(wait_s)
        for message in [] if first is None else [first, *self._consumer.consume(1_000, 0)]:
            if (error := message.error()) is not None:
                if error.fatal():
                    raise KafkaException(error)
                continue
            try:
                answer = msgspec.json.decode(message.value() or b"", type=_Answered)
            except UNREADABLE:
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
        user, choice = self._chosen_by(asked, answer)
        now_ms, damage = _now_ms(), np.random.default_rng([self._seed, asked.number, 3])
        selected = None if choice.place is None else answer.recommendations[choice.place]
        if self._chosen.movielog:
            listed = tuple(answer.recommendations)
            self._line(
                movielog.Result(asked.user_id, HOST, 200, listed, None, round(counts.latency_ms[-1]), now_ms), damage
            )
        self._send(
            "recommendation-feedback",
            asked.user_id,
            {
                "request_id": answer.request_id,
                "user_id": asked.user_id,
                "selected": selected,
                "satisfaction": round(choice.satisfaction, 3),
                "timestamp": wire.rfc3339(now_ms),
            },
        )
        if selected is None:
            return
        counts.selections += 1
        user.seen.add(selected)
        if choice.minute:  # a bot only praises
            counts.watched += 1
            self._event(Watch(asked.user_id, selected, min(choice.minute, self._limits.minute_max), now_ms), damage)
        if choice.stars is not None:
            counts.rated += 1
            stars = min(self._limits.rating_max, max(self._limits.rating_min, choice.stars))
            self._event(Rating(asked.user_id, selected, stars, now_ms), damage)

    def _chosen_by(self, asked: _Asked, answer: _Answered) -> tuple[_User, Choice]:
        user = self._user(asked.user_id)
        slate = [self._crowd.movies.get(movie) for movie in answer.recommendations]
        if is_bot(self._seed, asked.user_id):
            return user, bot_choice(slate)
        who = drifted(user.person, self._fashion, drift_at(self._chosen.drift, asked.at_s))
        rng = np.random.default_rng([self._seed, asked.number, 1])
        return user, choose(slate, who, rng, self._habits, seen=user.seen, renowned=self._crowd.renowned)

    def _event(self, event: Watch | Rating, rng: np.random.Generator) -> None:
        """As a line where lines are chosen and can say it: they know users by whole numbers only."""
        if self._chosen.movielog and self._line(event, rng):
            return
        fields = msgspec.structs.asdict(event)
        fields["timestamp"] = wire.rfc3339(fields.pop("timestamp_ms"))
        self._send("watch-events" if isinstance(event, Watch) else "rating-events", event.user_id, fields)

    def _line(self, record: movielog.Record, rng: np.random.Generator) -> bool:
        """Whether a line can say this; then it is sent, now and then with a stray character."""
        try:
            line = movielog.encode(record)
        except ValueError:
            return False
        if rng.random() < self._chosen.damage:
            line = movielog.damaged(line, rng)
            self.counts.damaged += 1
        self.counts.lines += 1
        self._produce("movielog", record.user_id, line)
        return True

    def _send(self, topic: str, key: str, fields: dict[str, Any]) -> None:
        self._produce(topic, key, json.dumps(fields, ensure_ascii=False).encode())

    def _produce(self, topic: str, key: str, value: bytes) -> None:
        try:
            self._producer.produce(self._topics[topic], value, key.encode(), on_delivery=self._delivered)
        except BufferError:  # Kafka has been away for long: the loop stays open, what does not fit is counted
            self.counts.failed += 1

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self.counts.failed += error is not None


def _now_ms() -> int:
    return int(time.time() * 1000)
