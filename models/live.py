"""What an owner sees at a glance, folded from the topics: split, both arms, verdict, fairness, last answers, histories. Bounded.

Folds; reads no topic and no clock. Events come in the order of the brokers' times. Counted are answers of the versions in force, each in
its arm, since these versions are in force or since this fold began; forced users and rejected requests count in neither. Click-through,
hit rate and satisfaction: models.measures.feedback, of the newest CAPACITY answers.
"""

import math
import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from models import retraining
from models.config import Canary
from models.events import Feedback, Movie, Profile, Split, Status, Variant, Watch
from models.measures.feedback import Figures, Outcomes, group_of, watched_ms
from models.measures.reports import FAIRNESS
from models.release.rollout import phase
from models.release.story import Story

TABLES = ("user-profiles", "movie-catalog")  # of which the last value of each key counts
HISTORIES = ("canary-events", "retraining-events", FAIRNESS)  # the newest MOST_OF_HISTORY of each
STREAMS = ("provenance", "recommendation-feedback", "watch-events")  # from a while ago
FOLLOWED = (*TABLES, *HISTORIES, *STREAMS)  # at the same millisecond in this order

MOST_OF_HISTORY = 20_000
CAPACITY = 50_000  # answers whose outcomes are waited for
RECENT = 5_000  # answers that a user is looked up in
LATENCIES = 10_000  # of an arm, the newest
SHOWN, TITLES, LINES = 12, 6, 30  # answers, movies of each, lines of a history
RATE_S = 10
_OF_WORKERS, _SHADOW = "configuration_applied", "shadow"


class Answered(msgspec.Struct, frozen=True):
    """Of a provenance record, what is shown."""

    request_id: str
    user_id: str | None
    status: Status
    recommendations: list[str]
    served_at: str
    latency_ms: int
    variant: Variant | None = None
    model_version: str | None = None
    model_id: str | None = None
    reason: str | None = None
    forced: bool = False


class Parity(msgspec.Struct, frozen=True):
    """Of a record of `fairness-metrics`, what is shown."""

    window_start: str
    window_end: str
    variant: str
    window_s: float = 0
    model_version: str | None = None
    satisfaction_ratio: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    status: str = "insufficient_data"


class _Applied(msgspec.Struct):
    event: str
    to: Split | None = None


@dataclass(slots=True)
class _Arm:
    version: str
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    latencies_ms: deque[int] = field(default_factory=lambda: deque(maxlen=LATENCIES))


class Live:
    """The state so far.

    >>> live = Live(horizon_ms=1_000, group_users_min=100)
    >>> live.told({"event": "configuration_applied", "to": {"config_sha256": "", "stable": "v1", "candidate": "v2", "percentage": 10}}, 0)
    >>> live.answered(Answered("r1", "u", "ok", ["m1"], "", 7, "stable", "v1"), at_ms=10)
    >>> arm = live.arms()["of"]["stable"]
    >>> arm["requests"], arm["ok"], arm["latency_ms"]
    (1, 1, {'p50': 7, 'p99': 7})
    """

    def __init__(self, horizon_ms: int, group_users_min: int, since_ms: int = 0) -> None:
        self.movies: dict[str, Movie] = {}
        self._group_users_min = group_users_min  # who must have reported before men and women are compared
        self._horizon_ms, self._since_ms, self._now_ms = horizon_ms, since_ms, since_ms
        self._groups: dict[str, str] = {}  # of users whose gender is known
        self._story, self._split_ms = Story(), 0
        self._split: Split | None = None
        self._trainings: deque[dict[str, Any]] = deque(maxlen=LINES)
        self._releases: deque[dict[str, Any]] = deque(maxlen=LINES)
        self._parity: OrderedDict[tuple[str, float], Parity] = OrderedDict()
        self._recent: deque[Answered] = deque(maxlen=RECENT)
        self._seconds: deque[tuple[int, int]] = deque(maxlen=RATE_S + 1)  # second, answers
        self._begin()

    # -- in ---------------------------------------------------------------------------------------

    def profile(self, profile: Profile) -> None:
        """A user's gender, as the group that it counts in."""
        if profile.gender is None:
            self._groups.pop(profile.user_id, None)
        else:
            self._groups[profile.user_id] = group_of(profile.gender)

    def forget(self, user_id: str) -> None:
        """A user whose profile was deleted."""
        self._groups.pop(user_id, None)

    def told(self, event: Any, at_ms: int) -> None:
        """A message of `canary-events`. What others write there is read over."""
        self._story.add(event, at_ms)
        try:
            applied = msgspec.convert(event, _Applied)
        except msgspec.ValidationError:
            return
        if applied.event != _SHADOW:  # told every minute
            self._releases.append(_release(event, at_ms))
        if applied.event != _OF_WORKERS or applied.to is None:
            return
        before, self._split = self._split, applied.to
        if before is None or _versions(before) != _versions(applied.to):
            self._begin()
            self._since_ms = max(self._since_ms, at_ms)
        if before is None or before.percentage != applied.to.percentage or self._since_ms == at_ms:
            self._split_ms = at_ms

    def trained(self, event: Any, at_ms: int) -> None:
        """A message of `retraining-events`."""
        try:
            told = msgspec.convert(event, retraining.Event)
        except msgspec.ValidationError:
            return
        self._trainings.append({**msgspec.to_builtins(told), "at_ms": at_ms})

    def compared(self, parity: Parity) -> None:
        """A record of `fairness-metrics`: the newest of each window's length and variant stays."""
        key = (parity.variant, parity.window_s)
        self._parity[key] = parity
        self._parity.move_to_end(key)
        while len(self._parity) > LINES:
            self._parity.popitem(last=False)

    def answered(self, answer: Answered, at_ms: int) -> None:
        """A provenance record."""
        self.reach(at_ms)
        answer.recommendations[:] = [sys.intern(movie) for movie in answer.recommendations]  # few, many times
        self._recent.append(answer)
        self._tick(at_ms // 1_000)
        if answer.status == "rejected" or answer.variant is None or answer.user_id is None:
            self._aside["rejected"] += 1
            return
        if answer.forced:
            self._aside["forced"] += 1
            return
        arm = self._arm(answer.variant, answer.model_version or "–")
        if arm is None:
            self._aside["others"] += 1
            return
        arm.statuses[answer.status] += 1
        if answer.status == "fallback":
            arm.reasons[answer.reason or "unknown"] += 1
        arm.latencies_ms.append(answer.latency_ms)
        group = self._groups.get(answer.user_id)
        self._outcomes.answered(answer.request_id, answer.user_id, answer.variant, answer.recommendations, group, at_ms)

    def said(self, feedback: Feedback, at_ms: int) -> None:
        """What a user did with a list."""
        self._outcomes.selected(feedback, at_ms)

    def watched(self, watch: Watch, at_ms: int) -> None:
        """A watch that came then."""
        self._outcomes.watched(watch.user_id, watch.movie_id, watched_ms(watch.timestamp_ms, at_ms))

    def reach(self, now_ms: int) -> None:
        """Time has come to here; it never goes back."""
        self._now_ms = max(self._now_ms, now_ms)
        self._outcomes.expire(self._now_ms)

    # -- out --------------------------------------------------------------------------------------

    def split(self) -> dict[str, Any] | None:
        """What workers say that they answer by; None while none has said anything."""
        if self._split is None:
            return None
        found = self._split
        canary = Canary(
            stable=found.stable,
            candidate=found.candidate,
            percentage=found.percentage,
            paused=found.paused,
            previous=found.previous,
            rolled_back=found.rolled_back,
        )
        return {**msgspec.to_builtins(found), "phase": phase(canary), "since_ms": self._split_ms}

    def arms(self) -> dict[str, Any]:
        """Both arms. Ratios are None where nothing stands below the line."""
        summary = self._outcomes.summary()
        return {
            "since_ms": self._since_ms,
            "answers_per_s": self._rate(),
            "of": {
                variant: _told(arm, summary.get(variant, Figures()), self._group_users_min)
                for variant, arm in sorted(self._of.items())
            },
            "aside": dict(self._aside),
        }

    def verdict(self) -> dict[str, Any] | None:
        """The newest verdict on the versions in force."""
        run = None if self._split is None else self._story.run(self._split.stable, self._split.candidate)
        if run is None or (told := run.verdict) is None:
            return None
        return {
            "candidate": told.evidence.candidate,
            "stable": told.evidence.stable,
            "until": told.until,
            "timestamp": told.timestamp,
            **msgspec.to_builtins(told.verdict),
        }

    def parity(self) -> list[dict[str, Any]]:
        """The newest window of each length and variant, the newest first."""
        return [msgspec.to_builtins(each) for each in reversed(self._parity.values())]

    def answers(self, user_id: str | None = None, most: int = SHOWN) -> list[dict[str, Any]]:
        """The last answers, the newest first, with titles; of one user."""
        chosen = []
        for answer in reversed(self._recent):
            if user_id is None or answer.user_id == user_id:
                chosen.append(self._shown(answer))
                if len(chosen) == most:
                    break
        return chosen

    def trainings(self) -> list[dict[str, Any]]:
        """What became of trainings, the newest first."""
        return list(reversed(self._trainings))

    def releases(self) -> list[dict[str, Any]]:
        """What `canary-events` told last, the newest first; of a verdict what it says."""
        return list(reversed(self._releases))

    # -- inside -----------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Other versions: other arms."""
        self._outcomes = Outcomes(self._horizon_ms, CAPACITY)
        self._of: dict[Variant, _Arm] = {}
        self._aside: Counter[str] = Counter()
        if self._split is not None:
            self._of["stable"] = _Arm(self._split.stable)
            if self._split.candidate is not None:
                self._of["canary"] = _Arm(self._split.candidate)

    def _arm(self, variant: Variant, version: str) -> _Arm | None:
        if self._split is None:  # nobody has said what the versions are: the last ones that answered
            if variant not in self._of or self._of[variant].version != version:
                self._of[variant] = _Arm(version)
            return self._of[variant]
        arm = self._of.get(variant)
        return arm if arm is not None and arm.version == version else None

    def _tick(self, second: int) -> None:
        if self._seconds and self._seconds[-1][0] >= second:
            second, count = self._seconds.pop()
            self._seconds.append((second, count + 1))
        else:
            self._seconds.append((second, 1))

    def _rate(self) -> float:
        last = self._now_ms // 1_000  # not over yet
        return sum(count for second, count in self._seconds if last - RATE_S <= second < last) / RATE_S

    def _shown(self, answer: Answered) -> dict[str, Any]:
        titles = []
        for movie_id in answer.recommendations[:TITLES]:
            movie = self.movies.get(movie_id)
            titles.append({"id": movie_id, "title": movie and movie.title, "year": movie and movie.year})
        fields = {name: getattr(answer, name) for name in Answered.__struct_fields__ if name != "recommendations"}
        return {**fields, "movies": titles, "n": len(answer.recommendations)}


def _release(event: Mapping[str, Any], at_ms: int) -> dict[str, Any]:
    told = {name: event.get(name) for name in ("event", "who", "from", "to", "why", "path")}
    verdict = event.get("verdict")
    says = verdict if isinstance(verdict, Mapping) else {}
    return {**told, "at_ms": at_ms, "outcome": says.get("outcome"), "message": says.get("message")}


def _told(arm: _Arm, figures: Figures, group_users_min: int) -> dict[str, Any]:
    requests = sum(arm.statuses.values())
    ordered = sorted(arm.latencies_ms)
    return {
        "version": arm.version,
        "requests": requests,
        "ok": arm.statuses["ok"],
        "fallback": arm.statuses["fallback"],
        "reasons": dict(arm.reasons.most_common()),
        "success": arm.statuses["ok"] / requests if requests else None,
        "latency_ms": {"p50": _quantile(ordered, 0.5), "p99": _quantile(ordered, 0.99)},
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
        "few_reported": figures.few(group_users_min),
    }


def _quantile(ordered: Sequence[int], q: float) -> int | None:
    """The smallest value that at least a share q is not above; None without values.

    >>> [_quantile([1, 2, 3, 4], q) for q in (0.5, 0.99)]
    [2, 4]
    """
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)] if ordered else None


def _versions(split: Split) -> tuple[str, str | None]:
    return split.stable, split.candidate
