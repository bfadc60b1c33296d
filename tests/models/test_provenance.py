"""A provenance record as a line of CSV and back: nothing is lost, a line is a line, and no spreadsheet takes a cell for a formula."""

import csv
import io
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import provenance, wire
from models.errors import BadMessage
from models.events import Answer, Asked, Proof, Reranked, Source
from models.provenance import COLUMNS, HEADER, Place, cell, columns, place, record, row, text

AT = "2026-11-27T08:00:00.123Z"
CONTRACT = (
    "request_id, model_id, model_version, predictions, predicted_at, user_id, variant, model_sha256, data_version, "
    "config_sha256, source_partition, source_offset, history_offsets"
)
WHERE = Place("AAAAcanarecTopicId0000", 2, 41)
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "'=1", "\r=1", "\n=1", "＝1+1"]
texts = st.text() | st.sampled_from([*FORMULAS, "", "'", "''", "\\", "\\u000a", 'a,"b"', "a\r\nb", "\u2028", "null"])


def answer(**changes):
    fields = {
        "request_id": "r1",
        "user_id": "u1",
        "status": "ok",
        "recommendations": ["m1", "m,2"],
        "scores": [0.5, -0.25],
        "model_id": "als-64",
        "model_version": "v1",
        "variant": "stable",
        "source": Source("recommendation-requests", 3, 14),
        "served_at": AT,
        "latency_ms": 7,
    }
    return Answer(**{**fields, **changes})


def proof(**changes):
    fields = {
        "asked": Asked(20, None, True),
        "canary_percentage": 10.0,
        "bucket": 5658,
        "config_sha256": "c" * 64,
        "model_sha256": "a" * 64,
        "data_version": "d41d8",
        "catalog_sha256": "b" * 64,
        "history_offsets": msgspec.Raw(b'{"watch-events":{"0":5}}'),
        "variant_probability": 0.9,
        "scoring_ms": 0.25,
        "scored_together": 3,
    }
    return Proof(**{**fields, **changes})


def written(a, p):
    return wire.provenance(wire.encode(a), p)


def read(line):
    (cells,) = csv.reader(io.StringIO(line.decode(), newline=""), strict=True)
    return record(COLUMNS, cells)


def test_the_columns_begin_with_the_contracts():
    assert ", ".join(COLUMNS).startswith(CONTRACT)
    assert columns(HEADER) == list(COLUMNS)


def test_a_row_is_everything_that_its_record_says():
    sent = json.loads(
        written(
            answer(reason="filled_from_popular"),
            proof(propensities=[1.0, 0.5], reranked=Reranked(1, 1, ["m1"], ["=m"]), forced=True),
        )
    )
    found = read(row(json.dumps(sent).encode(), WHERE).line)
    source = sent.pop("source")
    expected = {
        **sent,
        "predictions": sent.pop("recommendations"),
        "predicted_at": sent.pop("served_at"),
        "source_topic": source["topic"],
        "source_partition": source["partition"],
        "source_offset": source["offset"],
        "record_topic_id": WHERE.topic_id,
        "record_partition": WHERE.partition,
        "record_offset": WHERE.offset,
        "explored": False,
    }
    assert found == {name: value for name, value in expected.items() if name not in ("recommendations", "served_at")}


def test_a_record_without_a_model_has_empty_cells_and_reads_as_null():
    nothing = dict.fromkeys(["user_id", "model_id", "model_version", "variant"])
    gone = answer(status="rejected", reason="bad_n", recommendations=[], scores=[], **nothing)
    found = read(row(written(gone, proof(asked=None, bucket=None, model_sha256=None, data_version=None)), WHERE).line)
    empty = {name for name, value in found.items() if value is None}
    assert empty == {*nothing, "asked", "bucket", "model_sha256", "data_version", "propensities", "reranked"}
    assert found["predictions"] == []


@given(found=texts)
def test_a_text_comes_back_from_its_cell(found):
    assert text(cell(found)) == found
    assert cell(found) != cell(None)


@given(found=texts)
def test_no_cell_is_a_formula_or_more_than_a_line(found):
    made = cell(found)
    assert made[0] not in "=+-@\t\r\n＝＋－＠"
    assert len(made.splitlines()) == 1


@given(
    request_id=texts,
    user_id=st.none() | texts,
    movies=st.lists(texts, max_size=3),
    topic=texts,
    version=st.none() | texts,
    life=st.text(min_size=1),
)
def test_any_ids_make_one_line_and_come_back(request_id, user_id, movies, topic, version, life):
    sent = answer(
        request_id=request_id,
        user_id=user_id,
        recommendations=movies,
        scores=[0.0] * len(movies),
        model_version=version,
        source=Source(topic, 0, 0),
    )
    where = Place(life, 0, 9)
    made = row(written(sent, proof()), where).line
    assert len(made.decode().splitlines()) == 1
    assert made.endswith(b"\n")
    found = read(made)
    assert (found["request_id"], found["user_id"], found["predictions"]) == (request_id, user_id, movies)
    assert (found["source_topic"], found["model_version"]) == (topic, version)
    assert place(COLUMNS, made) == where


@given(found=texts)
def test_no_cell_of_a_line_is_a_formula(found):
    line = row(written(answer(request_id=found, user_id=found, recommendations=[found]), proof()), WHERE).line
    (cells,) = csv.reader([line.decode()], strict=True)
    assert not [one for one in cells if one and one[0] in "=+-@\t\r"]


def test_a_record_that_was_written_over_several_lines_is_one():
    spread = msgspec.json.format(written(answer(), proof()), indent=2)
    assert row(spread, WHERE).line == row(written(answer(), proof()), WHERE).line


@pytest.mark.parametrize("at", range(1, 40))
def test_half_a_line_is_none(at):
    line = row(written(answer(), proof()), WHERE).line
    assert place(COLUMNS, line) == WHERE
    assert place(COLUMNS, line[:-at]) is None


def test_the_date_is_that_of_the_answer():
    assert row(written(answer(served_at="2026-11-26T23:59:59.999Z"), proof()), WHERE).date == "2026-11-26"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "tombstone"),
        (b"", "not_json"),
        (b"\xff", "not_json"),
        (b'{"scores":' + b"[" * 5_000, "not_json"),
        (written(answer(), proof()).replace(b'"m1"', b'"\\ud800"'), "not_json"),
        (written(answer(), proof()).replace(b'"m1"', b'"\xff"'), "not_json"),
        (b"[]", "wrong_type"),
        (b"{}", "wrong_type"),
        (written(answer(served_at="yesterday"), proof()), "bad_timestamp"),
        (written(answer(served_at="2026-02-30T00:00:00Z"), proof()), "bad_timestamp"),
        (written(answer(served_at="2026-11-27T00:00:00+01:00"), proof()), "bad_timestamp"),
    ],
)
def test_what_is_no_record_is_refused(value, reason):
    with pytest.raises(BadMessage) as refused:
        row(value, WHERE)
    assert refused.value.reason == reason


def test_a_column_that_is_not_known_yet_reads_as_text():
    assert record(["request_id", "of_tomorrow"], ["r1", "'=1"]) == {"request_id": "r1", "of_tomorrow": "=1"}


@pytest.mark.parametrize(
    "name", ["2026-11-27.1.csv", "2026-11-27.02.csv", "2026-02-30.csv", "x.csv", "2026-11-27.csv.bz2"]
)
def test_other_files_are_none_of_its_parts(name):
    assert provenance.part(name) is None
