"""The life of a candidate: which phase a configuration is in, and what each event makes of it. Decides; writes no file.

One table, {phase: {event: phase}}; a pair that is not in it is refused. The phase is nowhere stored: it is read from the
configuration, so that a file that somebody edited by hand is in a phase, too.

    offer      a new version becomes the candidate; it begins in the shadow
    shadow     percentage 0: the candidate answers nobody (but forced users)
    step       a percentage above 0
    promote    the candidate becomes stable; what was stable is remembered as `previous`
    rollback   while a canary runs: it ends, stable answers everyone. After a promotion: `previous` is stable again
    restore    this version is stable, and no canary runs, whatever was before
    pause      nothing but people and harm changes the split, until resume
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec

from models.config import Canary
from models.errors import CanarecError
from models.events import CanaryChange, Split

Phase = Literal["idle", "shadow", "shadow_paused", "step", "step_paused", "promoted", "rolled_back"]
Event = Literal["offer", "shadow", "step", "promote", "rollback", "restore", "pause", "resume"]

TABLE: Mapping[Phase, Mapping[Event, Phase]] = {
    "idle": {"offer": "shadow", "restore": "rolled_back"},
    "shadow": {
        "shadow": "shadow",
        "step": "step",
        "promote": "promoted",
        "rollback": "rolled_back",
        "restore": "rolled_back",
        "pause": "shadow_paused",
        "resume": "shadow",
    },
    "shadow_paused": {
        "shadow": "shadow_paused",
        "step": "step_paused",
        "promote": "promoted",
        "rollback": "rolled_back",
        "restore": "rolled_back",
        "pause": "shadow_paused",
        "resume": "shadow",
    },
    "step": {
        "shadow": "shadow",
        "step": "step",
        "promote": "promoted",
        "rollback": "rolled_back",
        "restore": "rolled_back",
        "pause": "step_paused",
        "resume": "step",
    },
    "step_paused": {
        "shadow": "shadow_paused",
        "step": "step_paused",
        "promote": "promoted",
        "rollback": "rolled_back",
        "restore": "rolled_back",
        "pause": "step_paused",
        "resume": "step",
    },
    "promoted": {"offer": "shadow", "rollback": "rolled_back", "restore": "rolled_back"},
    "rolled_back": {"offer": "shadow", "rollback": "rolled_back", "restore": "rolled_back"},
}
"""A pair of the same phase repeats what was done: a command that is sent twice does no more than sent once."""

CHANGES: Mapping[Event, CanaryChange] = {
    "offer": "offered",
    "shadow": "set",
    "step": "set",
    "promote": "promoted",
    "rollback": "rolled_back",
    "restore": "rolled_back",
    "pause": "paused",
    "resume": "resumed",
}
"""What `canary-events` calls it."""


class NotNow(CanarecError):
    """An event that the phase does not take; its text says why."""


def phase(canary: Canary) -> Phase:
    """The phase that a configuration is in.

    >>> phase(Canary()), phase(Canary(percentage=0)), phase(Canary(candidate=None)), phase(Canary(paused=True))
    ('step', 'shadow', 'idle', 'step_paused')
    """
    if canary.candidate is not None:
        running: Phase = "step" if canary.percentage > 0 else "shadow"
        return TABLE[running]["pause"] if canary.paused else running
    if canary.rolled_back is not None:
        return "rolled_back"
    return "promoted" if canary.previous is not None else "idle"


def offered(canary: Canary, version: str, percentage: float = 0) -> Canary:
    """A new candidate, in the shadow or on the first step. NotNow while another one is undecided: this one waits."""
    if canary.candidate is None and version == canary.stable:
        raise NotNow(f"{version} is the stable version: it cannot be its own candidate")
    begun = _moved(canary, "offer", lambda now: _with(now, candidate=version, percentage=0, paused=False))
    return stepped(begun, percentage) if percentage > 0 else begun


def stepped(canary: Canary, percentage: float) -> Canary:
    """Another percentage, 0 (shadow) to 100."""
    return _moved(canary, "step" if percentage > 0 else "shadow", lambda now: _with(now, percentage=percentage))


def promoted(canary: Canary) -> Canary:
    """The candidate answers everyone from now on, and the version before is kept for a rollback.

    A newer one that was rolled back stays out: `passed_over`, since `rolled_back` means that the rollback was the last thing done.

    >>> after = promoted(Canary(stable="v1", candidate="v2"))
    >>> after.stable, after.candidate, after.percentage, after.previous
    ('v2', None, 0, 'v1')
    """
    if canary.candidate == canary.stable:
        raise NotNow(
            f"stable and candidate are both {canary.stable}: there is nothing to promote; rollback ends the test"
        )
    return _moved(
        canary,
        "promote",
        lambda now: _with(
            now,
            stable=now.candidate,
            candidate=None,
            percentage=0,
            paused=False,
            previous=now.stable,
            rolled_back=None,
            passed_over=_above(now.candidate, now.passed_over, now.rolled_back),
        ),
    )


def rolled_back(canary: Canary) -> Canary:
    """One step back: the candidate is out, or, after a promotion, the version before is stable again.

    A second rollback changes nothing more: whoever is not sure that the first one came through may send it again.

    >>> once = rolled_back(promoted(Canary(stable="v1", candidate="v2")))
    >>> once.stable, once.candidate, once.previous, once.rolled_back, rolled_back(once) == once
    ('v1', None, None, 'v2', True)
    """
    change: dict[str, Any] = {}
    if canary.candidate is not None:
        change = {"candidate": None, "percentage": 0, "paused": False}
    elif phase(canary) == "promoted":
        change = {"stable": canary.previous, "previous": None}
    if change:
        change["rolled_back"] = _newest(canary.candidate or canary.stable, canary.rolled_back)
    return _moved(canary, "rollback", lambda now: _with(now, **change))


def restored(canary: Canary, version: str) -> Canary:
    """This version answers everyone: for when more than one step back is needed.

    >>> back = restored(Canary(stable="v2", candidate="v3", previous="v1"), "v1")
    >>> back.stable, back.candidate, back.previous, back.rolled_back
    ('v1', None, None, 'v3')
    """
    if canary.candidate is None and version == canary.stable:
        return canary
    if version == canary.candidate != canary.stable:
        raise NotNow(f"{version} is the candidate: promote makes it the stable version")
    return _moved(
        canary,
        "restore",
        lambda now: _with(
            now,
            stable=version,
            candidate=None,
            percentage=0,
            paused=False,
            previous=None if version == now.previous else now.previous,
            rolled_back=_newest(now.stable, now.candidate, now.rolled_back),
        ),
    )


def paused(canary: Canary) -> Canary:
    """The candidate stays on its step."""
    return _moved(canary, "pause", lambda now: _with(now, paused=True))


def resumed(canary: Canary) -> Canary:
    """The steps go on."""
    return _moved(canary, "resume", lambda now: _with(now, paused=False))


def waiting(canary: Canary, versions: Iterable[str]) -> str | None:
    """Of the published versions the one to be offered next: the newest, if it is newer than all that had their turn.

    Newer is a larger number: retraining calls its versions v<number>; others are offered by people only.

    >>> waiting(Canary(stable="v9", candidate=None), ["v9", "v10", "v11", "mine"])
    'v11'
    >>> waiting(Canary(stable="v9", candidate=None, rolled_back="v11"), ["v9", "v10", "v11"]) is None
    True
    """
    had_their_turn = (canary.stable, canary.candidate, canary.previous, canary.rolled_back, canary.passed_over)
    newest = max(versions, key=number, default="")
    return newest if number(newest) > max(number(version or "") for version in had_their_turn) else None


def brings_in(before: Canary, after: Canary) -> list[str]:
    """The versions that answer somebody after a change, or more of them than before: they must be at hand.

    >>> trial = Canary(stable="v1", candidate="v2", percentage=10)
    >>> brings_in(trial, stepped(trial, 25)), brings_in(trial, promoted(trial)), brings_in(trial, rolled_back(trial))
    (['v2'], ['v2'], [])
    """
    found = [after.stable] if after.stable != before.stable else []
    same = after.candidate == before.candidate
    if after.candidate is not None and after.percentage > (before.percentage if same else 0):
        found.append(after.candidate)
    return found


def split_of(canary: Canary, config_sha256: str) -> Split:
    """The split as `canary-events` names it."""
    return Split(
        config_sha256,
        canary.stable,
        canary.candidate,
        canary.percentage,
        canary.previous,
        canary.rolled_back,
        canary.paused,
    )


def read(raw: Mapping[str, Any]) -> Canary:
    """The split of a configuration that was checked."""
    return msgspec.convert(raw.get("canary", {}), Canary)


def write(raw: dict[str, Any], after: Canary) -> None:
    """Puts a split into a configuration that was checked. Keys whose value is the same already stay as they are written."""
    before = read(raw)
    part = raw.setdefault("canary", {})
    for name in Canary.__struct_fields__:
        if (value := getattr(after, name)) != getattr(before, name):
            part[name] = int(value) if isinstance(value, float) and value.is_integer() else value


def _moved(canary: Canary, event: Event, change: Callable[[Canary], Canary]) -> Canary:
    """The configuration after an event, if its phase takes it."""
    if event not in TABLE[phase(canary)]:
        raise NotNow(_why_not(canary, event))
    return change(canary)


def _why_not(canary: Canary, event: Event) -> str:
    if event == "offer":
        return f"{canary.candidate} is on trial: the next one waits until it is promoted or rolled back"
    if event == "rollback":
        return f"nothing to roll back: there is no candidate, and no version before {canary.stable} is known"
    verb = {"shadow": "set a percentage for", "step": "set a percentage for"}.get(event, event)
    return f"there is no candidate to {verb}: {canary.stable} answers everyone"


def _with(canary: Canary, **changes: Any) -> Canary:
    return msgspec.structs.replace(canary, **changes)


def number(version: str) -> int:
    """Of a version that retraining has named, else −1.

    >>> number("v12"), number("mine"), number("v1.2")
    (12, -1, -1)
    """
    digits = version.removeprefix("v")
    return int(digits) if version.startswith("v") and digits.isdecimal() else -1


def _above(version: str | None, *others: str | None) -> str | None:
    """The newest of the others, if it is newer than this version."""
    newest = max((other for other in others if other is not None), key=number, default=None)
    return newest if newest is not None and number(newest) > number(version or "") else None


def _newest(*versions: str | None) -> str:
    """What was rolled back once is not forgotten for an older one: `waiting` would offer it again."""
    return max((version for version in versions if version is not None), key=number)
