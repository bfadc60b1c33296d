"""Faust's own ways to lose an event, each walked into on purpose: on our path nothing is lost and nothing is answered twice.

In Faust 0.15.3 an exception in an agent acknowledges the event and restarts the agent; one in a `take()` body acknowledges the
whole batch; a decode error is acknowledged and then thrown into the agent; a failed commit still moves the offset.
"""

import json
from pathlib import Path

import pytest

from models.topics import PARTITIONS

FLAKY = str(Path(__file__).with_name("flaky_worker.py"))
NAME = "flaky"  # of that worker


@pytest.fixture(scope="module")
def shop(installations):
    """An installation whose only worker fails when it is told to; small batches, so that several wait at once."""
    with installations(serving={"batch_size": 2}) as installation:
        installation.publish_world()
        installation.start_worker(script=FLAKY)
        installation.ask("u1")
        yield installation


def wave(shop, user, size=40):
    """Requests of this user among those of others, in all partitions."""
    asked = [
        shop.request(user if number == size // 2 else f"u{number % 40}", partition=number % PARTITIONS)
        for number in range(size)
    ]
    shop.flush()
    return asked


def closed(shop):
    """How often the worker has begun again at the committed offsets."""
    return shop.logs().count("session closed")


def answered_once(shop, asked):
    """Each of these requests has exactly one answer and one record, also once everything behind them was answered."""
    shop.records_of(asked)
    shop.records_of([shop.request("u1", partition=partition) for partition in range(PARTITIONS)])
    for topic in ("recommendations", "provenance"):
        found = [value["request_id"] for value in shop.everything(topic)]
        assert {request_id: found.count(request_id) for request_id in asked} == dict.fromkeys(asked, 1)


def test_an_exception_in_the_agent_loses_no_request(shop):
    before = closed(shop)
    asked = wave(shop, "fails-1")
    shop.wait(lambda: "scoring raises for fails-1" in shop.logs(), "the exception")
    asked += wave(shop, "u1")  # the agent goes on with what comes
    answered_once(shop, asked)
    assert closed(shop) > before


def test_an_exception_in_the_agent_loses_no_request_even_if_nothing_follows(shop):
    asked = [shop.request("fails-2")]
    shop.flush()
    answered_once(shop, asked)
    assert "scoring raises for fails-2" in shop.logs()


def test_an_exception_while_several_batches_are_scored_at_once_loses_none_of_them(shop):
    asked = []

    def raised():
        asked.extend(wave(shop, "fails-together", 80))
        return "scoring raises for fails-together" in shop.logs()

    shop.wait(raised, "an exception with several batches in hand")
    answered_once(shop, asked)


def test_a_commit_that_fails_moves_no_offset(shop):
    """Another client takes the worker's transactional ids, as a second worker of its name would: its commits are fenced."""
    before, group = closed(shop), shop.applied.group("requests")
    usurpers = [
        shop.cluster.producer(transactional_id=f"{group}-{NAME}-{number}", transaction_timeout_ms=5_000)
        for number in range(3)
    ]
    for usurper in usurpers:
        usurper.init_transactions(30)
    asked = wave(shop, "u1")
    answered_once(shop, asked)
    assert closed(shop) > before


@pytest.mark.parametrize("topic", ["user-profiles", "recommendation-requests", "watch-events", "movielog"])
def test_what_no_codec_can_decode_stops_no_agent(shop, topic):
    """The same partition: first what cannot be decoded, key and value, then what can, and both are dead letters."""
    first = shop.publish(topic, b"\xff\xfe\x80", b"\xff\xfe", 3)
    second = shop.publish(topic, b"{}", b"k", 3)
    shop.flush()
    places = [{"topic": shop.applied.topic(topic), **place} for place in (first, second)]

    def refused():
        found = [letter for letter in shop.committed("dead-letters") if letter["source"] in places]
        return found if len(found) >= 2 else None

    reasons = [letter["reason"] for letter in shop.wait(refused, "two dead letters")]
    assert sorted(reasons) == sorted(["not_utf8", "unknown_line" if topic == "movielog" else "missing_field"])
    request = {"request_id": f"behind what {topic} cannot decode", "user_id": "u1"}
    shop.publish("recommendation-requests", json.dumps(request).encode(), b"\xff\xfe", 3)  # nobody reads the key
    shop.flush()
    answered_once(shop, [request["request_id"]])
