"""A canary as it is shown: every figure in its arm's column, a dash where there is nothing to divide by."""

import io
import json

import pytest
from rich.console import Console

from models import config
from models.config import Canary, Release
from models.events import Feedback
from models.release.arms import At, Served, Standing, arms
from models.release.evidence import ArmEvidence, Evidence, Moments
from models.release.story import Judgement
from models.release.verdict import decide
from streams.trial import as_json, head, line, screen, words

SPLIT = {"stable": "v1", "candidate": "v2", "percentage": 10}


def text(renderable):
    console = Console(file=io.StringIO(), width=130)
    console.print(renderable)
    return console.file.getvalue()


def standing(cut=False):
    """v1: u1 chose and was content, u2 got a fallback, u0 is forced. v2: nobody yet."""
    answers = [
        At(5, Served("r1", "u1", "ok", ["heat+1995"], 7, "stable", "v1")),
        At(6, Served("r2", "u2", "fallback", ["heat+1995"], 9, "stable", "v1", "no_history")),
        At(7, Served("r0", "u0", "ok", ["heat+1995"], 7, "canary", "v2", forced=True)),
    ]
    said = [(10, Feedback("r1", "u1", "heat+1995", 0.75, None))]
    found = arms(Canary(**SPLIT), answers, said, [], genders={"u1": "F"}, horizon_ms=100, now_ms=50)
    return Standing(found, 1_700_000_000_000, 1_700_000_060_000, cut)


def row(shown, name):
    """The cells of a row."""
    (found,) = [each for each in shown.splitlines() if each.strip("│ ").startswith(name)]
    return [cell.strip() for cell in found.strip("│").split("│")][1:]


def test_both_arms_stand_beside_each_other():
    shown = text(screen(standing(), 100))
    assert row(shown, "users") == ["2", "0"]
    assert row(shown, "success") == ["50.00 %", "–"]
    assert row(shown, "fallbacks") == ["1 no_history", "0"]
    assert row(shown, "latency") == ["7, 9 ms", "–, – ms"]
    assert row(shown, "click-through") == ["50.00 % of 2", "–"]
    assert row(shown, "hit rate") == ["–", "–"]  # no horizon has passed
    assert row(shown, "satisfaction F") == ["0.750 of 1", "–"]
    assert "answers to forced users, in neither arm: 1" in shown
    assert "satisfaction M " not in shown


@pytest.mark.parametrize(("enough", "said"), [(1, "0.500"), (2, "too few")])
def test_men_and_women_are_compared_once_enough_of_both_have_reported(enough, said):
    answers = [At(5, Served(user, user, "ok", ["heat+1995"], 7, "stable", "v1")) for user in "mf"]
    feedback = [(10, Feedback("m", "m", None, 0.25, None)), (10, Feedback("f", "f", None, 0.5, None))]
    genders = {"m": "M", "f": "F"}
    found = arms(Canary(**SPLIT), answers, feedback, [], genders=genders, horizon_ms=100, now_ms=50)
    shown = text(screen(Standing(found, 0, 1), enough))
    assert row(shown, "satisfaction M/F") == [said, "–"]


def test_what_was_left_out_is_said():
    assert "older answers are left out" in text(screen(standing(cut=True), 100))
    assert "left out" not in text(screen(standing(), 100))


def test_a_verdict_comes_last():
    assert text(screen(standing(), 100, ["HOLD: too few users"])).rstrip().endswith("HOLD: too few users")


def judgement(n, canary):
    half = Moments(n // 2, round(n * 0.3 / 2) * 10_000, round(n * 0.3 / 2) * 100_000_000)
    trial = Moments(n // 2, round(n * canary / 2) * 10_000, round(n * canary / 2) * 100_000_000)
    stable = ArmEvidence({"ctr": {"M": half, "F": half}}, requests=n)
    found = Evidence("v1", "v2", 10, 0, stable, ArmEvidence({"ctr": {"M": trial, "F": trial}}, requests=n))
    return Judgement("2026-11-27T08:00:00Z", "2026-11-27T07:59:59Z", found, decide(found, Release()))


@pytest.mark.parametrize(
    ("n", "canary", "said"),
    [(5_000, 0.3, "not worse"), (5_000, 0.2, "worse"), (5_000, 0.4, "better"), (200, 0.3, "undecided")],
)
def test_a_metric_is_called_better_only_where_its_bound_says_so(n, canary, said):
    lines = words(judgement(n, canary), "advise")
    (ctr,) = [line for line in lines if line.startswith("  ctr: ")]
    assert f": {said}; {n:,} and {n:,} users" in ctr
    assert ("more of v2" in ctr) == (said == "undecided")


def test_a_verdict_is_said_with_its_moment_and_what_follows():
    lines = words(judgement(200, 0.3), "act")
    assert lines[0] == "verdict on v2 up to 2026-11-27T07:59:59Z: INCONCLUSIVE (automation: act)"
    assert lines[1].strip().startswith("HOLD: ")
    assert "  success: no users to compare (0 and 0)" in lines
    assert lines[-1] == "  split as set: p = 1"


def test_programs_get_the_verdict_or_null():
    applied = config.parse(json.dumps({"canary": SPLIT}))
    assert as_json(applied, [], standing())["verdict"] is None
    told = as_json(applied, [], standing(), judgement(200, 0.3))["verdict"]
    assert (told["outcome"], told["metrics"]["ctr"]["users_canary"]) == ("INCONCLUSIVE", 200)


def test_programs_get_the_same_and_null_for_what_is_not_known():
    applied = config.parse(json.dumps({"canary": SPLIT}))
    found = json.loads(json.dumps(as_json(applied, ["v1", "v2", "v3"], standing())))
    assert (found["phase"], found["next"], found["forced_answers"]) == ("step", "v3", 1)
    assert found["since"] == "2023-11-14T22:13:20.000Z"
    stable, canary = found["arms"]["stable"], found["arms"]["canary"]
    assert (stable["users"], stable["success"], stable["ctr"], stable["hit_rate"]) == (2, 0.5, 0.5, None)
    assert stable["satisfaction"] == {"F": {"count": 1, "mean": 0.75, "users": 1}}
    assert (canary["requests"], canary["success"], canary["latency_ms"]) == (0, None, {"p50": None, "p99": None})


def test_the_head_says_who_is_who():
    applied = config.parse(json.dumps({"canary": {**SPLIT, "previous": "v0", "forced": {"42": "canary"}}}))
    shown = text(head(applied, ["v0", "v1", "v2", "v3"]))
    for fact in ("to v2, the others to v1", "previous v0", "next in line v3", "forced test users 1"):
        assert fact in shown


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        (Canary(percentage=0), "shadow: the candidate answers nobody: 0 % of users to v2, the others to v1"),
        (Canary(percentage=0.5, paused=True), "on trial, paused: 0.5 % of users to v2, the others to v1"),
        (Canary(candidate="v1", unit="request"), "on trial: 10 % of requests to v1 (A/A), the others to v1"),
        (Canary(candidate=None), "no candidate: v1 answers everyone"),
        (Canary(candidate=None, rolled_back="v2"), "rolled back: v1 answers everyone"),
    ],
)
def test_a_split_in_one_line(canary, expected):
    assert line(canary) == expected
