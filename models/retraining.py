"""Whether a new version is trained now: since its time has come, since the world has drifted, or since somebody says so.

Decides; reads no topic, no disk and no clock. What is counted, and since when, `pipelines.due` says; what drift is,
`models.measures.drift`.

    time    the newest version is at least `days` old, and since its data came new users ≥ `users` or new interactions ≥ `interactions`
    drift   sooner: popularity has shifted, PSI ≥ `psi` over `events` interactions, and quality has fallen with it: ADWIN found a fall
            of the live hit@10, or the whole interval of the prequential NDCG's ratio lies below 1 − `ndcg_drop`. Not in a
            version's first `cool_down_days`
    alert   sooner, too: a window of what stable serves is an alert (models.measures.alerts) and there are new interactions. Not in a
            version's first `cool_down_days` either: a new version is judged by windows of its own
    erasure at once: a user was erased who was in the data of a version, and nothing was trained since
    manual  always

The newest version is that of the last run, whether it was published or refused by a gate: a refused one is not tried again at once. A
version that was made later than now says that a clock is wrong: then only `manual` trains.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from math import floor
from typing import Any, Literal

import msgspec

from models.config import Drift, Retraining
from models.measures.drift import Signals

Rule = Literal["time", "drift", "alert", "erasure", "manual", "none"]  # none: no rule asks for anything yet
Happening = Literal["started", "skipped", "finished", "failed"]

CLOCKS_DIFFER = timedelta(minutes=1)  # between the machines that train and that look; more is a clock that is wrong


class Last(msgspec.Struct, frozen=True):
    """The version of the last run."""

    version: str
    created_at: datetime
    refused: bool = False  # by a gate: not published


class Counts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is new above the last version's offsets; without a version, all there is."""

    users: int  # with an event above, and none below
    interactions: int  # pairs of user and movie with an event above
    events: int = 0  # that say so: good watch and rating events
    refused: int = 0  # messages that are no good event
    lost: int = 0  # messages that the topics dropped before anybody counted them


class Thresholds(msgspec.Struct, frozen=True):
    """The numbers of config.json that a decision compared with."""

    days: float
    users: int
    interactions: int
    psi: float
    psi_events: int
    ndcg_drop: float
    cool_down_days: float

    @classmethod
    def of(cls, retraining: Retraining) -> "Thresholds":
        drift = retraining.drift
        return cls(
            retraining.days,
            retraining.users,
            retraining.interactions,
            drift.psi,
            drift.events,
            drift.ndcg_drop,
            drift.cool_down_days,
        )


class Decision(msgspec.Struct, frozen=True):
    """What follows, by which rule, and why, with both numbers."""

    due: bool
    rule: Rule  # time, though not due: its moment has come, and too little is new
    reason: str
    counts: Counts
    thresholds: Thresholds
    last: Last | None = None
    age_days: float | None = None  # of the last version
    due_at: datetime | None = None  # from when on the rule of time asks
    signals: Signals | None = None


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """One record of `retraining-events`."""

    event: Happening
    timestamp: str
    rule: Rule
    reason: str
    counts: Counts
    thresholds: Thresholds
    last_version: str | None = None
    model_version: str | None = None
    metrics: dict[str, Any] | None = None
    error: str | None = None


def decide(
    last: Last | None,
    counts: Counts,
    signals: Signals | None,
    retraining: Retraining,
    now: datetime,
    *,
    alerts: Sequence[str] = (),
    erased: int = 0,
    manual: bool = False,
) -> Decision:
    """The rules, in the order manual, erasure, time, drift, alert. `erased`: users, since the last run. `signals`: None where drift was not looked at. `alerts`: one line each.

    >>> from models.config import Retraining
    >>> v3 = Last("v3", datetime(2026, 11, 1, tzinfo=UTC))
    >>> decide(v3, Counts(12, 80), None, Retraining(), datetime(2026, 11, 4, 5, tzinfo=UTC)).reason
    'skipped: 12 new users of 50 and 80 new interactions of 100 since v3, which is 3.2 days old'
    >>> decide(v3, Counts(12, 100), None, Retraining(), datetime(2026, 11, 4, 5, tzinfo=UTC)).due
    True
    """
    age = None if last is None else now - last.created_at
    due, rule, reason = _judged(last, age, counts, signals, retraining, alerts, erased, manual)
    return Decision(
        due=due,
        rule=rule,
        reason=f"{'due' if due else 'skipped'}: {reason}",
        counts=counts,
        thresholds=Thresholds.of(retraining),
        last=last,
        age_days=None if age is None else age / timedelta(days=1),
        due_at=None if last is None else last.created_at + timedelta(days=retraining.days),
        signals=signals,
    )


def undecided(retraining: Retraining, *, manual: bool) -> Decision:
    """For what fails before there is a decision.

    >>> undecided(Retraining(), manual=False).reason
    'failed before it was decided'
    """
    rule: Rule = "manual" if manual else "none"
    return Decision(False, rule, "failed before it was decided", Counts(0, 0), Thresholds.of(retraining))


def drift_may_ask(last: Last | None, retraining: Retraining, now: datetime) -> bool:
    """Whether there is a version to drift away from, and its cool-down is over."""
    cool_down = timedelta(days=retraining.drift.cool_down_days)
    return retraining.drift.enabled and last is not None and now - last.created_at >= max(cool_down, timedelta(0))


def drifted(signals: Signals | None, drift: Drift) -> bool:
    """Whether the version has become worse by it, too: what makes a training due before its time."""
    return shifted(signals, drift) and _fallen(signals, drift) is not None


def shifted(signals: Signals | None, drift: Drift) -> bool:
    """Whether people watch other movies than in the version's data."""
    return signals is not None and signals.psi is not None and signals.psi >= drift.psi


def event(
    happening: Happening,
    decision: Decision,
    now: datetime,
    *,
    model_version: str | None = None,
    metrics: dict[str, Any] | None = None,
    error: str | None = None,
) -> Event:
    """What happened after a decision, as the topic tells it."""
    return Event(
        event=happening,
        timestamp=_rfc3339(now),
        rule=decision.rule,
        reason=decision.reason,
        counts=decision.counts,
        thresholds=decision.thresholds,
        last_version=None if decision.last is None else decision.last.version,
        model_version=model_version,
        metrics=metrics,
        error=error,
    )


def explained(decision: Decision) -> str:
    """A decision for people: the reason, and every number that it was made of."""
    counts, thresholds, last = decision.counts, decision.thresholds, decision.last
    version = "none yet"
    if last is not None and decision.due_at is not None and decision.age_days is not None:
        version = f"{last.version}{' (refused by a gate)' if last.refused else ''}, made {_rfc3339(last.created_at)}"
        version += f", due from {_rfc3339(decision.due_at)} on"
    lines = [
        decision.reason,
        f"  last version       {version}",
        f"  new users          {counts.users:,} of {thresholds.users:,}",
        f"  new interactions   {counts.interactions:,} of {thresholds.interactions:,}, from {counts.events:,} events"
        + (f"; {counts.refused:,} messages were no good event" if counts.refused else ""),
    ]
    if counts.lost:
        lines.append(f"  never counted      {counts.lost:,} messages that the topics have dropped since")
    return "\n".join([*lines, *_signal_lines(decision.signals, thresholds)])


def _judged(
    last: Last | None,
    age: timedelta | None,
    counts: Counts,
    signals: Signals | None,
    retraining: Retraining,
    alerts: Sequence[str],
    erased: int,
    manual: bool,
) -> tuple[bool, Rule, str]:
    new = (
        f"{counts.users:,} new user{'s' * (counts.users != 1)} of {retraining.users:,} "
        f"and {counts.interactions:,} new interaction{'s' * (counts.interactions != 1)} of {retraining.interactions:,}"
    )
    if manual:
        return True, "manual", f"asked for, with {new}"
    # ≥: the numbers are what makes a training worth it (docs/decisions/0014).
    enough = counts.users >= retraining.users or counts.interactions >= retraining.interactions
    if last is None or age is None:
        return enough and counts.interactions > 0, "time", f"{new}, and no version yet"
    if age < -CLOCKS_DIFFER:
        return (
            False,
            "time",
            f"{last.version} was made at {_rfc3339(last.created_at)}, {_span(-age)} from now: is a clock wrong? "
            "`canarec retrain` trains all the same",
        )
    since = f"{new} since {last.version}, which is {_span(age)} old"
    if erased:
        return True, "erasure", f"{erased:,} user{'s' if erased > 1 else ''} of earlier data erased; {since}"
    moment = max(age, timedelta(0)) >= timedelta(days=retraining.days)
    if moment and enough:
        return True, "time", since
    fallen = _fallen(signals, retraining.drift)
    if signals is not None and shifted(signals, retraining.drift) and fallen:
        if age >= timedelta(days=retraining.drift.cool_down_days):
            return True, "drift", f"{_shift(signals, retraining.drift)}, and {fallen}; {since}"
        cool_down = _span(timedelta(days=retraining.drift.cool_down_days))
        return False, "none", f"drift is not acted on in the first {cool_down}; {since}"
    if (
        alerts
        and retraining.on_alert
        and counts.interactions
        and age >= timedelta(days=retraining.drift.cool_down_days)
    ):
        return True, "alert", f"{'; '.join(alerts)}; {since}"
    if moment:
        return False, "time", since
    return False, "none", f"{last.version} is {_span(age)} old of {_span(timedelta(days=retraining.days))}; {new}"


def _shift(signals: Signals, drift: Drift) -> str:
    return (
        f"popularity has shifted (PSI {signals.psi or 0:.3f} of {drift.psi:g} over {signals.psi_events:,} interactions)"
    )


def _fallen(signals: Signals | None, drift: Drift) -> str | None:
    """How quality has fallen, or None."""
    if signals is None:
        return None
    before, now = signals.hit_before, signals.hit_now
    if before is not None and now is not None and now < before:
        return f"hit@10 has fallen to {now:.3f} from {before:.3f}"
    if signals.ndcg_ratio is not None and signals.ndcg_ratio[2] < 1 - drift.ndcg_drop:
        value, low, high = signals.ndcg_ratio
        return f"NDCG has fallen to {value:.3f} ({low:.3f} to {high:.3f}) of what it was, below {1 - drift.ndcg_drop:g}"
    return None


def _signal_lines(signals: Signals | None, thresholds: Thresholds) -> list[str]:
    if signals is None:
        return ["  drift              not looked at"]
    shift = "too few" if signals.psi is None else f"PSI {signals.psi:.3f} of {thresholds.psi:g}"
    lines = [f"  popularity         {shift}, {signals.psi_events:,} interactions of {thresholds.psi_events:,}"]
    if signals.hit_now is not None:
        was = "has not fallen" if signals.hit_before is None else f"was {signals.hit_before:.3f}"
        lines.append(f"  live hit@10        {signals.hit_now:.3f}, {was}")
    if signals.ndcg_ratio is not None:
        value, low, high = signals.ndcg_ratio
        limit = 1 - thresholds.ndcg_drop
        lines.append(f"  prequential NDCG   {value:.3f} ({low:.3f} to {high:.3f}) of what it was; {limit:g} is a fall")
    return lines


def _span(span: timedelta) -> str:
    """A time in the unit that fits it, rounded down: what is not quite 3 days must not read as 3.

    >>> _span(timedelta(days=2, hours=23.9)), _span(timedelta(hours=5)), _span(timedelta(seconds=-1))
    ('2.9 days', '5.0 hours', '0 s')
    """
    for unit, name in ((timedelta(days=1), "days"), (timedelta(hours=1), "hours"), (timedelta(minutes=1), "minutes")):
        if span >= unit:
            tenths = floor(span / unit * 10 + 1e-9)
            return f"{tenths / 10:.1f} {name}"
    return f"{max(0, floor(span.total_seconds()))} s"


def _rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
