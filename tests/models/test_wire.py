"""Bytes to records and back: tables of what is read and what is refused, and laws on bytes that anybody may publish."""

import base64
import json
import math
from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import wire
from models.errors import REASONS, BadMessage
from models.events import Answer, Asked, Feedback, Movie, Profile, Proof, Rating, Request, Source, Watch

LIMITS = wire.Limits()
NOW = 1_700_000_000_000  # 2023-11-14T22:13:20Z
DAY = 86_400_000


def refusal(parse, value, *more):
    """The error that it is refused with; None where it is not."""
    try:
        parse(value, *more)
    except BadMessage as refused:
        return refused
    return None


def reason(parse, value, *more):
    refused = refusal(parse, value, *more)
    return refused.reason if refused else None


def changed(good, **fields):
    """The good message with some fields changed; `...` leaves one out."""
    return json.dumps({k: v for k, v in {**good, **fields}.items() if v is not ...}).encode()


WATCH = {"user_id": "u1", "movie_id": "heat+1995", "minute": 12, "timestamp": "2022-11-14T12:23:12Z"}
RATING = {"user_id": "u1", "movie_id": "heat+1995", "rating": 4.5, "timestamp": "2022-11-14T12:23:12Z"}
REQUEST = {"request_id": "r1", "user_id": "u1"}
FEEDBACK = {"request_id": "r1"}
PROFILE = {"user_id": "u1", "gender": "F"}
MOVIE = {"movie_id": "heat+1995", "title": "Heat", "genres": ["Crime"]}
AT = 1_668_428_592_000

PARSERS = {
    "watch": (lambda value: wire.watch(value, NOW, LIMITS), WATCH),
    "rating": (lambda value: wire.rating(value, NOW, LIMITS), RATING),
    "request": (wire.request, REQUEST),
    "feedback": (wire.feedback, FEEDBACK),
    "profile": (wire.profile, PROFILE),
    "movie": (wire.movie, MOVIE),
}
every_parser = pytest.mark.parametrize("parse", [parse for parse, _ in PARSERS.values()], ids=list(PARSERS))

# What is wrong whatever the message should be.
NOT_A_MESSAGE = {
    "a tombstone": (None, "tombstone"),
    "nothing": (b"", "tombstone"),
    "not UTF-8": (b"\xff\xfe", "not_utf8"),
    "not UTF-8 inside a text": (b'{"user_id": "\xe9"}', "not_utf8"),
    "half a surrogate pair as bytes": (b'{"user_id": "\xed\xa0\x80"}', "not_utf8"),
    "half a surrogate pair as an escape": (rb'{"user_id": "\ud800"}', "not_json"),
    "not JSON": (b"hello", "not_json"),
    "half a message": (b'{"user_id": "u1", ', "not_json"),
    "two messages": (b"{} {}", "not_json"),
    "a byte order mark": (b"\xef\xbb\xbf{}", "not_json"),
    "NaN": (b'{"rating": NaN}', "not_json"),
    "infinity": (b'{"rating": Infinity}', "not_json"),
    "a number beyond all": (b'{"rating": 1e999}', "not_json"),
    "a whole number of 5,000 digits": (b'{"n": ' + b"9" * 5_000 + b"}", "not_json"),
    "a megabyte of brackets": (b"[" * 1_000_000, "not_json"),
    "a megabyte of objects": (b'{"a":' * 200_000 + b"1" + b"}" * 200_000, "not_json"),
    "an array": (b"[]", "not_an_object"),
    "null": (b"null", "not_an_object"),
    "a text": (b'"user_id"', "not_an_object"),
    "a number": (b"7", "not_an_object"),
    "an empty object": (b"{}", "missing_field"),
}


@every_parser
@pytest.mark.parametrize(("value", "expected"), NOT_A_MESSAGE.values(), ids=list(NOT_A_MESSAGE))
def test_what_is_no_message_is_refused_with_the_same_reason_everywhere(parse, value, expected):
    assert reason(parse, value) == expected


IDS = {
    "a text": ("a", None),
    "256 bytes": ("x" * 256, None),
    "256 bytes of é": ("é" * 128, None),
    "a movie service's": ("life+of+brian...+1979-*_", None),
    "an emoji": ("🎬", None),
    "a zero-width joiner": ("a\u200db", None),  # not printable, but no control character either
    "a space": (" ", None),
    "a whole number": (596363, None),
    "below zero": (-1, None),
    "empty": ("", "bad_id"),
    "257 bytes": ("x" * 257, "bad_id"),
    "258 bytes of é": ("é" * 129, "bad_id"),
    "10 kB": ("x" * 10_000, "bad_id"),
    "a number of 300 digits": (10**300, "bad_id"),
    "NUL": ("a\0", "bad_id"),
    "a new line": ("a\nb", "bad_id"),
    "DEL": ("\x7f", "bad_id"),
    "a C1 control": ("\x85", "bad_id"),
    "missing": (..., "missing_field"),
    "null": (None, "missing_field"),
    "a float": (1.0, "wrong_type"),
    "a bool": (True, "wrong_type"),
    "a list": (["u1"], "wrong_type"),
    "an object": ({}, "wrong_type"),
}
ID_FIELDS = [
    ("watch", "user_id"), ("watch", "movie_id"), ("rating", "user_id"), ("rating", "movie_id"), ("request", "request_id"),
    ("request", "user_id"), ("feedback", "request_id"), ("profile", "user_id"), ("movie", "movie_id"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field"), ID_FIELDS, ids=" ".join)
@pytest.mark.parametrize(("given_id", "expected"), IDS.values(), ids=list(IDS))
def test_an_id_is_text_of_1_to_256_bytes_without_control_characters_in_every_field(kind, field, given_id, expected):
    parse, good = PARSERS[kind]
    value = changed(good, **{field: given_id})
    assert reason(parse, value) == expected
    if expected is None:
        assert getattr(parse(value), field) == str(given_id)


@pytest.mark.parametrize("field", ["user_id", "selected"])
def test_ids_that_feedback_may_leave_out_are_judged_where_they_are_given(field):
    assert getattr(wire.feedback(changed(FEEDBACK, **{field: None})), field) is None
    assert reason(wire.feedback, changed(FEEDBACK, **{field: "a\0"})) == "bad_id"


TIMES = {
    "Zulu": ("2022-11-14T12:23:12Z", AT),
    "lower case": ("2022-11-14t12:23:12z", AT),
    "a space between": ("2022-11-14 12:23:12Z", AT),
    "an offset": ("2022-11-14T14:23:12+02:00", AT),
    "no zone is UTC": ("2022-11-14T12:23:12", AT),
    "milliseconds": ("2022-11-14T12:23:12.202Z", AT + 202),
    "nanoseconds": ("2022-11-14T12:23:12.202999999Z", AT + 203),
    "epoch seconds": (1_668_428_592, AT),
    "fractions of a second": (1_668_428_592.25, AT + 250),
    "epoch milliseconds": (AT, AT),
    "a text of seconds": ("1668428592", "bad_timestamp"),
    "1e11 is still seconds": (1e11, "future_event"),
    "above 1e11 is milliseconds": (100_000_000_001, 100_000_000_001),
    "1970": (0, 0),
    "1970 as text": ("1970-01-01T00:00:00Z", 0),
    "before 1970": (-1, "bad_timestamp"),
    "before 1970 as text": ("1969-12-31T23:59:59Z", "bad_timestamp"),
    "a day ahead of the broker": (NOW + DAY, NOW + DAY),
    "more than a day ahead": (NOW + DAY + 1, "future_event"),
    "2200": ("2200-01-01T00:00:00Z", "future_event"),
    "after 9999": (253_402_300_800_000, "bad_timestamp"),
    "far beyond": (1e308, "bad_timestamp"),
    "far below": (-1e308, "bad_timestamp"),
    "400 digits": (10**399, "bad_timestamp"),
    "30 February": ("2022-02-30T00:00:00Z", "bad_timestamp"),
    "hour 24": ("2022-11-14T24:00:00Z", "bad_timestamp"),
    "a leap second": ("2016-12-31T23:59:60Z", "bad_timestamp"),
    "an offset of 99 hours": ("2022-11-14T12:23:12+99:00", "bad_timestamp"),
    "other digits": ("２０２２-11-14T12:23:12Z", "bad_timestamp"),
    "a date": ("2022-11-14", "bad_timestamp"),
    "text": ("yesterday", "bad_timestamp"),
    "empty": ("", "bad_timestamp"),
    "missing": (..., "missing_field"),
    "null": (None, "missing_field"),
    "a bool": (True, "wrong_type"),
    "a list": ([2022], "wrong_type"),
}


@pytest.mark.parametrize("kind", ["watch", "rating"])
@pytest.mark.parametrize(("timestamp", "expected"), TIMES.values(), ids=list(TIMES))
def test_times_are_rfc_3339_or_a_number_and_never_more_than_a_day_ahead(kind, timestamp, expected):
    parse, good = PARSERS[kind]
    value = changed(good, timestamp=timestamp)
    if isinstance(expected, str):
        assert reason(parse, value) == expected
    else:
        assert parse(value).timestamp_ms == expected


MINUTES = {"0": (0, None), "720": (720, None), "721": (721, "bad_minute"), "1063": (1063, "bad_minute"),
           "-1": (-1, "bad_minute"), "a text": ("12", "wrong_type"), "a float": (12.0, "wrong_type"),
           "a bool": (True, "wrong_type"), "missing": (..., "missing_field"), "10^300": (10**300, "bad_minute")}  # fmt: skip
RATINGS = {"0.5": (0.5, None), "10": (10, None), "0": (0, "bad_rating"), "0.49": (0.49, "bad_rating"),
           "10.01": (10.01, "bad_rating"), "15": (15, "bad_rating"), "-3": (-3, "bad_rating"), "1e308": (1e308, "bad_rating"),
           "10^300": (10**300, "bad_rating"), "a text": ("4", "wrong_type"), "a bool": (True, "wrong_type"),
           "missing": (..., "missing_field")}  # fmt: skip
COUNTS = {"missing": (..., None), "null": (None, None), "1": (1, None), "100": (100, None), "0": (0, "bad_n"), "-1": (-1, "bad_n"),
          "101": (101, "bad_n"), "10^9": (10**9, "bad_n"), "a text": ("20", "wrong_type"), "3.7": (3.7, "wrong_type"),
          "20.0": (20.0, "wrong_type"), "a bool": (True, "wrong_type")}  # fmt: skip
SATISFACTIONS = {"missing": (..., None), "null": (None, None), "0": (0, None), "1": (1, None), "0.3": (0.3, None),
                 "1.01": (1.01, "bad_satisfaction"), "-0.1": (-0.1, "bad_satisfaction"), "a text": ("1", "wrong_type")}  # fmt: skip
GENRES = {"missing": (..., None), "null": (None, None), "none": ([], None), "some": (["Crime", "Drama"], None),
          "a text": ("Crime", "wrong_type"), "an object": ({}, "wrong_type"), "a number inside": ([1], "bad_genres"),
          "an empty name": ([""], "bad_genres"), "51": ([str(n) for n in range(51)], "bad_genres"),
          "a long name": (["x" * 257], "bad_genres")}  # fmt: skip
FLAGS = {"missing": (..., None), "null": (None, None), "true": (True, None), "false": (False, None), "1": (1, "wrong_type"),
         "a text": ("true", "wrong_type")}  # fmt: skip
YEARS = {"missing": (..., None), "null": (None, None), "1995": (1995, None), "a text": ("1995", "wrong_type"),
         "1799": (1799, "wrong_type"), "2201": (2201, "wrong_type"), "a float": (1995.0, "wrong_type")}  # fmt: skip
POPULARITIES = {"missing": (..., None), "0": (0, None), "1e308": (1e308, None), "a text": ("9", "wrong_type"),
                "a bool": (True, "wrong_type"), "400 digits": (10**399, "wrong_type")}  # fmt: skip
TITLES = {"Heat": ("Heat", None), "1,000 characters": ("x" * 1_000, None), "1,001": ("x" * 1_001, "too_long"), "a number": (1995, "wrong_type"),
          "missing": (..., "missing_field"), "null": (None, "missing_field")}  # fmt: skip
GENDERS = {"M": ("M", None), "other text": ("x", None), "null": (None, None), "empty": ("", None), "missing": (..., "missing_field"),
           "a number": (1, "wrong_type"), "a novel": ("x" * 300, "too_long")}  # fmt: skip
AGES = {
    "0": (0, None),
    "150": (150, None),
    "-1": (-1, "wrong_type"),
    "151": (151, "wrong_type"),
    "a text": ("25", "wrong_type"),
}
OCCUPATIONS = {
    "text": ("artist", None),
    "a number": (4, None),
    "a list": ([], "wrong_type"),
    "a novel": ("x" * 300, "too_long"),
}

FIELDS = [
    pytest.param(kind, field, value, expected, id=f"{kind} {field}: {name}")
    for kind, field, table in (
        ("watch", "minute", MINUTES), ("rating", "rating", RATINGS), ("request", "n", COUNTS), ("request", "genres", GENRES),
        ("request", "exclude_seen", FLAGS), ("feedback", "satisfaction", SATISFACTIONS), ("movie", "year", YEARS),
        ("movie", "popularity", POPULARITIES), ("movie", "title", TITLES), ("profile", "gender", GENDERS), ("profile", "age", AGES),
        ("profile", "occupation", OCCUPATIONS),
    )
    for name, (value, expected) in table.items()
]  # fmt: skip


@pytest.mark.parametrize(("kind", "field", "value", "expected"), FIELDS)
def test_each_field_has_its_range_and_its_reason(kind, field, value, expected):
    parse, good = PARSERS[kind]
    assert reason(parse, changed(good, **{field: value})) == expected


@pytest.mark.parametrize(("genres", "expected"), [(..., "missing_field"), (None, "missing_field"), ([], None)])
def test_a_movie_says_its_genres_even_where_it_has_none(genres, expected):
    assert reason(wire.movie, changed(MOVIE, genres=genres)) == expected


def test_good_messages_become_records():
    assert PARSERS["watch"][0](changed(WATCH, user_id=42)) == Watch("42", "heat+1995", 12, AT)
    assert PARSERS["rating"][0](changed(RATING, rating=4)) == Rating("u1", "heat+1995", 4.0, AT)
    assert wire.request(changed(REQUEST)) == Request("r1", "u1", 20, None, True, None)
    assert wire.request(changed(REQUEST, n=3, genres=["a", "b", "a"], exclude_seen=False, timestamp=AT)) == Request(
        "r1", "u1", 3, ("a", "b"), False, AT
    )
    assert wire.request(changed(REQUEST, genres=[])).genres is None  # "only these" of nothing is no wish at all
    assert wire.feedback(changed(FEEDBACK, selected="m", satisfaction=1)) == Feedback("r1", None, "m", 1.0, None)
    assert wire.profile(changed(PROFILE, age=25, occupation=4)) == Profile("u1", "F", 25, "4")
    assert wire.profile(changed(PROFILE, gender="")) == Profile("u1", None)
    assert wire.movie(changed(MOVIE, year=1995, popularity=7)) == Movie("heat+1995", "Heat", ("Crime",), 1995, 7.0)


def test_unknown_fields_are_ignored_and_of_duplicated_keys_the_last_counts():
    assert wire.request(b'{"request_id": "a", "user_id": "x", "user_id": "y", "sent_by": [1]}') == Request("a", "y")


def test_the_rating_scale_and_the_longest_film_are_configured():
    five = wire.Limits(rating_min=1, rating_max=5, minute_max=100)
    assert reason(wire.rating, changed(RATING, rating=5), NOW, five) is None
    assert reason(wire.rating, changed(RATING, rating=0.5), NOW, five) == "bad_rating"
    assert reason(wire.watch, changed(WATCH, minute=101), NOW, five) == "bad_minute"


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"a\nb", b"x" * 257])
def test_a_tombstone_whose_key_names_nothing_is_refused(key):
    assert reason(wire.key_id, key) == "bad_key"


def test_a_tombstones_key_names_what_is_deleted():
    assert wire.key_id(b"heat+1995") == "heat+1995"


# -- laws on any bytes ----------------------------------------------------------------------------

numbers = st.integers() | st.floats() | st.sampled_from([-1e308, 1e308, 10**399, -(10**399), 2**64, -0.0])
texts = st.text(max_size=20) | st.sampled_from(["", "u", "a\0", "\ud800", "x" * 300, "2022-11-14T12:23:12Z"])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
names = st.sampled_from(
    sorted({*WATCH, *RATING, *REQUEST, *FEEDBACK, *PROFILE, *MOVIE, "n", "age", "popularity", "selected"})
)
messages = st.builds(
    lambda fields, ascii_, encoding: json.dumps(fields, ensure_ascii=ascii_).encode(encoding, "surrogatepass"),
    st.dictionaries(names, values, max_size=6),
    st.booleans(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
published = st.binary(max_size=60) | messages | st.builds(lambda good, cut: good[:cut], messages, st.integers(0, 80))


@every_parser
@given(value=published)
def test_whatever_is_published_is_a_record_or_refused_for_a_known_reason(parse, value):
    assert reason(parse, value) in (None, *REASONS)


@given(value=published)
def test_a_refusal_is_one_short_line(value):
    for parse, _ in PARSERS.values():
        text = str(refusal(parse, value))
        assert len(text.splitlines()) <= 1
        assert len(text) < 400


IDS_TRIED = ["u", "x" * 64, "x" * 65, "x" * 257, "\u00e9", "a\0", "", 7, None]
NUMBERS_TRIED = [0, 12, -1, 4.5, 12.0, 720, 721, 10, 10.5, True, "12", None, 2**63, 2**64]
TIMES_TRIED = [
    *(0, -1, 0.5, 1_600_000_000, 1_600_000_000.25, 10**11, 10**11 + 1, 2**64, 1e30, NOW, NOW + 86_400_000, NOW + 86_400_001),
    *("2022-11-14T12:23:12Z", "", True, None),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "number"), [("watch", "minute"), ("rating", "rating")])
def test_an_event_is_what_it_would_be_with_an_unknown_field(kind, number):
    parse, _ = PARSERS[kind]
    for user, movie, found, at in product(IDS_TRIED, IDS_TRIED, NUMBERS_TRIED, TIMES_TRIED):
        event = {"user_id": user, "movie_id": movie, number: found, "timestamp": at}
        both = [json.dumps(one).encode() for one in (event, {**event, "unknown": 0})]
        alone, beside = (reason(parse, value) or repr(parse(value)) for value in both)  # repr: 4 is not 4.0
        assert alone == beside, event


def readable_id(value):
    """The rule of the outside judge: the request id that an answer must carry, or None where there is none to read."""
    try:
        rid = json.loads(value)["request_id"]
        if isinstance(rid, bool) or not isinstance(rid, (str, int)):
            return None
        rid = str(rid)
        return rid if 0 < len(rid.encode()) <= 256 and rid.isprintable() else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


ids = texts | numbers | st.booleans() | st.none() | st.lists(texts, max_size=1)
requests = st.builds(lambda found: json.dumps({"request_id": found, "n": "?"}).encode(), ids)


@given(value=published | requests)
def test_an_id_that_the_judge_can_read_is_read_the_same(value):
    expected, found = readable_id(value), wire.readable_request_id(value)
    if expected is not None:
        assert found == expected
    elif found is not None:  # the contract forbids control characters only: a joiner or a private letter will do
        assert not found.isprintable()
        assert 0 < len(found.encode()) <= 256


@given(value=published | requests)
def test_an_accepted_request_has_the_id_that_its_rejection_would_have(value):
    if reason(wire.request, value) is None:
        assert wire.request(value).request_id == wire.readable_request_id(value)
        assert wire.request(value).user_id == wire.readable_user_id(value)


@given(at=st.integers(0, wire.YEAR_10000_MS - 1))
def test_a_time_that_is_written_is_read_back(at):
    assert wire.watch(changed(WATCH, timestamp=wire.rfc3339(at)), at, LIMITS).timestamp_ms == at


# -- out ------------------------------------------------------------------------------------------

ANSWER = Answer(
    "r1", "u1", "ok", ["m"], [0.5], "als-2", "v1", "stable", Source("requests", 3, 14), "2023-11-14T22:13:20.000Z", 7
)
PROOF = Proof(
    asked=Asked(20, None, True),
    canary_percentage=10.0,
    bucket=5658,
    config_sha256="c" * 64,
    model_sha256="a" * 64,
    data_version="d41d8",
    catalog_sha256="b" * 64,
    history_offsets=msgspec.Raw(b'{"watch-events":{"0":5}}'),
    variant_probability=0.9,
    scoring_ms=0.125,
    scored_together=16,
)


def test_a_provenance_record_is_every_field_of_the_answer_and_the_proofs_beside_them():
    answer = wire.encode(ANSWER)
    record = json.loads(wire.provenance(answer, PROOF))
    assert record == {
        **json.loads(answer),
        "asked": {"n": 20, "genres": None, "exclude_seen": True},
        "canary_percentage": 10.0,
        "bucket": 5658,
        "config_sha256": "c" * 64,
        "model_sha256": "a" * 64,
        "data_version": "d41d8",
        "catalog_sha256": "b" * 64,
        "history_offsets": {"watch-events": {"0": 5}},
        "variant_probability": 0.9,
        "scoring_ms": 0.125,
        "scored_together": 16,
    }
    assert wire.provenance(answer, PROOF).startswith(answer[:-1])  # byte for byte


def test_the_answers_fields_are_the_contracts():
    assert list(json.loads(wire.encode(ANSWER))) == [
        "request_id", "user_id", "status", "recommendations", "scores", "model_id", "model_version", "variant", "source",
        "served_at", "latency_ms",
    ]  # fmt: skip
    assert json.loads(wire.encode(msgspec.structs.replace(ANSWER, reason="no_history")))["reason"] == "no_history"


@given(
    value=st.none() | st.binary(max_size=50) | st.text(max_size=50).map(lambda text: text.encode("utf-8", "replace"))
)
def test_a_dead_letter_gives_the_original_bytes_back(value):
    letter = json.loads(wire.dead_letter(Source("t", 1, 2), value, "not_json", "why", NOW))
    assert letter["source"] == {"topic": "t", "partition": 1, "offset": 2}
    assert (letter["reason"], letter["error"], letter["timestamp"]) == ("not_json", "why", "2023-11-14T22:13:20.000Z")
    if "payload_encoding" in letter:
        assert letter["payload_encoding"] == "base64"
        assert base64.b64decode(letter["payload"]) == value
    else:
        assert letter["payload"] == (None if value is None else value.decode())


@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\\", b"\xff", b"a", "\x85".encode()], ids=repr)
def test_a_dead_letter_of_the_largest_message_fits_its_topic(byte):
    from models.topics import TOPICS

    largest = byte * (TOPICS["recommendation-requests"].max_message_bytes // len(byte))
    letter = wire.dead_letter(Source("t", 1, 2), largest, "not_json", "why" * 100, NOW)
    assert len(letter) + 100_000 < TOPICS["dead-letters"].max_message_bytes


def test_scores_survive_the_wire():
    scores = [1 / 3, 1e-7, 12345.678, math.pi]
    assert json.loads(wire.encode(msgspec.structs.replace(ANSWER, scores=scores)))["scores"] == scores
