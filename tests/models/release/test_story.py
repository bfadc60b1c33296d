"""What canary-events tells: since when which split is in force, what the shadow shows, the newest verdict."""

import json

import msgspec
import pytest

from models.config import Canary, Release, canonical
from models.release.evidence import Evidence
from models.release.record import record
from models.release.story import Story

TRIAL = Canary(stable="v1", candidate="v2", percentage=10)


def applied(stable="v1", candidate="v2", percentage=10.0, event="configuration_applied", who="w"):
    to = {"config_sha256": "x", "stable": stable, "candidate": candidate, "percentage": percentage}
    return {"event": event, "timestamp": "2026-11-27T08:00:00Z", "who": who, "from": None, "to": to}


def shadow(who, since, requests, stable="v1"):
    figures = {"since": since, "requests": requests, "errors": 0, "empty": 0, "dropped": 0, "overlap": None}
    return {**applied(stable, percentage=0, event="shadow"), "who": who, "shadow": {**figures, "scoring_ms": {}}}


def judged(stable="v1", candidate="v2"):
    made = record(Evidence(stable, candidate, 10, 0), Release())
    told = {"event": "verdict", "timestamp": "2026-11-27T08:00:00Z", "until": "2026-11-27T07:59:59Z", **made}
    return json.loads(canonical(told))


def story(*events):
    found = Story()
    for at_ms, event in events:
        found.add(event, at_ms)
    return found


def run(found, canary=TRIAL):
    return found.run(canary.stable, canary.candidate)


def test_a_trial_begins_with_its_versions_and_a_step_with_its_percentage():
    found = story((1, applied(candidate=None)), (2, applied(percentage=1)), (3, applied()), (4, applied()))
    assert (run(found).since_ms, found.step_since_ms(TRIAL), found.changed_ms) == (2, 3, 4)
    assert found.step_since_ms(Canary(percentage=25)) is None
    assert run(found, Canary(candidate="v3")) is None


def test_what_was_changed_and_no_worker_has_taken_is_not_in_force():
    found = story((1, applied()), (2, applied(percentage=25, event="set")))
    assert found.step_since_ms(TRIAL) == 1


def test_a_trial_that_comes_again_begins_again():
    found = story((1, applied()), (2, applied(candidate=None)), (3, applied()))
    assert (run(found).since_ms, found.step_since_ms(TRIAL)) == (3, 3)


@pytest.mark.parametrize("stale", [{"candidate": "v3"}, {"candidate": None}, {"stable": "v0"}])
def test_a_worker_with_another_file_ends_no_trial(stale):
    found = story(
        (1, applied()), (2, judged()), (3, shadow("w", "t0", 5)), (9, applied(**stale, who="of another home"))
    )
    assert (run(found).since_ms, run(found).left, found.step_since_ms(TRIAL)) == (1, False, 1)
    assert run(found).verdict is not None
    assert len(run(found).shadow) == 1
    assert found.changed_ms == 9


def test_a_worker_that_is_on_another_step_ends_no_step():
    found = story((1, applied()), (2, applied(percentage=5, who="late")))
    assert (found.step_since_ms(TRIAL), found.step_since_ms(Canary(percentage=5))) == (1, 2)


def test_workers_that_follow_one_by_one_are_one_trial():
    found = story(
        (1, applied()), (2, applied(who="b")), (3, applied(percentage=25)), (4, applied(percentage=25, who="b"))
    )
    assert (run(found).since_ms, found.step_since_ms(Canary(percentage=25))) == (1, 3)
    assert found.step_since_ms(TRIAL) is None


def test_a_trial_that_only_a_dead_worker_still_names_begins_again_when_it_comes_again():
    found = story((1, applied()), (2, applied(who="dead")), (3, judged()), (4, applied(candidate=None)))
    assert run(found).left
    found.add(applied(), 5)
    assert (run(found).since_ms, run(found).left, run(found).verdict) == (5, False, None)
    assert found.step_since_ms(TRIAL) == 5


def test_where_nothing_was_ever_told_everything_counts():
    found = story()
    assert run(found).since_ms == 0
    assert found.step_since_ms(TRIAL) == 0


def test_of_the_shadow_the_last_word_of_each_worker_counts_and_only_of_these_versions():
    found = story(
        (1, applied(percentage=0)),
        (2, shadow("a", "t0", 5)),
        (3, shadow("a", "t0", 9)),
        (4, shadow("a", "t1", 2)),
        (5, shadow("b", "t0", 7)),
        (6, shadow("b", "t0", 99, stable="v0")),
    )
    assert [figures.requests for figures in run(found).shadow] == [9, 2, 7]
    found.add(applied(candidate="v3"), 7)
    assert run(found, Canary(candidate="v3")).shadow == ()
    assert run(found) is None


def test_the_newest_verdict_of_these_versions_is_known_until_they_change():
    found = story((1, applied()), (2, judged("v0", "v1")))
    assert run(found).verdict is None
    found.add(judged(), 3)
    assert run(found).verdict.evidence == Evidence("v1", "v2", 10, 0)
    assert run(found).verdict.verdict.phase == "hold"
    found.add(applied(candidate=None), 4)
    found.add(applied(), 5)
    assert run(found).verdict is None


def test_what_others_write_is_read_over():
    found = story(*enumerate([None, [], "x", {}, {"event": 7}, {"event": "verdict"}, {"event": "shadow", "shadow": 1}]))
    assert (run(found).since_ms, run(found).verdict, run(found).shadow) == (0, None, ())


def test_a_workers_own_event_is_understood():
    from models.events import CanaryEvent, Split

    event = CanaryEvent("configuration_applied", "2026-11-27T08:00:00Z", "w", None, Split("x", "v1", "v2", 10))
    found = story((5, json.loads(msgspec.json.encode(event))))
    assert found.step_since_ms(TRIAL) == 5
