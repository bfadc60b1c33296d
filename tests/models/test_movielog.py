"""The grammar of `movielog` lines: every form of the contract, every damage it names, and the way back."""

import re
import string

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from models.errors import BadMessage
from models.events import Rating, Watch
from models.movielog import (
    AccountCreated,
    Record,
    Result,
    canonical,
    damaged,
    encode,
    escaped,
    parse,
    resolve,
    spellings,
)
from models.wire import DAY_MS, Limits

LIMITS = Limits()
NOON = 1_668_428_592_000  # 2022-11-14T12:23:12Z
TWENTY = tuple(f"shooter+{year}" for year in range(2000, 2020))

LINES: list[tuple[str, Record]] = [
    # the contract's four
    ("2022-11-14T12:23:12,596363,GET /data/m/snowpiercer+2013/16.mpg", Watch("596363", "snowpiercer+2013", 16, NOON)),
    (
        "2024-10-14T15:20:53,69835,GET /rate/like+water+for+chocolate+1992=3",
        Rating("69835", "like+water+for+chocolate+1992", 3.0, 1_728_919_253_000),
    ),
    (
        "2022-11-14T12:23:12.202,650856,recommendation request host:8082, status 200, result: "
        f"{', '.join(TWENTY)}, 102 ms",
        Result("650856", "host:8082", 200, TWENTY, None, 102, NOON + 202),
    ),
    ("2022-11-14T12:24,596363,GET /data/m/endeavour+/0.mpg", Watch("596363", "endeavour+", 0, NOON + 48_000)),
    # the time
    *(
        (f"2022-11-14T12:23:12.{'123456789'[:digits]},1,GET /data/m/a/1.mpg", Watch("1", "a", 1, NOON + ms))
        for digits, ms in enumerate((0, 100, 120, 123, 123, 123, 123, 123, 123, 123))
    ),
    ("2022-11-14T12:23:12.9996,1,GET /create_account", AccountCreated("1", NOON + 1_000)),
    ("2022-11-14T12:23:12,202,596363,GET /data/m/a/1.mpg", Watch("596363", "a", 1, NOON + 202)),
    ("2022-11-14T12:23:12,202500,7,GET /rate/a=1", Rating("7", "a", 1.0, NOON + 202)),
    ("2022-11-14T12:23:12,000000000,7,GET /rate/a=1", Rating("7", "a", 1.0, NOON)),
    ("2022-11-14T12:23:12,202,GET /rate/a=1", Rating("202", "a", 1.0, NOON)),
    ("2022-11-14T12:23:12.5,202,GET /rate/a=1", Rating("202", "a", 1.0, NOON + 500)),
    ("2022-11-14T12:23:12Z,7,GET /create_account", AccountCreated("7", NOON)),
    ("2022-11-14T14:23:12.5+02:00,7,GET /create_account", AccountCreated("7", NOON + 500)),
    ("2022-11-14T12:23:12,7,GET /create_account\r\n", AccountCreated("7", NOON)),
    ("1970-01-01T00:00,0,GET /create_account", AccountCreated("0", 0)),
    # ids
    *(
        (f"2022-11-14T12:23:12,7,GET /data/m/{movie}/3.mpg", Watch("7", movie, 3, NOON))
        for movie in (
            "e.t.+the+extra-terrestrial+1982",
            "...and+justice+for+all+1979",
            "m*a*s*h+1970",
            "good_+the+bad+and+the+ugly_+the+1966",
            "romeo+++juliet+1996",
            "romeo++juliet+1996",
            "am%C3%A9lie+2001",
            "100%25+wolf+2020",
            "face%2Foff+1997",
            "1",
            "x" * 256,
        )
    ),
    ("2022-11-14T12:23:12,7,GET /data/m/am%c3%a9lie%202001/3.mpg", Watch("7", "am%C3%A9lie+2001", 3, NOON)),
    ("2022-11-14T12:23:12,7,GET /rate/romeo+%2B+juliet+1996=5", Rating("7", "romeo+%2B+juliet+1996", 5.0, NOON)),
    # ratings
    *((f"2022-11-14T12:23:12,7,GET /rate/a={stars}", Rating("7", "a", float(stars), NOON)) for stars in range(1, 11)),
    ("2022-11-14T12:23:12,7,GET /rate/a=4.5", Rating("7", "a", 4.5, NOON)),
    # results
    (
        "2022-11-14T12:23:12,7,recommendation request h, status 200, result: a+1,b+2, a+1,c%2c+3,45ms",
        Result("7", "h", 200, ("a+1", "b+2", "a+1", "c%2C+3"), None, 45, NOON),
    ),
    (
        "2022-11-14T12:23:12,7,recommendation request h, status 200, result: , 45 ms",
        Result("7", "h", 200, (), None, 45, NOON),
    ),
    (
        "2022-11-14T12:23,7,recommendation request h:80, status 0, result: java.net.ConnectException: no, really, "
        "no, 815 ms",
        Result("7", "h:80", 0, (), "java.net.ConnectException: no, really, no", 815, NOON - 12_000),
    ),
    (
        "2022-11-14T12:23:12,7,recommendation request h, status 503, result: Service é, 1 ms",
        Result("7", "h", 503, (), "Service é", 1, NOON),
    ),
]


@pytest.mark.parametrize(("line", "record"), LINES)
def test_a_line_of_the_contract_is_read(line: str, record: Record) -> None:
    assert parse(line.encode(), LIMITS) == record


REFUSED = [
    (b"", "tombstone"),
    (b"\n", "unknown_line"),
    (b"hello", "unknown_line"),
    (b"2022-11-14T12:23:12,7,GET /data/m/am\xe9lie/3.mpg", "not_utf8"),
    (b"2022-11-14T12:23:12,596363,GZET /data/m/a/1.mpg", "unknown_line"),
    (b"2022-11-14T12:23:12,596363,GET /data/5m/a/1.mpg", "unknown_line"),
    (b"2022-11-14T12:23:12,596363,GET /data/m/a/30.Hmpg", "unknown_line"),
    (b"2022-11-14T1O2:23,596363,GET /data/m/a/1.mpg", "bad_timestamp"),
    (b"2022-11-14T12:23:12,N671040,GET /data/m/a/1.mpg", "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /rate/a=15", "bad_rating"),
    (b"2022-11-14T12:23:12,7,GET /data/m/a/1063.mpg", "bad_minute"),
    # the time
    (b"2022-13-14T12:23:12,7,GET /create_account", "bad_timestamp"),
    (b"2022-11-31T12:23:12,7,GET /create_account", "bad_timestamp"),
    (b"2022-11-14T24:23:12,7,GET /create_account", "bad_timestamp"),
    (b"2022-11-14T12:23:60,7,GET /create_account", "bad_timestamp"),
    (b"2022-11-14T12:23:12.0123456789,7,GET /create_account", "bad_timestamp"),
    (b"2022-11-14 12:23:12,7,GET /create_account", "bad_timestamp"),
    (b"1969-12-31T23:59,7,GET /create_account", "bad_timestamp"),
    (b"0001-01-01T00:00+05:00,7,GET /create_account", "bad_timestamp"),
    (b"9999-12-31T23:59-05:00,7,GET /create_account", "bad_timestamp"),
    (b"9999-12-31T23:59:59.9999,7,GET /create_account", "bad_timestamp"),
    # commas that are nobody's
    (b"2022-11-14T12:23:12,5963,63,GET /create_account", "unknown_line"),
    (b"2022-11-14T12:23:12.202,202,7,GET /create_account", "unknown_line"),
    (b"2022-11-14T12:23,202,7,GET /create_account", "unknown_line"),
    (b"2022-11-14T12:23:12,,7,GET /create_account", "bad_id"),
    (b"2022-11-14T12:23:12,,GET /create_account", "bad_id"),
    # users
    (b"2022-11-14T12:23:12,-7,GET /create_account", "bad_id"),
    (b"2022-11-14T12:23:12,007,GET /create_account", "bad_id"),
    ("2022-11-14T12:23:12,\u0667,GET /create_account".encode(), "bad_id"),
    (b"2022-11-14T12:23:12,123456789012345678901,GET /create_account", "bad_id"),
    # movies
    (b"2022-11-14T12:23:12,7,GET /data/m//3.mpg", "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /data/m/a b/3.mpg", "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /data/m/a/b/3.mpg", "unknown_line"),
    ("2022-11-14T12:23:12,7,GET /data/m/amélie/3.mpg".encode(), "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /data/m/a%/3.mpg", "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /data/m/a%4/3.mpg", "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /data/m/a%4X/3.mpg", "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /data/m/a%0Ab/3.mpg", "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /data/m/" + b"x" * 257 + b"/3.mpg", "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /rate/=3", "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /rate/a==3", "unknown_line"),
    # minutes and stars
    (b"2022-11-14T12:23:12,7,GET /data/m/a/.mpg", "bad_minute"),
    (b"2022-11-14T12:23:12,7,GET /data/m/a/-1.mpg", "bad_minute"),
    (b"2022-11-14T12:23:12,7,GET /data/m/a/03.mpg", "bad_minute"),
    (b"2022-11-14T12:23:12,7,GET /data/m/a/" + b"9" * 5000 + b".mpg", "bad_minute"),
    (b"2022-11-14T12:23:12,7,GET /rate/a=0", "bad_rating"),
    (b"2022-11-14T12:23:12,7,GET /rate/a=1.0", "bad_rating"),
    (b"2022-11-14T12:23:12,7,GET /rate/a=05", "bad_rating"),
    (b"2022-11-14T12:23:12,7,GET /rate/a=", "bad_rating"),
    (b"2022-11-14T12:23:12,7,GET /rate/a=nan", "bad_rating"),
    # results
    (b"2022-11-14T12:23:12,7,recommendation request h, status 2000, result: a, 1 ms", "unknown_line"),
    (b"2022-11-14T12:23:12,7,recommendation request h, status 20, result: a, 1 ms", "unknown_line"),
    (b"2022-11-14T12:23:12,7,recommendation request h, status 200, result: a, b", "unknown_line"),
    (b"2022-11-14T12:23:12,7,recommendation request h, status 200, result: a b, 1 ms", "bad_id"),
    (b"2022-11-14T12:23:12,7,recommendation request h, status 200, result: a,, b, 1 ms", "bad_id"),
    (b"2022-11-14T12:23:12,7,recommendation request h, status 200, result: a, b%, 1 ms", "bad_id"),
    (b"2022-11-14T12:23:12,7,GET /create_account2", "unknown_line"),
    (b"2022-11-14T12:23:12,7,GET /rate/a=3\n2022-11-14T12:23:12,7,GET /rate/a=3", "unknown_line"),
]


@pytest.mark.parametrize(("line", "reason"), REFUSED)
def test_a_damaged_line_is_refused_with_its_reason(line: bytes, reason: str) -> None:
    with pytest.raises(BadMessage) as refused:
        parse(line, LIMITS)
    assert refused.value.reason == reason
    assert len(str(refused.value)) < 250


def test_no_value_is_a_tombstone() -> None:
    with pytest.raises(BadMessage) as refused:
        parse(None, LIMITS)
    assert refused.value.reason == "tombstone"


def test_the_limits_are_the_configured_ones() -> None:
    line = b"2022-11-14T12:23:12,7,GET /rate/a=10"
    assert parse(line, LIMITS) == Rating("7", "a", 10.0, NOON)
    with pytest.raises(BadMessage, match="'10' is not on the scale 1 to 5"):
        parse(line, Limits(rating_min=1, rating_max=5))
    with pytest.raises(BadMessage, match="'91' is not from 0 to 90"):
        parse(b"2022-11-14T12:23:12,7,GET /data/m/a/91.mpg", Limits(minute_max=90))


def test_a_line_from_more_than_a_day_ahead_is_refused() -> None:
    line = b"2022-11-14T12:23:12,7,GET /create_account"
    assert parse(line, LIMITS, kafka_ms=NOON - DAY_MS) == AccountCreated("7", NOON)
    with pytest.raises(BadMessage) as refused:
        parse(line, LIMITS, kafka_ms=NOON - DAY_MS - 1)
    assert refused.value.reason == "future_event"


# -- ids ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spelling", "movie_id"),
    [
        ("heat+1995", "heat+1995"),
        ("heat%201995", "heat+1995"),
        ("%68eat+1995", "heat+1995"),
        ("%48eat+1995", "Heat+1995"),
        ("am%c3%A9lie", "am%C3%A9lie"),
        ("a%2bb", "a%2Bb"),
        ("100%25", "100%25"),
        ("%e9t%e9", "%E9t%E9"),
    ],
)
def test_a_movie_has_one_id_however_it_is_spelled(spelling: str, movie_id: str) -> None:
    assert canonical(spelling) == movie_id
    assert canonical(movie_id) == movie_id


@pytest.mark.parametrize("catalogue_id", ["am%C3%A9lie+2001", "amélie+2001", "amélie 2001"])
def test_a_line_finds_its_movie_whatever_way_the_catalogue_spells_ids(catalogue_id: str) -> None:
    assert resolve("am%C3%A9lie+2001", {catalogue_id}) == catalogue_id


def test_a_movie_that_the_catalogue_does_not_have_keeps_its_id() -> None:
    assert resolve("am%C3%A9lie+2001", {"heat+1995"}) == "am%C3%A9lie+2001"
    assert spellings("%E9t%E9") == ("%E9t%E9",)


# -- laws -----------------------------------------------------------------------------------------

users = st.integers(0, 10**20 - 1).map(str)
movies = st.lists(
    st.one_of(
        st.sampled_from(string.ascii_lowercase + string.digits + ".*_~+-"),
        st.sampled_from("é,/= '!日").map(escaped).filter(lambda text: text != "+"),
    ),
    min_size=1,
    max_size=20,
).map("".join)
times = st.one_of(
    st.integers(0, 4_102_444_799_999),
    st.integers(0, 4_102_444_799).map(lambda s: s * 1_000),
    st.integers(0, 68_374_079).map(lambda m: m * 60_000),
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=40)
records = st.one_of(
    st.builds(Watch, users, movies, st.integers(0, LIMITS.minute_max), times),
    st.builds(Rating, users, movies, st.integers(1, 20).map(lambda halves: halves / 2), times),
    st.builds(
        Result,
        users,
        st.from_regex(r"[a-z0-9.-]{1,20}:\d{2,5}", fullmatch=True),
        st.just(200),
        st.lists(movies, max_size=20).map(tuple),
        st.none(),
        st.integers(0, 10**9 - 1),
        times,
    ),
    st.builds(
        Result,
        users,
        st.just("host:8082"),
        st.sampled_from([0, 404, 503]),
        st.just(()),
        texts,
        st.integers(0, 999),
        times,
    ),
    st.builds(AccountCreated, users, times),
)


@given(records)
def test_what_is_written_is_read_back(record: Record) -> None:
    assert parse(encode(record), LIMITS) == record


@given(texts.filter(bool).filter(lambda text: len(text) < 20))
def test_any_movie_id_comes_back_through_a_line_and_the_catalogue(movie_id: str) -> None:
    line = encode(Watch("7", movie_id, 0, NOON))
    found = parse(line, LIMITS)
    assert isinstance(found, Watch)
    if not ("+" in movie_id and " " in movie_id) and re.search("%[0-9A-Fa-f]{2}", movie_id) is None:
        assert resolve(found.movie_id, {movie_id}) == movie_id


@given(st.binary(max_size=100))
def test_no_bytes_raise_anything_but_a_refusal(line: bytes) -> None:
    _read(line)


@settings(max_examples=1_000)
@given(records, st.data())
@example(Watch("596363", "snowpiercer+2013", 16, NOON), None)
def test_a_stray_character_is_seen_unless_it_makes_another_good_line(
    record: Record, data: st.DataObject | None
) -> None:
    """Where the line still parses, one field at most reads otherwise, and never another user but by a digit."""
    line = encode(record).decode()
    strays = st.sampled_from(string.printable + "é\x00\x7f")
    tries = (
        [(place, stray) for place in range(len(line) + 1) for stray in string.printable]
        if data is None
        else [data.draw(st.tuples(st.integers(0, len(line)), strays))]
    )
    for place, stray in tries:
        damaged = f"{line[:place]}{stray}{line[place:]}"
        found = _read(damaged.encode())
        if found is None or found == record:
            continue
        assert type(found) is type(record)
        if re.match(r"[^,]*T\d\d:\d\d:\d\d,(\d{3}|\d{6}|\d{9}),[1-9]\d*,", damaged) and stray == ",":
            continue  # the one comma that the docstring gives up
        different = {name for name in record.__struct_fields__ if getattr(found, name) != getattr(record, name)}
        if "user_id" in different:
            assert stray in string.digits
            assert len(found.user_id) == len(record.user_id) + 1
        if not isinstance(record, Result):  # `1,0 ms`: one more movie and a shorter time
            assert len(different) == 1, damaged
        if different & {"minute", "rating"}:
            assert stray in string.digits, damaged
        assert abs(found.timestamp_ms - record.timestamp_ms) < 1_000, damaged


def _read(line: bytes) -> Record | None:
    try:
        return parse(line, LIMITS)
    except BadMessage:
        return None


@pytest.mark.parametrize(
    "record",
    [
        Rating("7", "a", 3.7, NOON),
        Rating("7", "a", 10.5, NOON),
        Rating("seven", "a", 3, NOON),
        AccountCreated("", NOON),
    ],
)
def test_what_no_line_can_say_is_not_written(record: Record) -> None:
    with pytest.raises(ValueError, match="line"):
        encode(record)


def test_a_damaged_line_has_one_stray_character_and_is_refused_or_says_something_else() -> None:
    refused, rng = 0, np.random.default_rng(1)
    for _, record in LINES:
        line = encode(record)
        for _ in range(20):
            spoiled = damaged(line, rng)
            assert len(spoiled) == len(line) + 1
            assert any(spoiled[:place] + spoiled[place + 1 :] == line for place in range(len(spoiled)))
            try:
                parse(spoiled, LIMITS)
            except BadMessage as error:
                refused += bool(error.reason)
    assert 0.2 < refused / (20 * len(LINES)) < 0.95
