"""The data gate: whether a data set is fit to train on, and whose events are too many.

Judges figures; counts nothing itself and reads nothing (`pipelines.dataset` counts). Every finding has both numbers.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from models.config import DataGate
from models.recommenders.base import I64

Check = Literal[
    "users",  # too few
    "interactions",  # too few
    "refused",  # messages that were no event: off the scale, from the future, unreadable
    "ahead",  # events ahead of this machine's clock
    "duplicates",
    "unknown_movies",
    "heavy_user",
    "group",  # one that vanished
]
Outcome = Literal["passed", "noted", "stopped"]

GROUP_LEAST = 100  # interactions that a group should have by now: below, half as many may be chance


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyUser:
    """One whose events or interactions are too large a part of those of everybody who was not left out before."""

    user_id: str
    events: int
    interactions: int
    events_share: float
    interactions_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DataFigures:
    """What a data set is like, the heavy users' part left out: what would be trained on."""

    events: int  # watches and ratings, repeats included
    interactions: int  # different pairs of user and movie
    users: int
    movies: int
    duplicates: int  # events that repeat another's kind, user, movie and time
    ahead: int  # events more than a day ahead of the clock of whoever trains
    refused: Mapping[str, int]  # reason → messages of the event topics that were no event
    catalogue: int  # movies of the catalogue
    unknown_movies: int  # interactions with movies that the catalogue does not have
    groups: Mapping[str, int]  # gender → interactions; users of unknown gender are in none
    heavy: tuple[HeavyUser, ...]  # heaviest first; not in the counts above

    def share_of(self, group: str) -> float:
        """The group's share of all interactions, 0 of none."""
        return _share(self.groups.get(group, 0), self.interactions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: what was found against what is wanted. `says` is a line with both numbers."""

    check: Check
    outcome: Outcome
    found: float
    limit: float
    says: str

    @property
    def stops(self) -> bool:
        return self.outcome == "stopped"


class Heavy(NamedTuple):
    """A heavy user's place, and its shares when it was found."""

    user: int
    events_share: float
    interactions_share: float


def heavy(events: I64, interactions: I64, share_max: float) -> list[Heavy]:
    """Users who have more than `share_max` of all events or of all interactions, (users,) each; heaviest first.

    One after the other, each measured against whom is left: of two bots with 90 % and 9 % the first would hide the second. So
    nobody who is left has more. Events count beside interactions, since a bot may watch one movie for ever. Of few users each
    has a large part: the limit is never below twice an even one, 2 / users.

    >>> heavy(np.array([900, 60, 1, 1, 1]), np.array([1, 1, 1, 1, 1]), 0.1)[0]
    Heavy(user=0, events_share=0.9345794392523364, interactions_share=0.2)
    >>> [found.user for found in heavy(np.array([900, 60, 1, 1, 1]), np.array([1, 1, 1, 1, 1]), 0.1)]
    [0, 1]
    """
    events, interactions = events.astype(np.int64), interactions.astype(np.int64)
    found = []
    for left in range(len(events), 0, -1):
        all_events, all_interactions = max(int(events.sum()), 1), max(int(interactions.sum()), 1)
        worst = int(np.argmax(np.maximum(events / all_events, interactions / all_interactions)))
        shares = int(events[worst]) / all_events, int(interactions[worst]) / all_interactions
        if max(shares) <= max(share_max, 2 / left):
            break
        found.append(Heavy(worst, *shares))
        events[worst] = interactions[worst] = 0
    return found


def judge(figures: DataFigures, gate: DataGate, before: DataFigures | None = None) -> tuple[Finding, ...]:
    """Every check, in the order of `Check`. before: the figures of the last version's data, None for the first.

    Of an empty data set only the counts say something: shares of nothing are 0 and pass.
    """
    return (
        _at_least("users", figures.users, gate.users_min, "users"),
        _at_least("interactions", figures.interactions, gate.interactions_min, "interactions"),
        _refused(figures, gate),
        _at_most(
            "ahead",
            _share(figures.ahead, figures.events),
            gate.refused_share_max,
            f"{figures.ahead:,} of {figures.events:,} events are more than a day ahead of this machine's clock",
        ),
        _at_most(
            "duplicates",
            _share(figures.duplicates, figures.events),
            gate.duplicates_share_max,
            f"{figures.duplicates:,} of {figures.events:,} events repeat another",
        ),
        _unknown_movies(figures, gate),
        *_heavy_users(figures, gate),
        *_groups(figures, gate, before),
    )


def _refused(figures: DataFigures, gate: DataGate) -> Finding:
    refused = sum(figures.refused.values())
    messages = refused + figures.events
    reasons = ", ".join(f"{reason} {n:,}" for reason, n in sorted(figures.refused.items()))
    return _at_most(
        "refused",
        _share(refused, messages),
        gate.refused_share_max,
        f"{refused:,} of {messages:,} messages are no events{f' ({reasons})' if reasons else ''}",
    )


def _unknown_movies(figures: DataFigures, gate: DataGate) -> Finding:
    share = _share(figures.unknown_movies, figures.interactions)
    if not figures.catalogue:  # somebody who publishes no catalogue
        return Finding(
            check="unknown_movies",
            outcome="noted",
            found=share,
            limit=gate.unknown_movies_share_max,
            says="unknown_movies: there is no catalogue to compare with",
        )
    return _at_most(
        "unknown_movies",
        share,
        gate.unknown_movies_share_max,
        f"{figures.unknown_movies:,} of {figures.interactions:,} interactions are with movies that the catalogue does not have",
    )


def _heavy_users(figures: DataFigures, gate: DataGate) -> list[Finding]:
    stops = gate.heavy_users == "stop"
    return [
        Finding(
            check="heavy_user",
            outcome="stopped" if stops else "noted",
            found=max(user.events_share, user.interactions_share),
            limit=gate.user_share_max,
            says=f"heavy_user: {user.user_id!r} made {user.events_share:.1%} of the events and {user.interactions_share:.1%} of the "
            f"interactions ({user.events:,} and {user.interactions:,}), allowed are {gate.user_share_max:.1%}"
            + ("" if stops else ": left out"),
        )
        for user in figures.heavy
    ]


def _groups(figures: DataFigures, gate: DataGate, before: DataFigures | None) -> list[Finding]:
    """Each gender's share against its share before: below `group_share_min` of that, it has vanished."""
    if before is None:
        return []
    findings = []
    for group in sorted(before.groups):
        was, now = before.share_of(group), figures.share_of(group)
        if was * figures.interactions < GROUP_LEAST:
            continue
        kept = now / was
        findings.append(
            Finding(
                check="group",
                outcome="passed" if kept >= gate.group_share_min else "stopped",
                found=kept,
                limit=gate.group_share_min,
                says=f"group: {group!r} has {now:.1%} of the interactions, in the last version's data {was:.1%}: "
                f"{kept:.0%} of that, at least {gate.group_share_min:.0%} are wanted",
            )
        )
    return findings


def _at_least(check: Check, found: int, limit: int, what: str) -> Finding:
    return Finding(
        check=check,
        outcome="passed" if found >= limit else "stopped",
        found=found,
        limit=limit,
        says=f"{check}: {found:,} {what}, at least {limit:,} are wanted",
    )


def _at_most(check: Check, found: float, limit: float, what: str) -> Finding:
    return Finding(
        check=check,
        outcome="passed" if found <= limit else "stopped",
        found=found,
        limit=limit,
        says=f"{check}: {what}: {found:.1%}, at most {limit:.1%} are allowed",
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
