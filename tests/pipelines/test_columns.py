"""Messages as typed columns: what each topic's are, what is counted instead, and laws on bytes that anybody may publish."""

from datetime import UTC, datetime

import msgspec
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import wire
from models.errors import REASONS, CanarecError
from models.events import Answer, Asked, Proof, Reranked, Source
from models.wire import Limits
from pipelines import columns

NOW = 1_700_000_000_000  # 2023-11-14T22:13:20Z
AT = datetime(2022, 11, 14, 12, 23, 12, tzinfo=UTC)
ANSWER = Answer(
    request_id="r1",
    user_id="u1",
    status="ok",
    recommendations=["heat+1995"],
    scores=[0.5],
    model_id="als-64",
    model_version="v1",
    variant="stable",
    source=Source("recommendation-requests", 3, 17),
    served_at="2022-11-14T12:23:12.000Z",
    latency_ms=4,
)
PROOF = Proof(
    asked=Asked(20, ("Crime",), True),
    canary_percentage=10,
    bucket=4711,
    config_sha256="c",
    model_sha256="m",
    data_version="d",
    catalog_sha256="k",
    history_offsets=msgspec.Raw(b'{"watch-events":{"0":5}}'),
    variant_probability=0.9,
    scoring_ms=0.125,
    scored_together=16,
    propensities=[0.95],
    reranked=Reranked(1, 1, ["heat+1995"], ["speed+1994"]),
)
ANSWERED = {
    "request_id": "r1",
    "user_id": "u1",
    "status": "ok",
    "recommendations": ["heat+1995"],
    "scores": [0.5],
    "model_id": "als-64",
    "model_version": "v1",
    "variant": "stable",
    "reason": None,
    "source": {"topic": "recommendation-requests", "partition": 3, "offset": 17},
    "served_at": AT,
    "latency_ms": 4,
    "explored": False,
}
GOOD = {
    "watch-events": (
        b'{"user_id": "u1", "movie_id": 7, "minute": 12, "timestamp": "2022-11-14T12:23:12Z"}',
        {"user_id": "u1", "movie_id": "7", "minute": 12, "timestamp": AT},
    ),
    "rating-events": (
        b'{"user_id": "u1", "movie_id": "heat+1995", "rating": 4, "timestamp": 1668428592}',
        {"user_id": "u1", "movie_id": "heat+1995", "rating": 4.0, "timestamp": AT},
    ),
    "user-profiles": (
        b'{"user_id": "u1", "gender": null, "age": 35}',
        {"user_id": "u1", "gender": None, "age": 35, "occupation": None, "deleted": False},
    ),
    "movie-catalog": (
        b'{"movie_id": "heat+1995", "title": "Heat", "genres": ["Crime", "Drama"], "year": 1995, "popularity": 17}',
        {
            "movie_id": "heat+1995",
            "title": "Heat",
            "genres": ["Crime", "Drama"],
            "year": 1995,
            "popularity": 17.0,
            "deleted": False,
        },
    ),
    "recommendation-requests": (
        b'{"request_id": "r1", "user_id": "u1", "genres": ["Crime"]}',
        {"request_id": "r1", "user_id": "u1", "n": 20, "genres": ["Crime"], "exclude_seen": True, "timestamp": None},
    ),
    "recommendation-feedback": (
        b'{"request_id": "r1", "selected": "heat+1995", "satisfaction": 1, "timestamp": "2022-11-14T12:23:12Z"}',
        {"request_id": "r1", "user_id": None, "selected": "heat+1995", "satisfaction": 1.0, "timestamp": AT},
    ),
    "recommendations": (wire.encode(ANSWER), ANSWERED),
    "provenance": (
        wire.provenance(wire.encode(ANSWER), PROOF),
        {
            **ANSWERED,
            "asked": {"n": 20, "genres": ["Crime"], "exclude_seen": True},
            "canary_percentage": 10.0,
            "bucket": 4711,
            "config_sha256": "c",
            "model_sha256": "m",
            "data_version": "d",
            "catalog_sha256": "k",
            "history_offsets": '{"watch-events":{"0":5}}',
            "forced": False,
            "variant_probability": 0.9,
            "scoring_ms": 0.125,
            "scored_together": 16,
            "propensities": [0.95],
            "reranked": {"least": 1, "protected": 1, "added": ["heat+1995"], "removed": ["speed+1994"]},
        },
    ),
}
every_topic = pytest.mark.parametrize("topic", list(columns.LAYOUTS))


def batch(topic, *values, key=b"k"):
    return columns.batch(topic, 2, [(40 + n, NOW, key, value) for n, value in enumerate(values)], Limits())


@every_topic
def test_a_message_becomes_a_row(topic):
    value, record = GOOD[topic]
    rows, refused = batch(topic, value)
    place = {"partition": 2, "offset": 40, "logged_at": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)}
    assert rows.to_pylist() == [{**place, **record}]
    assert not refused


@every_topic
def test_a_refused_message_is_counted_by_its_reason_and_shifts_no_offset(topic):
    good, _ = GOOD[topic]
    rows, refused = batch(topic, b"{", good, b"\xff", b"{}", b"[" * 100_000)
    assert rows["offset"].to_pylist() == [41]
    assert refused["missing_field"] == 1
    assert refused.total() == 4


@pytest.mark.parametrize("topic", ["user-profiles", "movie-catalog"])
def test_a_tombstone_of_a_compacted_topic_is_a_row_that_deletes_its_key(topic):
    rows, _ = batch(topic, GOOD[topic][0], None, key=b"gone")
    kept, deleted = rows.to_pylist()
    assert (kept["deleted"], deleted["deleted"]) == (False, True)
    assert {name: value for name, value in deleted.items() if value is not None}.keys() == {
        *("partition", "offset", "logged_at", "deleted"),
        "user_id" if topic == "user-profiles" else "movie_id",
    }
    assert "gone" in deleted.values()


@pytest.mark.parametrize("topic", ["watch-events", "rating-events", "recommendations", "provenance"])
def test_a_tombstone_elsewhere_is_refused(topic):
    rows, refused = batch(topic, None)
    assert (rows.num_rows, dict(refused)) == (0, {"tombstone": 1})


def test_an_answer_of_a_rejected_request_has_nulls():
    rejected = msgspec.structs.replace(
        ANSWER, user_id=None, model_id=None, model_version=None, variant=None, reason="bad_n"
    )
    [row] = batch("recommendations", wire.encode(rejected))[0].to_pylist()
    assert (row["user_id"], row["model_version"], row["variant"], row["reason"]) == (None, None, None, "bad_n")


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (b'"latency_ms":99999999999999999999', "wrong_type"),
        (b'"latency_ms":"4"', "wrong_type"),
        (b'"latency_ms":1e999', "wrong_type"),
        (b'"other":4', "missing_field"),
    ],
)
def test_an_answer_that_does_not_fit_its_columns_stops_no_other(wrong, reason):
    good = wire.encode(ANSWER)
    rows, refused = batch("recommendations", good.replace(b'"latency_ms":4', wrong), good)
    assert (rows.num_rows, dict(refused)) == (1, {reason: 1})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def nearly_right(draw, topic):
    """A good message with one field that is something else."""
    fields = msgspec.json.decode(GOOD[topic][0])
    fields[draw(st.sampled_from(sorted(fields)))] = draw(JSON)
    try:
        return msgspec.json.encode(fields)
    except (OverflowError, UnicodeEncodeError):
        return b""


@every_topic
@settings(max_examples=40)
@given(data=st.data())
def test_whatever_is_published_becomes_a_row_or_a_reason(topic, data):
    values = data.draw(st.lists(st.binary(max_size=20) | nearly_right(topic) | st.none(), max_size=5))
    rows, refused = batch(topic, *values, key=data.draw(st.binary(max_size=4)))
    rows.validate(full=True)
    assert rows.num_rows + refused.total() == len(values)
    assert refused.keys() <= set(REASONS)


@every_topic
def test_a_batch_is_its_messages_one_by_one(topic):
    values = [GOOD[topic][0], b"?", GOOD[topic][0]]
    together, refused = batch(topic, *values)
    alone = [columns.batch(topic, 2, [(40 + n, NOW, b"k", value)], Limits()) for n, value in enumerate(values)]
    assert pa.Table.from_batches([rows for rows, _ in alone]).to_pylist() == together.to_pylist()
    assert sum((bad for _, bad in alone), start=type(refused)()) == refused


def test_a_topic_that_is_not_archived_is_one_clear_line():
    with pytest.raises(CanarecError, match="dead-letters: is not archived; the archive keeps watch-events, "):
        columns.layout("dead-letters")
