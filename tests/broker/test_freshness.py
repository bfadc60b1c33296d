"""The barrier: an answer waits for the events that were published before its request, and says when it could not."""

import json
import time
import uuid

import pytest


@pytest.fixture(scope="module")
def shop(installations):
    with installations(serving={"freshness_wait_ms": 5_000}) as installation:
        installation.publish_world()
        installation.start_worker()
        installation.ask("u0")
        yield installation


@pytest.fixture
def slow_watch(shop):
    """A watch that Kafka has acknowledged and no committed reader can see yet: its producer's transaction is open."""
    producer = shop.cluster.producer(transactional_id=f"slow-{uuid.uuid4().hex}")
    producer.init_transactions(30)
    producer.begin_transaction()

    def watch(user, movie):
        event = {"user_id": user, "movie_id": movie, "minute": 90, "timestamp": time.time()}
        producer.produce(shop.applied.topic("watch-events"), json.dumps(event), user)
        assert producer.flush(30) == 0
        return producer

    return watch


def test_an_answer_waits_until_the_events_before_its_request_can_be_read(shop, slow_watch):
    favourite = shop.ask("u3")["recommendations"][0]
    producer = slow_watch("u3", favourite)
    request_id = shop.request("u3")
    shop.flush()
    time.sleep(0.5)
    assert request_id not in {answer["request_id"] for answer in shop.committed("recommendations")}
    producer.commit_transaction(30)
    record = shop.records_of([request_id])[request_id]
    assert record["status"] == "ok"
    assert favourite not in record["recommendations"]
    assert record["latency_ms"] >= 500


def test_events_that_cannot_be_read_in_time_make_a_fallback_that_says_so(shop, slow_watch):
    producer = slow_watch("u4", "m000")
    record = shop.ask("u4")
    assert (record["status"], record["reason"]) == ("fallback", "history_behind")
    assert record["latency_ms"] >= 5_000
    producer.abort_transaction(30)
    assert shop.ask("u4")["status"] == "ok"
