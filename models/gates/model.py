"""The model gate: whether a new model may be offered as a candidate.

Judges what was measured, recipe against recipe on the same split; trains nothing and publishes nothing. It refuses clear harm
only, where the whole 95 % interval says so: what it cannot tell, the canary will.

    ratio of NDCG@20, of Recall@20, of coverage@20    candidate / stable's recipe    refused where high < 1 − margin
    ratio of NDCG@20, of Recall@20                    candidate / popularity         refused where high < 1
    widening of the gender gap                        |M − F| of NDCG@20, candidate − stable's recipe
                                                                                     refused where low > gender_gap_margin

Paired by user: bootstrap, for coverage the jackknife (`measures.intervals` says why).
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from models.config import ModelGate
from models.measures import intervals
from models.measures.feedback import group_of
from models.measures.intervals import Interval
from models.measures.quality import Quality, coverage_ratio
from models.recommenders.base import F64

Outcome = Literal["passed", "refused", "no_data"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One comparison. Without a whole interval there is no data: that refuses nothing, and is no success either."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    threshold: float
    users: int
    outcome: Outcome
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Mean NDCG@20 of a gender's users."""

    users: int
    candidate: float
    stable: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`reason` is one line with both numbers: of the first refusal, else of NDCG against the stable's recipe."""

    passed: bool
    reason: str
    checks: tuple[Check, ...]
    groups: dict[str, Group]  # M, F, other, unknown: those that have users

    def written(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def judge(
    candidate: Quality,
    stable: Quality,
    popularity: Quality,
    genders: Sequence[str | None],
    gate: ModelGate,
    rng: np.random.Generator,
) -> Verdict:
    """The verdict on a candidate's recipe. All three were measured on the same users, of whom `genders` are; `stable` is the
    stable version's recipe, fitted on the same training part: the stable version itself has seen what was held out.

    The same generator state gives the same verdict. Errors: ValueError where the users differ in number.
    """
    users = {len(candidate.ndcg), len(stable.ndcg), len(popularity.ndcg), len(genders)}
    if len(users) > 1:
        raise ValueError(f"not the same users: {', '.join(map(str, sorted(users)))}")
    groups = np.array([group_of(gender) for gender in genders])
    tested = int(np.count_nonzero(~np.isnan(candidate.ndcg)))
    least = 1 - gate.margin
    checks = (
        _ratio("ndcg", "NDCG@20", intervals.ratio(candidate.ndcg, stable.ndcg, rng), least, tested),
        _ratio("recall", "Recall@20", intervals.ratio(candidate.recall, stable.recall, rng), least, tested),
        _ratio("coverage", "coverage@20", coverage_ratio(candidate, stable), 1 - gate.coverage_margin, len(genders)),
        _ratio(
            "ndcg_popularity", "NDCG@20", intervals.ratio(candidate.ndcg, popularity.ndcg, rng), 1, tested, "popularity"
        ),
        _ratio(
            "recall_popularity",
            "Recall@20",
            intervals.ratio(candidate.recall, popularity.recall, rng),
            1,
            tested,
            "popularity",
        ),
        _gender_gap(candidate.ndcg, stable.ndcg, groups, gate.gender_gap_margin, rng),
    )
    refused = [check for check in checks if check.outcome == "refused"]
    return Verdict(
        passed=not refused,
        reason=f"refused: {refused[0].reason}" if refused else f"passed: {checks[0].reason}",
        checks=checks,
        groups=_by_group(candidate.ndcg, stable.ndcg, groups),
    )


def _ratio(
    name: str, measure: str, found: Interval, least: float, users: int, other: str = "the stable recipe"
) -> Check:
    reason = f"{measure} is {found.value:.3f} × {other}'s ({found.low:.3f}–{found.high:.3f})"
    return _check(name, found, least, users, found.high < least, reason, f"refused wholly below {least:.3f}")


def _gender_gap(
    candidate: F64, stable: F64, groups: np.ndarray[Any, Any], most: float, rng: np.random.Generator
) -> Check:
    men, women = groups == "M", groups == "F"
    tested = ~np.isnan(candidate)
    found = intervals.widening((candidate[men], candidate[women]), (stable[men], stable[women]), rng)
    reason = f"the NDCG@20 gap between M and F changes by {found.value:+.4f} ({found.low:+.4f}–{found.high:+.4f})"
    users = int(np.count_nonzero(tested & (men | women)))
    return _check("gender_gap", found, most, users, found.low > most, reason, f"refused wholly above {most:+.4f}")


def _check(name: str, found: Interval, threshold: float, users: int, harmful: bool, reason: str, rule: str) -> Check:
    sure = bool(np.isfinite(found).all())
    value, low, high = (float(bound) if np.isfinite(bound) else None for bound in found)
    return Check(
        name=name,
        value=value,
        low=low,
        high=high,
        threshold=threshold,
        users=users,
        outcome=("refused" if harmful else "passed") if sure else "no_data",
        reason=f"{reason if sure else f'{name}: no data'}, {rule}, over {users} users",
    )


def _by_group(candidate: F64, stable: F64, groups: np.ndarray[Any, Any]) -> dict[str, Group]:
    found = {}
    for name in ("M", "F", "other", "unknown"):
        tested = (groups == name) & ~np.isnan(candidate)
        if tested.any():
            found[name] = Group(
                users=int(np.count_nonzero(tested)),
                candidate=float(candidate[tested].mean()),
                stable=float(stable[tested].mean()),
            )
    return found
