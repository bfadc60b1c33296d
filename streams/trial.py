"""A canary as a person reads it, and as a program does: split, phase, both arms. Asks nobody, decides nothing."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from models import wire
from models.config import Applied, Canary
from models.measures.feedback import Figures
from models.release.arms import Arm, Standing
from models.release.rollout import Phase, phase, waiting
from models.release.story import Judgement
from models.release.verdict import Bounds, signed

IN_WORDS: dict[Phase, str] = {
    "idle": "no candidate",
    "shadow": "shadow: the candidate answers nobody",
    "shadow_paused": "shadow, paused",
    "step": "on trial",
    "step_paused": "on trial, paused",
    "promoted": "promoted",
    "rolled_back": "rolled back",
}
GROUPS = ("M", "F", "other", "unknown")


def line(canary: Canary) -> str:
    """The split in one line.

    >>> line(Canary(stable="v1", candidate="v2", percentage=10))
    'on trial: 10 % of users to v2, the others to v1'
    >>> line(Canary(stable="v2", candidate=None, previous="v1"))
    'promoted: v2 answers everyone, v1 was before it'
    """
    words = IN_WORDS[phase(canary)]
    if canary.candidate is None:
        before = f", {canary.previous} was before it" if canary.previous else ""
        return f"{words}: {canary.stable} answers everyone{before}"
    unit = "users" if canary.unit == "user" else "requests"
    test = " (A/A)" if canary.candidate == canary.stable else ""
    return f"{words}: {canary.percentage:g} % of {unit} to {canary.candidate}{test}, the others to {canary.stable}"


def head(applied: Applied, versions: Sequence[str]) -> RenderableType:
    """What config.json says; `versions` are those at hand."""
    canary = applied.config.canary
    facts = [
        f"config_sha256 {applied.sha256[:12]}",
        f"salt {canary.salt}",
        f"previous {canary.previous or 'none'}",
        f"rolled back {canary.rolled_back or 'none'}",
        f"next in line {waiting(canary, versions) or 'none'}",
    ]
    if canary.forced:
        facts.append(f"forced test users {len(canary.forced)}")
    return Text(f"{line(canary)}\n{' · '.join(facts)}")


def screen(standing: Standing, group_users_min: int, verdict: Sequence[str] = ()) -> RenderableType:
    """Both arms beside each other, what counts in neither, and the verdict's lines where there is one."""
    arms = standing.arms
    shown = Table()
    shown.add_column("")
    for variant, arm in arms.of.items():
        shown.add_column(escape(f"{variant} {arm.version}"), justify="right")
    for name, cell in _ROWS:
        shown.add_row(name, *(escape(cell(arm)) for arm in arms.of.values()))
    for group in GROUPS:
        if any(group in arm.figures.satisfaction for arm in arms.of.values()):
            shown.add_row(f"satisfaction {group}", *(_satisfaction(arm.figures, group) for arm in arms.of.values()))
    shown.add_row("satisfaction M/F", *(_fairness(arm.figures, group_users_min) for arm in arms.of.values()))
    aside = [
        f"{what}: {count:,}"
        for count, what in (
            (arms.in_both, "users who met both arms"),
            (arms.forced, "answers to forced users, in neither arm"),
            (arms.others, "answers of other versions, in neither arm"),
            (arms.rejected, "rejected requests"),
        )
        if count
    ]
    span = Text(f"{_since(standing)}, to {wire.rfc3339(standing.until_ms)}")
    return Group(span, shown, *([Text(" · ".join(aside))] if aside else []), *(Text(each) for each in verdict))


def words(judgement: Judgement, automation: str) -> list[str]:
    """A verdict as a person reads it: what follows, and each metric's bounds, margin and users."""
    verdict, name = judgement.verdict, judgement.evidence.candidate
    lines = [
        f"verdict on {name} up to {judgement.until}: {verdict.outcome} (automation: {automation})",
        f"  {verdict.message}",
    ]
    for metric, found in verdict.metrics.items():
        if found.difference is None or found.lower is None or found.upper is None:
            lines.append(f"  {metric}: no users to compare ({found.users_stable:,} and {found.users_canary:,})")
            continue
        more = "nobody can say how many more" if found.more_users is None else f"about {found.more_users:,} more"
        lines.append(
            f"  {metric}: {signed(found.difference)}, {signed(found.lower)} to {signed(found.upper)} "
            f"(margin {signed(-found.margin)}): {stands(found)}; {found.users_stable:,} and {found.users_canary:,} users"
            + ("" if found.more_users == 0 else f", {more} of {name}")
        )
    lines.append(f"  split as set: p = {verdict.sample_ratio_p:.2g}")
    return lines


def stands(found: Bounds) -> str:
    """Where a metric stands by its bounds alone.

    >>> stands(Bounds(900, 900, 0.0, -0.03, 0.04, 0.05, 0)), stands(Bounds(900, 900, 0.0, -0.06, 0.06, 0.05, 400))
    ('not worse', 'undecided')
    """
    if found.upper is not None and found.upper < 0:
        return "worse"
    if found.lower is not None and found.lower > 0:
        return "better"
    return "not worse" if found.lower is not None and found.lower > -found.margin else "undecided"


def as_json(
    applied: Applied, versions: Sequence[str], standing: Standing, judgement: Judgement | None = None
) -> dict[str, Any]:
    """The same for programs. Ratios are null where nothing stands below the line, and so is the verdict while there is none."""
    canary, arms = applied.config.canary, standing.arms
    return {
        "phase": phase(canary),
        "stable": canary.stable,
        "candidate": canary.candidate,
        "percentage": canary.percentage,
        "unit": canary.unit,
        "salt": canary.salt,
        "paused": canary.paused,
        "previous": canary.previous,
        "rolled_back": canary.rolled_back,
        "next": waiting(canary, versions),
        "forced_users": len(canary.forced),
        "config_sha256": applied.sha256,
        "since": wire.rfc3339(standing.since_ms),
        "until": wire.rfc3339(standing.until_ms),
        "older_left_out": standing.cut,
        "arms": {variant: _arm(arm) for variant, arm in arms.of.items()},
        "users_in_both_arms": arms.in_both,
        "forced_answers": arms.forced,
        "other_answers": arms.others,
        "rejected": arms.rejected,
        "verdict": None
        if judgement is None
        else {**msgspec.to_builtins(judgement.verdict), "until": judgement.until, "timestamp": judgement.timestamp},
    }


def _arm(arm: Arm) -> dict[str, Any]:
    figures = arm.figures
    return {
        "version": arm.version,
        "users": len(arm.users),
        "requests": arm.requests,
        "ok": arm.statuses["ok"],
        "fallback": arm.statuses["fallback"],
        "reasons": dict(sorted(arm.reasons.items())),
        "success": arm.success,
        "latency_ms": {"p50": arm.latency_ms(0.5), "p99": arm.latency_ms(0.99)},
        "shown": figures.shown,
        "selections": figures.selections,
        "ctr": figures.ctr,
        "past_horizon": figures.past_horizon,
        "hits": figures.hits,
        "hit_rate": figures.hit_rate,
        "satisfaction": {
            group: {"count": said.count, "mean": said.mean, "users": said.users}
            for group, said in sorted(figures.satisfaction.items())
        },
        "satisfaction_ratio": figures.satisfaction_ratio,
    }


_ROWS: tuple[tuple[str, Callable[[Arm], str]], ...] = (
    ("users", lambda arm: f"{len(arm.users):,}"),
    ("requests", lambda arm: f"{arm.requests:,}"),
    ("success", lambda arm: _share(arm.success)),
    ("fallbacks", lambda arm: ", ".join(f"{count:,} {why}" for why, count in arm.reasons.most_common()) or "0"),
    ("latency p50, p99", lambda arm: f"{_whole(arm.latency_ms(0.5))}, {_whole(arm.latency_ms(0.99))} ms"),
    ("click-through", lambda arm: _share(arm.figures.ctr, arm.figures.shown)),
    ("hit rate", lambda arm: _share(arm.figures.hit_rate, arm.figures.past_horizon)),
)


def _since(standing: Standing) -> str:
    since = f"since {wire.rfc3339(standing.since_ms)}"
    return f"{since} (older answers are left out: there are too many)" if standing.cut else since


def _satisfaction(figures: Figures, group: str) -> str:
    said = figures.satisfaction.get(group)
    return "–" if said is None else f"{said.mean:.3f} of {said.count:,}"


def _share(value: float | None, of: int | None = None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.2f} %" + ("" if of is None else f" of {of:,}")


def _fairness(figures: Figures, group_users_min: int) -> str:
    ratio = figures.satisfaction_ratio
    if ratio is None:
        return "–"
    return "too few" if figures.few(group_users_min) else f"{ratio:.3f}"


def _whole(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"
