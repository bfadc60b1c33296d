"""`canarec dead-letters` with a real worker: listed, shown, published again as they were, and not too often."""

import json
import time

import pytest
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

from models.dead_letters import ORIGIN, REPLAYS
from streams.cli import main

DAY_S = 86_400
AHEAD_S = 3  # so long an event from the future stays one
OWN_HEADERS = [("trace", b"\x00\xff"), ("trace", b"2"), ("schema", b"9")]
BROKEN = b'{"user_id": "u1", "movie_id": "m001", "minute": \xff\x00'


def run(shop, *arguments):
    """The exit code of a command."""
    options = ("--home", str(shop.home.path), "--bootstrap-servers", shop.cluster.bootstrap_servers)
    try:
        main(["dead-letters", *arguments, *options])
    except SystemExit as ended:
        return ended.code
    return 0


def lines(shop, capsys, *arguments):
    assert run(shop, *arguments, "--json") == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def refused(shop, place, topic):
    """The place of the dead letter of a message."""

    def found():
        for message, letter in shop.messages("dead-letters"):
            if letter["source"] == {"topic": shop.applied.topic(topic), **place}:
                return f"{message.partition()}:{message.offset()}"
        return None

    return shop.wait(found, f"the dead letter of {topic} {place}")


def died(shop, topic, value, **fields):
    place = shop.publish(topic, value, **fields)
    shop.flush()
    return refused(shop, place, topic)


def published_again(shop, topic, letter):
    """The messages that descend from a dead letter, in order."""
    origin = letter.replace(":", "-").encode()
    return [m for m, _ in shop.all_messages(topic) if dict(m.headers() or []).get(ORIGIN) == origin]


def test_a_letter_is_listed_by_reason_topic_and_time(shop, capsys):
    place = died(shop, "watch-events", BROKEN)
    partition, offset = map(int, place.split(":"))
    topic = shop.applied.topic("watch-events")

    def places(*options):
        return [(each["partition"], each["offset"]) for each in lines(shop, capsys, "list", *options)]

    assert (partition, offset) in places("--reason", "not_utf8", "--topic", "watch-events", "--since", "10m")
    assert (partition, offset) in places("--topic", topic)
    assert places("--reason", "bad_n") == []
    assert places("--topic", "user-profiles") == []  # other tests, which may come first, have letters of other topics
    assert places("--until", "10m") == []
    assert len(places("--limit", "1")) == 1


def test_the_screen_counts_the_reasons(shop, capsys):
    died(shop, "watch-events", BROKEN)
    assert run(shop, "list", "--reason", "not_utf8") == 0
    assert f"not_utf8 in {shop.applied.topic('watch-events')}" in capsys.readouterr().out


def test_a_letter_is_shown_with_payload_error_source_key_and_headers(shop, capsys):
    value = b'{"user_id": "u1", "movie_id": "m001", "rating": 77, "timestamp": 1700000000, "note": "\x1b[31m"}'
    place = died(shop, "rating-events", value.replace(b"\x1b", b"\\u001b"), key="u1", headers=OWN_HEADERS)
    (found,) = lines(shop, capsys, "show", place)
    assert found["payload"].encode() == value.replace(b"\x1b", b"\\u001b")
    assert (found["reason"], found["key"], found["source"]["topic"]) == (
        "bad_rating",
        "u1",
        shop.applied.topic("rating-events"),
    )
    assert found["headers"] == [
        {"name": "trace", "value": "AP8=", "value_encoding": "base64"},
        {"name": "trace", "value": "2"},
        {"name": "schema", "value": "9"},
    ]


def test_the_original_bytes_come_out_raw(shop, capsysbinary):
    place = died(shop, "watch-events", BROKEN)
    assert run(shop, "show", place, "--raw") == 0
    assert capsysbinary.readouterr().out == BROKEN


def test_nothing_on_the_screen_is_obeyed_by_a_terminal(shop, capsys):
    place = died(shop, "movielog", b"\x1b]0;owned\x07 not a line")
    assert run(shop, "show", place) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_a_place_without_a_letter_is_exit_4(shop, capsys):
    assert run(shop, "show", "0:999999") == 4
    assert run(shop, "show", "77:0") == 4
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_what_is_right_by_now_is_published_again_as_it_was_and_taken(shop, capsys):
    at = time.time() + DAY_S + AHEAD_S
    value = json.dumps({"user_id": "late", "movie_id": "m001", "minute": 3, "timestamp": at}).encode()
    place = died(shop, "watch-events", value, key="late", partition=2, headers=OWN_HEADERS)
    time.sleep(max(0.0, at - DAY_S - time.time()) + 0.5)
    assert run(shop, "replay", "--reason", "future_event") == 0
    assert f"{place} future_event" in capsys.readouterr().out
    (message,) = published_again(shop, "watch-events", place)
    assert (message.value(), message.key(), message.partition()) == (value, b"late", 2)
    assert message.headers() == [*OWN_HEADERS, (ORIGIN, place.replace(":", "-").encode()), (REPLAYS, b"1")]
    assert shop.ask("late")["status"] == "ok"  # its history is known
    assert run(shop, "replay", "--reason", "future_event") == 0  # once is enough
    assert len(published_again(shop, "watch-events", place)) == 1


def test_what_dies_again_carries_the_count_on_up_to_the_limit(shop, capsys):
    value = b'{"user_id": "u1", "movie_id": "m001", "rating": 88, "timestamp": 1700000000}'
    first = died(shop, "rating-events", value)
    newest = first
    for time_ in (1, 2, 3):
        (told,) = [
            each
            for each in lines(shop, capsys, "replay", "--reason", "bad_rating", "--topic", "rating-events")
            if each["published"] and each["origin"] == first
        ]
        assert told["replays"] == time_
        message = published_again(shop, "rating-events", first)[-1]
        newest = refused(shop, {"partition": message.partition(), "offset": message.offset()}, "rating-events")
    (shown,) = lines(shop, capsys, "show", newest)
    assert (shown["replays"], shown["origin"], shown["payload"].encode()) == (3, first, value)
    for place in (first, newest):
        assert run(shop, "replay", place) == 1
        assert "the limit is 3" in capsys.readouterr().err
    assert len(published_again(shop, "rating-events", first)) == 3
    assert run(shop, "replay", newest, "--max-attempts", "4") == 0


def test_a_dry_run_publishes_nothing(shop, capsys):
    place = died(shop, "watch-events", BROKEN)
    assert run(shop, "replay", place, "--dry-run") == 0
    assert "would be published again" in capsys.readouterr().out
    assert published_again(shop, "watch-events", place) == []


def test_a_named_place_that_has_no_letter_is_an_error_and_nothing_is_published(shop, capsys):
    place = died(shop, "watch-events", BROKEN)
    assert run(shop, "replay", place, "0:999999") == 1
    assert "no dead letter at 0:999999" in capsys.readouterr().err
    assert published_again(shop, "watch-events", place) == []


@pytest.mark.parametrize("gone", [False, True], ids=["there", "gone"])
def test_a_payload_that_was_left_out_is_read_where_it_was_refused(installations, capsysbinary, gone):
    """The worker learns at its start how large a dead letter may be."""
    with installations() as shop:
        setting = [ConfigEntry("max.message.bytes", "20000", incremental_operation=AlterConfigOpType.SET)]
        resource = ConfigResource(ResourceType.TOPIC, shop.applied.topic("dead-letters"), incremental_configs=setting)
        admin = shop.cluster.admin()
        for altered in admin.incremental_alter_configs([resource]).values():
            altered.result(30)
        shop.publish_world()
        shop.start_worker()
        value = b"[" + b"7" * 30_000 + b"]"
        place = died(shop, "watch-events", value, key="u1", partition=1, headers=OWN_HEADERS)
        if gone:
            from confluent_kafka import TopicPartition

            end = [TopicPartition(shop.applied.topic("watch-events"), 1, -1)]
            for cut in admin.delete_records(end).values():
                cut.result(30)
            assert run(shop, "show", place, "--raw") == 1
            assert b"gone from its topic" in capsysbinary.readouterr().err
            assert run(shop, "replay", place) == 1
            return
        assert run(shop, "show", place, "--raw") == 0
        assert capsysbinary.readouterr().out == value
        assert run(shop, "replay", place) == 0
        (message,) = published_again(shop, "watch-events", place)
        assert (message.value(), message.key()) == (value, b"u1")
        assert message.headers()[:3] == OWN_HEADERS
        again = refused(shop, {"partition": 1, "offset": message.offset()}, "watch-events")
        assert run(shop, "replay", again, "--max-attempts", "1") == 1  # the count is in the message's headers
        assert message.timestamp()[0] == TIMESTAMP_LOG_APPEND_TIME
