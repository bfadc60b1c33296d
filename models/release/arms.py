"""What each arm of a split has done: users, requests, success, latency, and what became of its answers. Counts; decides nothing.

    success = answers with status ok / requests        (a fallback is an answer, and not the model's)

Counted are answers of the versions that the split names now, each in its arm. Forced users are left out of both arms, since nobody
drew them, and so are rejected requests, which no model has seen. Click-through, hit rate and satisfaction: models.measures.feedback.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec

from models.config import Canary
from models.events import Feedback, Variant
from models.measures.feedback import Figures, Outcomes


class Served(msgspec.Struct):
    """Of a provenance record, what counts here."""

    request_id: str
    user_id: str | None
    status: str
    recommendations: list[str]
    latency_ms: int
    variant: Variant | None = None
    model_version: str | None = None
    reason: str | None = None
    forced: bool = False


class At(NamedTuple):
    """An answer, and the broker's time of it."""

    at_ms: int
    served: Served


class Seen(NamedTuple):
    """A watch, and when it was (`models.measures.feedback.watched_ms`)."""

    at_ms: int
    user_id: str
    movie_id: str


@dataclass(slots=True)
class Arm:
    """One arm so far."""

    version: str
    users: set[str] = field(default_factory=set)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)  # of fallbacks
    latencies_ms: list[int] = field(default_factory=list)
    figures: Figures = field(default_factory=Figures)

    @property
    def requests(self) -> int:
        return self.statuses.total()

    @property
    def success(self) -> float | None:
        return self.statuses["ok"] / self.requests if self.requests else None

    def latency_ms(self, quantile: float) -> int | None:
        """The smallest latency that this share of the answers did not exceed (nearest rank); None without answers."""
        ranked = sorted(self.latencies_ms)
        return ranked[max(1, math.ceil(quantile * len(ranked))) - 1] if ranked else None


@dataclass(slots=True)
class Arms:
    """Both arms, and what counts in none."""

    of: dict[Variant, Arm]
    forced: int = 0  # answers to forced users
    others: int = 0  # of versions that the split does not name (any more) in this arm
    rejected: int = 0

    @property
    def in_both(self) -> int:
        """Users who met both arms: the percentage, the salt or the file was changed in between."""
        stable, canary = self.of["stable"], self.of.get("canary")
        return len(stable.users & canary.users) if canary else 0


@dataclass(frozen=True, slots=True)
class Standing:
    """The arms, from when to when, and whether older answers were left out since there were too many."""

    arms: Arms
    since_ms: int
    until_ms: int
    cut: bool = False


def arms(
    canary: Canary,
    answers: Sequence[At],
    feedback: Iterable[tuple[int, Feedback]],
    watches: Iterable[Seen],
    *,
    genders: Mapping[str, str | None],
    horizon_ms: int,
    now_ms: int,
) -> Arms:
    """Both arms (without a candidate only the stable one), from answers, what was said of them, and watches, in any order.

    A watch counts up to its answer's horizon; answers whose horizon has not passed at `now_ms` are not in the hit rate.
    """
    found = Arms({"stable": Arm(canary.stable)})
    if canary.candidate is not None:
        found.of["canary"] = Arm(canary.candidate)
    outcomes = Outcomes(horizon_ms, max(1, len(answers)))
    for at_ms, served in sorted(answers, key=lambda answer: answer.at_ms):
        if served.forced:
            found.forced += 1
        elif served.variant is None or served.user_id is None:
            found.rejected += 1
        elif (arm := found.of.get(served.variant)) is None or arm.version != served.model_version:
            found.others += 1
        else:
            _count(arm, served, served.user_id)
            gender = genders.get(served.user_id)
            outcomes.answered(served.request_id, served.user_id, served.variant, served.recommendations, gender, at_ms)
    for at_ms, said in feedback:
        outcomes.selected(said, at_ms)
    for seen in watches:
        outcomes.watched(seen.user_id, seen.movie_id, seen.at_ms)
    outcomes.expire(now_ms)
    for variant, figures in outcomes.summary().items():
        found.of[_variant(variant)].figures = figures
    return found


def began(told: Iterable[tuple[int, str | None, str | None]], canary: Canary) -> int | None:
    """Since when, without a break, stable and candidate are these: from (time, stable, candidate) of events, oldest first.

    >>> began([(1, "v1", "v2"), (2, "v2", "v3"), (3, "v2", "v3")], Canary(stable="v2", candidate="v3"))
    2
    """
    since = None
    for at_ms, stable, candidate in told:
        same = (stable, candidate) == (canary.stable, canary.candidate)
        since = (at_ms if since is None else since) if same else None
    return since


def _count(arm: Arm, served: Served, user_id: str) -> None:
    arm.users.add(user_id)
    arm.statuses[served.status] += 1
    if served.status == "fallback":
        arm.reasons[served.reason or "unknown"] += 1
    arm.latencies_ms.append(served.latency_ms)


def _variant(name: str) -> Variant:
    return "canary" if name == "canary" else "stable"
