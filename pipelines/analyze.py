"""The offline analysis of a window: how concentrated, how broad and how fair what was watched is, and what is recommended.

From what was observed (`pipelines.analysis.observed`) to figures; reads and writes nothing. What each figure means:
`models.measures`, and docs/analysis.md. Intervals are 95 %, over users; the same window gives the same figures to the bit.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from models.measures import concentration, exposure
from models.measures.exposure import GROUPS
from models.measures.quality import Quality
from models.recommenders.base import F64, I32, I64, Bools, Parameters
from pipelines import evaluate
from pipelines.analysis.observed import Lists, Observed
from pipelines.analysis.view import SMALL, View, groups, mean, root_mean, written
from pipelines.dataset import Dataset
from pipelines.evaluate import N

NEWEST = 0.2  # of the interactions: what is before them says how popular a movie was, where nothing else does

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """How well a recipe serves each user of a data set, on what was held out, and the lists that it gives them."""

    recipe: str
    quality: Quality
    lists: Lists


def judge(observed: Observed, name: str, recipe: Parameters) -> Judged:
    """Trains by a recipe on each user's older interactions, and looks at the newer ones."""
    dataset = observed.dataset
    held = evaluate.held_out(dataset)
    histories = dataset.rows(~held)
    columns = evaluate.lists(evaluate.learn(dataset, recipe, ~held), histories).columns
    quality = Quality.of(columns, dataset.rows(held), len(dataset.movies))
    return Judged(name, quality, lists_of(observed, columns))


def lists_of(observed: Observed, columns: I32) -> Lists:
    """The lists of every user of the window. columns: (users, k) of the data set's movies, −1 where a list is shorter."""
    dataset = observed.dataset
    return Lists.of_columns(columns, observed.catalogue.places(dataset.movies), dataset.users, dataset.genders)


def analyze(observed: Observed, judged: Judged) -> Figures:
    """latest.json, but for when it was made: docs/analysis.md names every key."""
    dataset, catalogue = observed.dataset, observed.catalogue
    movie = observed.movie
    known = movie >= 0
    histories = Lists(
        dataset.users, dataset.genders, np.arange(len(dataset.users), dtype=np.int32), dataset.user[known], movie[known]
    )
    view = View.of(observed, histories)
    recommended, source = judged.lists, f"what recipe {judged.recipe} would recommend"
    if observed.answers is not None:
        recommended, source = observed.answers, "what was recommended"
    popularity, popularity_source = _popularity(observed)
    errors = _squared_errors(dataset)
    measures = {f"ndcg_at_{N}": judged.quality.ndcg, f"recall_at_{N}": judged.quality.recall}
    return {
        "source": observed.source,
        "window": {
            "since": _moment(observed.window.since_ms),
            "until": _moment(observed.window.until_ms),
            "first": _moment(int(dataset.time_ms.min())) if len(dataset) else None,
            "last": _moment(int(dataset.time_ms.max())) if len(dataset) else None,
            "interactions": len(dataset),
            "users": len(dataset.users),
            "idle_users": observed.idle,
            "of_movies_not_in_the_catalogue": int(np.count_nonzero(~known)),
        },
        "popularity_source": popularity_source,
        "popularity_stats": exposure.popularity_stats(view.watched, popularity),
        "popularity_from_before": _from_before(dataset, movie, len(catalogue.movies)),
        "genre_diversity": exposure.genre_diversity(
            histories.of, histories.movie, catalogue.genres, len(dataset.users) + observed.idle
        ),
        "genres_of_users": np.bincount(
            np.pad(
                exposure.genres_met(histories.of, histories.movie, catalogue.genres, len(dataset.users)),
                (0, observed.idle),
            )
        ).tolist(),
        "fairness": exposure.fairness(
            dataset.genders,
            np.bincount(dataset.user, minlength=len(dataset.users)),
            _ratings(dataset),
            measures,
            errors,
        ),
        "quality": _quality(dataset, judged.recipe, measures, errors),
        "watched": view.spread(histories),
        "recommended": {"source": source, "versions": dict(recommended.versions), **view.spread(recommended)},
        "tenths": view.tenths(recommended),
        "groups": view.groups(histories, recommended),
        "genres": view.genres(recommended),
        "top_movies": view.top_movies(recommended),
        "lorenz": {
            "watched": concentration.lorenz(view.watched),
            "recommended": concentration.lorenz(view.counts(recommended)),
        },
    }


def _moment(ms: int | None) -> str | None:
    if ms is None:
        return None
    return datetime.fromtimestamp(ms / 1_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _popularity(observed: Observed) -> tuple[F64 | None, str]:
    """What interactions are correlated with, and where it is from."""
    if np.isfinite(observed.catalogue.popularity).any():
        return observed.catalogue.popularity, "catalogue"
    if observed.before is not None and observed.before.any():
        return observed.before.astype(np.float64), "interactions before the window"
    return None, "none: the catalogue has no popularity, and nothing is before the window"


def _from_before(dataset: Dataset, movie: I32, n_movies: int) -> Figures:
    """How well what is popular tells what will be: Pearson's r of the newest interactions and of those before them, by movie.

    Within the window, whatever the catalogue says; what happened at the same time stays together.
    """
    newest = _newest(dataset.time_ms)
    known = movie >= 0
    now, before = (np.bincount(movie[part & known], minlength=n_movies) for part in (newest, ~newest))
    correlation = None
    if before.any():
        correlation = exposure.popularity_stats(now, before.astype(np.float64))["corr_popularity_interactions"]
    return {"share": NEWEST, "interactions": int(np.count_nonzero(newest)), "correlation": correlation}


def _newest(time_ms: I64) -> Bools:
    if not len(time_ms):
        return np.ones(0, np.bool_)
    place = int((1 - NEWEST) * len(time_ms))
    window: Bools = time_ms >= np.partition(time_ms, place)[place]
    return window


def _quality(dataset: Dataset, recipe: str, measures: Mapping[str, F64], errors: tuple[I32, F64]) -> Figures:
    """Of everybody and of each group: how well it is predicted, with intervals."""
    members = groups(dataset.genders)
    owner, squared = errors
    sums = np.bincount(owner, squared, minlength=len(members)).astype(np.float64)
    counts = np.bincount(owner, minlength=len(members)).astype(np.float64)
    rows = []
    for group in ("all", *GROUPS):
        member = np.ones(len(members), np.bool_) if group == "all" else members == group
        if not member.any():
            continue
        tested = int(np.count_nonzero(~np.isnan(next(iter(measures.values()))[member])))
        rows.append(
            {
                "group": group,
                "n_users": int(np.count_nonzero(member)),
                "tested": tested,
                "too_small": tested < SMALL,
                **{name: written(mean(values[member])) for name, values in measures.items()},
                "rmse": written(root_mean(sums[member], counts[member])),
            }
        )
    return {
        "recipe": recipe,
        "method": f"each user's newest {evaluate.SHARE:.0%} held out, seen movies left out, {N} recommended",
        "groups": rows,
    }


def _ratings(dataset: Dataset) -> dict[str, F64]:
    """Sum, in stars, and number of each user's ratings."""
    rated = dataset.thousandths > 0
    stars, user = dataset.thousandths[rated] / 1_000, dataset.user[rated]
    n = len(dataset.users)
    return {
        "sum": np.bincount(user, stars, minlength=n).astype(np.float64),
        "count": np.bincount(user, minlength=n).astype(np.float64),
    }


def _squared_errors(dataset: Dataset) -> tuple[I32, F64]:
    """Of each rating among each user's newest interactions: whose it is, and how far it was from `exposure.predicted_ratings`."""
    rated = dataset.thousandths > 0
    held = evaluate.held_out(dataset)[rated]
    user, movie, stars = dataset.user[rated], dataset.movie[rated], dataset.thousandths[rated] / 1_000
    predicted = exposure.predicted_ratings(user, movie, stars, held, len(dataset.users), len(dataset.movies))
    return user[held], np.square(stars - predicted)[held]
