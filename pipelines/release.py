"""What the scheduler does about the canary at each of its turns: look, write the verdict down, and change the split where it may.

Chooses; starts no process and writes no file: who changes config.json, keeps records and shows gauges is handed in. A verdict is written
down when an action follows, when it is another one than the last, and every TOLD_EVERY_S while its figures change; not at every look.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import msgspec

from models import wire
from models.config import Applied, Canary, Release
from models.errors import CanarecError
from models.events import CanaryChange
from models.release.automation import Action, action
from models.release.chain import Chain, covers
from models.release.evidence import Evidence
from models.release.record import seal
from models.release.story import VERDICT, Judgement
from models.release.verdict import Verdict, decide
from pipelines.trial import Following, Seen

WHO = "canarec scheduler"
TOLD_EVERY_S = 300.0

Move = Callable[[Canary], Canary]


@dataclass(frozen=True, slots=True)
class Judged:
    """A look's evidence and the verdict on it."""

    seen: Seen
    verdict: Verdict


class Surroundings(Protocol):
    """What the job needs of the home and of Kafka."""

    def load(self) -> Applied:
        """config.json."""

    def change(self, move: Move, name: CanaryChange, why: str) -> None:
        """Changes the split in config.json. Errors: NotNow where it was changed meanwhile; CanarecError."""

    def keep(self, record: Mapping[str, Any]) -> None:
        """Keeps a verdict's record until Kafka has it, and its hash for ever."""

    def home(self) -> str:
        """Its id: whose chain the records are."""

    def last(self) -> str | None:
        """The hash of the newest record that was ever kept here."""

    def tell(self, applied: Applied) -> str | None:
        """Sends what waits; a line where it still does."""

    def show(self, judged: Judged | None) -> None:
        """To whoever watches; None: there is no verdict."""


class Releasing:
    """One job of the scheduler: the only writer of verdicts of its home."""

    name = "canary"

    def __init__(self, following: Following, around: Surroundings) -> None:
        self._following, self._around = following, around
        self._failed: tuple[object, ...] | None = None  # whose action could not be taken

    def turn(self, now: datetime) -> float:
        """Looks and acts; in how many seconds the next turn should come. CanarecError where Kafka does not answer."""
        applied = self._around.load()
        canary, release = applied.config.canary, applied.config.release
        self._tell(applied)
        if release.automation == "off" or canary.candidate is None:
            self._around.show(None)
            return release.look_every_s
        now_ms = round(1_000 * now.timestamp())
        judged = judge(self._following, applied, now_ms)
        self._around.show(judged)
        if judged is not None:
            self._follow(applied, judged, now_ms)
        return release.look_every_s

    def _follow(self, applied: Applied, judged: Judged, now_ms: int) -> None:
        canary, release = applied.config.canary, applied.config.release
        ledger = self._following.ledger
        assert ledger is not None  # it was just read
        home = self._around.home()
        run = ledger.story.run(canary.stable, canary.candidate)
        told = None if run is None else run.verdicts.get(home)
        todo = action(judged.verdict, canary, release, in_force=judged.seen.in_force)
        name = _name(judged.verdict, judged.seen.evidence)
        if (todo is not None and name != self._failed) or is_news(told, judged, now_ms):
            self._around.keep(record(judged, release, ledger.chain, home, self._around.last(), now_ms))
        if judged.verdict.phase == "advance":
            self._tell(applied)  # the reason stands there before what it leads to
        if todo is not None:
            self._take(todo, judged, name)
        self._tell(applied)

    def _take(self, todo: Action, judged: Judged, name: tuple[object, ...]) -> None:
        """Harm comes first to the file: it does not wait for a broker."""
        try:
            self._around.change(todo.move, todo.name, judged.verdict.message)
            self._failed = None
        except CanarecError:
            self._failed = name
            raise

    def _tell(self, applied: Applied) -> None:
        """Nothing new is written down before what waits has come: each record names the one before."""
        if (line := self._around.tell(applied)) is not None:
            raise CanarecError(line)


def judge(following: Following, applied: Applied, now_ms: int) -> Judged | None:
    """The verdict so far; None where no trial runs."""
    seen = following.look(applied, now_ms)
    return None if seen is None else Judged(seen, decide(seen.evidence, applied.config.release))


def newest(following: Following, applied: Applied, now_ms: int) -> Judgement | None:
    """The verdict so far: what the scheduler wrote down less than TOLD_EVERY_S ago, else as it would be now; None where no trial runs."""
    canary = applied.config.canary
    run = following.read(applied).story.run(canary.stable, canary.candidate)
    if run is not None and (told := run.verdict) is not None:
        recent = told.timestamp > wire.rfc3339(now_ms - round(1_000 * TOLD_EVERY_S))
        if recent and told.evidence.percentage == canary.percentage:
            return told
    found = judge(following, applied, now_ms)
    if found is None:
        return None
    return Judgement(wire.rfc3339(now_ms), wire.rfc3339(found.seen.until_ms), found.seen.evidence, found.verdict)


def record(judged: Judged, release: Release, chain: Chain, home: str, last: str | None, now_ms: int) -> dict[str, Any]:
    """What canary-events gets to hold of a verdict. `last`: a record that was kept here must be named also if the topic has lost it."""
    seen = judged.seen
    body = {
        "event": VERDICT,
        "timestamp": wire.rfc3339(now_ms),
        "who": WHO,
        "home": home,
        "since": wire.rfc3339(seen.since_ms),
        "until": wire.rfc3339(seen.until_ms),
        "offsets": seen.offsets,
        "evidence": msgspec.to_builtins(seen.evidence),
        "release": msgspec.to_builtins(release),
        "verdict": msgspec.to_builtins(judged.verdict),
        "covers": covers(chain.uncovered(home)),
    }
    return seal(body, chain.last(home) if last is None or chain.knows(last) else last)


def is_news(told: Judgement | None, judged: Judged, now_ms: int) -> bool:
    """Whether the last record of this trial, if there is one, no longer says it."""
    if told is None:
        return True
    now = judged.seen.evidence
    if _name(told.verdict, told.evidence) != _name(judged.verdict, now):
        return True
    changed = told.evidence != msgspec.structs.replace(now, held_s=told.evidence.held_s)
    return changed and told.timestamp <= wire.rfc3339(now_ms - round(1_000 * TOLD_EVERY_S))


def _name(verdict: Verdict, of: Evidence) -> tuple[object, ...]:
    return (verdict.outcome, verdict.phase, verdict.reason, of.stable, of.candidate, of.percentage)
