"""What follows from each verdict, and that nothing follows for a split that was changed meanwhile."""

import pytest

from models.config import Canary, Release
from models.release.automation import action, next_step
from models.release.rollout import NotNow, paused, stepped
from models.release.verdict import Verdict

ON_TRIAL = Canary(stable="v1", candidate="v2", percentage=10)
ACT = Release(automation="act")


def verdict(phase, outcome="INCONCLUSIVE"):
    return Verdict(outcome, phase, "held", "", {}, None, 1.0)


def after(found, canary=ON_TRIAL, release=ACT, in_force=True):
    """(name of the change, split after it), or None."""
    todo = action(found, canary, release, in_force=in_force)
    return todo and (todo.name, todo.move(canary))


@pytest.mark.parametrize("phase", ["abort", "rollback"])
@pytest.mark.parametrize("canary", [ON_TRIAL, paused(ON_TRIAL), stepped(ON_TRIAL, 0), stepped(ON_TRIAL, 100)])
def test_harm_ends_the_trial_on_every_step_paused_or_not(phase, canary):
    name, split = after(verdict(phase, "FAIL"), canary, in_force=False)
    assert (name, split.stable, split.candidate, split.rolled_back) == ("rolled_back", "v1", None, "v2")


@pytest.mark.parametrize("phase", ["stop", "hold"])
def test_what_cannot_be_told_changes_nothing(phase):
    assert after(verdict(phase)) is None


@pytest.mark.parametrize(("percentage", "then"), [(0, 1), (1, 5), (7.5, 10), (10, 25), (50, 100)])
def test_a_step_leads_to_the_next_one(percentage, then):
    name, split = after(verdict("advance"), stepped(ON_TRIAL, percentage))
    assert (name, split.percentage) == ("set", then)


def test_behind_the_last_step_a_pass_promotes():
    name, split = after(verdict("advance", "PASS"), stepped(ON_TRIAL, 100))
    assert (name, split.stable, split.previous) == ("promoted", "v2", "v1")


def test_a_step_on_which_quality_does_not_decide_promotes_nobody():
    assert after(verdict("advance"), stepped(ON_TRIAL, 5), Release(automation="act", steps=(1, 5))) is None


def test_paused_it_does_not_go_on():
    assert after(verdict("advance", "PASS"), paused(ON_TRIAL)) is None


def test_a_step_that_no_worker_has_begun_is_not_left():
    assert after(verdict("advance", "PASS"), in_force=False) is None


def test_of_one_version_twice_nothing_is_promoted():
    assert after(verdict("advance", "PASS"), Canary(stable="v1", candidate="v1", percentage=100)) is None


@pytest.mark.parametrize("automation", ["off", "advise"])
@pytest.mark.parametrize("phase", ["abort", "rollback", "advance"])
def test_only_act_acts(automation, phase):
    assert after(verdict(phase, "PASS"), release=Release(automation=automation)) is None


@pytest.mark.parametrize(
    ("phase", "now"),
    [
        ("rollback", Canary(stable="v1", candidate="v3", percentage=10)),
        ("advance", Canary(stable="v1", candidate="v3", percentage=10)),
        ("advance", stepped(ON_TRIAL, 1)),
        ("advance", paused(ON_TRIAL)),
    ],
)
def test_what_was_changed_meanwhile_stays_as_it_is(phase, now):
    todo = action(verdict(phase), ON_TRIAL, ACT, in_force=True)
    with pytest.raises(NotNow):
        todo.move(now)


def test_harm_on_another_step_is_harm():
    todo = action(verdict("rollback"), ON_TRIAL, ACT, in_force=True)
    assert todo.move(stepped(ON_TRIAL, 25)).candidate is None


def test_the_steps_end():
    assert next_step(100, ACT.steps) is None
