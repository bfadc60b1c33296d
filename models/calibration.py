"""The published figures of a real movie service, and whether a simulated history has them.

Defined as the offline analysis has them (`models.measures.exposure`), and measured on the events, as those of any history. Reads
and publishes nothing.
"""

from typing import NamedTuple

import numpy as np

from models.events import Rating
from models.measures import exposure
from models.simulated import INTERACTIONS, MEAN_RATING, MOVIES, USERS, History


class Target(NamedTuple):
    """A published figure, by its name in the analysis, and how far a seed's may be from it."""

    name: str
    value: float
    tolerance: float


class Row(NamedTuple):
    """A figure that was aimed at, and what came of it."""

    target: Target
    got: float

    @property
    def kept(self) -> bool:
        return abs(self.got - self.target.value) <= self.target.tolerance + 1e-9


# Counts and percentiles are met as they are, mean ratings to their last digit. What varies between seeds: five standard deviations
# of it, by `pipelines.studies.calibration`.
TARGETS = (
    Target("n_movies", MOVIES, 0),
    Target("n_users", USERS, 0),
    Target("n_interactions of M", INTERACTIONS["M"], 0),
    Target("n_interactions of F", INTERACTIONS["F"], 0),
    Target("mean_rating of M", MEAN_RATING["M"], 0.0001),
    Target("mean_rating of F", MEAN_RATING["F"], 0.0001),
    Target("corr_popularity_interactions", 0.244, 0.015),
    Target("top_share_percent", 50.1, 0.6),
    Target("mean_genres", 3.19, 0.035),
    Target("median_genres", 3, 0),
    Target("p10_genres", 0, 0),
    Target("p90_genres", 7, 0),
)


def check(history: History) -> tuple[Row, ...]:
    """Each target beside what the history has."""
    got = figures(history)
    return tuple(Row(target, got[target.name]) for target in TARGETS)


def figures(history: History) -> dict[str, float]:
    """The figures of the targets; NaN for what cannot be formed. An interaction is a user and a movie that they watched or rated."""
    columns = {movie.movie_id: place for place, movie in enumerate(history.movies)}
    rows = {profile.user_id: place for place, profile in enumerate(history.profiles)}
    genders = np.array([profile.gender for profile in history.profiles], dtype="U7")
    pairs = {(rows[event.user_id], columns[event.movie_id]) for event in history.events}
    user, movie = np.array(sorted(pairs), np.int32).reshape(-1, 2).T
    owners = np.array([rows[event.user_id] for event in history.events if isinstance(event, Rating)], np.int64)
    stars = np.array([event.rating for event in history.events if isinstance(event, Rating)])
    popularity = np.array([np.nan if each.popularity is None else each.popularity for each in history.movies])
    found = {
        **exposure.popularity_stats(np.bincount(movie, minlength=len(columns)), popularity),
        **exposure.genre_diversity(user, movie, [each.genres for each in history.movies], len(rows)),
    }
    for gender in INTERACTIONS:
        rated = stars[genders[owners] == gender]
        found[f"n_interactions of {gender}"] = int(np.count_nonzero(genders[user] == gender))
        found[f"mean_rating of {gender}"] = float(rated.mean()) if len(rated) else None
    return {target.name: float("nan") if found[target.name] is None else found[target.name] for target in TARGETS}


def table(rows: tuple[Row, ...]) -> str:
    """Target, got and tolerance of each as text."""
    lines = [f"{'figure':<30}{'target':>10}{'got':>10}{'tolerance':>11}"]
    for target, got in rows:
        cells = f"{_digits(target.value):>10}{_digits(got, target):>10}{_digits(target.tolerance):>11}"
        lines.append(f"{target.name:<30}{cells}  {'ok' if Row(target, got).kept else 'OFF'}")
    return "\n".join(lines)


def _digits(value: float, like: Target | None = None) -> str:
    if like is not None and like.tolerance:
        return f"{value:,.4f}"
    return f"{value:,.15g}"
