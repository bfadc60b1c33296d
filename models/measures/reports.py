"""The records of feedback-loop-metrics, fairness-metrics and recommendation-quality. docs/metrics.md says what each figure is."""

from collections.abc import Iterable
from datetime import datetime
from typing import Literal, NamedTuple, TypeVar

import msgspec

from models.events import Source, Variant
from models.measures.alerts import Level, Status, Thresholds
from models.measures.feedback import CLOCKS_MS, Ignored
from models.wire import UNREADABLE

LOOPS, FAIRNESS, QUALITY = "feedback-loop-metrics", "fairness-metrics", "recommendation-quality"
FRESH = 3  # lengths of a window after which its alert says nothing any more

Offsets = dict[str, dict[str, tuple[int, int]]]  # topic of the contract → partition → first, next


class MadeOf(NamedTuple):
    """The messages that a window was made from, and no others."""

    offsets: Offsets  # its answers, feedback on them, profiles and catalogue
    hit_offsets: Offsets  # the answers whose horizon passed in it, feedback on them, and watches
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
    ignored: dict[Ignored, int] | None = None  # None: of an earlier version, which counted them


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
    ignored: dict[Ignored, int] | None = None


class Report(NamedTuple):
    """What one window says of one variant."""

    loop: FeedbackLoop
    fairness: Fairness


class Levels:
    """The levels of windows that were written, by which later ones are judged. Of two records of a window the first one counts."""

    def __init__(self) -> None:
        self._of: dict[tuple[int, Variant], dict[int, Level]] = {}  # by the window's end, ascending

    def add(self, loop: FeedbackLoop) -> None:
        """In the order in which they were written."""
        if loop.level is not None:
            self._of.setdefault((loop.window_s, loop.variant), {}).setdefault(at_ms(loop.window_end), loop.level)

    def before(self, window_s: int, variant: Variant, start_ms: int, windows: int) -> list[Level]:
        """Of the `windows` windows right before `start_ms`, those that were written: no older ones, however few these are."""
        first_ms = start_ms - 1_000 * window_s * windows
        return [level for end, level in self._of.get((window_s, variant), {}).items() if first_ms < end <= start_ms]

    def forget(self, window_s: int, until_ms: int) -> None:
        """Windows of this length that ended by then."""
        for (length, _), levels in self._of.items():
            for end in [end for end in levels if length == window_s and end <= until_ms]:
                del levels[end]


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


TOPIC_OF: dict[type[msgspec.Struct], str] = {FeedbackLoop: LOOPS, Fairness: FAIRNESS, Quality: QUALITY}
_LONGEST_S = 1e9  # that anybody waits: 30 years

Record = TypeVar("Record", bound=FeedbackLoop | Fairness | Quality)


def read(value: bytes | None, kind: type[Record], came_ms: int) -> Record | None:
    """A message of one of the three topics, whose own time is `came_ms`. None for what canarec has not written.

    Others may write there, and whoever reads on must not fail on it: not on times that are none, nor on an alert without its figures, nor
    take a window for written that was not over when its record came.
    """
    try:
        record = msgspec.json.decode(value or b"", type=kind)
        if isinstance(record, Quality):
            return record
        start_ms, end_ms = at_ms(record.window_start), at_ms(record.window_end)
    except (*UNREADABLE, ValueError, OverflowError):
        return None
    whole = 0 < end_ms - start_ms == 1_000 * record.window_s and end_ms <= came_ms + CLOCKS_MS
    waits = 0 <= record.horizon_s <= _LONGEST_S and 0 <= record.lateness_s <= _LONGEST_S
    return record if whole and waits and (record.status != "alert" or _line(record)) else None


Kind = Literal["fairness", "feedback loop"]
Series = tuple[Kind, Variant, int]


def series(record: FeedbackLoop | Fairness) -> Series:
    """Kind, variant, and length of the window in seconds: of each the newest record decides."""
    return "fairness" if isinstance(record, Fairness) else "feedback loop", record.variant, record.window_s


class Alert(NamedTuple):
    """An alert that is in force, and why, in a line with its numbers. `model_version`: of the answers that it is about."""

    kind: Kind
    variant: Variant
    model_version: str | None
    window_s: int
    line: str


def in_force(records: Iterable[FeedbackLoop | Fairness], now_ms: int) -> list[Alert]:
    """Of each kind, variant and length the newest record decides; one whose window ended three lengths and its lateness ago says nothing.

    `records`: oldest first.
    """
    newest = {series(record): record for record in records}
    found = []
    for (kind, variant, window_s), record in sorted(newest.items()):
        if record.status == "alert" and at_ms(record.window_end) >= fresh_from(now_ms, window_s, record.lateness_s):
            level = record.level if isinstance(record, FeedbackLoop) else None
            version = record.model_version if level is None else level.model_version
            found.append(Alert(kind, variant, version, window_s, _line(record)))
    return found


def fresh_from(now_ms: int, window_s: int, lateness_s: float) -> int:
    """A window of this length that ended before then says nothing any more; no record is written before its window's end."""
    return now_ms - round(1_000 * (FRESH * window_s + lateness_s))


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
    """Why it is an alert; empty where it does not say."""
    where = f"{record.variant}, {record.window_s} s to {record.window_end}"
    if isinstance(record, Fairness):
        ratio, low, high = record.satisfaction_ratio, record.ci_low, record.ci_high
        if ratio is None or low is None or high is None:  # every woman said 0
            men = record.groups.get("M")
            if men is None or men.satisfaction is None:
                return ""
            return f"satisfaction of men {men.satisfaction:.3f}, of women 0 [{where}]"
        return f"satisfaction of men over women {ratio:.3f} ({low:.3f} to {high:.3f}) [{where}]"
    now, before = record.level, record.reference
    if now is None or before is None:
        return ""
    return f"CTR {now.ctr:.3f} and hit rate {now.hit_rate:.3f}, fallen from {before.ctr:.3f} and {before.hit_rate:.3f} [{where}]"


def at_ms(text: str) -> int:
    """A moment of a record."""
    return round(1_000 * datetime.fromisoformat(text).timestamp())
