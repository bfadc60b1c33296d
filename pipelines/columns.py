"""What the archive keeps of a topic: its messages as typed Arrow columns. Reads no topic, writes no file.

A message becomes one row, or, where it is refused, none, and is counted by its reason: what `models.wire` refuses is the stream's
dead letter, too. Columns of every topic are `partition`, `offset` and `logged_at`, Kafka's own time of the message; the others
are the record's. A tombstone of a compacted topic is a row with nothing but its id and `deleted`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from operator import attrgetter
from typing import Annotated, Any

import msgspec
import pyarrow as pa
from msgspec import Meta

from models import wire
from models.errors import BadMessage, CanarecError
from models.wire import Limits

Raw = tuple[int, int, bytes | None, bytes | None]  # offset, Kafka's time in ms, key, value
Parse = Callable[[bytes | None, bytes | None, int, Limits], Any]  # key, value, Kafka's time in ms, limits
Column = tuple[pa.DataType, Callable[[Any], Any]]  # its type, and a record's value of it

STRING, FLOAT, BOOL = pa.string(), pa.float64(), pa.bool_()
I32, I64 = pa.int32(), pa.int64()
TEXTS = pa.list_(pa.string())
TIME = pa.timestamp("ms", tz="UTC")


@dataclass(frozen=True, slots=True)
class Layout:
    """How a topic's messages are read, and which columns their records have."""

    parse: Parse
    columns: Mapping[str, Column]

    @property
    def schema(self) -> pa.Schema:
        own = [pa.field(name, kind) for name, (kind, _) in self.columns.items()]
        return pa.schema([pa.field(name, kind, nullable=False) for name, kind in _PLACE.items()] + own)


def layout(topic: str) -> Layout:
    """The layout of a topic of the contract, or CanarecError where the archive does not keep it."""
    if topic not in LAYOUTS:
        raise CanarecError(f"{topic}: is not archived; the archive keeps {', '.join(LAYOUTS)}")
    return LAYOUTS[topic]


def batch(topic: str, partition: int, messages: Iterable[Raw], limits: Limits) -> tuple[pa.RecordBatch, Counter[str]]:
    """Messages of a partition, in the order of their offsets, as rows; and how many were refused, by reason.

    >>> rows, refused = batch("user-profiles", 2, [(7, 0, b"u1", b'{"user_id": "u1", "gender": "F"}'), (8, 0, b"u2", b"?")], Limits())
    >>> rows.to_pylist()[0]["user_id"], rows.num_rows, refused
    ('u1', 1, Counter({'not_json': 1}))
    """
    wanted = layout(topic)
    parse = wanted.parse
    records: list[Any] = []
    offsets: list[int] = []
    times: list[int] = []
    refused: Counter[str] = Counter()
    for offset, kafka_ms, key, value in messages:
        try:
            records.append(parse(key, value, kafka_ms, limits))
        except BadMessage as error:
            refused[error.reason] += 1
            continue
        offsets.append(offset)
        times.append(kafka_ms)
    arrays = [
        pa.array([partition] * len(records), I32),
        pa.array(offsets, I64),
        pa.array(times, TIME),
        *(pa.array(list(map(value_of, records)), kind) for kind, value_of in wanted.columns.values()),
    ]
    return pa.record_batch(arrays, schema=wanted.schema), refused


# -- records that canarec itself publishes ---------------------------------------------------------

Index = Annotated[int, Meta(ge=0, lt=2**31)]
Whole = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Moment = Annotated[datetime, Meta(tz=True)]


class _Place(msgspec.Struct, frozen=True):
    topic: str
    partition: Index
    offset: Whole


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """`models.events.Answer` as it is read back: whole numbers that fit their columns, the time as a time."""

    request_id: str
    user_id: str | None
    status: str
    recommendations: list[str]
    scores: list[float]
    model_id: str | None
    model_version: str | None
    variant: str | None
    source: _Place
    served_at: Moment
    latency_ms: Whole
    reason: str | None = None
    explored: bool = False


class _Asked(msgspec.Struct, frozen=True):
    n: Index
    genres: list[str] | None
    exclude_seen: bool


class _Reranked(msgspec.Struct, frozen=True):
    least: Index
    protected: Index
    added: list[str]
    removed: list[str]


class _Provenance(_Answer, frozen=True, kw_only=True):
    """An answer and its `models.events.Proof`."""

    asked: _Asked | None
    canary_percentage: float
    bucket: Index | None
    config_sha256: str
    model_sha256: str | None
    data_version: str | None
    catalog_sha256: str
    history_offsets: dict[str, dict[str, Whole]]
    forced: bool = False
    # records of earlier versions do not have these:
    variant_probability: float | None = None
    scoring_ms: float | None = None
    scored_together: Index | None = None
    propensities: list[float] | None = None
    reranked: _Reranked | None = None


def _reads(kind: type[msgspec.Struct]) -> Parse:
    decode = msgspec.json.Decoder(kind).decode

    def parse(_key: bytes | None, value: bytes | None, _ms: int, _limits: Limits) -> Any:
        if not value:
            raise BadMessage("tombstone", "no value: a record was expected")
        try:
            return decode(value)
        except msgspec.ValidationError as error:
            raise BadMessage(
                "missing_field" if "missing required" in str(error) else "wrong_type", str(error)
            ) from None
        except msgspec.DecodeError as error:
            raise BadMessage("not_json", f"not JSON: {error}") from None
        except UnicodeDecodeError as error:
            raise BadMessage("not_utf8", f"not UTF-8: {error.reason} at byte {error.start}") from None
        except RecursionError:
            raise BadMessage("not_json", "not JSON that can be read: nested too deep") from None

    return parse


class _Deleted(msgspec.Struct, frozen=True):
    """A tombstone: the record of this id is gone."""

    user_id: str
    gender: None = None
    age: None = None
    occupation: None = None
    title: None = None
    genres: None = None
    year: None = None
    popularity: None = None

    @property
    def movie_id(self) -> str:
        return self.user_id


def _keeps_last(read: Callable[[bytes | None], Any]) -> Parse:
    """Of a compacted topic: a message without a value deletes what its key names."""
    return lambda key, value, ms, limits: _Deleted(wire.key_id(key)) if value is None else read(value)


# -- the table -------------------------------------------------------------------------------------


def _of(name: str, kind: pa.DataType = STRING) -> dict[str, Column]:
    return {name: (kind, attrgetter(name))}


_PLACE = {"partition": I32, "offset": I64, "logged_at": TIME}
_TIMESTAMP: dict[str, Column] = {"timestamp": (TIME, attrgetter("timestamp_ms"))}
_DELETED: dict[str, Column] = {"deleted": (BOOL, lambda record: type(record) is _Deleted)}
_EVENT = _of("user_id") | _of("movie_id")
_SOURCE = pa.struct([("topic", STRING), ("partition", I32), ("offset", I64)])
_ASKED = pa.struct([("n", I32), ("genres", TEXTS), ("exclude_seen", BOOL)])
_RERANKED = pa.struct([("least", I32), ("protected", I32), ("added", TEXTS), ("removed", TEXTS)])
_ANSWER: dict[str, Column] = {
    **_of("request_id"),
    **_of("user_id"),
    **_of("status"),
    **_of("recommendations", TEXTS),
    **_of("scores", pa.list_(FLOAT)),
    **_of("model_id"),
    **_of("model_version"),
    **_of("variant"),
    **_of("reason"),
    "source": (_SOURCE, lambda answer: msgspec.structs.astuple(answer.source)),
    **_of("served_at", TIME),
    **_of("latency_ms", I64),
    **_of("explored", BOOL),
}
LAYOUTS: dict[str, Layout] = {
    "watch-events": Layout(
        lambda key, value, ms, limits: wire.watch(value, ms, limits), _EVENT | _of("minute", I32) | _TIMESTAMP
    ),
    "rating-events": Layout(
        lambda key, value, ms, limits: wire.rating(value, ms, limits), _EVENT | _of("rating", FLOAT) | _TIMESTAMP
    ),
    "user-profiles": Layout(
        _keeps_last(wire.profile), _of("user_id") | _of("gender") | _of("age", I32) | _of("occupation") | _DELETED
    ),
    "movie-catalog": Layout(
        _keeps_last(wire.movie),
        _of("movie_id") | _of("title") | _of("genres", TEXTS) | _of("year", I32) | _of("popularity", FLOAT) | _DELETED,
    ),
    "recommendation-requests": Layout(
        lambda key, value, ms, limits: wire.request(value),
        _of("request_id")
        | _of("user_id")
        | _of("n", I32)
        | _of("genres", TEXTS)
        | _of("exclude_seen", BOOL)
        | _TIMESTAMP,
    ),
    "recommendations": Layout(_reads(_Answer), _ANSWER),
    "recommendation-feedback": Layout(
        lambda key, value, ms, limits: wire.feedback(value),
        _of("request_id") | _of("user_id") | _of("selected") | _of("satisfaction", FLOAT) | _TIMESTAMP,
    ),
    "provenance": Layout(
        _reads(_Provenance),
        _ANSWER
        | {"asked": (_ASKED, lambda record: record.asked and msgspec.structs.astuple(record.asked))}
        | _of("canary_percentage", FLOAT)
        | _of("bucket", I32)
        | _of("config_sha256")
        | _of("model_sha256")
        | _of("data_version")
        | _of("catalog_sha256")
        | {"history_offsets": (STRING, lambda record: msgspec.json.encode(record.history_offsets).decode())}
        | _of("forced", BOOL)
        | _of("variant_probability", FLOAT)
        | _of("scoring_ms", FLOAT)
        | _of("scored_together", I32)
        | _of("propensities", pa.list_(FLOAT))
        | {"reranked": (_RERANKED, lambda record: record.reranked and msgspec.structs.astuple(record.reranked))},
    ),
}
