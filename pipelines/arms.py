"""Both arms of a split so far, from the topics: provenance, feedback, watches, profiles, and when the trial began.

Bounded: the newest answers only, and nothing older than they are. Counting is models.release.arms'.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from models import wire
from models.config import Applied
from models.errors import BadMessage
from models.events import Feedback
from models.release.arms import At, Served, Standing, arms, began
from models.wire import UNREADABLE
from pipelines import past
from streams.clients import Cluster, messages, partitions, watermarks, whole
from streams.messages import Place, kafka_ms, place

DAY_MS = 86_400_000
AT_MOST = 250_000  # answers, about half a gigabyte of records

Ranges = Mapping[Place, tuple[int, int]]
Parsed = TypeVar("Parsed")


def standing(
    cluster: Cluster,
    applied: Applied,
    *,
    now_ms: int,
    since_ms: int | None = None,
    at_most: int = AT_MOST,
    looking: Callable[[str], None] = lambda topic: None,
) -> Standing:
    """Both arms since `since_ms`; without it, since these versions are in the split, at most a day.

    At most about `at_most` answers: of more the newest, and the rest of the figures begins where they begin. `looking` is told
    which topic is read.
    """
    consumer = cluster.consumer()
    try:
        if since_ms is None:
            looking("canary-events")
            since_ms = max(now_ms - DAY_MS, _began(cluster, consumer, applied) or 0)
        provenance = applied.topic("provenance")
        ranges = _since(consumer, provenance, since_ms)
        newest = _newest(ranges, at_most)
        looking("provenance")
        answers, firsts = _answers(cluster, newest)
        left_out = [of for of in newest if newest[of] != ranges[of]]
        if left_out:  # where one partition has no older answers, those of the others are left out, too
            since_ms = max(since_ms, *(firsts.get(of, 0) for of in left_out))
            answers = [answer for answer in answers if answer.at_ms >= since_ms]
        feedback = _since(consumer, applied.topic("recommendation-feedback"), since_ms)
        watches = _since(consumer, applied.topic("watch-events"), since_ms)
        profiles = whole(consumer, [applied.topic("user-profiles")])
    finally:
        consumer.close()
    users = {answer.served.user_id for answer in answers}
    looking("user-profiles")
    genders = _genders(cluster, profiles)
    looking("recommendation-feedback and watch-events")
    found = arms(
        applied.config.canary,
        answers,
        _feedback(cluster, feedback),
        (seen for seen in past.watches(cluster, applied, watches) if seen.user_id in users),
        genders=genders,
        horizon_ms=1000 * applied.config.metrics.horizon_s,
        now_ms=now_ms,
    )
    return Standing(found, since_ms, now_ms, bool(left_out))


class _Versions(msgspec.Struct):
    stable: str
    candidate: str | None


class _Told(msgspec.Struct):
    event: str = ""
    to: _Versions | None = None


def _began(cluster: Cluster, consumer: Consumer, applied: Applied) -> int | None:
    """Since when these versions are in the split, as far as `canary-events` tells."""
    told = []
    for message in _all(cluster, whole(consumer, [applied.topic("canary-events")])):
        to = _decoded(message, _Told)
        if to is not None and to.to is not None and to.event != "shadow":  # which may be told when it has ended
            told.append((kafka_ms(message), to.to.stable, to.to.candidate))
    return began(told, applied.config.canary)


def _since(consumer: Consumer, topic: str, at_ms: int) -> dict[Place, tuple[int, int]]:
    """From the first message of that time or later to the end, of each partition that has one."""
    asked = [TopicPartition(topic, partition, at_ms) for partition in partitions(consumer, topic)]
    ranges = {}
    for found in consumer.offsets_for_times(asked, timeout=30):
        end = watermarks(consumer, topic, found.partition)[1]
        if 0 <= found.offset < end:
            ranges[topic, found.partition] = (found.offset, end)
    return ranges


def _newest(ranges: Ranges, at_most: int) -> dict[Place, tuple[int, int]]:
    """The newest of each partition, each with its part of `at_most`. Control records count, so it is somewhat fewer."""
    total = sum(after - first for first, after in ranges.values())
    if total <= at_most:
        return dict(ranges)
    return {
        of: (max(first, after - max(1, at_most * (after - first) // total)), after)
        for of, (first, after) in ranges.items()
    }


def _answers(cluster: Cluster, ranges: Ranges) -> tuple[list[At], dict[Place, int]]:
    """The answers, and the time of the first one of each partition."""
    answers: list[At] = []
    firsts: dict[Place, int] = {}
    for message in _all(cluster, ranges):
        firsts.setdefault(place(message), kafka_ms(message))
        served = _decoded(message, Served)
        if served is not None:
            served.recommendations = [sys.intern(movie) for movie in served.recommendations]  # 20 of few, many times
            answers.append(At(kafka_ms(message), served))
    return answers, firsts


def _feedback(cluster: Cluster, ranges: Ranges) -> Iterator[tuple[int, Feedback]]:
    for message in _all(cluster, ranges):
        try:
            yield kafka_ms(message), wire.feedback(message.value())
        except BadMessage:
            continue  # a dead letter of the worker


def _genders(cluster: Cluster, ranges: Ranges) -> dict[str, str | None]:
    genders: dict[str, str | None] = {}
    for message in _all(cluster, ranges):
        try:
            if message.value() is None:
                genders.pop(wire.key_id(message.key()), None)
            else:
                profile = wire.profile(message.value())
                genders[profile.user_id] = profile.gender
        except BadMessage:
            continue  # a dead letter of the worker
    return genders


def _all(cluster: Cluster, ranges: Ranges) -> Iterator[Message]:
    for batch in messages(cluster, ranges):
        yield from batch


def _decoded(message: Message, kind: type[Parsed]) -> Parsed | None:
    """What others write there is not ours to judge: None."""
    try:
        return msgspec.json.decode(message.value() or b"", type=kind)
    except UNREADABLE:
        return None
