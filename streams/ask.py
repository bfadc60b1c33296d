"""One question and its answer, as any client of the topics has it: no group, nothing left behind. Also the catalogue as it is."""

import contextlib
import json
import time
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from models import wire
from models.config import Applied
from models.errors import BadMessage, CanarecError
from models.events import Movie
from models.wire import UNREADABLE
from streams.clients import Cluster, high_watermarks, messages, whole


class _About(msgspec.Struct):
    request_id: str | None = None


class NoAnswer(CanarecError):
    """A request got no answer in time."""


class Reply(NamedTuple):
    """An answer as it came, and its provenance record where that was asked for."""

    answer: bytes
    record: bytes | None


def ask(cluster: Cluster, applied: Applied, request: Mapping[str, Any], timeout_s: float = 15) -> dict[str, Any]:
    """Publishes a request and waits for its answer. NoAnswer where none comes in time.

    `request` is what `recommendation-requests` holds; a `request_id` is made up where it has none.
    """
    answer: dict[str, Any] = json.loads(reply(cluster, applied, request, timeout_s).answer)
    return answer


def reply(
    cluster: Cluster,
    applied: Applied,
    request: Mapping[str, Any],
    timeout_s: float = 15,
    *,
    with_record: bool = False,
) -> Reply:
    """The same, byte for byte as the topics carry it."""
    request_id = str(request.get("request_id") or uuid.uuid4())
    until = time.monotonic() + timeout_s
    answers, records = applied.topic("recommendations"), applied.topic("provenance")
    consumer = cluster.consumer(fetch_wait_max_ms=20)
    try:
        # The ends from before the request: the answer cannot lie below.
        ends = [
            TopicPartition(topic, partition, end)
            for topic in ((answers, records) if with_record else (answers,))
            for partition, end in high_watermarks(consumer, topic, max(1.0, timeout_s)).items()
        ]
        consumer.assign(ends)
        _publish(cluster, applied, {**request, "request_id": request_id}, until)
        found: dict[str, bytes] = {}
        while answers not in found or (with_record and records not in found):
            topic, value = _next(consumer, request_id, until)
            found[topic] = value
        return Reply(found[answers], found.get(records))
    except TimeoutError:
        raise NoAnswer(
            f"no answer to request {request_id} within {timeout_s:g} s: is a worker running? `canarec worker` starts one"
        ) from None
    finally:
        consumer.close()


def catalog(cluster: Cluster, applied: Applied) -> dict[str, Movie]:
    """The movies of the catalogue by id."""
    movies: dict[str, Movie] = {}
    consumer = cluster.consumer()
    try:
        ranges = whole(consumer, [applied.topic("movie-catalog")])
    finally:
        consumer.close()
    for batch in messages(cluster, ranges):
        for message in batch:
            try:
                if message.value() is None:
                    movies.pop(wire.key_id(message.key()), None)
                else:
                    movie = wire.movie(message.value())
                    movies[movie.movie_id] = movie
            except BadMessage:
                continue  # a dead letter of the worker
    return movies


def _publish(cluster: Cluster, applied: Applied, request: Mapping[str, Any], until: float) -> None:
    failed: list[KafkaError] = []
    # Not idempotent: that takes half a second to begin with, and a request that is sent twice is answered once.
    producer = cluster.producer(linger_ms=0, acks="all", enable_idempotence=False)
    producer.produce(
        applied.topic("recommendation-requests"),
        json.dumps(request, ensure_ascii=False).encode(),
        str(request.get("user_id", "")).encode(),
        on_delivery=lambda error, _: failed.append(error) if error is not None else None,
    )
    if producer.flush(max(0.1, until - time.monotonic())):
        producer.purge()
        raise CanarecError(f"Kafka at {cluster.bootstrap_servers} did not take the request in time")
    if failed:
        raise CanarecError(f"Kafka did not take the request: {failed[0].str()}")


def _next(consumer: Consumer, request_id: str, until: float) -> tuple[str, bytes]:
    """The next message about this request; TimeoutError."""
    while (left := until - time.monotonic()) > 0:
        message = consumer.poll(left)
        if message is None:
            break
        if (error := message.error()) is not None:
            if error.fatal():
                raise KafkaException(error)
            continue
        value = message.value() or b""
        with contextlib.suppress(*UNREADABLE):  # what others write there is not ours to judge
            if msgspec.json.decode(value, type=_About).request_id == request_id:
                return str(message.topic()), value
    raise TimeoutError
