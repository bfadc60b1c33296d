r"""The grammar of a movie service's raw log lines: bytes ↔ records. Parses; never looks a movie up, never repairs.

    line    = time "," user "," request
    time    = YYYY-MM-DDTHH:MM[:SS[fraction]][zone]     seconds left out: :00; no zone: UTC; kept in whole milliseconds
    fraction= "." 0 to 9 digits | "," 3, 6 or 9 digits
    user    = a whole number, no leading zero
    request = "GET /data/m/" movie "/" minute ".mpg"                                   a Watch
            | "GET /rate/" movie "=" stars                                             a Rating; whole or half stars
            | "recommendation request " host ", status 200, result: " movies ", " n " ms"    a Result
            | "recommendation request " host ", status " n ", result: " text ", " n " ms"     a Result that failed
            | "GET /create_account"                                                    an AccountCreated
    movies  = nothing | movie {("," | ", ") movie}      the same movie may come twice
    movie   = {letter | digit | "." | "-" | "*" | "_" | "~" | "+" | "%" hex hex}, 1 to 256 bytes

**The comma** is both separator and (ISO 8601) a fraction's mark. A number after the seconds is the user, unless
another number stands where the request would begin: then it is the fraction, if it has a length that clocks write.
So one stray comma in the middle of a user id of six digits cannot be told from milliseconds; any other before the
request is refused.

**The movie id is the service's own**, in its own URL form: `am%C3%A9lie+2001` and not `amélie+2001`. That is the
text that its catalogue and its lists use, and it can hold neither a comma (lists of ids are joined by commas) nor a
control character. One movie has one id however a line spells it (RFC 3986, 6.2.2): hex digits become capitals,
needlessly escaped characters plain, and `%20` becomes `+`, as both are a form's space. `%2B`, a real plus, stays:
`romeo+%2B+juliet+1996`. Upper and lower case differ. For a catalogue that has its ids unescaped there is `resolve`.

What damage can be seen is refused with a reason. What cannot, is another digit where any digit may stand (user, minute,
fraction, a rating 1 that becomes 10) or another character in a movie id, which names a movie that no catalogue has.
"""

import re
from collections.abc import Container
from datetime import UTC, datetime
from functools import lru_cache
from typing import NoReturn
from urllib.parse import quote, unquote_to_bytes

import msgspec
import numpy as np

from models.errors import BadMessage, Reason
from models.events import Rating, Watch
from models.wire import DAY_MS, MAX_ID_BYTES, YEAR_10000_MS, Limits, rfc3339


class Result(msgspec.Struct, frozen=True):
    """The service asked a recommender for a user's list. `error` is None, or what came instead of one."""

    user_id: str
    host: str
    status: int
    movie_ids: tuple[str, ...]
    error: str | None
    latency_ms: int
    timestamp_ms: int


class AccountCreated(msgspec.Struct, frozen=True):
    user_id: str
    timestamp_ms: int


Record = Watch | Rating | Result | AccountCreated

_MOVIE = r"[A-Za-z0-9.*_+~%-]+"
_HEAD = re.compile(
    r"(\d{4}-\d\d-\d\dT\d\d:\d\d)(?::([0-5]\d)(?:\.(\d{0,9})|,(\d{3}|\d{6}|\d{9})(?=,\d))?)?(Z|[+-]\d\d:\d\d)?"
    r",(0|[1-9]\d{0,19}),",
    re.ASCII,
)
_DATA = re.compile(rf"GET /data/m/({_MOVIE})/(\d+)\.mpg", re.ASCII)
_RATE = re.compile(rf"GET /rate/({_MOVIE})=(10|\d(?:\.5)?)", re.ASCII)
_RESULT = re.compile(
    r"recommendation request ([^\s,]+), ?status (0|[1-5]\d\d), ?result: ?(?:(.*), ?)?(\d{1,9}) ?ms", re.ASCII
)
_MOVIES = re.compile(rf"{_MOVIE}(?:, ?{_MOVIE})*", re.ASCII)
_SEPARATOR = re.compile(", ?")
# for naming what is wrong
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(?::[0-5]\d(?:\.\d{0,9})?)?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)
_DATA_LIKE = re.compile(r"GET /data/m/([^/]*)/([^/]*)\.mpg")
_RATE_LIKE = re.compile(r"GET /rate/([^/=]*)=([^/=]*)")

_ESCAPE = re.compile(r"%(..?|$)", re.DOTALL)
_HEX_PAIR = re.compile(r"[0-9A-Fa-f]{2}")
_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.*_~-"
_STRAY = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_EPOCH = datetime(1970, 1, 1)


# -- in -------------------------------------------------------------------------------------------


def parse(line: bytes | None, limits: Limits, *, kafka_ms: int | None = None) -> Record:
    r"""One line, with or without its end of line, as a record; BadMessage with a stable reason for any other.

    `kafka_ms` is the message's own time: a line more than a day ahead of it is refused.

    >>> parse(b"2022-11-14T12:24,596363,GET /data/m/endeavour+/0.mpg", Limits())
    Watch(user_id='596363', movie_id='endeavour+', minute=0, timestamp_ms=1668428640000)
    """
    if not line:
        raise BadMessage("tombstone", "no value: a line was expected")
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise BadMessage("not_utf8", f"not UTF-8: {error.reason} at byte {error.start}") from None
    if text[-1] in "\r\n":
        text = text.rstrip("\r\n")
    head = _HEAD.match(text)
    if head is None:
        _refuse_head(text)
    minute, seconds, digits, digits_after_comma, zone, user = head.groups()
    at = _minute_ms(minute, zone)
    if seconds is not None:
        at += 1000 * int(seconds)
        fraction = digits or digits_after_comma
        if fraction:
            at += int(fraction) if len(fraction) == 3 else round(int(f"{fraction:0<6.6}") / 1000)
    if at >= YEAR_10000_MS:
        _refuse("bad_timestamp", "time", head[0], "before the year 10000")
    if kafka_ms is not None and at > kafka_ms + DAY_MS:
        raise BadMessage("future_event", f"time: {rfc3339(at)} is more than a day ahead of {rfc3339(kafka_ms)}")

    begin = head.end()
    if text.startswith("GET /data/m/", begin):
        found = _DATA.fullmatch(text, begin)
        if found is None:
            _refuse_data(text[begin:])
        movie, minutes = found.groups()
        if minutes[0] == "0" != minutes or len(minutes) > 5 or int(minutes) > limits.minute_max:
            _refuse("bad_minute", "minute", minutes, f"from 0 to {limits.minute_max}")
        return Watch(user, _movie(movie), int(minutes), at)
    if text.startswith("GET /rate/", begin):
        found = _RATE.fullmatch(text, begin)
        if found is None:
            _refuse_rate(text[begin:])
        movie, stars = found.groups()
        rating = float(stars)
        if not limits.rating_min <= rating <= limits.rating_max:
            _refuse("bad_rating", "rating", stars, f"on the scale {limits.rating_min:g} to {limits.rating_max:g}")
        return Rating(user, _movie(movie), rating, at)
    if text.startswith("recommendation request ", begin):
        found = _RESULT.fullmatch(text, begin)
        if found is None:
            _refuse("unknown_line", "request", text[begin:], "<host>, status <n>, result: <…>, <n> ms")
        host, status, body, latency = found.groups()
        body = body or ""
        if status != "200":
            return Result(user, host, int(status), (), body, int(latency), at)
        return Result(user, host, 200, _movies(body), None, int(latency), at)
    if text[begin:] != "GET /create_account":
        _refuse("unknown_line", "request", text[begin:], "a request of a known form")
    return AccountCreated(user, at)


def canonical(movie_id: str) -> str:
    """The one spelling of a movie id in URL form; BadMessage where it is not one.

    >>> canonical("am%c3%a9lie%20%32001"), canonical("romeo+%2b+juliet+1996")
    ('am%C3%A9lie+2001', 'romeo+%2B+juliet+1996')
    """
    found = _ESCAPE.sub(_plain_or_capital, movie_id) if "%" in movie_id else movie_id
    if len(found) > MAX_ID_BYTES:
        raise BadMessage("bad_id", f"movie: longer than {MAX_ID_BYTES} bytes")
    return found


def spellings(movie_id: str) -> tuple[str, ...]:
    """What a catalogue may call the movie of a line, the likeliest first: as it stands, unescaped, with real spaces.

    >>> spellings("am%C3%A9lie+2001")
    ('am%C3%A9lie+2001', 'amélie+2001', 'amélie 2001')
    """
    found = [movie_id]
    for form in (movie_id, movie_id.replace("+", " ")):
        try:
            found.append(unquote_to_bytes(form).decode())
        except UnicodeDecodeError:
            continue  # escaped Latin-1 has no other spelling
    return tuple(dict.fromkeys(found))


def resolve(movie_id: str, known: Container[str]) -> str:
    """The catalogue's own id for the movie of a line; the line's where the catalogue does not have the movie.

    >>> resolve("toy+story+1995", {"toy story 1995": 1}), resolve("heat+1995", {})
    ('toy story 1995', 'heat+1995')
    """
    if movie_id in known:
        return movie_id  # nearly always
    return next((spelling for spelling in spellings(movie_id) if spelling in known), movie_id)


@lru_cache(4096)  # lines come in the order of time: a minute is read once
def _minute_ms(minute: str, zone: str | None) -> int:
    try:
        at = (datetime.fromisoformat(minute + (zone or "Z")) - _EPOCH.replace(tzinfo=UTC)).total_seconds()
    except ValueError as error:
        raise BadMessage("bad_timestamp", f"time: {minute}: {error}") from None
    if at < 0:
        raise BadMessage("bad_timestamp", f"time: {minute} is before 1970")
    return int(at) * 1000


def _movie(text: str) -> str:
    return canonical(text) if "%" in text or len(text) > MAX_ID_BYTES else text


def _movies(body: str) -> tuple[str, ...]:
    if not body:
        return ()
    if _MOVIES.fullmatch(body) is None:
        wrong = next((movie for movie in _SEPARATOR.split(body) if re.fullmatch(_MOVIE, movie) is None), body)
        _refuse("bad_id", "result", wrong, "a movie id")
    movies = body.replace(", ", ",").split(",")
    if "%" in body or max(map(len, movies)) > MAX_ID_BYTES:
        return tuple(map(canonical, movies))
    return tuple(movies)


def _plain_or_capital(escape: re.Match[str]) -> str:
    pair = escape[1]
    if not _HEX_PAIR.fullmatch(pair):
        _refuse("bad_id", "movie", escape[0], "a percent sign and two hex digits")
    character = chr(int(pair, 16))
    if character < " " or character == "\x7f":
        _refuse("bad_id", "movie", escape[0], "a character that may stand in an id")
    if character == " ":
        return "+"
    return character if character in _PLAIN else f"%{pair.upper()}"


def _refuse_head(text: str) -> NoReturn:
    time, comma, rest = text.partition(",")
    user, second_comma, _ = rest.partition(",")
    if not comma or not second_comma:
        _refuse("unknown_line", "line", text, "<time>,<user>,<request>")
    if not _TIME.fullmatch(time):
        _refuse("bad_timestamp", "time", time, "YYYY-MM-DDTHH:MM:SS")
    _refuse("bad_id", "user", user, "a whole number")


def _refuse_data(request: str) -> NoReturn:
    like = _DATA_LIKE.fullmatch(request)
    if like is None:
        _refuse("unknown_line", "request", request, "GET /data/m/<movie>/<minute>.mpg")
    if re.fullmatch(_MOVIE, like[1]) is None:
        _refuse("bad_id", "movie", like[1], "a movie id in URL form")
    _refuse("bad_minute", "minute", like[2], "a whole number")


def _refuse_rate(request: str) -> NoReturn:
    like = _RATE_LIKE.fullmatch(request)
    if like is None:
        _refuse("unknown_line", "request", request, "GET /rate/<movie>=<rating>")
    if re.fullmatch(_MOVIE, like[1]) is None:
        _refuse("bad_id", "movie", like[1], "a movie id in URL form")
    _refuse("bad_rating", "rating", like[2], "a whole or half number of stars")


def _refuse(reason: Reason, name: str, found: str, expected: str) -> NoReturn:
    shown = repr(found)
    raise BadMessage(reason, f"{name}: {shown if len(shown) <= 80 else shown[:77] + '...'} is not {expected}")


# -- out ------------------------------------------------------------------------------------------


def encode(record: Record) -> bytes:
    """The line of a record, as the service writes it: seconds and fraction left out where they are zero.

    Movie ids are put into URL form. ValueError for what no line can say: a rating that is not in half stars, a user id
    that is not a number.

    >>> encode(Rating("69835", "like+water+for+chocolate+1992", 3.0, 1_728_919_253_000))
    b'2024-10-14T15:20:53,69835,GET /rate/like+water+for+chocolate+1992=3'
    """
    if not re.fullmatch(r"0|[1-9]\d{0,19}", record.user_id, re.ASCII):
        raise ValueError(f"user {record.user_id!r}: a line names users by whole numbers")
    match record:
        case Watch():
            request = f"GET /data/m/{escaped(record.movie_id)}/{record.minute}.mpg"
        case Rating():
            if not (0 <= record.rating <= 10 and record.rating % 0.5 == 0):
                raise ValueError(f"rating {record.rating:g}: a line has whole or half stars up to 10")
            request = f"GET /rate/{escaped(record.movie_id)}={record.rating:g}"
        case Result():
            body = ", ".join(map(escaped, record.movie_ids)) if record.error is None else record.error
            request = (
                f"recommendation request {record.host}, status {record.status}, result: {body}, {record.latency_ms} ms"
            )
        case AccountCreated():
            request = "GET /create_account"
    return f"{_written(record.timestamp_ms)},{record.user_id},{request}".encode()


def damaged(line: bytes, rng: np.random.Generator) -> bytes:
    """A line with one stray character, a capital or a digit, anywhere: what happens to about one in a thousand.

    >>> damaged(b"GET", np.random.default_rng(1))
    b'GSET'
    """
    place, stray = int(rng.integers(len(line) + 1)), int(rng.integers(len(_STRAY)))
    return line[:place] + _STRAY[stray : stray + 1] + line[place:]


def escaped(movie_id: str) -> str:
    """Any movie id in URL form; one that is in it already stays.

    >>> escaped("amélie+2001"), escaped("am%C3%A9lie+2001"), escaped("100% wolf")
    ('am%C3%A9lie+2001', 'am%C3%A9lie+2001', '100%25+wolf')
    """
    kept = re.sub(r"%(?![0-9A-Fa-f]{2})", "%25", movie_id)
    return canonical(quote(kept, safe="+%*~"))


def _written(at_ms: int) -> str:
    text = rfc3339(at_ms)[:-1]
    return text.removesuffix(".000").removesuffix(":00") if text.endswith(":00.000") else text.removesuffix(".000")
