"""The records of feedback-loop-metrics, fairness-metrics and recommendation-quality. docs/metrics.md says what each figure is."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal, NamedTuple

import msgspec

from models.events import Source, Variant
from models.measures.alerts import Level, Status, Thresholds

Offsets = dict[str, dict[str, tuple[int, int]]]  # topic of the contract → partition → first, next


class MadeOf(NamedTuple):
    """The messages that a window was made from, and no others."""

    offsets: Offsets  # its answers, feedback on them, profiles and catalogue
    hit_offsets: Offsets  # the answers whose horizon passed in it, and watches
    popularity_offsets: Offsets | None = None  # events that stand for a popularity which the catalogue does not know


class FeedbackLoop(msgspec.Struct, frozen=True, kw_only=True):
    """One window and variant: what was shown, chosen and watched."""

    window_start: str
    window_end: str
    window_s: int
    model_version: str | None  # of the window's last answer
    variant: Variant
    requests: int
    ctr: float | None
    hit_rate: float | None
    coverage: float | None
    exposure_gini: float | None
    mean_popularity: float | None
    genres_per_list: float | None
    users: int
    shown: int
    selections: int
    past_horizon: int
    hits: int
    model_versions: dict[str, int]  # requests of each
    popularity_source: str | None
    level: Level | None
    reference: Level | None
    status: Status
    thresholds: Thresholds
    horizon_s: float
    lateness_s: float
    offsets: Offsets
    hit_offsets: Offsets
    popularity_offsets: Offsets | None


class GroupFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One group of users."""

    users: int
    requests: int
    ctr: float | None
    hit_rate: float | None
    satisfaction: float | None
    reporting_users: int


class Fairness(msgspec.Struct, frozen=True, kw_only=True):
    """One window and variant: how each group was served."""

    window_start: str
    window_end: str
    window_s: int
    model_version: str | None
    variant: Variant
    groups: dict[str, GroupFigures]
    satisfaction_ratio: float | None
    ci_low: float | None
    ci_high: float | None
    status: Status
    thresholds: Thresholds
    horizon_s: float
    lateness_s: float
    offsets: Offsets
    hit_offsets: Offsets


class Report(NamedTuple):
    """What one window says of one variant."""

    loop: FeedbackLoop
    fairness: Fairness

    def as_json(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Both as a reader of the topics has them."""
        loop, fairness = msgspec.json.decode(msgspec.json.encode([self.loop, self.fairness]))
        return loop, fairness


class Quality(msgspec.Struct, frozen=True):
    """What became of one answer."""

    timestamp: str  # the broker's, of the answer
    request_id: str
    user_id: str
    recommendations: list[str]
    selected: str | None
    satisfaction: float | None
    model_version: str | None
    variant: Variant
    source: Source  # of its provenance record


Kind = Literal["fairness", "feedback loop"]


class Alert(NamedTuple):
    """An alert that is in force, and why, in a line with its numbers."""

    kind: Kind
    variant: Variant
    model_version: str | None
    window_s: int
    line: str


def in_force(records: Iterable[FeedbackLoop | Fairness], now_ms: int) -> list[Alert]:
    """Of each kind, variant and length the newest record decides; one whose window ended three lengths and its lateness ago says nothing.

    `records`: oldest first.
    """
    newest: dict[tuple[Kind, Variant, int], FeedbackLoop | Fairness] = {}
    for record in records:
        kind: Kind = "fairness" if isinstance(record, Fairness) else "feedback loop"
        newest[kind, record.variant, record.window_s] = record
    found = []
    for (kind, variant, window_s), record in sorted(newest.items()):
        ended_ms = 1_000 * datetime.fromisoformat(record.window_end).timestamp()
        fresh = now_ms - ended_ms <= 1_000 * (3 * window_s + record.lateness_s)
        if record.status == "alert" and fresh:
            found.append(Alert(kind, variant, record.model_version, window_s, _line(record)))
    return found


def to_blame(alerts: Iterable[Alert], candidate: str) -> tuple[str, ...]:
    """Lines of the candidate's alerts that the stable version has not, too."""
    known = list(alerts)
    stable = {(alert.kind, alert.window_s) for alert in known if alert.variant == "stable"}
    return tuple(
        alert.line
        for alert in known
        if alert.variant == "canary" and alert.model_version == candidate and (alert.kind, alert.window_s) not in stable
    )


def _line(record: FeedbackLoop | Fairness) -> str:
    where = f"{record.variant}, {record.window_s} s to {record.window_end}"
    if isinstance(record, Fairness):
        ratio, low, high = record.satisfaction_ratio, record.ci_low, record.ci_high
        assert ratio is not None  # an alert has them
        assert low is not None
        assert high is not None
        return f"satisfaction of men over women {ratio:.3f} ({low:.3f} to {high:.3f}) [{where}]"
    now, before = record.level, record.reference
    assert now is not None
    assert before is not None
    return f"CTR {now.ctr:.3f} and hit rate {now.hit_rate:.3f}, fallen from {before.ctr:.3f} and {before.hit_rate:.3f} [{where}]"
