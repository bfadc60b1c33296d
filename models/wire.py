"""Bytes to records and back. A message that is refused raises BadMessage with a stable reason; nothing is guessed.

Of duplicated keys the last one counts, as most JSON readers have it. Unknown fields are ignored.
"""

import base64
import json
import re
import sys
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, NoReturn

import msgspec

from models.errors import BadMessage, Reason
from models.events import (
    DeadLetter,
    Feedback,
    Movie,
    Profile,
    Proof,
    Rating,
    Request,
    Source,
    Watch,
)

MAX_ID_BYTES = 256
MAX_TITLE = 1_000
MAX_GENRES = 50
MAX_PAYLOAD_BYTES = 5_000_000  # of a dead letter; in base64 it still fits the topic
MAX_TEXT_BYTES = 1_100_000
DAY_MS = 86_400_000
MILLISECONDS_ABOVE = 1e11  # a number above is milliseconds: as seconds it would be the year 5138
YEAR_10000_MS = 253_402_300_800_000

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Limits(msgspec.Struct, frozen=True):
    """What an event may hold: the configured rating scale, the latest minute of a film."""

    rating_min: float = 0.5
    rating_max: float = 10.0
    minute_max: int = 720


# -- in -------------------------------------------------------------------------------------------


UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not what they should be: all of it, or one message in a topic stops whoever reads it."""


def watch(value: bytes | None, kafka_ms: int, limits: Limits) -> Watch:
    """A watch event. `kafka_ms` is the message's own time: an event more than a day ahead of it is refused."""
    fields = _object(value)
    return Watch(_id(fields, "user_id"), _id(fields, "movie_id"), _minute(fields, limits), _past(fields, kafka_ms))


def rating(value: bytes | None, kafka_ms: int, limits: Limits) -> Rating:
    """A rating event; see `watch`."""
    fields = _object(value)
    stars = _required(fields, "rating")
    if type(stars) not in (int, float):
        _wrong_type("rating", stars, "a number")
    if not limits.rating_min <= stars <= limits.rating_max:
        raise BadMessage(
            "bad_rating", f"rating: {_brief(stars)} is off the scale {limits.rating_min:g} to {limits.rating_max:g}"
        )
    return Rating(_id(fields, "user_id"), _id(fields, "movie_id"), float(stars), _past(fields, kafka_ms))


def profile(value: bytes | None) -> Profile:
    """A user's profile. An unknown gender is None, never guessed."""
    fields = _object(value)
    gender = fields.get("gender", ...)
    if gender is ...:
        raise BadMessage("missing_field", "gender: missing; give null where it is unknown")
    age, occupation = fields.get("age"), fields.get("occupation")
    if age is not None and (type(age) is not int or not 0 <= age <= 150):
        _wrong_type("age", age, "a whole number from 0 to 150")
    if type(occupation) is int:
        occupation = str(occupation)
    return Profile(
        _id(fields, "user_id"),
        None if gender is None else _text(gender, "gender", MAX_ID_BYTES) or None,
        age,
        None if occupation is None else _text(occupation, "occupation", MAX_ID_BYTES),
    )


def movie(value: bytes | None) -> Movie:
    """A movie of the catalogue."""
    fields = _object(value)
    year, popularity = fields.get("year"), fields.get("popularity")
    if year is not None and (type(year) is not int or not 1800 <= year <= 2200):
        _wrong_type("year", year, "a whole number from 1800 to 2200")
    if popularity is not None and (
        type(popularity) not in (int, float)
        or not abs(popularity) <= sys.float_info.max  # 400 digits are a whole number
    ):
        _wrong_type("popularity", popularity, "a number")
    return Movie(
        _id(fields, "movie_id"),
        _text(_required(fields, "title"), "title", MAX_TITLE),
        _genres(_required(fields, "genres")),
        year,
        None if popularity is None else float(popularity),
    )


def request(value: bytes | None) -> Request:
    """A recommendation request."""
    fields = _object(value)
    n = fields.get("n")
    if n is None:
        n = 20
    elif type(n) is not int:
        _wrong_type("n", n, "a whole number from 1 to 100")
    elif not 1 <= n <= 100:
        raise BadMessage("bad_n", f"n: {_brief(n)} is not from 1 to 100")
    exclude_seen = fields.get("exclude_seen")
    if exclude_seen is None:
        exclude_seen = True
    elif type(exclude_seen) is not bool:
        _wrong_type("exclude_seen", exclude_seen, "true or false")
    genres = fields.get("genres")
    return Request(
        _id(fields, "request_id"),
        _id(fields, "user_id"),
        n,
        _genres(genres) or None if genres is not None else None,
        exclude_seen,
        _timestamp(fields["timestamp"]) if fields.get("timestamp") is not None else None,
    )


def feedback(value: bytes | None) -> Feedback:
    """What a user did with a list."""
    fields = _object(value)
    satisfaction = fields.get("satisfaction")
    if satisfaction is not None:
        if type(satisfaction) not in (int, float):
            _wrong_type("satisfaction", satisfaction, "a number from 0 to 1")
        if not 0 <= satisfaction <= 1:
            raise BadMessage("bad_satisfaction", f"satisfaction: {_brief(satisfaction)} is not from 0 to 1")
    return Feedback(
        _id(fields, "request_id"),
        _id(fields, "user_id") if fields.get("user_id") is not None else None,
        _id(fields, "selected") if fields.get("selected") is not None else None,
        None if satisfaction is None else float(satisfaction),
        _timestamp(fields["timestamp"]) if fields.get("timestamp") is not None else None,
    )


def key_id(key: bytes | None) -> str:
    """The id that a tombstone of a compacted topic deletes."""
    try:
        return checked_id("key", (key or b"").decode())
    except (UnicodeDecodeError, BadMessage):
        raise BadMessage("bad_key", f"key: {_brief(key)} names nothing that could be deleted") from None


def readable_request_id(value: bytes | None) -> str | None:
    """The id of a request that was refused for something else, read as leniently as any JSON reader would."""
    try:
        found = json.loads(value or b"")["request_id"]
        return checked_id("request_id", str(found) if type(found) is int else found)
    except (ValueError, KeyError, TypeError, RecursionError, BadMessage):
        return None


def readable_user_id(value: bytes | None) -> str | None:
    """The user of a refused request, where there is one to read."""
    try:
        found = json.loads(value or b"")["user_id"]
        return checked_id("user_id", str(found) if type(found) is int else found)
    except (ValueError, KeyError, TypeError, RecursionError, BadMessage):
        return None


def checked_id(name: str, value: object) -> str:
    """Text of 1 to 256 bytes without control characters, or BadMessage."""
    if type(value) is not str:
        _wrong_type(name, value, "text or a whole number")
    if not value:
        raise BadMessage("bad_id", f"{name}: empty")
    if len(value) > MAX_ID_BYTES or (not value.isascii() and len(value.encode("utf-8", "replace")) > MAX_ID_BYTES):
        raise BadMessage("bad_id", f"{name}: longer than {MAX_ID_BYTES} bytes")
    if not value.isprintable() and (_CONTROL.search(value) or any("\ud800" <= c <= "\udfff" for c in value)):
        raise BadMessage("bad_id", f"{name}: {_brief(value)} holds a control character")
    return value


def _object(value: bytes | None) -> dict[str, Any]:
    if not value:
        raise BadMessage("tombstone", "no value: an event was expected")
    try:
        fields = _decode(value)
    except msgspec.DecodeError as error:
        try:
            value.decode()
        except UnicodeDecodeError as not_text:
            raise BadMessage("not_utf8", f"not UTF-8: {not_text.reason} at byte {not_text.start}") from None
        raise BadMessage("not_json", f"not JSON: {error}") from None
    except UnicodeDecodeError as not_text:
        raise BadMessage("not_utf8", f"not UTF-8: {not_text.reason} at byte {not_text.start}") from None
    except RecursionError:
        raise BadMessage("not_json", "not JSON that can be read: nested too deep") from None
    if type(fields) is not dict:
        raise BadMessage("not_an_object", f"{_brief(fields)}: a JSON object was expected")
    return fields


def _required(fields: dict[str, Any], name: str) -> Any:
    value = fields.get(name)
    if value is None:
        raise BadMessage("missing_field", f"{name}: missing")
    return value


def _id(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if type(value) is str and 0 < len(value) <= 64 and value.isascii() and value.isprintable():
        return value  # nearly every id there is
    if value is None:
        raise BadMessage("missing_field", f"{name}: missing")
    return checked_id(name, str(value) if type(value) is int else value)


def _text(value: object, name: str, longest: int) -> str:
    if type(value) is not str:
        _wrong_type(name, value, "text")
    if len(value) > longest:
        raise BadMessage("too_long", f"{name}: longer than {longest} characters")
    return value


def _genres(value: object) -> tuple[str, ...]:
    if type(value) is not list:
        _wrong_type("genres", value, "a list of text")
    if len(value) > MAX_GENRES or not all(type(g) is str and 0 < len(g) <= MAX_ID_BYTES for g in value):
        raise BadMessage("bad_genres", f"genres: {_brief(value)} is not a list of at most {MAX_GENRES} names")
    return tuple(dict.fromkeys(value))


def _minute(fields: dict[str, Any], limits: Limits) -> int:
    minute = fields.get("minute")
    if type(minute) is not int:
        if minute is None:
            raise BadMessage("missing_field", "minute: missing")
        _wrong_type("minute", minute, f"a whole number from 0 to {limits.minute_max}")
    if not 0 <= minute <= limits.minute_max:
        raise BadMessage("bad_minute", f"minute: {_brief(minute)} is not from 0 to {limits.minute_max}")
    return minute


def _past(fields: dict[str, Any], kafka_ms: int) -> int:
    at = _timestamp(_required(fields, "timestamp"))
    # Kafka's time, not the wall clock: whoever reads the topic later must refuse the same events.
    if at > kafka_ms + DAY_MS:
        raise BadMessage("future_event", f"timestamp: {rfc3339(at)} is more than a day ahead of {rfc3339(kafka_ms)}")
    return at


def _timestamp(value: object) -> int:
    if type(value) is int or type(value) is float:
        ms = value if value > MILLISECONDS_ABOVE else value * 1000
        at = round(ms) if 0 <= ms < YEAR_10000_MS else -1  # infinity cannot be rounded
    elif type(value) is str:
        text = value.upper()
        if not _RFC3339.fullmatch(text):
            raise BadMessage("bad_timestamp", f"timestamp: {_brief(value)} is not RFC 3339")
        try:
            moment = datetime.fromisoformat(text)
        except ValueError as error:
            raise BadMessage("bad_timestamp", f"timestamp: {_brief(value)}: {error}") from None
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        at = round((moment - _EPOCH).total_seconds() * 1000)
    else:
        _wrong_type("timestamp", value, "RFC 3339 or a number")
    if not 0 <= at < YEAR_10000_MS:
        raise BadMessage("bad_timestamp", f"timestamp: {_brief(value)} is not between 1970 and 9999")
    return at


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _wrong_type(name: str, value: object, expected: str) -> NoReturn:
    raise BadMessage("wrong_type", f"{name}: {_brief(value)} is not {expected}")


def _brief(value: object) -> str:
    shown = repr(value) if not isinstance(value, (dict, list)) or len(value) < 20 else f"a {type(value).__name__}"
    return shown if len(shown) <= 80 else shown[:77] + "..."


# -- out ------------------------------------------------------------------------------------------


def rfc3339(ms: int) -> str:
    """Milliseconds since 1970 as RFC 3339 in UTC.

    >>> rfc3339(1_700_000_000_123)
    '2023-11-14T22:13:20.123Z'
    """
    return f"{_second(ms // 1000)}.{ms % 1000:03d}Z"


@lru_cache(64)  # the answers of a batch have one time, and those of a second one beginning
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def encode(record: msgspec.Struct) -> bytes:
    """Any outgoing record as JSON."""
    return _encode(record)


def provenance(answer_json: bytes, proof: Proof) -> bytes:
    """The record of an answer: every field of the answer, byte for byte, and the proof's beside them."""
    return answer_json[:-1] + b"," + _encode(proof)[1:]


def dead_letter(source: Source, value: bytes | None, reason: Reason, error: str, now_ms: int) -> bytes:
    """A dead letter: payload as text, as base64 where the bytes are not plain text, null for a tombstone."""
    payload: str | None
    encoding = None
    if value is None:
        payload = None
    else:
        if len(value) > MAX_PAYLOAD_BYTES:  # from a topic that takes more than canarec's do
            error = (
                f"{error} (the first {MAX_PAYLOAD_BYTES} of {len(value)} bytes; SHA-256 {sha256(value).hexdigest()})"
            )
            value = value[:MAX_PAYLOAD_BYTES]
        try:
            payload = value.decode()
            # a control character takes six bytes in JSON: megabytes of them would not fit any message
            if "\x00" in payload or len(value) > MAX_TEXT_BYTES:
                raise ValueError("too much for text")
        except ValueError:
            payload, encoding = base64.b64encode(value).decode(), "base64"
    return _encode(DeadLetter(source, reason, error, payload, rfc3339(now_ms), encoding))
