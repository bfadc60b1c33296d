"""Whether a candidate goes on, waits or is out. Decides; never sends, changes nothing.

In this order, and the first that applies is the verdict:

    abort      the candidate crashes, or fails surely more often than it may                        at every step, at once
    stop       the split is not what was set, workers disagree, a file is damaged                   no figure can be trusted
    rollback   in one metric the candidate is surely worse                                          FAIL, from `decides_from` on
    hold       not enough users, time or requests; slow; a gender group surely loses; an alert      INCONCLUSIVE
    advance    in every metric surely not worse by more than the margin; or, on a small step, sound so far

A bound (`models.release.bounds`) may be looked at at any time. A candidate whose truth lies at a margin passes with a probability of
at most `alpha`: all metrics must pass, so the weakest decides (intersection-union test, Berger, Technometrics 24, 1982), and no
correction is needed. An equal one is rolled back with at most `alpha`: any metric may do it, so each has alpha / number of metrics.

Harm to a group, and a satisfaction ratio that has moved away from 1, hold the candidate where it is; people decide. No data is never
success: what has no figures waits for them.
"""

import itertools
import math
from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from models.config import Release
from models.release import failures, ratio_mismatch
from models.release.bounds import Comparison, about, compare
from models.release.evidence import METRICS, Evidence, Group, Metric

Outcome = Literal["PASS", "FAIL", "INCONCLUSIVE"]
Phase = Literal["abort", "stop", "rollback", "hold", "advance"]
Reason = Literal[
    "crashed",
    "errors",  # more failed requests than the margin allows
    "sample_ratio",  # the arms are not as large as the split says
    "configurations_differ",  # workers answer by different ones
    "wrong_checksum",
    "worse",  # in one metric
    "no_requests",  # of the candidate, or fewer than requests_min
    "slow",  # p99 of scoring
    "no_latency",  # too few scorings to say
    "held",  # the step's time is not over
    "few_users",
    "undecided",  # a bound has not got there
    "group_harm",
    "ratio_moved",  # satisfaction of men over women, away from 1
    "alert",  # a window of the candidate is one, and stable's is none
    "sound_so_far",  # a small step may be left
    "not_worse",  # in all metrics
]

RATIO_SHIFT = -math.log(0.85)  # the shift of ln(M/F) that evidence is gathered for: to the contract's alert


class Bounds(msgspec.Struct, frozen=True):
    """One metric. Differences are candidate − stable; None where an arm has no users."""

    users_stable: int
    users_canary: int
    difference: float | None
    lower: float | None
    upper: float | None
    margin: float
    more_users: int | None  # of the candidate, until it decides, as far as one can tell; None: nobody can


class Verdict(msgspec.Struct, frozen=True):
    """What follows, why, and how far the rest is."""

    outcome: Outcome
    phase: Phase
    reason: Reason
    message: str
    metrics: dict[Metric, Bounds]
    more_users: Annotated[int | None, Meta(description="of the candidate, an estimate")]
    sample_ratio_p: float


def decide(evidence: Evidence, release: Release) -> Verdict:
    """The verdict on evidence so far, under the thresholds of `release`.

    >>> decide(Evidence("v1", "v2", percentage=10, held_s=0), Release()).message
    'HOLD: 0 requests answered by v2 < 200'
    """
    margins = {metric: margin for metric in METRICS if (margin := getattr(release.margins, metric)) is not None}
    fail_alpha = release.alpha / len(margins)
    compared = {
        metric: compare(
            evidence.stable_arm.moments(metric).sample,
            evidence.canary_arm.moments(metric).sample,
            margin=margin,
            pass_alpha=release.alpha,
            fail_alpha=fail_alpha,
        )
        for metric, margin in margins.items()
    }
    bounds = {metric: _bounds(evidence, release, metric, margins[metric], found) for metric, found in compared.items()}
    p = ratio_mismatch.p_value((period.percentage / 100, period.canary, period.stable) for period in evidence.periods)
    rules = itertools.chain(
        _broken(evidence, release),
        _untrustworthy(evidence, release, p),
        _worse(evidence, release, bounds),
        _alerted(evidence),
        _unready(evidence, release),
        _undecided(evidence, release, bounds),
        _unfair(evidence, release, margins, fail_alpha),
        _fit(evidence, release, bounds),
    )
    outcome, phase, reason, text = next(rules)
    unknown = [found for found in bounds.values() if found.more_users is None]
    more = None if unknown else max(found.more_users or 0 for found in bounds.values())
    if phase == "hold" and reason in ("few_users", "undecided") and more:
        text += f"; about {more:,} more users of {evidence.candidate} to go"
    return Verdict(outcome, phase, reason, f"{phase.upper()}: {text}", bounds, more, p)


_Found = Iterator[tuple[Outcome, Phase, Reason, str]]


def _broken(evidence: Evidence, release: Release) -> _Found:
    stable, canary, name = evidence.stable_arm, evidence.canary_arm, evidence.candidate
    if evidence.crashes > release.crashes_max:
        yield "FAIL", "abort", "crashed", f"{evidence.crashes} crashes by {name} > {release.crashes_max}"
    above, tolerated = failures.excess(
        (canary.failures, canary.requests),
        (stable.failures, stable.requests),
        release.error_margin,
        release.error_alpha,
    )
    if above >= 0 and canary.failing_users >= release.failing_users_min:
        yield (
            "FAIL",
            "abort",
            "errors",
            f"{name} failed in {canary.failures} of {canary.requests:,} requests, surely more than "
            f"{tolerated:.3f} of them ({evidence.stable}: {stable.failures} of {stable.requests:,}, "
            f"margin {release.error_margin:g})",
        )


def _untrustworthy(evidence: Evidence, release: Release, p: float) -> _Found:
    if evidence.wrong_checksums:
        yield "INCONCLUSIVE", "stop", "wrong_checksum", "; ".join(evidence.wrong_checksums)
    if len(set(evidence.config_sha256)) > 1:
        names = ", ".join(sorted(sha[:8] for sha in set(evidence.config_sha256)))
        yield "INCONCLUSIVE", "stop", "configurations_differ", f"workers answer by different configurations: {names}"
    if p < release.srm_alpha:
        users = sum(period.canary for period in evidence.periods)
        total = users + sum(period.stable for period in evidence.periods)
        expected = sum(period.percentage / 100 * (period.canary + period.stable) for period in evidence.periods)
        yield (
            "INCONCLUSIVE",
            "stop",
            "sample_ratio",
            f"{users:,} of {total:,} users met {evidence.candidate} where the split gives {expected:,.0f}: "
            f"p = {p:.2g} < {release.srm_alpha:g}",
        )


def _worse(evidence: Evidence, release: Release, bounds: dict[Metric, Bounds]) -> _Found:
    if evidence.percentage < release.decides_from:
        return
    for metric, found in bounds.items():
        if _enough(found, release) and found.upper is not None and found.upper < 0:
            yield (
                "FAIL",
                "rollback",
                "worse",
                f"{metric}: upper bound {signed(found.upper)} < 0 after {found.users_canary:,} users of "
                f"{evidence.candidate} and {found.users_stable:,} of {evidence.stable}",
            )


def _alerted(evidence: Evidence) -> _Found:
    """Whatever the step: who is served unequally, or less and less, is not served more of it before people have looked."""
    if evidence.alerts:
        yield "INCONCLUSIVE", "hold", "alert", f"{evidence.candidate}: {'; '.join(evidence.alerts)}"


def _unready(evidence: Evidence, release: Release) -> _Found:
    stable, canary, name = evidence.stable_arm, evidence.canary_arm, evidence.candidate
    if canary.requests < release.requests_min:
        yield (
            "INCONCLUSIVE",
            "hold",
            "no_requests",
            f"{canary.requests:,} requests answered by {name} < {release.requests_min:,}",
        )
    for arm, version in ((stable, evidence.stable), (canary, name)):
        if arm.scorings < release.scorings_min or arm.scoring_p99_ms is None:
            yield (
                "INCONCLUSIVE",
                "hold",
                "no_latency",
                f"{arm.scorings:,} scorings of {version} timed < {release.scorings_min:,}",
            )
    limit = release.scoring_p99_ratio_max
    before, now = stable.scoring_p99_ms or 0.0, canary.scoring_p99_ms or 0.0
    if now > limit * before:
        yield (
            "INCONCLUSIVE",
            "hold",
            "slow",
            f"p99 of scoring {now:.3g} ms by {name} > {limit:g} × {before:.3g} ms by {evidence.stable}",
        )
    if evidence.held_s < release.hold_s:
        yield "INCONCLUSIVE", "hold", "held", f"{evidence.held_s:,.0f} s on this step < {release.hold_s:,.0f} s"
    if evidence.percentage < release.decides_from:
        yield (
            "INCONCLUSIVE",
            "advance",
            "sound_so_far",
            f"{canary.failures} of {canary.requests:,} requests failed; quality decides from {release.decides_from:g} %",
        )


def _undecided(evidence: Evidence, release: Release, bounds: dict[Metric, Bounds]) -> _Found:
    for metric, found in bounds.items():
        if not _enough(found, release):
            few = min(found.users_canary, found.users_stable)
            version = evidence.candidate if few == found.users_canary else evidence.stable
            yield "INCONCLUSIVE", "hold", "few_users", f"{metric}: {few:,} users of {version} < {release.users_min:,}"
    for metric, found in bounds.items():
        if found.lower is not None and not found.lower > -found.margin:
            yield (
                "INCONCLUSIVE",
                "hold",
                "undecided",
                f"{metric}: lower bound {signed(found.lower)} < margin {signed(-found.margin)} after "
                f"{found.users_canary:,} users of {evidence.candidate}",
            )


def _unfair(evidence: Evidence, release: Release, margins: dict[Metric, float], fail_alpha: float) -> _Found:
    """Harm to men or to women: each metric and group is a test of its own, alpha is divided by their number."""
    groups: tuple[Group, ...] = ("M", "F")
    for metric, margin in margins.items():
        for group in groups:
            stable = evidence.stable_arm.moments(metric, group)
            canary = evidence.canary_arm.moments(metric, group)
            if min(stable.n, canary.n) < release.group_users_min:
                continue
            alpha = fail_alpha / len(groups)
            found = compare(stable.sample, canary.sample, margin=margin, pass_alpha=release.alpha, fail_alpha=alpha)
            if found.upper < 0:
                yield (
                    "INCONCLUSIVE",
                    "hold",
                    "group_harm",
                    f"{metric} of {group}: upper bound {signed(found.upper)} < 0 after {canary.n:,} users of "
                    f"{evidence.candidate}",
                )
    if (moved := _ratio_moved(evidence, release)) is not None:
        yield "INCONCLUSIVE", "hold", "ratio_moved", moved


def _ratio_moved(evidence: Evidence, release: Release) -> str | None:
    """Whether |ln R_canary| > |ln R_stable| for sure, R being the mean satisfaction of men over that of women.

    That is: for one sign s, both s·ln R_canary − ln R_stable > 0 and s·ln R_canary + ln R_stable > 0. Both one-sided bounds must
    show it (intersection-union), at alpha/2 for the two signs. The error of ln R by the delta method: Σ over M and F of σ̂²/(n · mean²).
    """
    arms = (evidence.stable_arm, evidence.canary_arm)
    cells = [(arm.moments("satisfaction", "M").sample, arm.moments("satisfaction", "F").sample) for arm in arms]
    if min(cell.n for arm in cells for cell in arm) < release.group_users_min:
        return None
    if min(cell.mean for arm in cells for cell in arm) <= 0:
        return None  # no ratio can be formed
    stable, canary = (math.log(men.mean / women.mean) for men, women in cells)
    error = float(sum(cell.variance / (cell.n * cell.mean**2) for arm in cells for cell in arm))
    away = abs(canary) - abs(stable)  # the smaller of the two sums, for the sign that ln R_canary has
    lower = away - about(RATIO_SHIFT).width(1 / error, release.alpha / 2)
    if lower <= 0:
        return None
    return (
        f"satisfaction of men over women {math.exp(canary):.3f} with {evidence.candidate}, {math.exp(stable):.3f} with "
        f"{evidence.stable}: further from 1, lower bound of the shift {signed(lower)} > 0"
    )


def _fit(evidence: Evidence, release: Release, bounds: dict[Metric, Bounds]) -> _Found:
    nearest = min(bounds, key=lambda metric: (bounds[metric].lower or 0.0) + bounds[metric].margin)
    found = bounds[nearest]
    yield (
        "PASS",
        "advance",
        "not_worse",
        f"all of {', '.join(bounds)}; nearest {nearest}: lower bound {signed(found.lower or 0.0)} > margin "
        f"{signed(-found.margin)} after {found.users_canary:,} users of {evidence.candidate}",
    )


def _bounds(evidence: Evidence, release: Release, metric: Metric, margin: float, found: Comparison) -> Bounds:
    users_stable = evidence.stable_arm.moments(metric).n
    users_canary = evidence.canary_arm.moments(metric).n
    if not min(users_stable, users_canary):
        return Bounds(users_stable, users_canary, None, None, None, margin, None)
    # the arms are thought to grow alike
    factor = max(found.factor, release.users_min / users_canary, release.users_min / users_stable)
    more = math.ceil(users_canary * (factor - 1)) if math.isfinite(factor) else None
    difference, lower, upper = (round(value, 6) for value in (found.difference, found.lower, found.upper))
    return Bounds(users_stable, users_canary, difference, lower, upper, margin, more)


def _enough(found: Bounds, release: Release) -> bool:
    return min(found.users_stable, found.users_canary) >= release.users_min


def signed(value: float) -> str:
    """A difference with its sign, as a reader sees it.

    >>> signed(-0.0612), signed(0.004)
    ('−0.061', '+0.004')
    """
    return f"{value:+.3f}".replace("-", "−")
