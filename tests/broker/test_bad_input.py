"""Whatever anybody publishes gets the contract's answer or dead letter, and the worker goes on.

All of it is published at once to one worker, bad among good, with good messages behind; then each message is looked at.
"""

import base64
import json
import time
from collections import defaultdict
from itertools import count
from typing import Any, NamedTuple

import pytest

from models.errors import REASONS
from models.topics import PARTITIONS

NOW = time.time()
MEGABYTE = 1_000_000
ID = "<id>"  # stands for the request's id, which each case has for itself


class Case(NamedTuple):
    topic: str
    name: str
    value: bytes | None
    reason: str | None  # None: accepted
    readable: bool = False  # the request has an id: it gets a rejection, or an answer
    key: bytes | None = b"k"


def changed(good, fields):
    return json.dumps({k: v for k, v in {**good, **fields}.items() if v is not ...}).encode()


REQUEST = {"request_id": ID, "user_id": "u1"}
WATCH = {"user_id": "u1", "movie_id": "m001", "minute": 3, "timestamp": NOW}
RATING = {"user_id": "u1", "movie_id": "m001", "rating": 4, "timestamp": NOW}
FEEDBACK = {"request_id": "r", "selected": "m001", "satisfaction": 0.5}
PROFILE = {"user_id": "someone", "gender": "F"}
MOVIE = {"movie_id": "some movie", "title": "Some", "genres": []}
GOOD = {
    "recommendation-requests": REQUEST,
    "watch-events": WATCH,
    "rating-events": RATING,
    "recommendation-feedback": FEEDBACK,
    "user-profiles": PROFILE,
    "movie-catalog": MOVIE,
}
COMPACTED = ("user-profiles", "movie-catalog")

# On every topic: what is no message at all.
ANYWHERE = [
    ("not UTF-8", b"\xff\xfe\x00\x9f", "not_utf8"),
    ("not UTF-8 inside a text", b'{"user_id": "\xe9t\xe9"}', "not_utf8"),
    ("not JSON", b"hello, worker", "not_json"),
    ("half a message", b'{"request_id": "a", ', "not_json"),
    ("an array", b'[{"request_id": "a"}]', "not_an_object"),
    ("null", b"null", "not_an_object"),
    ("a megabyte of brackets", b"[" * MEGABYTE, "not_json"),
    ("a megabyte of nested objects", b'{"a":' * (MEGABYTE // 5), "not_json"),
    ("a megabyte of NUL", b"\0" * MEGABYTE, "not_json"),
    ("a megabyte of controls", b"\x01" * MEGABYTE, "not_json"),
    ("an empty object", b"{}", "missing_field"),
    ("nothing at all", b"", "tombstone"),
]
BAD_IDS = [
    ("missing", ..., "missing_field"),
    ("null", None, "missing_field"),
    ("empty", "", "bad_id"),
    ("10 kB", "x" * 10_000, "bad_id"),
    ("with NUL", "a\0b", "bad_id"),
    ("with a new line", "a\nb", "bad_id"),
    ("a list", ["a"], "wrong_type"),
    ("a bool", True, "wrong_type"),
    ("a float", 1.5, "wrong_type"),
]
IDS = [
    ("recommendation-requests", "user_id"), ("watch-events", "user_id"), ("watch-events", "movie_id"),
    ("rating-events", "user_id"), ("rating-events", "movie_id"), ("recommendation-feedback", "request_id"),
    ("user-profiles", "user_id"), ("movie-catalog", "movie_id"),
]  # fmt: skip
TIMES = [
    ("in 2200", "2200-01-01T00:00:00Z", "future_event"),
    ("two days ahead", NOW + 2 * 86_400, "future_event"),
    ("as text", "last Tuesday", "bad_timestamp"),
    ("as a text of digits", "1668428592", "bad_timestamp"),
    ("before 1970", -1, "bad_timestamp"),
    ("far below", -1e308, "bad_timestamp"),
    ("far above", 1e308, "bad_timestamp"),
    ("missing", ..., "missing_field"),
    ("a list", [2022], "wrong_type"),
    ("in 1970", "1970-01-01T00:00:00Z", None),
    ("0", 0, None),
]
FIELDS = [
    ("recommendation-requests", "n", [(0, "bad_n"), (-1, "bad_n"), (10**9, "bad_n"), (101, "bad_n"), (10**300, "bad_n"), ("20", "wrong_type"), (3.7, "wrong_type"), (True, "wrong_type"), (1, None), (100, None), (None, None)]),
    ("recommendation-requests", "genres", [(["Polka"], "unknown_genre"), (["Even", "Polka"], "unknown_genre"), ("Even", "wrong_type"), ([1], "bad_genres"), (["x"] * 51, "bad_genres"), (["eVeN"], None), ([], None)]),
    ("recommendation-requests", "exclude_seen", [("yes", "wrong_type"), (0, "wrong_type"), (False, None)]),
    ("recommendation-requests", "timestamp", [("noon", "bad_timestamp"), (-5, "bad_timestamp"), ([], "wrong_type"), (NOW, None)]),
    ("watch-events", "minute", [(1063, "bad_minute"), (-1, "bad_minute"), ("3", "wrong_type"), (3.0, "wrong_type"), (..., "missing_field"), (0, None), (720, None)]),
    ("rating-events", "rating", [(0, "bad_rating"), (15, "bad_rating"), (-1, "bad_rating"), (1e308, "bad_rating"), ("4", "wrong_type"), (..., "missing_field"), (0.5, None), (10, None)]),
    ("recommendation-feedback", "satisfaction", [(2, "bad_satisfaction"), (-0.5, "bad_satisfaction"), ("much", "wrong_type"), (None, None)]),
    ("recommendation-feedback", "selected", [(["m001"], "wrong_type"), ("m\0", "bad_id"), (None, None), ("no such movie", None)]),
    ("user-profiles", "gender", [(..., "missing_field"), (1, "wrong_type"), (None, None), ("other", None)]),
    ("user-profiles", "age", [(-1, "wrong_type"), ("old", "wrong_type"), (25, None)]),
    ("movie-catalog", "title", [(..., "missing_field"), (7, "wrong_type"), ("x" * 1_001, "too_long"), ("A\u2028B", None)]),
    ("movie-catalog", "genres", [(..., "missing_field"), ("Crime", "wrong_type"), (["x"] * 51, "bad_genres")]),
    ("movie-catalog", "popularity", [(10**399, "wrong_type"), ("high", "wrong_type"), (1e308, None)]),
    ("movie-catalog", "year", [(95, "wrong_type"), ("1995", "wrong_type"), (1995, None)]),
]  # fmt: skip
LINES = [
    ("a watch", b"2022-11-14T12:23:12,596363,GET /data/m/m002/16.mpg", None),
    ("a rating", b"2022-11-14T12:23:12,596363,GET /rate/m003=3", None),
    ("an answer of another service", b"2022-11-14T12:23:12,1,recommendation request host:8082, status 200, result: m001, m002, 45ms", None),
    ("a new account", b"2022-11-14T12:23:12,596363,GET /create_account", None),
    ("GZET", b"2022-11-14T12:23:12,596363,GZET /data/m/m002/16.mpg", "unknown_line"),
    ("/data/5m/", b"2022-11-14T12:23:12,596363,GET /data/5m/m002/16.mpg", "unknown_line"),
    ("30.Hmpg", b"2022-11-14T12:23:12,596363,GET /data/m/m002/30.Hmpg", "unknown_line"),
    ("T1O2:23", b"2022-11-14T1O2:23:12,596363,GET /data/m/m002/16.mpg", "bad_timestamp"),
    ("N671040", b"2022-11-14T12:23:12,N671040,GET /data/m/m002/16.mpg", "bad_id"),
    ("rating 15", b"2022-11-14T12:23:12,596363,GET /rate/m003=15", "bad_rating"),
    ("minute 1063", b"2022-11-14T12:23:12,596363,GET /data/m/m002/1063.mpg", "bad_minute"),
    ("in 2200", b"2200-11-14T12:23:12,596363,GET /data/m/m002/16.mpg", "future_event"),
    ("not UTF-8", b"\xff\xfe", "not_utf8"),
    ("a megabyte", b"x" * MEGABYTE, "unknown_line"),
    ("a new line inside", b"2022-11-14T12:23:12,596363,GET /data/m/m0\n02/16.mpg", "bad_id"),
    ("nothing", b"", "tombstone"),
    ("a tombstone", None, "tombstone"),
]  # fmt: skip


def _cases():
    for topic, good in GOOD.items():
        for name, value, reason in ANYWHERE:
            yield Case(topic, name, value, reason)
        yield Case(topic, "an array as the value of a field", changed(good, {next(iter(good)): [[]]}), "wrong_type")
    for topic in ("recommendation-requests", "watch-events", "rating-events", "recommendation-feedback"):
        yield Case(topic, "a tombstone", None, "tombstone")
    for topic in COMPACTED:
        yield Case(topic, "a tombstone of nobody", None, None, key=b"never heard of")
        yield Case(topic, "a tombstone without a name", None, "bad_key", key=b"")
        yield Case(topic, "a tombstone whose key is not UTF-8", None, "bad_key", key=b"\xff")
    for name, value, reason in BAD_IDS:
        yield Case("recommendation-requests", f"request_id {name}", changed(REQUEST, {"request_id": value}), reason)
        for topic, field in IDS:
            readable = topic == "recommendation-requests"
            yield Case(topic, f"{field} {name}", changed(GOOD[topic], {field: value}), reason, readable)
    for topic in ("watch-events", "rating-events"):
        for name, value, reason in TIMES:
            yield Case(topic, f"timestamp {name}", changed(GOOD[topic], {"timestamp": value}), reason)
    for topic, field, values in FIELDS:
        for value, reason in values:
            readable = topic == "recommendation-requests"
            shown = "missing" if value is ... else repr(value)[:30]
            yield Case(topic, f"{field} {shown}", changed(GOOD[topic], {field: value}), reason, readable)
    for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999"):
        value = changed(RATING, {"rating": 0}).replace(b'"rating": 0', b'"rating": ' + number)
        yield Case("rating-events", f"rating {number.decode()}", value, "not_json")
        value = changed(REQUEST, {"n": 0}).replace(b'"n": 0', b'"n": ' + number)
        yield Case("recommendation-requests", f"n {number.decode()}", value, "not_json", True)
    deep = changed(REQUEST, {"genres": 0}).replace(b'"genres": 0', b'"genres": ' + b"[" * 500 + b"]" * 500)
    yield Case("recommendation-requests", "genres nested 500 deep", deep, "bad_genres", True)
    twice = b'{"request_id": "another", "user_id": 1, "request_id": "<id>", "user_id": "u1", "n": 0, "n": 7}'
    yield Case("recommendation-requests", "duplicated keys: the last count", twice, None, True)
    yield Case("recommendation-requests", "a byte order mark", b"\xef\xbb\xbf" + changed(REQUEST, {}), "not_json", True)
    yield Case("recommendation-requests", "UTF-16", json.dumps(REQUEST).encode("utf-16"), "not_utf8", True)
    yield Case("recommendation-requests", "unknown fields", changed(REQUEST, {"sent_by": [{}]}), None, True)
    yield Case("watch-events", "duplicated keys", b'{"minute": 9999, ' + changed(WATCH, {})[1:], None)
    for name, value, reason in LINES:
        yield Case("movielog", name, value, reason)


CASES = [
    case._replace(value=case.value.replace(ID.encode(), b"case-%d" % number).replace(ID.encode("utf-16")[2:], f"case-{number}".encode("utf-16")[2:]))
    if case.value
    else case
    for number, case in enumerate(_cases())
]  # fmt: skip
NAMES = [f"{case.topic}: {case.name}" for case in CASES]


class Outcome(NamedTuple):
    """What became of everything."""

    shop: Any
    places: list[dict]  # of each case
    letters: dict  # place → [(message, dead letter)]
    answers: dict  # request id → [answer]
    records: dict  # request id → [record]
    last: list[str]  # the good requests behind, one for each partition
    fresh: dict  # user → the movie that was watched behind everything


@pytest.fixture(scope="module")
def outcome(installations):
    with installations() as shop:
        shop.publish_world()
        shop.start_worker()
        shop.ask("u1")  # the worker is there, genres are known
        places, turn = [], count()
        for case in CASES:
            partition = 0 if case.topic == "movie-catalog" else next(turn) % PARTITIONS
            headers = [("trace", b"abc"), ("trace", b"\xff")]
            places.append(shop.publish(case.topic, case.value, case.key, partition, headers))
            shop.producer.poll(0)
        fresh, sentinels = {}, []
        for partition in range(PARTITIONS):
            fresh[f"u{partition}"] = "m100"
            for topic in (*GOOD, "movielog"):
                if topic != "movie-catalog" or partition == 0:
                    sentinels.append((topic, shop.publish(topic, b"the last of its partition", b"k", partition)))
            event = {"user_id": f"u{partition}", "movie_id": "m100", "minute": 1, "timestamp": NOW}
            shop.publish("watch-events", event, partition=partition)
        shop.flush()
        last = [shop.request(f"u{partition}", partition=partition, n=100) for partition in range(PARTITIONS)]
        shop.flush()
        shop.records_of(last)

        def by_place(messages):
            found = defaultdict(list)
            for message, letter in messages:
                source = letter["source"]
                found[source["topic"], source["partition"], source["offset"]].append((message, letter))
            return found

        wanted = {(shop.applied.topic(topic), at["partition"], at["offset"]) for topic, at in sentinels}
        shop.wait(
            lambda: wanted <= by_place(shop.messages("dead-letters")).keys(), "the dead letters of the last messages"
        )
        letters = by_place(shop.all_messages("dead-letters"))  # of the same transactions in other partitions, too
        answers, records = defaultdict(list), defaultdict(list)
        for into, name in ((answers, "recommendations"), (records, "provenance")):
            for value in shop.everything(name):
                into[value["request_id"]].append(value)
        yield Outcome(shop, places, dict(letters), dict(answers), dict(records), last, fresh)


def letters_of(outcome, number):
    place = outcome.places[number]
    return outcome.letters.get(
        (outcome.shop.applied.topic(CASES[number].topic), place["partition"], place["offset"]), []
    )


@pytest.mark.parametrize("number", range(len(CASES)), ids=NAMES)
def test_every_message_gets_the_contracts_answer_or_dead_letter(outcome, number):
    case, found = CASES[number], letters_of(outcome, number)
    if case.reason is None:
        assert found == []
    else:
        [(message, letter)] = found  # one, not two
        assert letter["reason"] == case.reason
        assert case.reason in REASONS
        assert "\n" not in letter["error"]
        if "payload_encoding" in letter:
            assert base64.b64decode(letter["payload"]) == case.value
        else:
            assert letter["payload"] == (None if case.value is None else case.value.decode())
        assert message.key() == case.key
        source, headers = letter["source"], message.headers()
        assert headers[:2] == [("trace", b"abc"), ("trace", b"\xff")]
        told = dict(headers[2:])
        assert told == {
            "__streams.errors.exception": b"BadMessage",
            "__streams.errors.message": f"{case.reason}: {letter['error']}".encode(),
            "__streams.errors.topic": source["topic"].encode(),
            "__streams.errors.partition": str(source["partition"]).encode(),
            "__streams.errors.offset": str(source["offset"]).encode(),
            "schema": b"1",
        }
    answers, records = (found.get(f"case-{number}", []) for found in (outcome.answers, outcome.records))
    if not case.readable:
        assert answers == records == []
        return
    [answer], [record] = answers, records
    assert {**record, **answer} == record
    if case.reason is None:
        assert answer["status"] == "ok"
    else:
        assert (answer["status"], answer["reason"]) == ("rejected", case.reason)
        assert (answer["recommendations"], answer["variant"], answer["model_version"]) == ([], None, None)


def test_good_requests_behind_bad_ones_are_answered_in_every_partition_and_know_what_came_before(outcome):
    for request_id in outcome.last:
        [answer] = outcome.answers[request_id]
        assert answer["status"] == "ok"
        assert outcome.fresh[answer["user_id"]] not in answer["recommendations"]


def test_nothing_else_was_refused_or_answered(outcome):
    expected = sum(case.reason is not None for case in CASES) + 6 * PARTITIONS + 1  # one sentinel in each partition
    assert sum(map(len, outcome.letters.values())) == expected
    known = {f"case-{number}" for number, case in enumerate(CASES) if case.readable} | set(outcome.last)
    assert len(outcome.answers.keys() - known) == 1  # the one that found the worker ready


def test_lines_of_a_movie_service_become_events_that_name_their_line(outcome):
    shop, found = outcome.shop, {}
    for name in ("watch-events", "rating-events"):
        for message, event in shop.all_messages(name):
            if message.headers() and "movielog" in dict(message.headers()):
                found[event["movie_id"]] = (name, event, dict(message.headers())["movielog"].decode())
    line = {CASES[n].name: outcome.places[n] for n in range(len(CASES)) if CASES[n].topic == "movielog"}

    def place(name):
        return f"{shop.applied.topic('movielog')}-{line[name]['partition']}-{line[name]['offset']}"

    at = "2022-11-14T12:23:12.000Z"
    assert found == {
        "m002": ("watch-events", {"user_id": "596363", "movie_id": "m002", "minute": 16, "timestamp": at}, place("a watch")),
        "m003": ("rating-events", {"user_id": "596363", "movie_id": "m003", "rating": 3.0, "timestamp": at}, place("a rating")),
    }  # fmt: skip
    record = shop.ask("596363", n=100)
    assert record["status"] == "ok"
    assert not {"m002", "m003"} & set(record["recommendations"])


def test_the_worker_never_died(outcome):
    assert "worker died" not in outcome.shop.logs()
    assert "thread died" not in outcome.shop.logs()


def test_refusals_are_counted_by_topic_and_reason(outcome):
    shop = outcome.shop
    for topic, reason in (
        ("watch-events", "bad_minute"),
        ("recommendation-requests", "bad_n"),
        ("movie-catalog", "not_json"),
    ):
        expected = sum(case.topic == topic and case.reason == reason for case in CASES) + (reason == "not_json")
        labels = {"topic": shop.applied.topic(topic), "reason": reason}
        shop.wait(  # counted behind the commit
            lambda labels=labels, expected=expected: shop.metric("canarec_dead_letters_total", **labels) >= expected,
            f"{reason} of {topic} to be counted",
        )
        assert shop.metric("canarec_dead_letters_total", **labels) == expected
