"""What `canary-events` tells, message by message: which split is in force since when, what the shadow shows, which verdicts there are.

Folds; reads no topic. In force is what workers say that they answer by: a change that was made, and that no worker has taken yet, is not.
"""

from typing import Any, NamedTuple

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


class Story:
    """The topic so far."""

    def __init__(self) -> None:
        self.versions: Versions | None = None  # in force
        self.percentage: float | None = None
        self.since_ms = self.step_since_ms = 0  # since when, without a break, these versions, and this percentage
        self.changed_ms: int | None = None  # when a worker told last that it answers by another configuration
        self.verdict: Judgement | None = None  # the newest of these versions
        self._shadow: dict[tuple[str, str], ShadowFigures] = {}  # (worker, since) → the last that it said

    def add(self, event: Any, at_ms: int) -> None:
        """The next message's JSON and the broker's time of it. What others write there is read over."""
        try:
            told = msgspec.convert(event, _Told)
        except msgspec.ValidationError:
            return
        if told.event == _OF_WORKERS and told.to is not None:
            self._in_force(told.to, at_ms)
        elif told.event == "shadow" and told.shadow is not None:
            split = told.to or told.from_
            if split is not None and Versions(split.stable, split.candidate) == self.versions:
                self._shadow[told.who, told.shadow.since] = told.shadow
        elif told.event == VERDICT:
            self._judged(event)

    def runs(self, canary: Canary) -> bool:
        """Whether the versions of this split are in force; also where the topic has never said what is."""
        return self.versions in (None, Versions(canary.stable, canary.candidate))

    def on_step(self, canary: Canary) -> bool:
        """Whether its percentage is, too."""
        return self.runs(canary) and self.percentage in (None, canary.percentage)

    @property
    def shadow(self) -> tuple[ShadowFigures, ...]:
        return tuple(figures for _, figures in sorted(self._shadow.items()))

    def _in_force(self, split: _Split, at_ms: int) -> None:
        versions = Versions(split.stable, split.candidate)
        if versions != self.versions:
            self.versions, self.since_ms, self.verdict = versions, at_ms, None
            self._shadow = {}
            self.percentage = None
        if split.percentage != self.percentage:
            self.percentage, self.step_since_ms = split.percentage, at_ms
        self.changed_ms = at_ms

    def _judged(self, event: Any) -> None:
        try:
            found = msgspec.convert(event, Judgement)
        except msgspec.ValidationError:
            return  # the chain says what is wrong with it
        if self.versions in (None, Versions(found.evidence.stable, found.evidence.candidate)):
            self.verdict = found
