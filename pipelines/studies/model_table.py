"""The table of models in docs/models.md: what each recipe of config.json is worth, and what it costs.

    python -m pipelines.studies.model_table ml-latest-small/ratings.csv          (2 minutes)
    python -m pipelines.studies.model_table                                      (5 minutes: costs alone, 1 M interactions)

Quality: each user's newest 20 % held out, which no search has looked at. Costs are of a training on everything, in a process of
its own: CPU time (one thread but for ALS; the clock of a quiet machine says the same, that of a busy one more), the largest
memory of the process, users/s of fold-in and 20 best in batches of 64 without any remembered, the size of factors.npz.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy

import resource
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path

import msgspec
import numpy as np

from models.config import AlsRecipe, EaseRecipe
from models.recommenders import popular, store
from models.recommenders.base import Parameters, Rows
from pipelines.dataset import Dataset, movielens_csv
from pipelines.evaluate import Figures, evaluate, fit
from pipelines.studies.scoring_speed import MOVIES, interactions, part

RECIPES: dict[str, Parameters] = {
    "als": msgspec.to_builtins(AlsRecipe()),
    "als-damped": msgspec.to_builtins(AlsRecipe(alpha=0.3, popularity_damping=0.3)),
    "ease": msgspec.to_builtins(EaseRecipe()),
    "ease, 50 neighbours": msgspec.to_builtins(EaseRecipe(neighbours=50)),
    "ease, dense": msgspec.to_builtins(EaseRecipe(neighbours=EaseRecipe().movies)),
}
BATCH, ROUNDS, LONGEST_S = 64, 20, 20.0


def costs(recipe: Parameters, rows: Rows, n_movies: int) -> str:
    start = time.process_time()
    model = fit(recipe, rows, n_movies)
    trained = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with tempfile.TemporaryDirectory() as folder:
        ids = tuple(map(str, range(n_movies)))
        metadata = store.Metadata(
            model_id="", model_version="v1", training_method={}, data_version={}, evaluation={}, dvc_ref=None,
            code_version="", created_at="", files={},
        )  # fmt: skip
        written = store.write(Path(folder), model, ids, popular.counts(rows, n_movies), metadata)
        size = (written / store.FACTORS).stat().st_size / 1e6
    starts = range(0, len(rows.indptr) - 1 - BATCH, BATCH)
    asked, start = 0, time.process_time()
    for first in islice(starts, ROUNDS):
        histories = part(rows, first, BATCH)
        model.top(model.users(histories), 20, histories)
        asked += BATCH
        if time.process_time() - start > LONGEST_S:
            break
    rate = asked / (time.process_time() - start)
    return f"{trained:.1f} s | {peak:,.0f} MB | {rate:,.0f} | {size:.1f} MB"


def cell(figures: Figures, measure: str) -> str:
    value, low, high = (figures[measure][bound] for bound in ("value", "low", "high"))
    return f"{value:.3f} ({low:.3f}–{high:.3f})"


def quality(dataset: Dataset | None, recipe: Parameters) -> str:
    if dataset is None:
        return ""
    figures = evaluate(dataset, recipe)
    found = [cell(figures["model"], measure) for measure in ("ndcg_at_20", "recall_at_20", "coverage_at_20")]
    return " | ".join([*found, f"{figures['ndcg_ratio']['value']:.2f}", ""])


def main(ratings: Path | None) -> None:
    dataset = movielens_csv(ratings) if ratings else None
    rows, n_movies = (dataset.rows(), len(dataset.movies)) if dataset else (interactions(), MOVIES)
    print(f"{np.count_nonzero(np.diff(rows.indptr)):,} users, {n_movies:,} movies, {len(rows.indices):,} interactions")
    for name, recipe in RECIPES.items():
        with ProcessPoolExecutor(1, get_context("spawn")) as alone:  # its memory is its own
            cost = alone.submit(costs, recipe, rows, n_movies).result()
        print(f"| {name} | {quality(dataset, recipe)}{cost} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        sys.exit("usage: python -m pipelines.studies.model_table [RATINGS.CSV]")
    main(Path(sys.argv[1]) if len(sys.argv) == 2 else None)
