"""The offline analysis of a data set: how concentrated, how broad and how fair. What each figure means: `models.measures.exposure`.

Reads the archive for what the data set does not hold: the catalogue, and profiles of users who have done nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.measures import exposure
from models.measures.quality import Quality
from models.recommenders.base import F64, I32, I64, Bools
from pipelines import archive
from pipelines.dataset import Dataset
from pipelines.evaluate import N, held_out

NEWEST = 0.2  # of the interactions: the window where only what was before it can say how popular a movie was

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """What a catalogue says of its movies; NaN where it has no popularity."""

    movies: tuple[str, ...]
    genres: tuple[tuple[str, ...], ...]
    popularity: F64


def analyze(dataset: Dataset, catalogue: Catalogue, quality: Quality, idle: int) -> tuple[Figures, list[Figures]]:
    """(analysis.json, the points of its plot). quality: of the lists that each user would have got; idle: users who have done nothing.

    {"window": {"interactions", "of"}, "popularity_source", "popularity_stats", "genre_diversity", "fairness"}, as the contract
    names them. The movies are the catalogue's, or, where there is none, those of the data. Where it has no popularity, the window
    is the newest fifth of the interactions, and those before it stand for popularity; else the window is everything.
    """
    if not catalogue.movies:
        nothing = tuple(() for _ in dataset.movies)
        catalogue = Catalogue(dataset.movies, nothing, np.full(len(dataset.movies), np.nan))
    place = {movie: index for index, movie in enumerate(catalogue.movies)}
    movie = np.array([place.get(name, -1) for name in dataset.movies], np.int32)[dataset.movie]
    known = movie >= 0
    has_popularity = bool(np.isfinite(catalogue.popularity).any())
    window = np.ones(len(dataset), np.bool_) if has_popularity else _newest(dataset.time_ms)
    watched = _counts(movie[window & known], len(catalogue.movies))
    before = _counts(movie[~window & known], len(catalogue.movies)).astype(np.float64)
    popularity = catalogue.popularity if has_popularity else before if (~window).any() else None
    figures = {
        "window": {"interactions": int(np.count_nonzero(window)), "of": len(dataset)},
        "popularity_source": "catalogue" if has_popularity else "interactions before the window",
        "popularity_stats": exposure.popularity_stats(watched, popularity),
        "genre_diversity": exposure.genre_diversity(
            dataset.user[window & known], movie[window & known], catalogue.genres, len(dataset.users) + idle
        ),
        "fairness": exposure.fairness(
            dataset.genders,
            _counts(dataset.user[window], len(dataset.users)),
            _ratings(dataset, window),
            {f"ndcg_at_{N}": quality.ndcg, f"recall_at_{N}": quality.recall},
            _squared_errors(dataset),
        ),
    }
    points = exposure.lorenz(watched)
    return figures, [{"share of movies": x, "share of interactions": y} for x, y in points]


def catalogue(folder: Path) -> Catalogue:
    """The movies that the archive knows now."""
    rows = _last(folder, "movie-catalog", "movie_id", ["genres", "popularity"])
    return Catalogue(
        tuple(rows),
        tuple(tuple(row["genres"] or ()) for row in rows.values()),
        np.array([np.nan if row["popularity"] is None else row["popularity"] for row in rows.values()], np.float64),
    )


def idle(folder: Path, dataset: Dataset) -> int:
    """How many users have a profile and nothing else."""
    return len(_last(folder, "user-profiles", "user_id", []).keys() - set(dataset.users))


def _last(folder: Path, topic: str, key: str, names: list[str]) -> dict[str, Mapping[str, Any]]:
    """The last row of each key that is not deleted, sorted by key."""
    order = ("logged_at", "partition", "offset")
    rows = archive.table(folder, topic, [key, "deleted", *names, *order]).sort_by(
        [(name, "ascending") for name in order]
    )
    last = {row[key]: row for row in rows.to_pylist()}
    return {name: last[name] for name in sorted(last) if not last[name]["deleted"]}


def _newest(time_ms: I64) -> Bools:
    """The newest fifth; what happened at the same time stays together."""
    if not len(time_ms):
        return np.ones(0, np.bool_)
    begin = np.partition(time_ms, int((1 - NEWEST) * len(time_ms)))[int((1 - NEWEST) * len(time_ms))]
    window: Bools = time_ms >= begin
    return window


def _ratings(dataset: Dataset, window: Bools) -> dict[str, F64]:
    """Sum, in stars, and number of each user's ratings."""
    rated = window & (dataset.thousandths > 0)
    stars, user = dataset.thousandths[rated] / 1_000, dataset.user[rated]
    sums = np.bincount(user, stars, minlength=len(dataset.users)).astype(np.float64)
    return {"sum": sums, "count": _counts(user, len(dataset.users)).astype(np.float64)}


def _squared_errors(dataset: Dataset) -> tuple[I32, F64]:
    """Of each rating among each user's newest interactions: whose it is, and how far it was from `exposure.predicted_ratings`."""
    rated = dataset.thousandths > 0
    held = held_out(dataset)[rated]
    user, movie, stars = dataset.user[rated], dataset.movie[rated], dataset.thousandths[rated] / 1_000
    predicted = exposure.predicted_ratings(user, movie, stars, held, len(dataset.users), len(dataset.movies))
    return user[held], np.square(stars - predicted)[held]


def _counts(places: I32, n: int) -> I64:
    return np.bincount(places, minlength=n)
