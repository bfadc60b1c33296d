"""The search behind the recipes of `v1` and `v2`, on MovieLens ratings:

    python -m pipelines.studies.tune_als ml-latest-small/ratings.csv          (10 minutes on 2 cores)

The test part (each user's newest 20 %) is set aside first. The search fits on the oldest 80 % of the rest and compares on its
newest 20 %, the validation part. Only the two chosen recipes meet the test part, once, at the end.
"""

import os

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # before numpy: implicit's threads and BLAS' would fight over the cores

import itertools
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.measures import ranking
from models.recommenders import popular
from models.recommenders.base import Bools, Parameters
from pipelines.dataset import Dataset, movielens_csv
from pipelines.evaluate import N, evaluate, fit, held_out, lists, table

FACTORS = (32, 64, 96, 128)
REGULARIZATION = (8.0, 11.0, 16.0, 22.0)
ALPHA = (0.1, 0.3, 0.6, 1.0, 2.0)
DAMPING = (0.0, 0.1, 0.2, 0.3)
SEEDS = (0, 1)  # figures are means over them: luck with one start is no merit
MOST_FACTORS = {"v1": 64, "v2": 96}  # what a list may cost
V2_KEEPS = 0.98  # of the best NDCG


@dataclass(frozen=True, slots=True)
class Tried:
    """A recipe and what it reached on the validation part."""

    recipe: Parameters
    ndcg: float
    recall: float
    coverage: float


def search(dataset: Dataset, training: Bools) -> list[Tried]:
    """Every combination, best NDCG first."""
    held = held_out(dataset, within=training)
    rows, truth = dataset.rows(training & ~held), dataset.rows(held)
    relevant = np.diff(truth.indptr)
    baseline = popular.Popular.of(popular.counts(rows, len(dataset.movies))).top(N, rows)
    reached = np.nanmean(ranking.ndcg(ranking.hits(baseline.columns, truth), relevant))
    print(
        f"validation: {np.count_nonzero(relevant)} users, {len(truth.indices)} held out, popularity's NDCG@{N} {reached:.4f}"
    )
    tried = []
    grid = list(itertools.product(FACTORS, REGULARIZATION, ALPHA, DAMPING))
    for done, (factors, regularization, alpha, damping) in enumerate(grid, 1):
        recipe: dict[str, int | float | str] = {
            "algorithm": "als",
            "factors": factors,
            "regularization": regularization,
            "alpha": alpha,
            "iterations": 15,
            "popularity_damping": damping,
            "seed": SEEDS[0],
        }
        figures: list[list[float]] = []
        for seed in SEEDS:
            columns = lists(fit(recipe | {"seed": seed}, rows, len(dataset.movies)), rows).columns
            hit = ranking.hits(columns, truth)
            ndcgs, recalls = ranking.ndcg(hit, relevant), ranking.recall(hit, relevant)
            covered = ranking.coverage(columns, len(dataset.movies))
            figures.append([float(np.nanmean(ndcgs)), float(np.nanmean(recalls)), covered])
        ndcg, recall, coverage = np.mean(figures, axis=0).tolist()
        tried.append(Tried(recipe, ndcg, recall, coverage))
        if sys.stderr.isatty():
            print(f"\r{done} of {len(grid)} recipes", end="" if done < len(grid) else "\n", file=sys.stderr)
    return sorted(tried, key=lambda t: -t.ndcg)


def choose(tried: list[Tried]) -> dict[str, Tried]:
    """v1: the best NDCG without damping. v2: the widest coverage among those that keep 98 % of the best NDCG, popularity damped."""
    plain = [t for t in tried if not t.recipe["popularity_damping"] and int(t.recipe["factors"]) <= MOST_FACTORS["v1"]]
    damped = [t for t in tried if t.recipe["popularity_damping"] and int(t.recipe["factors"]) <= MOST_FACTORS["v2"]]
    affordable = [t for t in tried if int(t.recipe["factors"]) <= MOST_FACTORS["v2"]]
    enough = V2_KEEPS * max(t.ndcg for t in affordable)
    return {"v1": plain[0], "v2": max((t for t in damped if t.ndcg >= enough), key=lambda t: t.coverage)}


def main(ratings: Path) -> None:
    dataset = movielens_csv(ratings)
    tried = search(dataset, ~held_out(dataset))
    print(
        f"\n{'factors':>8}{'λ':>6}{'α':>6}{'damping':>9}{'NDCG':>8}{'Recall':>8}{'coverage':>10}   (validation, best of {len(tried)})"
    )
    for one in tried[:15]:
        keys = ("factors", "regularization", "alpha", "popularity_damping")
        shown = zip([one.recipe[key] for key in keys], (8, 6, 6, 9), strict=True)
        print("".join(f"{value:>{width}}" for value, width in shown), end="")
        print(f"{one.ndcg:>8.4f}{one.recall:>8.4f}{one.coverage:>10.4f}")
    chosen = choose(tried)
    print("\nchosen:")
    for version, one in chosen.items():
        print(f'  "{version}": {json.dumps(one.recipe)}   NDCG {one.ndcg:.4f}, coverage {one.coverage:.4f}')
    print("\non the test part, seen by nobody before:")
    print(table({version: evaluate(dataset, one.recipe) for version, one in chosen.items()}))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pipelines.studies.tune_als RATINGS.CSV")
    main(Path(sys.argv[1]))
