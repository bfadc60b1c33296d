"""What `canarec windows` prints of a record: whole, on 80 columns."""

from models.measures.reports import FAIRNESS, LOOPS
from streams.cli.windows import DIFFERS, FIGURES, lines, told

LOOP = {
    "window_start": "2026-11-27T08:00:00.000Z",
    "window_s": 86_400,
    "variant": "stable",
    "model_version": "v12345",
    "requests": 99_999,
    "ctr": 0.312345678,
    "hit_rate": 0.0123456,
    "coverage": 0.123456,
    "exposure_gini": 0.9876543,
    "status": "insufficient_data",
}


def test_a_record_is_whole_on_80_columns():
    head, figures = lines(LOOP, FIGURES[LOOPS])
    assert head == "2026-11-27 08:00:00  86400 s  stable  v12345  insufficient_data"
    assert figures == "  requests 99999  ctr 0.312  hit_rate 0.012  coverage 0.123  exposure_gini 0.988"
    assert max(map(len, lines(LOOP, FIGURES[LOOPS]))) <= 80


def test_what_cannot_be_formed_is_a_dash_and_a_long_verdict_stands_alone():
    fairness = {**LOOP, "satisfaction_ratio": None, "ci_low": None, "ci_high": 1.0}
    again = told(DIFFERS, {"requests": (10, 9), "ctr": (0.5, 0.25)})
    assert lines(fairness, FIGURES[FAIRNESS], again)[1:] == [
        "  satisfaction_ratio –  ci_low –  ci_high 1.000",
        "  again: differs; requests: 10 → 9; ctr: 0.5 → 0.25",
    ]


def test_nothing_that_a_stranger_wrote_is_obeyed_by_a_terminal():
    assert all(line.isprintable() for line in lines({**LOOP, "status": "\x1b[2J"}, FIGURES[LOOPS], "a\nb"))
