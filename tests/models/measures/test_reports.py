"""Records of the topics of windows, as whoever reads them takes them: canarec's, or nobody's."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.measures.reports import Fairness, FeedbackLoop, Quality, read
from models.wire import rfc3339
from tests.models.measures.test_alerts import END_MS, loop, record


def fields_of(found):
    return msgspec.json.decode(msgspec.json.encode(found))


def test_what_canarec_has_written_is_read_as_it_was():
    for found in (loop(END_MS), record(), record(status="ok", satisfaction_ratio=None)):
        assert read(msgspec.json.encode(found), type(found), END_MS + 60_000) == found


@pytest.mark.parametrize(
    "forged",
    [
        {"window_end": "x"},
        {"window_end": "9999-01-01T00:00:00Z"},
        {"window_end": rfc3339(END_MS + 300_000), "window_start": rfc3339(END_MS)},  # not over when it came
        {"window_s": 301},
        {"window_s": 0, "window_start": rfc3339(END_MS)},
        {"lateness_s": -1},
        {"horizon_s": 1e308},
        {"satisfaction_ratio": None, "level": None},  # an alert that does not say why
        {"ci_low": None, "reference": None},
        {"variant": "both"},
    ],
    ids=str,
)
@pytest.mark.parametrize("found", [loop(END_MS), record()], ids=["loop", "fairness"])
def test_a_record_that_cannot_be_one_is_nobodys(found, forged):
    fields = fields_of(found)
    forged = {name: value for name, value in forged.items() if name in fields}
    assert read(msgspec.json.encode(fields | forged), type(found), END_MS + 60_000) is None


@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(msgspec.json.encode))
def test_any_bytes_are_a_record_or_none(value):
    assert read(value, FeedbackLoop, END_MS) is None
    assert read(value, Fairness, END_MS) is None
    assert read(value, Quality, END_MS) is None


def test_nesting_without_an_end_is_no_record():
    assert read(b'{"groups":' * 50_000, Fairness, END_MS) is None
