"""A dead letter read back: what was refused, where it stood, the original bytes and headers, how often it was published again.

A message that is published again carries two headers more: which dead letter it comes from, and the how-manieth time this is. If it is
refused again, the new dead letter has them too, since a message's own headers stay: so all dead letters of the same bytes are known
as one line of descent, and the limit holds for all of it.
"""

import base64
import re
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from models.errors import BadMessage
from models.events import DeadLetter, Source
from models.topics import TOPICS
from models.wire import UNREADABLE

PREFIX = "__streams.errors."  # KIP-1034's
ADDED = tuple(PREFIX + name for name in ("exception", "message", "topic", "partition", "offset"))
REPLAYS, ORIGIN = "canarec-replays", "canarec-dead-letter"
ATTEMPTS = 3
REPLAYABLE = tuple(name for name, topic in TOPICS.items() if topic.direction == "in")

Header = tuple[str, str | bytes | None]
_CUT = re.compile(r"\(the first \d+ of \d+ bytes; SHA-256 ([0-9a-f]{64})\)\Z")
_decode = msgspec.json.Decoder(DeadLetter).decode


class Place(NamedTuple):
    """Where in `dead-letters` it stands."""

    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.partition}:{self.offset}"


class Letter(msgspec.Struct, frozen=True):
    """A dead letter without its payload. `whole`: it has the message's own key, headers and, but for `sha256`, all bytes."""

    place: Place
    at_ms: int  # Kafka's time of it
    source: Source
    reason: str
    error: str
    timestamp: str
    key: bytes | None
    headers: tuple[Header, ...]  # the message's own
    whole: bool
    sha256: str | None = None  # of the original, where only its first bytes are here
    replays: int = 0  # the message that was refused had been published again so many times
    origin: Place | None = None  # the first dead letter of these bytes; None: this one

    @property
    def root(self) -> Place:
        return self.origin or self.place

    @property
    def complete(self) -> bool:
        """The original can be had from the dead letter itself."""
        return self.whole and self.sha256 is None


def read(place: Place, at_ms: int, key: bytes | None, value: bytes | None, headers: Sequence[Header]) -> Letter:
    """A message of `dead-letters`. BadMessage where it is none of canarec's."""
    record = _record(value)
    own, whole = _own(headers)
    cut = _CUT.search(record.error) if record.payload_encoding else None
    replays, origin = descent(own)
    return Letter(
        place,
        at_ms,
        record.source,
        record.reason,
        record.error,
        record.timestamp,
        key,
        tuple(own),
        whole,
        cut[1] if cut else None,
        replays,
        origin,
    )


def payload(value: bytes | None) -> bytes | None:
    """The payload's bytes; None for a tombstone, and where it was left out."""
    record = _record(value)
    if record.payload is None:
        return None
    if record.payload_encoding is None:
        return record.payload.encode()
    try:
        return base64.b64decode(record.payload, validate=True)
    except ValueError:
        raise BadMessage("not_json", "payload: not base64, though payload_encoding says so") from None


def is_original(letter: Letter, value: bytes | None) -> bool:
    """What was read at the letter's source place is what was refused, as far as the letter can tell."""
    return letter.sha256 is None or sha256(value or b"").hexdigest() == letter.sha256


def descent(headers: Iterable[Header]) -> tuple[int, Place | None]:
    """How often a message was published again, and from which dead letter; (0, None) for one that never was.

    >>> descent([("canarec-dead-letter", b"2-17"), ("canarec-replays", b"1")])
    (1, Place(partition=2, offset=17))
    """
    found = dict(headers)
    count, origin = _text(found.get(REPLAYS)), re.fullmatch(r"(\d{1,9})-(\d{1,18})", _text(found.get(ORIGIN)), re.ASCII)
    if origin is None or not re.fullmatch(r"\d{1,9}", count, re.ASCII):
        return 0, None
    return int(count), Place(int(origin[1]), int(origin[2]))


def descended(headers: Iterable[Header], root: Place, replays: int) -> list[Header]:
    """A message's own headers, with those that say from which dead letter it comes and the how-manieth time this is."""
    kept = [header for header in headers if header[0] not in (REPLAYS, ORIGIN)]
    return [*kept, (ORIGIN, f"{root.partition}-{root.offset}".encode()), (REPLAYS, str(replays).encode())]


def refusal(letter: Letter, replays: int, limit: int, topics: Iterable[str], *, named: bool) -> str | None:
    """Why a letter is not published again, or None. `replays`: of its line of descent; `named`: somebody asked for this very one.

    Of a line of descent only the newest letter stands for all, unless an older one is named.
    """
    if letter.source.topic not in topics:
        return f"{letter.source.topic} is no topic that canarec reads from users"
    if replays >= limit:
        return f"published again {replays} times already: the limit is {limit}"
    if letter.replays < replays and not named:
        return "published again already"
    return None


def _record(value: bytes | None) -> DeadLetter:
    try:
        return _decode(value or b"")
    except UNREADABLE as error:
        raise BadMessage("not_json", f"no dead letter: {error}") from None


def _own(headers: Sequence[Header]) -> tuple[list[Header], bool]:
    """The message's own headers, and whether the dead letter has them at all: what canarec adds stands behind them."""
    own = list(headers)
    if own and own[-1][0] == "schema":
        own.pop()
    if tuple(name for name, _ in own[-len(ADDED) :]) != ADDED:
        return [], False
    return own[: -len(ADDED)], True


def _text(value: str | bytes | None) -> str:
    return value.decode("ascii", "replace") if isinstance(value, bytes) else value or ""
