"""The search behind the recipes of config.json, on MovieLens ratings:

    python -m pipelines.studies.tune als ml-latest-small/ratings.csv          (10 minutes on 2 cores)
    python -m pipelines.studies.tune ease ml-latest-small/ratings.csv         (5 minutes)

The test part (each user's newest 20 %) is set aside first. The search fits on the oldest 80 % of the rest and compares on its
newest 20 %, the validation part. Only the chosen recipes meet the test part, once, at the end.
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

from models.measures.quality import Quality
from models.recommenders import popular
from models.recommenders.base import Bools, Parameters
from pipelines.dataset import Dataset, movielens_csv
from pipelines.evaluate import N, evaluate, fit, held_out, lists, table

GRIDS: dict[str, dict[str, tuple[int | float, ...]]] = {
    "als": {
        "factors": (32, 64, 96, 128),
        "regularization": (8.0, 11.0, 16.0, 22.0),
        "alpha": (0.1, 0.3, 0.6, 1.0, 2.0),
        "popularity_damping": (0.0, 0.1, 0.2, 0.3),
        "iterations": (15,),
    },
    "ease": {
        "regularization": (100.0, 200.0, 300.0, 500.0),
        "movies": (2_000, 10_000),
        "neighbours": (50, 100, 200, 500),
    },
}
SEEDS = {"als": (0, 1), "ease": (0,)}  # figures are means over them: luck with one start is no merit
MOST_FACTORS = {"als": 64, "als-damped": 96}  # what a list may cost
KEEPS = 0.98  # of the best NDCG, for what is chosen by something else


@dataclass(frozen=True, slots=True)
class Tried:
    """A recipe and what it reached on the validation part."""

    recipe: Parameters
    ndcg: float
    recall: float
    coverage: float


def search(dataset: Dataset, training: Bools, algorithm: str) -> list[Tried]:
    """Every combination of the algorithm's grid, best NDCG first."""
    held = held_out(dataset, within=training)
    rows, truth = dataset.rows(training & ~held), dataset.rows(held)
    baseline = popular.Popular.of(popular.counts(rows, len(dataset.movies))).top(N, rows)
    reached = np.nanmean(Quality.of(baseline.columns, truth, len(dataset.movies)).ndcg)
    print(
        f"validation: {np.count_nonzero(np.diff(truth.indptr))} users, {len(truth.indices)} held out, popularity's NDCG@{N} {reached:.4f}"
    )
    tried = []
    grid = list(itertools.product(*GRIDS[algorithm].values()))
    for done, values in enumerate(grid, 1):
        recipe: dict[str, int | float | str] = {
            "algorithm": algorithm,
            **dict(zip(GRIDS[algorithm], values, strict=True)),
        }
        figures: list[list[float]] = []
        for seed in SEEDS[algorithm]:
            columns = lists(fit(recipe | {"seed": seed}, rows, len(dataset.movies)), rows).columns
            found = Quality.of(columns, truth, len(dataset.movies))
            figures.append([float(np.nanmean(found.ndcg)), float(np.nanmean(found.recall)), found.covered])
        ndcg, recall, coverage = np.mean(figures, axis=0).tolist()
        tried.append(Tried(recipe, ndcg, recall, coverage))
        if sys.stderr.isatty():
            print(f"\r{done} of {len(grid)} recipes", end="" if done < len(grid) else "\n", file=sys.stderr)
    return sorted(tried, key=lambda t: -t.ndcg)


def choose_als(tried: list[Tried]) -> dict[str, Tried]:
    """als: the best NDCG without damping. als-damped: the widest coverage of those that keep 98 % of the best NDCG, damped."""
    affordable = {
        name: [t for t in tried if int(t.recipe["factors"]) <= most and bool(t.recipe["popularity_damping"]) == damped]
        for (name, most), damped in zip(MOST_FACTORS.items(), (False, True), strict=True)
    }
    enough = KEEPS * max(t.ndcg for t in tried if int(t.recipe["factors"]) <= MOST_FACTORS["als-damped"])
    return {
        "als": affordable["als"][0],
        "als-damped": max((t for t in affordable["als-damped"] if t.ndcg >= enough), key=lambda t: t.coverage),
    }


def choose_ease(tried: list[Tried]) -> dict[str, Tried]:
    """ease: the fewest neighbours (they are what a list costs) with 98 % of the best NDCG, of those the most movies, then the best NDCG."""
    enough = [t for t in tried if t.ndcg >= KEEPS * tried[0].ndcg]
    return {"ease": min(enough, key=lambda t: (t.recipe["neighbours"], -int(t.recipe["movies"]), -t.ndcg))}


CHOOSE = {"als": choose_als, "ease": choose_ease}


def main(algorithm: str, ratings: Path) -> None:
    dataset = movielens_csv(ratings)
    tried = search(dataset, ~held_out(dataset), algorithm)
    keys = list(GRIDS[algorithm])
    print("\n" + "  ".join(keys) + f"{'NDCG':>8}{'Recall':>8}{'coverage':>10}   (validation, best of {len(tried)})")
    for one in tried[:15]:
        print("  ".join(f"{one.recipe[key]:>{len(key)}}" for key in keys), end="")
        print(f"{one.ndcg:>8.4f}{one.recall:>8.4f}{one.coverage:>10.4f}")
    chosen = CHOOSE[algorithm](tried)
    print("\nchosen:")
    for version, one in chosen.items():
        print(f'  "{version}": {json.dumps(one.recipe)}   NDCG {one.ndcg:.4f}, coverage {one.coverage:.4f}')
    print("\non the test part, seen by nobody before:")
    print(table({version: evaluate(dataset, one.recipe) for version, one in chosen.items()}))


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in GRIDS:
        sys.exit(f"usage: python -m pipelines.studies.tune {'|'.join(GRIDS)} RATINGS.CSV")
    main(sys.argv[1], Path(sys.argv[2]))
