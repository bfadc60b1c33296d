"""The life of a candidate: every pair of the table, every pair that is not in it, and what each event leaves behind."""

from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Canary
from models.events import CanaryChange
from models.release import rollout
from models.release.rollout import CHANGES, TABLE, Event, NotNow, Phase, phase

# One configuration of each phase.
IN: dict[Phase, Canary] = {
    "idle": Canary(stable="v3", candidate=None, percentage=0),
    "shadow": Canary(stable="v3", candidate="v4", percentage=0),
    "shadow_paused": Canary(stable="v3", candidate="v4", percentage=0, paused=True),
    "step": Canary(stable="v3", candidate="v4", percentage=10),
    "step_paused": Canary(stable="v3", candidate="v4", percentage=10, paused=True),
    "promoted": Canary(stable="v3", candidate=None, percentage=0, previous="v2"),
    "rolled_back": Canary(stable="v3", candidate=None, percentage=0, previous="v2", rolled_back="v4"),
}
DO = {
    "offer": lambda canary: rollout.offered(canary, "v5"),
    "shadow": lambda canary: rollout.stepped(canary, 0),
    "step": lambda canary: rollout.stepped(canary, 25),
    "promote": rollout.promoted,
    "rollback": rollout.rolled_back,
    "restore": lambda canary: rollout.restored(canary, "v1"),
    "pause": rollout.paused,
    "resume": rollout.resumed,
}
PAIRS = [(of, event) for of in IN for event in DO]


def test_phases_and_events_are_those_of_the_table():
    assert set(TABLE) == set(IN) == set(get_args(Phase))
    assert {event for row in TABLE.values() for event in row} == set(DO) == set(get_args(Event)) == set(CHANGES)
    assert set(CHANGES.values()) <= set(get_args(CanaryChange))


@pytest.mark.parametrize("of", IN)
def test_a_configuration_is_in_its_phase(of):
    assert phase(IN[of]) == of


@pytest.mark.parametrize(("of", "event"), PAIRS)
def test_an_event_leads_where_the_table_says_or_is_refused(of, event):
    if event in TABLE[of]:
        assert phase(DO[event](IN[of])) == TABLE[of][event]
    else:
        with pytest.raises(NotNow):
            DO[event](IN[of])


@pytest.mark.parametrize(("of", "event"), [pair for pair in PAIRS if pair[1] in TABLE[pair[0]] and pair[1] != "offer"])
def test_what_is_done_twice_is_as_if_done_once(of, event):
    once = DO[event](IN[of])
    if event == "promote":
        with pytest.raises(NotNow, match="no candidate to promote: v4 answers everyone"):
            rollout.promoted(once)
    else:
        assert DO[event](once) == once


# -- what is left behind --------------------------------------------------------------------------------


def roles(canary):
    return canary.stable, canary.candidate, canary.percentage, canary.previous, canary.rolled_back


@pytest.mark.parametrize("of", ["shadow", "shadow_paused", "step", "step_paused"])
def test_a_promotion_makes_the_candidate_stable_and_remembers_the_version_before(of):
    after = rollout.promoted(IN[of])
    assert roles(after) == ("v4", None, 0, "v3", None)
    assert not after.paused


@pytest.mark.parametrize("of", ["shadow", "shadow_paused", "step", "step_paused"])
def test_a_rollback_of_a_candidate_leaves_the_stable_version_and_its_predecessor(of):
    running = msgspec.structs.replace(IN[of], previous="v2")
    after = rollout.rolled_back(running)
    assert roles(after) == ("v3", None, 0, "v2", "v4")
    assert not after.paused


def test_a_rollback_after_a_promotion_is_one_step_to_the_version_before():
    assert roles(rollout.rolled_back(rollout.promoted(IN["step"]))) == ("v3", None, 0, None, "v4")


def test_a_second_rollback_does_not_go_back_another_version():
    once = rollout.rolled_back(msgspec.structs.replace(IN["step"], previous="v2"))
    assert rollout.rolled_back(once) == once


@pytest.mark.parametrize("of", IN)
def test_any_version_can_be_restored_from_any_phase(of):
    after = rollout.restored(IN[of], "v1")
    assert (after.stable, after.candidate, after.percentage, after.paused) == ("v1", None, 0, False)
    assert after.rolled_back == (IN[of].candidate or IN[of].rolled_back or "v3")


def test_a_version_that_was_rolled_back_does_not_wait_again_whatever_is_rolled_back_after_it():
    for again in (rollout.rolled_back, lambda canary: rollout.restored(canary, "v1")):
        older = msgspec.structs.replace(IN["rolled_back"], candidate="mine")
        assert rollout.waiting(again(older), ["v1", "v2", "v3", "v4"]) is None


def test_a_version_that_was_rolled_back_does_not_wait_again_when_an_older_one_is_promoted():
    trial = Canary(stable="v1", candidate="v4", percentage=10, previous="v0")
    by_hand = rollout.promoted(rollout.offered(rollout.rolled_back(trial), "v3"))
    assert (by_hand.stable, by_hand.passed_over, phase(by_hand)) == ("v3", "v4", "promoted")
    assert rollout.waiting(by_hand, ["v1", "v2", "v3", "v4"]) is None
    assert rollout.waiting(by_hand, ["v4", "v5"]) == "v5"
    again = rollout.promoted(rollout.offered(by_hand, "mine"))
    assert rollout.waiting(again, ["v3", "v4"]) is None
    assert rollout.promoted(rollout.offered(by_hand, "v5")).passed_over is None
    assert roles(rollout.rolled_back(by_hand)) == ("v1", None, 0, None, "v3")
    assert rollout.waiting(rollout.rolled_back(by_hand), ["v3", "v4"]) is None


def test_what_answers_everyone_already_is_restored_without_a_change():
    assert rollout.restored(IN["promoted"], "v3") == IN["promoted"]


def test_the_candidate_is_promoted_not_restored():
    with pytest.raises(NotNow, match="v4 is the candidate: promote"):
        rollout.restored(IN["step"], "v4")


def test_a_candidate_is_offered_in_the_shadow_or_on_the_first_step():
    assert phase(rollout.offered(IN["idle"], "v5")) == "shadow"
    assert rollout.offered(IN["promoted"], "v5", 5) == msgspec.structs.replace(
        IN["promoted"], candidate="v5", percentage=5
    )


@pytest.mark.parametrize("of", ["idle", "promoted", "rolled_back"])
def test_the_stable_version_is_not_offered(of):
    with pytest.raises(NotNow, match="v3 is the stable version"):
        rollout.offered(IN[of], "v3")


def test_an_undecided_candidate_makes_the_next_one_wait():
    with pytest.raises(NotNow, match="v4 is on trial: the next one waits"):
        rollout.offered(IN["step"], "v5")


def test_an_a_a_test_has_nothing_to_promote_and_ends_by_a_rollback():
    same = Canary(stable="v3", candidate="v3", percentage=50)
    with pytest.raises(NotNow, match="both v3"):
        rollout.promoted(same)
    assert roles(rollout.rolled_back(same))[:3] == ("v3", None, 0)


@given(percentage=st.floats(0, 100), to=st.floats(0, 100))
def test_a_step_changes_the_percentage_and_nothing_else(percentage, to):
    before = Canary(percentage=percentage, salt="s", forced={"42": "canary"}, previous="v0")
    after = rollout.stepped(before, to)
    assert msgspec.structs.replace(after, percentage=percentage) == before
    assert after.percentage == to


@given(st.lists(st.sampled_from(sorted(DO)), max_size=12))
def test_whatever_happens_the_phase_is_the_tables_and_a_refused_event_changes_nothing(events):
    canary = IN["idle"]
    for event in events:
        here = phase(canary)
        try:
            canary = DO[event](canary)
        except NotNow:
            assert event not in TABLE[here] or (event == "offer" and canary.stable == "v5")
        else:
            assert phase(canary) == TABLE[here][event] or (event == "restore" and canary.stable == "v1")


# -- the next one ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("versions", "expected"),
    [
        ([], None),
        (["v1", "v2", "v3"], None),
        (["v3", "v4"], None),  # v4 was rolled back
        (["v4", "v5"], "v5"),
        (["v9", "v10"], "v10"),
        (["mine", "v5-hotfix", "v"], None),  # people offer those
    ],
)
def test_the_newest_version_that_has_not_had_its_turn_waits(versions, expected):
    assert rollout.waiting(IN["rolled_back"], versions) == expected


# -- into the file ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("of", "event"), [pair for pair in PAIRS if pair[1] in TABLE[pair[0]]])
def test_a_written_split_reads_as_it_was_decided(of, event):
    raw = {"kafka": {"a": 1}, "canary": msgspec.to_builtins(IN[of])}
    after = DO[event](IN[of])
    rollout.write(raw, after)
    assert msgspec.convert(raw["canary"], Canary) == after
    assert list(raw) == ["kafka", "canary"]


def test_only_what_differs_is_written_and_whole_numbers_as_such():
    raw = {"canary": {"percentage": 10.0}}
    rollout.write(raw, Canary(percentage=60.0))
    assert raw == {"canary": {"percentage": 60}}
    assert isinstance(raw["canary"]["percentage"], int)
    rollout.write(raw, Canary(percentage=60))
    assert raw == {"canary": {"percentage": 60}}


def test_a_file_without_a_split_gets_what_differs_from_the_defaults():
    raw = {}
    rollout.write(raw, Canary(percentage=0.5))
    assert raw == {"canary": {"percentage": 0.5}}


def test_the_table_of_the_documentation_is_this_one():
    text = (Path(__file__).parents[3] / "docs" / "canary.md").read_text()
    lines = [
        line for line in text.split("### What a phase takes")[1].split("\n### ")[0].splitlines() if line[:1] == "|"
    ]
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    documented = {of: {event: to for event, to in zip(head[2:], cells, strict=True) if to} for of, _, *cells in rows}
    assert documented == TABLE
