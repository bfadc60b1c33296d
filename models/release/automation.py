"""What follows from a verdict: the next change of the split, if any. Decides; changes nothing.

    abort, rollback    the candidate is out, also while it is paused
    advance            the next of `release.steps`; behind the last one, after a PASS, the candidate is stable
    stop, hold         nothing

Only `automation: act` changes anything. An A/A test ends by people: there is nothing to promote.
"""

from collections.abc import Callable
from dataclasses import dataclass

from models.config import Canary, Release
from models.events import CanaryChange
from models.release import rollout
from models.release.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Action:
    """A change of the split: its name in `canary-events`, and what makes it."""

    name: CanaryChange
    move: Callable[[Canary], Canary]


def action(verdict: Verdict, canary: Canary, release: Release, *, in_force: bool) -> Action | None:
    """The change that a verdict on this split leads to. `in_force`: workers answer by it, so that the step has begun.

    >>> from models.release.verdict import decide
    >>> from models.release.evidence import Evidence
    >>> action(decide(Evidence("v1", "v2", 10, 0), Release()), Canary(), Release(automation="act"), in_force=True) is None
    True
    """
    if release.automation != "act":
        return None
    if verdict.phase in ("abort", "rollback"):
        return Action("rolled_back", lambda now: rollout.rolled_back(_same_versions(now, canary)))
    if verdict.phase != "advance" or canary.paused or not in_force:
        return None
    percentage = next_step(canary.percentage, release.steps)
    if percentage is not None:
        return Action("set", lambda now: rollout.stepped(_same(now, canary), percentage))
    if verdict.outcome == "PASS" and canary.candidate != canary.stable:
        return Action("promoted", lambda now: rollout.promoted(_same(now, canary)))
    return None


def next_step(percentage: float, steps: tuple[float, ...]) -> float | None:
    """The first step above; None behind the last one.

    >>> next_step(10, (0, 10, 50)), next_step(12.5, (0, 10, 50)), next_step(50, (0, 10, 50))
    (50, 50, None)
    """
    return next((step for step in steps if step > percentage), None)


def _same_versions(now: Canary, judged: Canary) -> Canary:
    if (now.stable, now.candidate) != (judged.stable, judged.candidate):
        raise rollout.NotNow(f"the split was changed: {judged.candidate} is not the candidate of {judged.stable} now")
    return now


def _same(now: Canary, judged: Canary) -> Canary:
    """Harm is harm on every step; going on is for the step that was judged."""
    if (now.percentage, now.paused) != (judged.percentage, judged.paused):
        raise rollout.NotNow("the split was changed while its figures were read")
    return _same_versions(now, judged)
