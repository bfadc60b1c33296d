"""What the live page shows, kept up to date by one reader, however many pages are open. Counting is `models.live`'s."""

import contextlib
import threading
import time
from collections.abc import Callable, Mapping
from operator import itemgetter
from typing import Any

import msgspec
from confluent_kafka import Message, TopicPartition

from models import wire
from models.config import Applied
from models.errors import BadMessage
from models.events import Feedback, Movie, Profile, Watch
from models.live import FOLLOWED, HISTORIES, MOST_OF_HISTORY, STREAMS, TABLES, Answered, Live, Parity
from models.measures.reports import FAIRNESS
from models.wire import UNREADABLE, Limits
from streams.clients import Cluster, watermarks
from streams.messages import Place, kafka_ms, offset, partition
from streams.shown import in_words
from streams.tail import Followed, Tail

BACK_S = 900  # of answers and what became of them, before the start
MOST_BACK = 10_000  # of each partition
LATE_MS = 2_000  # so long messages of a partition may be behind another's
MOST_PENDING = 200_000

_At = tuple[int, int, int, int]  # the broker's time, the topic's rank, partition, offset
_Event = Answered | Feedback | Watch | Parity | dict[str, Any]


class Followers:
    """The reader and what it has made of the topics. `turn` now and then, from one thread at a time."""

    def __init__(self, cluster: Cluster, applied: Applied, *, on_fatal: Callable[[], None]) -> None:
        self._limits = applied.config.events.limits()
        self._names, metrics = {name: applied.topic(name) for name in FOLLOWED}, applied.config.metrics
        self._live = Live(1_000 * metrics.horizon_s, metrics.group_users_min, since_ms=_now_ms() - 1_000 * BACK_S)
        self._lock = threading.Lock()  # of the state
        self._pending: list[tuple[_At, _Event]] = []
        self._targets: Mapping[Place, int] | None = None  # until all of it was read once
        self._cluster = cluster
        self._tail = Tail(
            cluster,
            {real: self._followed(name) for name, real in self._names.items()},
            name="live",
            starts=self._starts,
            at_leisure=True,
            on_fatal=on_fatal,
        )

    def start(self) -> None:
        self._targets = self._tail.ends(committed=True).get(30)
        self._tail.start()

    def stop(self) -> None:
        self._tail.stop(patience_s=1)

    def turn(self, *, show: bool) -> dict[str, bytes]:
        """Takes in what has come, in order of time; the page's parts as JSON where they are wanted."""
        now_ms = _now_ms()
        with self._tail.lock:
            if self._targets is not None and all(self._tail.positions[p] >= end for p, end in self._targets.items()):
                self._targets = None
            if self._targets is None or len(self._pending) > MOST_PENDING:
                self._pending.sort(key=itemgetter(0))
                ready, self._pending = self._pending, []
            else:
                ready = []
        with self._lock:
            for (at_ms, *_), event in ready:
                self._add(at_ms, event)
            if self._targets is None:
                self._live.reach(now_ms - LATE_MS)
            return _parts(self._live) if show else {}

    def of_user(self, user_id: str, most: int) -> list[dict[str, Any]]:
        """The newest answers to a user, of those that are remembered."""
        with self._lock:
            return [worded(answer) for answer in self._live.answers(user_id, most)]

    def _add(self, at_ms: int, event: _Event) -> None:
        match event:
            case Answered():
                self._live.answered(event, at_ms)
            case Feedback():
                self._live.said(event, at_ms)
            case Watch():
                self._live.watched(event, at_ms)
            case Parity():
                self._live.compared(event)
            case {"training": told}:
                self._live.trained(told, at_ms)
            case {"release": told}:
                self._live.told(told, at_ms)

    # -- on the reader's thread -------------------------------------------------------------------

    def _starts(self, tail: Tail) -> dict[Place, int]:
        """Histories: the newest. Streams: from a while ago, not too many. Tables, which are compacted: whole."""
        consumer = self._cluster.consumer()
        try:
            histories, streams = ({self._names[name] for name in names} for names in (HISTORIES, STREAMS))
            found = {
                place: watermarks(consumer, *place)[1] - MOST_OF_HISTORY
                for place in tail.places
                if place[0] in histories
            }
            at_ms = _now_ms() - 1_000 * BACK_S
            asked = [TopicPartition(*place, at_ms) for place in tail.places if place[0] in streams]
            for at in consumer.offsets_for_times(asked, timeout=30):
                end = watermarks(consumer, at.topic, at.partition)[1]
                found[at.topic, at.partition] = max(at.offset if at.offset >= 0 else end, end - MOST_BACK)
            return {place: max(0, first) for place, first in found.items()}
        finally:
            consumer.close()

    def _followed(self, name: str) -> Followed:
        if name in TABLES:
            return Followed(_profiles if name == TABLES[0] else _movies, self._table)
        rank, parse = FOLLOWED.index(name), self._parser(name)

        def parsed(messages: list[Message]) -> list[tuple[_At, _Event]]:
            found = []
            for message in messages:
                # what others write there is not ours to judge, and what is refused is a dead letter of the worker
                with contextlib.suppress(*UNREADABLE, BadMessage):
                    at = (kafka_ms(message), rank, partition(message), offset(message))
                    found.append((at, parse(message)))
            return found

        return Followed(parsed, self._pend)

    def _parser(self, name: str) -> Callable[[Message], _Event]:
        limits: Limits = self._limits
        parsers: dict[str, Callable[[Message], _Event]] = {
            "provenance": lambda message: msgspec.json.decode(message.value() or b"", type=Answered),
            "recommendation-feedback": lambda message: wire.feedback(message.value()),
            "watch-events": lambda message: wire.watch(message.value(), kafka_ms(message), limits),
            FAIRNESS: lambda message: msgspec.json.decode(message.value() or b"", type=Parity),
            "canary-events": lambda message: {"release": msgspec.json.decode(message.value() or b"")},
            "retraining-events": lambda message: {"training": msgspec.json.decode(message.value() or b"")},
        }
        return parsers[name]

    def _pend(self, found: list[tuple[_At, _Event]]) -> None:
        self._pending += found

    def _table(self, found: list[Profile | Movie | tuple[str, str]]) -> None:
        with self._lock:
            for each in found:
                match each:
                    case Profile():
                        self._live.profile(each)
                    case Movie():
                        self._live.movies[each.movie_id] = each
                    case ("user", gone):
                        self._live.forget(gone)
                    case ("movie", gone):
                        self._live.movies.pop(gone, None)


def worded(answer: Mapping[str, Any]) -> dict[str, Any]:
    """An answer with its reason in words."""
    return {**answer, "why": in_words(answer)}


def _parts(live: Live) -> dict[str, bytes]:
    parts: dict[str, Any] = {
        "split": live.split(),
        "arms": live.arms(),
        "verdict": live.verdict(),
        "parity": live.parity(),
        "answers": [worded(answer) for answer in live.answers()],
        "trainings": live.trainings(),
        "releases": live.releases(),
    }
    return {name: msgspec.json.encode(part) for name, part in parts.items()}


def _profiles(messages: list[Message]) -> list[Profile | tuple[str, str]]:
    found: list[Profile | tuple[str, str]] = []
    for message in messages:
        with contextlib.suppress(BadMessage):  # a dead letter of the worker
            value = message.value()
            found.append(("user", wire.key_id(message.key())) if value is None else wire.profile(value))
    return found


def _movies(messages: list[Message]) -> list[Movie | tuple[str, str]]:
    found: list[Movie | tuple[str, str]] = []
    for message in messages:
        with contextlib.suppress(BadMessage):  # a dead letter of the worker
            value = message.value()
            found.append(("movie", wire.key_id(message.key())) if value is None else wire.movie(value))
    return found


def _now_ms() -> int:
    return int(time.time() * 1_000)
