"""What `canary-events` tells, message by message: which splits are in force since when, what the shadow shows, which verdicts there are.

Folds; reads no topic. In force is what workers say that they answer by: a change that was made, and that no worker has taken yet, is not.
A worker's word holds until it says another one, so a worker of another home, with another file, ends no trial here.
"""

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from models.config import Canary
from models.events import ShadowFigures
from models.release.evidence import Evidence
from models.release.verdict import Verdict

VERDICT = "verdict"
_OF_WORKERS = "configuration_applied"


class Versions(NamedTuple):
    stable: str
    candidate: str | None


class _Split(msgspec.Struct):
    stable: str
    candidate: str | None
    percentage: float


class _Told(msgspec.Struct):
    event: str
    who: str = ""
    to: _Split | None = None
    from_: _Split | None = msgspec.field(name="from", default=None)
    shadow: ShadowFigures | None = None


class Judgement(msgspec.Struct):
    """Of a verdict's record, what it says."""

    timestamp: str
    until: str
    evidence: Evidence
    verdict: Verdict
    home: str = ""  # whose scheduler wrote it


@dataclass(slots=True)
class Run:
    """One stretch in which workers answer by these versions. `since_ms`: since the first of them did.

    `left`: some have said since then that they answer by others. Who has not may live in another home, or be dead.
    """

    since_ms: int = 0
    left: bool = False
    verdict: Judgement | None = None  # the newest
    verdicts: dict[str, Judgement] = field(default_factory=dict)  # home → its newest
    _shadow: dict[tuple[str, str], ShadowFigures] = field(
        default_factory=dict
    )  # (worker, since) → the last that it said

    def compared(self, who: str, figures: ShadowFigures) -> None:
        """What a worker's shadow has shown so far."""
        self._shadow[who, figures.since] = figures

    @property
    def shadow(self) -> tuple[ShadowFigures, ...]:
        return tuple(figures for _, figures in sorted(self._shadow.items()))


What = TypeVar("What", bound=Hashable)


class _Held(Generic[What]):
    """Since when somebody answers by something, of everything that somebody answers by."""

    def __init__(self) -> None:
        self._by: dict[str, What] = {}
        self.left: set[What] = set()
        self.since_ms: dict[What, int] = {}

    def say(self, who: str, what: What, at_ms: int) -> None:
        """What one answers by from now on.

        What somebody has left, and comes back to, begins again: whoever holds it still may be a worker that died with that word.
        """
        before = self._by.get(who)
        if before == what:
            return
        self._by[who] = what
        if before is not None:
            self.left.add(before)
            if before not in self._by.values():
                self.left.remove(before)
                del self.since_ms[before]
        if what not in self.since_ms or what in self.left:
            self.left.discard(what)
            self.since_ms[what] = at_ms


class Story:
    """The topic so far."""

    def __init__(self) -> None:
        self.changed_ms: int | None = None  # when a worker told last that it answers by another configuration
        self._versions: _Held[Versions] = _Held()
        self._steps: _Held[tuple[Versions, float]] = _Held()
        self._runs: dict[Versions, Run] = {}

    def add(self, event: Any, at_ms: int) -> None:
        """The next message's JSON and the broker's time of it. What others write there is read over."""
        try:
            told = msgspec.convert(event, _Told)
        except msgspec.ValidationError:
            return
        if told.event == _OF_WORKERS and told.to is not None:
            self._in_force(told.who, told.to, at_ms)
        elif told.event == "shadow" and told.shadow is not None:
            split = told.to or told.from_
            if split is not None and (run := self.run(split.stable, split.candidate)) is not None:
                run.compared(told.who, told.shadow)
        elif told.event == VERDICT:
            self._judged(event)

    def run(self, stable: str, candidate: str | None) -> Run | None:
        """Of these versions, if any worker answers by them; where the topic has never said what any does, everything counts."""
        if self.changed_ms is None:
            return self._runs.setdefault(Versions(stable, candidate), Run())
        return self._runs.get(Versions(stable, candidate))

    def step_since_ms(self, canary: Canary) -> int | None:
        """Since when any worker answers by this split's percentage, too; None while none does."""
        versions = Versions(canary.stable, canary.candidate)
        if self.changed_ms is None:
            return 0
        since_ms = self._steps.since_ms.get((versions, canary.percentage))
        return None if since_ms is None else max(since_ms, self._runs[versions].since_ms)

    def _in_force(self, who: str, split: _Split, at_ms: int) -> None:
        versions = Versions(split.stable, split.candidate)
        self._versions.say(who, versions, at_ms)
        self._steps.say(who, (versions, split.percentage), at_ms)
        held = {}
        for of, since_ms in self._versions.since_ms.items():
            run = self._runs.get(of)
            held[of] = run if run is not None and run.since_ms == since_ms else Run(since_ms)
            held[of].left = of in self._versions.left
        self._runs = held
        self.changed_ms = at_ms

    def _judged(self, event: Any) -> None:
        try:
            found = msgspec.convert(event, Judgement)
        except msgspec.ValidationError:
            return  # the chain says what is wrong with it
        if (run := self.run(found.evidence.stable, found.evidence.candidate)) is not None:
            run.verdict = run.verdicts[found.home] = found
