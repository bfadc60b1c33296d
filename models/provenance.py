"""The provenance CSV: its columns, one record as one line and back, and the names of its files. Opens no file, knows no Kafka.

A line is a line: no cell holds a line break. A spreadsheet takes no cell for a formula. Both lose nothing:

    text     control characters but the tab, and the line and paragraph separators of Unicode, as `\\u000a`, a backslash as `\\\\`;
             an apostrophe before what begins with one of `= + - @`, a tab, their full-width forms or an apostrophe
             (OWASP, "CSV Injection"), and alone for the empty text; an empty cell is null
    JSON     as it came, on one line: it begins with a bracket; an empty cell is null

Columns are only ever added, at the end. A file keeps the header that it began with.
"""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import msgspec

from models.errors import BadMessage
from models.events import Source

csv.field_size_limit(16 << 20)  # a cell is no longer than its message

_RISKY = frozenset("=+-@\t'＝＋－＠")
_BREAKS = re.compile("[\\\\\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
_JSON_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ESCAPED = re.compile(r"\\(\\|u[0-9a-f]{4})")


def cell(text: str | None) -> str:
    r"""A text as a cell, before CSV's own quoting.

    >>> cell("=1+1"), cell("a\nb"), cell("'"), cell(""), cell(None)
    ("'=1+1", 'a\\u000ab', "''", "'", '')
    """
    if text is None:
        return ""
    if not text:
        return "'"
    if _BREAKS.search(text):
        text = _BREAKS.sub(_escape, text)
    return "'" + text if text[0] in _RISKY else text


def text(found: str) -> str | None:
    r"""The inverse of `cell`, for any text.

    >>> text("'=1+1"), text("a\\u000ab"), text("'"), text("")
    ('=1+1', 'a\nb', '', None)
    """
    if not found:
        return None
    if found[0] == "'":
        found = found[1:]
    return _ESCAPED.sub(_unescape, found) if "\\" in found else found


def _escape(found: re.Match[str]) -> str:
    return "\\\\" if found[0] == "\\" else f"\\u{ord(found[0]):04x}"


def _unescape(found: re.Match[str]) -> str:
    return "\\" if found[1] == "\\" else chr(int(found[1][1:], 16))


class _Record(msgspec.Struct, frozen=True):
    """What a provenance record must hold to be a row (`models.events.Answer` and `Proof`); JSON stays JSON."""

    request_id: str
    user_id: str | None
    status: str
    recommendations: msgspec.Raw
    scores: msgspec.Raw
    model_id: str | None
    model_version: str | None
    variant: str | None
    source: Source
    served_at: str
    latency_ms: int
    canary_percentage: float
    bucket: int | None
    config_sha256: str
    model_sha256: str | None
    data_version: str | None
    catalog_sha256: str
    history_offsets: msgspec.Raw
    asked: msgspec.Raw = msgspec.Raw(b"null")
    reason: str | None = None
    forced: bool = False
    explored: bool = False
    variant_probability: float | None = None
    propensities: msgspec.Raw = msgspec.Raw(b"null")
    reranked: msgspec.Raw = msgspec.Raw(b"null")
    scoring_ms: float | None = None
    scored_together: int | None = None


class Place(NamedTuple):
    """Where a record stands. A topic that was made anew has another id: its offsets mean other records."""

    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Row:
    """A line, and where it belongs."""

    place: Place
    date: str  # of `predicted_at`, in UTC
    line: bytes  # with its end


Kind = Literal["text", "number", "flag", "json"]
_Cell = Callable[[_Record, Place], Any]


def _json(raw: msgspec.Raw) -> str:
    found = bytes(raw)
    if found == b"null":
        return ""
    if b"\n" in found or b"\r" in found:
        found = msgspec.json.format(found, indent=-1)
    if b"\\u" in found:
        msgspec.json.decode(found)  # half a surrogate pair is none that a reader would take
    plain = found.decode()
    # control characters stand in JSON's texts only, where \u means the same
    return plain if plain.isascii() and "\x7f" not in plain else _JSON_BREAKS.sub(_escape, plain)


# The contract's columns in its order, then what else the record says, then where the record stands.
_COLUMNS: dict[str, tuple[Kind, _Cell]] = {
    "request_id": ("text", lambda record, _: cell(record.request_id)),
    "model_id": ("text", lambda record, _: cell(record.model_id)),
    "model_version": ("text", lambda record, _: cell(record.model_version)),
    "predictions": ("json", lambda record, _: _json(record.recommendations)),
    "predicted_at": ("text", lambda record, _: record.served_at),
    "user_id": ("text", lambda record, _: cell(record.user_id)),
    "variant": ("text", lambda record, _: cell(record.variant)),
    "model_sha256": ("text", lambda record, _: cell(record.model_sha256)),
    "data_version": ("text", lambda record, _: cell(record.data_version)),
    "config_sha256": ("text", lambda record, _: cell(record.config_sha256)),
    "source_partition": ("number", lambda record, _: record.source.partition),
    "source_offset": ("number", lambda record, _: record.source.offset),
    "history_offsets": ("json", lambda record, _: _json(record.history_offsets)),
    "status": ("text", lambda record, _: cell(record.status)),
    "reason": ("text", lambda record, _: cell(record.reason)),
    "bucket": ("number", lambda record, _: record.bucket),
    "canary_percentage": ("number", lambda record, _: record.canary_percentage),
    "forced": ("flag", lambda record, _: "true" if record.forced else "false"),
    "explored": ("flag", lambda record, _: "true" if record.explored else "false"),
    "variant_probability": ("number", lambda record, _: record.variant_probability),
    "propensities": ("json", lambda record, _: _json(record.propensities)),
    "reranked": ("json", lambda record, _: _json(record.reranked)),
    "catalog_sha256": ("text", lambda record, _: cell(record.catalog_sha256)),
    "asked": ("json", lambda record, _: _json(record.asked)),
    "scores": ("json", lambda record, _: _json(record.scores)),
    "latency_ms": ("number", lambda record, _: record.latency_ms),
    "scoring_ms": ("number", lambda record, _: record.scoring_ms),
    "scored_together": ("number", lambda record, _: record.scored_together),
    "source_topic": ("text", lambda record, _: cell(record.source.topic)),
    "record_topic_id": ("text", lambda _, where: cell(where.topic_id)),
    "record_partition": ("number", lambda _, where: where.partition),
    "record_offset": ("number", lambda _, where: where.offset),
}
COLUMNS = tuple(_COLUMNS)
PLACE = ("record_topic_id", "record_partition", "record_offset")
_CELLS = tuple(made for _, made in _COLUMNS.values())


class _Line(io.TextIOBase):
    """csv's writer gives what the file's `write` gives: the line itself."""

    def write(self, line: str) -> str:  # type: ignore[override]  # not the number of characters
        return line


_line = csv.writer(_Line(), lineterminator="\n").writerow
HEADER = str(_line(COLUMNS)).encode()
_decode = msgspec.json.Decoder(_Record).decode
_MOMENT = re.compile(r"(\d{4}-\d{2}-\d{2})T[0-9:.]+Z", re.ASCII)


def row(value: bytes | None, where: Place) -> Row:
    """A record of `provenance` as a line. BadMessage for what is none, which nobody but canarec should have written there."""
    if value is None:
        raise BadMessage("tombstone", "no value: a record was expected")
    try:
        found = _decode(value)
        at = _MOMENT.fullmatch(found.served_at)
        if at is None or not _is_day(at[1]):
            raise BadMessage("bad_timestamp", f"served_at: {found.served_at[:80]!r} is not a time in UTC")
        line = str(_line([made(found, where) for made in _CELLS]))
    except msgspec.ValidationError as error:
        raise BadMessage("wrong_type", str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadMessage("not_json", f"not JSON: {error}") from None
    return Row(where, at[1], line.encode())


@lru_cache(16)
def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def columns(header: bytes) -> list[str]:
    """The columns that a file of ours begins with, of any version; none of another file's, or of half a line."""
    try:
        names = next(csv.reader([header.decode()]), [])
    except (UnicodeDecodeError, csv.Error):
        return []
    return names if header.endswith(b"\n") and set(PLACE) <= set(names) else []


def place(names: Sequence[str], line: bytes) -> Place | None:
    """Where a line's record stands; None for what is no whole row."""
    if not line.endswith(b"\n"):
        return None
    try:
        cells = next(csv.reader([line.decode()], strict=True))
        topic_id, partition, offset = (cells[names.index(name)] for name in PLACE)
        life = text(topic_id)
        return Place(life, int(partition), int(offset)) if life and len(cells) == len(names) else None
    except (UnicodeDecodeError, csv.Error, ValueError, IndexError, StopIteration):
        return None


def record(names: Sequence[str], cells: Sequence[str]) -> dict[str, Any]:
    """A row as it is read back: text as it was, numbers, lists and objects. Of a column that is not known here, the text.

    Errors: ValueError for cells that no writer made.
    """
    return {name: _value(name, found) for name, found in zip(names, cells, strict=True)}


def _value(name: str, found: str) -> Any:
    kind: Kind = _COLUMNS[name][0] if name in _COLUMNS else "text"
    if kind == "text":
        return text(found)
    if not found:
        return None
    return msgspec.json.decode(found)  # true, 12 and [1] are JSON


@dataclass(frozen=True, slots=True, order=True)
class Part:
    """A file: `<date>.csv`, then `<date>.2.csv` and so on; with `.gz` behind it once it is compressed."""

    date: str
    number: int

    def name(self) -> str:
        """
        >>> Part("2026-11-27", 1).name(), Part("2026-11-27", 2).name()
        ('2026-11-27.csv', '2026-11-27.2.csv')
        """
        return f"{self.date}.csv" if self.number == 1 else f"{self.date}.{self.number}.csv"


_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\.([2-9]|[1-9]\d{1,8}))?\.csv(?:\.gz)?", re.ASCII)


def part(name: str) -> Part | None:
    """Which file this is; None for one that is none of these.

    >>> part("2026-11-27.2.csv.gz"), part("notes.csv")
    (Part(date='2026-11-27', number=2), None)
    """
    named = _NAME.fullmatch(name)
    return Part(named[1], int(named[2] or 1)) if named and _is_day(named[1]) else None
