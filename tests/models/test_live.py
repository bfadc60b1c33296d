"""What the page shows is what the topics said: counted by arm, bounded, in the order of time."""

import pytest

from models.config import Release
from models.events import Feedback, Movie, Profile, Watch
from models.live import RECENT, SHOWN, TITLES, Answered, Live, Parity
from models.release.evidence import Evidence
from models.release.record import record

T = 1_700_000_000_000


def split(percentage=10, *, stable="v1", candidate="v2", **fields):
    to = {"config_sha256": "c" * 64, "stable": stable, "candidate": candidate, "percentage": percentage, **fields}
    return {"event": "configuration_applied", "timestamp": "", "who": "w-1", "from": None, "to": to}


def answer(number=1, *, user="u", status="ok", variant="stable", version="v1", movies=("a", "b"), **fields):
    return Answered(f"r{number}", user, status, list(movies), "2026-11-27T08:00:00.000Z", 5, variant, version, **fields)


@pytest.fixture
def live():
    live = Live(horizon_ms=1_000, group_users_min=2, since_ms=T)
    live.told(split(), T)
    return live


def test_nothing_is_known_before_anything_is_told():
    live = Live(horizon_ms=1_000, group_users_min=2)
    assert (live.split(), live.verdict(), live.parity(), live.answers()) == (None, None, [], [])
    assert live.arms()["of"] == {}


def test_the_split_is_what_workers_say(live):
    live.told({"event": "set", "who": "me@here", "from": None, "to": {**split(50)["to"]}}, T + 1)
    assert live.split()["percentage"] == 10  # no worker has taken it yet
    live.told(split(50), T + 2)
    found = live.split()
    assert (found["stable"], found["candidate"], found["percentage"], found["phase"]) == ("v1", "v2", 50, "step")
    assert found["since_ms"] == T + 2


@pytest.mark.parametrize(
    ("fields", "phase"),
    [
        ({"percentage": 0}, "shadow"),
        ({"percentage": 10, "paused": True}, "step_paused"),
        ({"candidate": None, "percentage": 0, "previous": "v0"}, "promoted"),
    ],
)
def test_a_split_has_its_phase(live, fields, phase):
    live.told(split(**fields), T + 1)
    assert live.split()["phase"] == phase


def test_each_answer_counts_in_its_arm(live):
    live.answered(answer(1), T + 1)
    live.answered(answer(2, status="fallback", reason="no_history"), T + 2)
    live.answered(answer(3, variant="canary", version="v2"), T + 3)
    arms = live.arms()["of"]
    stable, canary = arms["stable"], arms["canary"]
    assert (stable["version"], stable["requests"], stable["ok"], stable["fallback"]) == ("v1", 2, 1, 1)
    assert stable["reasons"] == {"no_history": 1}
    assert stable["success"] == 0.5
    assert (canary["version"], canary["requests"], canary["latency_ms"]) == ("v2", 1, {"p50": 5, "p99": 5})


def test_forced_users_rejected_requests_and_other_versions_count_in_neither_arm(live):
    live.answered(answer(1, forced=True), T + 1)
    live.answered(answer(2, status="rejected", variant=None, version=None, reason="bad_n"), T + 2)
    live.answered(answer(3, version="v0"), T + 3)
    told = live.arms()
    assert told["aside"] == {"forced": 1, "rejected": 1, "others": 1}
    assert told["of"]["stable"]["requests"] == 0


def test_other_versions_begin_anew_and_another_percentage_does_not(live):
    live.answered(answer(1), T + 1)
    live.told(split(50), T + 2)
    assert live.arms()["of"]["stable"]["requests"] == 1
    live.told(split(stable="v2", candidate="v3"), T + 3)
    told = live.arms()
    assert told["since_ms"] == T + 3
    assert {name: (arm["version"], arm["requests"]) for name, arm in told["of"].items()} == {
        "stable": ("v2", 0),
        "canary": ("v3", 0),
    }


def test_clicks_hits_and_satisfaction_by_group(live):
    live.profile(Profile("f", "F"))
    live.profile(Profile("m", "M"))
    for number, user in enumerate("fm"):
        live.answered(answer(number, user=user), T + number)
        live.said(Feedback(f"r{number}", user, "a" if user == "f" else None, 0.8 if user == "f" else 0.4, None), T + 10)
    live.watched(Watch("f", "a", 5, T), T + 20)
    assert live.arms()["of"]["stable"]["hit_rate"] is None  # no horizon has passed
    live.reach(T + 2_000)
    arm = live.arms()["of"]["stable"]
    assert (arm["ctr"], arm["hit_rate"], arm["satisfaction_ratio"]) == (0.5, 0.5, 0.5)
    assert arm["satisfaction"] == {
        "F": {"count": 1, "mean": 0.8, "users": 1},
        "M": {"count": 1, "mean": 0.4, "users": 1},
    }


def test_men_and_women_are_few_until_enough_of_both_have_reported(live):
    for number, user in enumerate(["f1", "m1", "f1", "m1", "f2", "m2"]):  # the same two again do not make two
        live.profile(Profile(user, user[0].upper()))
        live.answered(answer(number, user=user), T + number)
        live.said(Feedback(f"r{number}", user, None, 0.5, None), T + number)
        assert live.arms()["of"]["stable"]["few_reported"] == (number < 5)


def test_a_deleted_profile_is_no_group_any_more(live):
    live.profile(Profile("f", "F"))
    live.forget("f")
    live.answered(answer(1, user="f"), T)
    live.said(Feedback("r1", "f", None, 1.0, None), T)
    assert list(live.arms()["of"]["stable"]["satisfaction"]) == ["unknown"]


def test_the_last_answers_come_newest_first_with_titles(live):
    live.movies["a"] = Movie("a", "<b>Heat</b>", (), 1995)
    for number in range(SHOWN + 3):
        live.answered(answer(number, movies=["a", *"bcdefgh"]), T + number)
    shown = live.answers()
    assert [each["request_id"] for each in shown] == [f"r{number}" for number in range(SHOWN + 2, 2, -1)]
    assert shown[0]["movies"][:2] == [
        {"id": "a", "title": "<b>Heat</b>", "year": 1995},
        {"id": "b", "title": None, "year": None},
    ]
    assert (len(shown[0]["movies"]), shown[0]["n"]) == (TITLES, 8)


def test_a_user_is_found_among_those_that_are_remembered(live):
    live.answered(answer(0, user="early"), T)
    live.answered(answer(1, user="me"), T + 1)
    for number in range(2, RECENT + 1):
        live.answered(answer(number), T + number)
    assert [each["request_id"] for each in live.answers("me", 5)] == ["r1"]
    assert live.answers("early", 5) == []


def test_answers_a_second_are_of_the_last_ten_whole_ones(live):
    for number in range(20):
        live.answered(answer(number), T + 500 * number)
    live.reach(T + 10_000)
    assert live.arms()["answers_per_s"] == 2.0
    live.reach(T + 60_000)
    assert live.arms()["answers_per_s"] == 0.0


def test_the_newest_verdict_on_these_versions_is_shown(live):
    body = record(Evidence("v1", "v2", percentage=10, held_s=0), Release())
    told = {
        **body,
        "event": "verdict",
        "timestamp": "2026-11-27T08:00:00Z",
        "until": "2026-11-27T07:59:59Z",
        "who": "s",
    }
    live.told(told, T + 1)
    found = live.verdict()
    assert found["message"] == "HOLD: 0 requests answered by v2 < 200"
    assert set(found["metrics"]) == {"success", "ctr", "hit_rate", "satisfaction"}
    assert live.releases()[0]["message"] == found["message"]
    live.told(split(stable="v2", candidate="v3"), T + 2)
    assert live.verdict() is None


def test_the_newest_window_of_each_length_and_variant_is_shown(live):
    for window_s, end, ratio in ((60, "08:01", 0.9), (60, "08:02", 0.8), (3600, "08:00", 1.0)):
        live.compared(Parity("07:00", end, "stable", window_s, "v1", ratio))
    assert [(each["window_s"], each["satisfaction_ratio"]) for each in live.parity()] == [(3600, 1.0), (60, 0.8)]


@pytest.mark.parametrize("junk", [None, 7, [], "x", {}, {"event": 5}, {"event": "set", "to": 7}])
def test_what_others_write_is_read_over(live, junk):
    before = (live.split(), live.trainings(), live.releases())
    live.told(junk, T + 1)
    live.trained(junk, T + 1)
    assert (live.split(), live.trainings(), live.releases()[-1:]) == (before[0], before[1], before[2][-1:])
