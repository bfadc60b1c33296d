"""The figures of one window: a pure fold over answers, feedback, watches, profiles and catalogue.

Folds; reads no topic and no clock. An answer belongs to the window in which the broker stamped it, [start, end). In its window count

    requests, exposure    the answer itself
    ctr, satisfaction     feedback on it from before the window closes, at end + lateness: of several a selection stands, and the newest
                          satisfaction, at a tie the larger. Not what names another user than was answered, nor a selection of a movie
                          that was not listed: `models.measures.feedback.heard`, here in columns
    hit_rate, level       not it, but the answers whose horizon passed in the window, those of [start − horizon, end − horizon): followed if
                          their user watched a listed movie in [shown, shown + horizon), chosen from if feedback said so by then

so each answer, selection and watch counts in one window of a length, once. Rejected requests have no variant and are in none; an answer
without movies is a request and shows nothing.

Called in this order: `said`, `chosen` and `watched` with everything, then `answered` and `followed` with everything, then `records`. Within a
call's kind the order does not matter. Memory grows with users, feedback and watches of the window, not with answers.
"""

import math
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, get_args

import numpy as np

from models.events import Feedback, Movie, Variant
from models.measures import alerts, clusters
from models.measures.alerts import Level, Thresholds
from models.measures.concentration import gini
from models.measures.feedback import IGNORED, Ignored, group_of
from models.measures.joins import NOBODY, Keys, Told, Watches, key, keys
from models.measures.reports import Fairness, FeedbackLoop, GroupFigures, MadeOf, Report
from models.recommenders.base import F64, I64
from models.release.arms import Served
from models.wire import rfc3339

GROUPS = ("M", "F", "other", "unknown")
VARIANTS: tuple[Variant, ...] = get_args(Variant)
_UNIT = 1_000_000_000  # satisfactions are whole numbers of these parts: sums are exact


class Span(NamedTuple):
    """One window, and what decides which messages count in it."""

    window_s: int
    start_ms: int
    horizon_ms: int
    lateness_ms: int

    @property
    def end_ms(self) -> int:
        return self.start_ms + 1_000 * self.window_s

    @property
    def closes_ms(self) -> int:
        return self.end_ms + self.lateness_ms

    @property
    def answers_from_ms(self) -> int:
        return self.start_ms - self.horizon_ms


class Shown(NamedTuple):
    """An answer, the broker's time of it, and where its record stands."""

    at_ms: int
    partition: int
    offset: int
    served: Served


class Shelf:
    """A catalogue as lists are measured by it: which movies there are, their genres, their popularity (NaN: none known)."""

    def __init__(self, movies: Mapping[str, Movie], interactions: Mapping[str, int] | None = None) -> None:
        """`interactions`: stand for popularity where no movie of the catalogue has one of its own."""
        self.index = {movie_id: place for place, movie_id in enumerate(sorted(movies))}
        bits: dict[str, int] = {}
        ordered = [movies[movie_id] for movie_id in self.index]
        self.genres = [_mask(movie.genres, bits) for movie in ordered]
        own = [np.nan if movie.popularity is None else movie.popularity for movie in ordered]
        self.source = "catalogue" if has_popularity(movies) else None
        if self.source is None and interactions is not None:
            own = [interactions.get(movie.movie_id, 0) for movie in ordered]
            self.source = "interactions"
        self.popularity: F64 = np.array(own, np.float64)


def has_popularity(movies: Mapping[str, Movie]) -> bool:
    """Whether the catalogue knows of any movie how popular it is."""
    return any(movie.popularity is not None for movie in movies.values())


@dataclass(slots=True)
class _User:
    """What one user did with the answers of one variant."""

    requests: int = 0
    shown: int = 0
    selected: int = 0
    reports: int = 0
    satisfaction: int = 0
    past: int = 0
    past_selected: int = 0
    hits: int = 0


@dataclass(slots=True)
class _Arm:
    """One variant's answers in the window."""

    counts: I64  # of each movie of the catalogue: places in lists
    users: dict[str, _User] = field(default_factory=dict)
    versions: Counter[str] = field(default_factory=Counter)
    newest: tuple[int, int, int, str] = (-1, -1, -1, "")  # time, place and version of the last answer
    past_versions: set[str | None] = field(default_factory=set)  # of the answers whose horizon passed
    genres: int = 0
    ignored: Counter[Ignored] = field(default_factory=Counter)

    def user(self, user_id: str) -> _User:
        found = self.users.get(user_id)
        if found is None:
            found = self.users[sys.intern(user_id)] = _User()
        return found


class Window:
    """The fold of one window."""

    def __init__(self, span: Span, shelf: Shelf, groups: Mapping[str, str]) -> None:
        """`groups`: of each user whose gender is known, `group_of` it, when the window closes."""
        self.span, self._shelf, self._groups = span, shelf, groups
        self._said, self._chosen, self._watches = Told(), Told(), Watches()
        self._movie_keys = _Keys()
        self._arms: dict[Variant, _Arm] = {}

    def said(self, feedback: Iterable[tuple[int, Feedback]]) -> None:
        """(time, feedback); what came before the window or after it closed does not count."""
        for at_ms, one in feedback:
            if self.span.start_ms <= at_ms < self.span.closes_ms:
                satisfaction = -1 if one.satisfaction is None else round(one.satisfaction * _UNIT)
                self._said.add(key(one.request_id), _key(one.user_id), _key(one.selected), at_ms, satisfaction)

    def chosen(self, feedback: Iterable[tuple[int, Feedback]]) -> None:
        """(time, feedback) on the answers whose horizon passes in the window."""
        for at_ms, one in feedback:
            if one.selected is not None and self.span.answers_from_ms <= at_ms < self.span.end_ms:
                self._chosen.add(key(one.request_id), _key(one.user_id), key(one.selected), at_ms, -1)

    def watched(self, watches: Iterable[tuple[int, str, str]]) -> None:
        """(time, user, movie)."""
        for at_ms, user_id, movie_id in watches:
            if self.span.answers_from_ms <= at_ms < self.span.end_ms:
                self._watches.add(key(user_id), self._movie_keys[movie_id], at_ms)

    def answered(self, answers: Sequence[Shown]) -> None:
        """Some answers; those of other times are left out."""
        mine = [one for one in answers if self.span.start_ms <= one.at_ms < self.span.end_ms and counts(one.served)]
        said = self._said.of(*self._columns(mine))
        selected, satisfied = np.zeros(len(mine), np.bool_), np.full(len(mine), -1)
        selected[said.answer[said.selected]] = True
        reported = said.satisfaction >= 0
        # of several the last one stands: rows are in order of time
        satisfied[said.answer[reported]] = said.satisfaction[reported]
        other_user, not_in_list = (
            np.bincount(said.answer[which], minlength=len(mine)) for which in (said.other_user, said.not_in_list)
        )
        for number, one in enumerate(mine):
            arm = self._arm(one.served.variant)
            user = arm.user(one.served.user_id or "")
            user.requests += 1
            version = one.served.model_version or ""
            arm.versions[version] += 1
            arm.newest = max(arm.newest, (one.at_ms, one.partition, one.offset, version))
            arm.ignored["other_user"] += int(other_user[number])
            arm.ignored["not_in_list"] += int(not_in_list[number])
            if one.served.recommendations:
                user.shown += 1
                user.selected += bool(selected[number])
                if satisfied[number] >= 0:
                    user.reports += 1
                    user.satisfaction += int(satisfied[number])
        self._expose([one.served for one in mine])

    def followed(self, answers: Sequence[Shown]) -> None:
        """The same for answers whose horizon may have passed in the window."""
        first_ms, after_ms = self.span.answers_from_ms, self.span.end_ms - self.span.horizon_ms
        mine = [
            one
            for one in answers
            if first_ms <= one.at_ms < after_ms and counts(one.served) and one.served.recommendations
        ]
        shown_ms = np.array([one.at_ms for one in mine], np.int64)
        requests, users, movies = self._columns(mine)
        said = self._chosen.of(requests, users, movies)
        hits = self._watches.follow(users, shown_ms, movies, self.span.horizon_ms)
        chosen = np.zeros(len(mine), np.bool_)
        in_time = said.at_ms < shown_ms[said.answer] + self.span.horizon_ms
        chosen[said.answer[said.selected & in_time]] = True
        for number, one in enumerate(mine):
            arm = self._arm(one.served.variant)
            user = arm.user(one.served.user_id or "")
            user.past += 1
            user.past_selected += bool(chosen[number])
            user.hits += bool(hits[number])
            arm.past_versions.add(one.served.model_version)

    def records(
        self, made_of: MadeOf, thresholds: Thresholds, before: Mapping[Variant, Sequence[Level]]
    ) -> list[Report]:
        """One report for each variant that has answers here, stable first. `before`: the levels of each variant's windows before."""
        return [
            self._report(variant, self._arms[variant], made_of, thresholds, before.get(variant, ()))
            for variant in VARIANTS
            if variant in self._arms
        ]

    def _report(
        self, variant: Variant, arm: _Arm, made_of: MadeOf, thresholds: Thresholds, before: Sequence[Level]
    ) -> Report:
        span, cells = self.span, list(arm.users.values())
        ctr = clusters.share((user.selected, user.shown) for user in cells)
        hit_rate = clusters.share((user.hits, user.past) for user in cells)
        past_ctr = clusters.share((user.past_selected, user.past) for user in cells)
        version = alerts.only(arm.past_versions)
        level = alerts.level(past_ctr, hit_rate, version)
        # another candidate is another thing; what stable showed before, whichever version, made what it shows now
        if variant == "canary":
            before = [one for one in before if version is not None and one.model_version == version]
        reference = alerts.reference(before)
        shown = sum(user.shown for user in cells)
        places = int(arm.counts.sum())
        known = ~np.isnan(self._shelf.popularity)
        weighed = int(arm.counts[known].sum())
        # exact, whatever the library and processor: the record is compared with its recomputation number for number
        weights = arm.counts[known] * self._shelf.popularity[known]
        popularity = math.fsum(weights[weights != 0].tolist()) / weighed if weighed else None
        common: dict[str, Any] = {
            "window_start": rfc3339(span.start_ms),
            "window_end": rfc3339(span.end_ms),
            "window_s": span.window_s,
            "model_version": arm.newest[3] or None,
            "variant": variant,
            "thresholds": thresholds,
            "horizon_s": span.horizon_ms / 1_000,
            "lateness_s": span.lateness_ms / 1_000,
            "offsets": made_of.offsets,
            "hit_offsets": made_of.hit_offsets,
            "ignored": {why: arm.ignored[why] for why in IGNORED},
        }
        loop = FeedbackLoop(
            **common,
            requests=sum(user.requests for user in cells),
            ctr=ctr.value,
            hit_rate=hit_rate.value,
            coverage=int((arm.counts > 0).sum()) / len(arm.counts) if len(arm.counts) and shown else None,
            exposure_gini=gini(arm.counts) if places else None,
            mean_popularity=popularity,
            genres_per_list=arm.genres / shown if shown else None,
            users=sum(user.requests > 0 for user in cells),
            shown=shown,
            selections=sum(user.selected for user in cells),
            past_horizon=sum(user.past for user in cells),
            hits=sum(user.hits for user in cells),
            model_versions=dict(sorted(arm.versions.items())),
            popularity_source=self._shelf.source,
            level=level,
            reference=reference,
            status=alerts.fall(level, reference, thresholds),
            popularity_offsets=made_of.popularity_offsets,
        )
        by_group = {
            name: [user for user_id, user in arm.users.items() if self._group(user_id) == name] for name in GROUPS
        }
        men, women = (_satisfaction(by_group[name]) for name in ("M", "F"))
        ratio = clusters.ratio(men, women)
        fairness = Fairness(
            **common,
            groups={name: _figures(users) for name, users in by_group.items()},
            satisfaction_ratio=ratio.value,
            ci_low=ratio.low,
            ci_high=ratio.high,
            status=alerts.fairness(ratio, men, women, thresholds),
        )
        return Report(loop, fairness)

    def _expose(self, answers: Sequence[Served]) -> None:
        index, genres = self._shelf.index, self._shelf.genres
        for variant, arm in self._arms.items():
            listed: list[int] = []
            for served in answers:
                if served.variant == variant:
                    places = [index[movie] for movie in served.recommendations if movie in index]
                    listed += places
                    mask = 0
                    for place in places:
                        mask |= genres[place]
                    arm.genres += mask.bit_count()
            arm.counts += np.bincount(np.array(listed, np.int64), minlength=len(arm.counts))

    def _arm(self, variant: Variant | None) -> _Arm:
        assert variant is not None  # `counts`
        if variant not in self._arms:
            self._arms[variant] = _Arm(np.zeros(len(self._shelf.index), np.int64))
        return self._arms[variant]

    def _group(self, user_id: str) -> str:
        return self._groups.get(user_id, "unknown")

    def _columns(self, answers: Sequence[Shown]) -> tuple[Keys, Keys, list[list[int]]]:
        """Keys of each answer's request, of its user, and of its movies."""
        requests = keys([one.served.request_id for one in answers])
        users = keys([one.served.user_id or "" for one in answers])
        return requests, users, [[self._movie_keys[movie] for movie in one.served.recommendations] for one in answers]


class _Keys(dict[str, int]):
    """Keys of few ids that come many times."""

    def __missing__(self, text: str) -> int:
        found = self[text] = key(text)
        return found


def _key(text: str | None) -> int:
    return NOBODY if text is None else key(text)


def counts(served: Served) -> bool:
    """Whether an answer is in any arm."""
    return served.variant is not None and served.user_id is not None and served.status != "rejected"


def group(gender: str | None) -> str | None:
    """What `groups` holds of a gender; None: nothing."""
    found = group_of(gender)
    return None if found == "unknown" else found


def _mask(genres: Iterable[str], bits: dict[str, int]) -> int:
    mask = 0
    for genre in genres:
        mask |= 1 << bits.setdefault(genre.casefold(), len(bits))
    return mask


def _satisfaction(users: Iterable[_User]) -> clusters.Share:
    return clusters.share((user.satisfaction / _UNIT, user.reports) for user in users)


def _figures(users: Sequence[_User]) -> GroupFigures:
    said = _satisfaction(users)
    return GroupFigures(
        users=sum(user.requests > 0 for user in users),
        requests=sum(user.requests for user in users),
        ctr=clusters.share((user.selected, user.shown) for user in users).value,
        hit_rate=clusters.share((user.hits, user.past) for user in users).value,
        satisfaction=said.value,
        reporting_users=said.users,
    )
