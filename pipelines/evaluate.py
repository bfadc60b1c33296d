"""How good a recipe is on interactions that it has not seen: each user's newest 20 %, beside the popularity baseline.

Lists are made as serving makes them (`users`, then `top`, seen movies left out). Trains nothing itself, publishes nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.measures import holdout, intervals
from models.measures.feedback import group_of
from models.measures.intervals import Interval
from models.measures.quality import Quality
from models.recommenders import group_weights, popular
from models.recommenders.base import Bools, Parameters, Progress, Recommender, Rows, Top
from models.recommenders.store import ALGORITHMS
from pipelines.dataset import Dataset

SHARE = 0.2
N = 20
BOOTSTRAP_SEED = 2026
AT_ONCE = 4_096  # users whose lists are made together

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Figures for people, and what each user's lists were worth, in the order of the data set's users, for `models.gates.model`."""

    figures: Figures
    model: Quality
    popularity: Quality


def fit(recipe: Parameters, rows: Rows, n_movies: int, progress: Progress | None = None) -> Recommender:
    """A model by its recipe: {"algorithm" and the algorithm's own parameters; "seed" where it has one}. Strengths are taken as they are."""
    algorithm = ALGORITHMS[str(recipe["algorithm"])]
    return algorithm.fit(rows, n_movies, recipe, int(recipe.get("seed", 0)), progress)


def learn(
    dataset: Dataset, recipe: Parameters, part: Bools | None = None, progress: Progress | None = None
) -> Recommender:
    """A model of a data set (of the part) by its recipe, which may have "group_weights"."""
    rows, weights = dataset.rows(part), recipe.get("group_weights")
    if weights:
        power = ALGORITHMS[str(recipe["algorithm"])].weight_power
        rows = group_weights.weighted(rows, dataset.genders, weights, power)
    return fit(recipe, rows, len(dataset.movies), progress)


def lists(recommender: Recommender, histories: Rows, n: int = N) -> Top:
    """The n best unseen movies for each history, as they would be served."""
    parts = []
    for start in range(0, len(histories.indptr) - 1, AT_ONCE):
        bounds = histories.indptr[start : start + AT_ONCE + 1]
        part = slice(bounds[0], bounds[-1])
        some = Rows(bounds - bounds[0], histories.indices[part], histories.data[part])
        parts.append(recommender.top(recommender.users(some), n, excluded=some))
    return Top(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def evaluate(dataset: Dataset, recipe: Parameters, progress: Progress | None = None) -> Figures:
    """The figures of `measure`."""
    return measure(dataset, recipe, progress).figures


def measure(
    dataset: Dataset, recipe: Parameters, progress: Progress | None = None, *, validation: bool = False
) -> Evaluation:
    """Fit on each user's older part, recommend, compare with the newer part.

    {"method", "users", "held_out", "model": {"ndcg_at_20": {"value", "low", "high"}, "recall_at_20": …, "coverage_at_20": …},
    "popularity": the same, "ndcg_ratio": {…}, "genders": {"F": {"users", "model": NDCG@20, "popularity": NDCG@20}, …}};
    intervals are 95 %, over users; users of unknown gender are a group. With `validation` (a second training) "validation", too.
    """
    held = held_out(dataset)
    model = learn(dataset, recipe, ~held, progress)
    found = _compared(dataset, held, lambda histories: lists(model, histories))
    if validation:
        found.figures["validation"] = validate(dataset, recipe)
    return found


def validate(dataset: Dataset, recipe: Parameters, progress: Progress | None = None) -> Figures:
    """The same on the validation part alone, for the choice of a recipe: nothing that `measure` holds out is looked at.

    {"users", "held_out", "ndcg_at_20", "recall_at_20", "coverage_at_20"}.
    """
    training = ~held_out(dataset)
    held = held_out(dataset, within=training)
    model = learn(dataset, recipe, training & ~held, progress)
    figures = compare(dataset, held, lambda histories: lists(model, histories), within=training)
    return {"users": figures["users"], "held_out": figures["held_out"], **figures["model"]}


def held_out(dataset: Dataset, within: Bools | None = None, share: float = SHARE) -> Bools:
    """Each user's newest interactions, of all or of those `within`: what a search may look at is held out of the training part."""
    chosen = np.ones(len(dataset), np.bool_) if within is None else within
    held = np.zeros(len(dataset), np.bool_)
    held[chosen] = holdout.newest(dataset.user[chosen], dataset.movie[chosen], dataset.time_ms[chosen], share)
    return held


def compare(dataset: Dataset, held: Bools, recommend: Callable[[Rows], Top], within: Bools | None = None) -> Figures:
    """Figures of whatever gives lists for histories, and of popularity, on what is held out (`within`: of this part only)."""
    return _compared(dataset, held, recommend, within).figures


def _compared(
    dataset: Dataset, held: Bools, recommend: Callable[[Rows], Top], within: Bools | None = None
) -> Evaluation:
    training = dataset.rows(~held if within is None else within & ~held)
    truth = dataset.rows(held)
    baseline = popular.Popular.of(popular.counts(training, len(dataset.movies)))
    model = Quality.of(recommend(training).columns, truth, len(dataset.movies))
    popularity = Quality.of(baseline.top(N, training).columns, truth, len(dataset.movies))
    figures = {
        "method": f"each user's newest {SHARE:.0%} held out, seen movies left out, {N} recommended",
        "users": int(np.count_nonzero(np.diff(truth.indptr))),
        "held_out": len(truth.indices),
        "model": _figures(model),
        "popularity": _figures(popularity),
        "ndcg_ratio": _written(intervals.ratio(model.ndcg, popularity.ndcg, _rng())),
        "genders": _by_gender(model, popularity, dataset.genders),
    }
    return Evaluation(figures, model, popularity)


def _figures(quality: Quality) -> Figures:
    return {
        f"ndcg_at_{N}": _written(intervals.mean(quality.ndcg, _rng())),
        f"recall_at_{N}": _written(intervals.mean(quality.recall, _rng())),
        f"coverage_at_{N}": _written(quality.coverage),
    }


def _by_gender(model: Quality, popularity: Quality, genders: Sequence[str | None]) -> Figures:
    groups = np.array([group_of(gender) for gender in genders])
    tested = ~np.isnan(model.ndcg)
    return {
        str(group): {
            "users": int(np.count_nonzero(tested[groups == group])),
            "model": _written(intervals.mean(model.ndcg[groups == group], _rng())),
            "popularity": _written(intervals.mean(popularity.ndcg[groups == group], _rng())),
        }
        for group in np.unique(groups)
    }


def _rng() -> np.random.Generator:
    """The same draws for every figure: intervals repeat, and two models meet the same users."""
    return np.random.default_rng(BOOTSTRAP_SEED)


def _written(interval: Interval) -> dict[str, float | None]:
    """For JSON, which has no NaN."""
    return {name: round(bound, 6) if np.isfinite(bound) else None for name, bound in interval._asdict().items()}


def table(figures: Mapping[str, Figures]) -> str:
    """Figures of several versions as text, popularity below.

    version     NDCG@20               Recall@20             coverage@20           × popularity
    """
    measures = {f"ndcg_at_{N}": f"NDCG@{N}", f"recall_at_{N}": f"Recall@{N}", f"coverage_at_{N}": f"coverage@{N}"}
    lines = [f"{'version':<12}" + "".join(f"{title:<24}" for title in measures.values()) + f"NDCG@{N} / popularity's"]
    for version, found in figures.items():
        cells = [_cell(found["model"][measure]) for measure in measures] + [_cell(found["ndcg_ratio"])]
        lines.append(f"{version:<12}" + "".join(f"{cell:<24}" for cell in cells))
    if figures:
        baseline = next(iter(figures.values()))["popularity"]
        lines.append(f"{'popularity':<12}" + "".join(f"{_cell(baseline[measure]):<24}" for measure in measures) + "1")
    return "\n".join(line.rstrip() for line in lines)


def _cell(interval: Mapping[str, float | None]) -> str:
    value, low, high = (interval[name] for name in ("value", "low", "high"))
    if value is None:
        return "no data"
    return f"{value:.3f}" if low is None or high is None else f"{value:.3f} ({low:.3f}–{high:.3f})"
