"""The feedback loop: people choose from what they are shown, a model learns from that, and shows the next lists.

    python -m pipelines.studies.loop          (2 minutes; `make study-loop`)

Everybody has watched a little before; from then on they watch nothing but what a list offers (`models.viewer.choose`). Lists are made as
canarec makes them, ten times a model is trained again on all that was watched. The same people, with the same luck, meet every
policy. Prints its table, puts it into docs/fairness.md and draws docs/loop-*.svg.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.measures import ranking
from models.measures.concentration import gini
from models.recommenders.base import F64, I32, Parameters
from models.recommenders.popular import counts
from models.viewer import Habits, choose
from pipelines.chart import STUDY, Line, lines_chart
from pipelines.evaluate import learn
from pipelines.studies import pages
from pipelines.studies.people import Imbalance, Service, crowd, dataset_of, watched

PAGE = Path("docs/fairness.md")
PEOPLE = Imbalance(men=120, women=80, movies=500, watched_by_men=20, watched_by_women=20, hidden=0.0)
HABITS = Habits(
    choosiness=1.0
)  # keener than the simulator's people: choices, not days, are what a generation is made of
RECIPE: Parameters = {"algorithm": "als", "factors": 16, "regularization": 8.0, "alpha": 0.6, "iterations": 8}
RETRAININGS, ROUNDS, N = 10, 3, 10
KEPT = 20  # of each user's movies the newest count: what was watched before the loop fades, and a movie may come again
BEST = 50  # movies that a user would like best: what a service should find for them
SEEDS = (1, 2, 3)


class Policy(NamedTuple):
    """Keys of config.json, and group weights."""

    settings: Mapping[str, Any] = {}
    weights: Mapping[str, float] = {}


_OWN = {"exposure": {"share": 0.7, "protect": "own_genres"}}
_TAIL = {"exposure": {"share": 0.5, "protect": "movies", "head_fraction": 0.5}}
_EXPLORE = {
    "exploration": {"share": 0.5, "slots": 1, "pool": 200}
}  # half of the users, one place of ten: 5 % of all places
POLICIES = {
    "nothing": Policy(),
    "group weights (F 2)": Policy(weights={"F": 2.0}),
    "own genres 0.7": Policy(_OWN),
    "outside the head 0.5": Policy(_TAIL),
    "5 % exploration": Policy(_EXPLORE),
    "outside the head and exploration": Policy(_TAIL | _EXPLORE),
}


class Generation(NamedTuple):
    """What one model showed, in all rounds until the next."""

    gini: float  # of the places that each movie of the catalogue had
    coverage: float  # share of the catalogue that was shown to anybody
    popularity: float  # interactions that a shown movie had before the loop, over the mean of all movies
    taste: float  # of each user's best-liked movies, the share that was shown to them
    chosen: float  # lists from which something was chosen


def generations(
    policy: Policy, seed: int, people: Imbalance = PEOPLE, retrainings: int = RETRAININGS
) -> list[Generation]:
    """From the model of what everybody had watched before to that of the last retraining."""
    those = crowd(people, seed)
    before = watched(those, people, seed).rows()
    rows = zip(before.indptr, before.indptr[1:], strict=False)
    histories = [before.indices[first:last][-KEPT:].astype(np.int64) for first, last in rows]
    popularity = counts(before, people.movies)
    best = np.argsort(-those.likes, axis=1)[:, :BEST]
    weights = {"group_weights": policy.weights} if policy.weights else {}
    found = []
    for generation in range(retrainings + 1):
        data = dataset_of(those, histories)
        model = learn(data, {**RECIPE, **weights})
        service = Service(those, model, counts(data.rows(), people.movies), policy.settings)
        shown = []
        taken = 0
        for round_ in range(ROUNDS):
            lists = service.lists(dataset_of(those, histories).rows(), N, f"{seed}-{generation}-{round_}")
            shown.append(lists)
            for row, who in enumerate(those.people):
                luck = np.random.default_rng([seed, generation, round_, row])
                place = choose([those.movies[column] for column in lists[row]], who, luck, HABITS).place
                if place is not None:
                    histories[row] = np.append(histories[row], lists[row, place])[-KEPT:]
                    taken += 1
        found.append(_measured(np.concatenate(shown, axis=1), popularity, best, taken))
    return found


def _measured(shown: I32, popularity: Any, best: Any, taken: int) -> Generation:
    """shown: (people, places of all rounds)."""
    n_movies = len(popularity)
    places = np.bincount(shown.ravel(), minlength=n_movies)
    met = np.array([len(np.intersect1d(some, liked)) for some, liked in zip(shown, best, strict=True)])
    return Generation(
        gini(places) or 0.0,
        ranking.coverage(shown, n_movies),
        float(popularity[shown].mean() / popularity.mean()),
        float(met.mean() / BEST),
        taken / (len(shown) * ROUNDS),
    )


def curve(runs: Sequence[Sequence[Generation]], what: str) -> F64:
    """(seeds, generations)."""
    return np.array([[getattr(generation, what) for generation in run] for run in runs])


def report(found: Mapping[str, Sequence[Sequence[Generation]]]) -> str:
    """First and last generation; last with its interval over seeds."""
    rows = []
    for name, runs in found.items():
        cells = [name]
        for what, digits in (("gini", 2), ("coverage", 2), ("popularity", 1), ("taste", 3), ("chosen", 2)):
            values = curve(runs, what)
            cells.append(f"{values[:, 0].mean():.{digits}f} → {pages.written(pages.interval(values[:, -1]), digits)}")
        rows.append(cells)
    return pages.table(["", "Gini", "coverage", "popularity", "taste", "lists chosen from"], rows)


def draw(found: Mapping[str, Sequence[Sequence[Generation]]], folder: Path) -> None:
    """By generation, means over seeds."""
    for what, title in (
        ("gini", "Gini of what is shown, by retraining"),
        ("coverage", "Share of the catalogue that is shown, by retraining"),
        ("taste", "Share of everybody's best-liked movies that is shown to them, by retraining"),
    ):
        lines = [
            Line(name, range(len(runs[0])), (100 * curve(runs, what).mean(axis=0)).tolist())
            for name, runs in found.items()
        ]
        (folder / f"loop-{what}.svg").write_text(lines_chart(title, None, lines, shape=STUDY, file=True) + "\n")


def main() -> None:
    jobs = [(policy, seed) for policy in POLICIES.values() for seed in SEEDS]
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        runs = list(pool.map(generations, *zip(*jobs, strict=True)))
    found = {name: runs[len(SEEDS) * place :][: len(SEEDS)] for place, name in enumerate(POLICIES)}
    charts = "\n\n".join(f"![By retraining: {what}](loop-{what}.svg)" for what in ("gini", "coverage", "taste"))
    text = f"{report(found)}\n\n{charts}\n"
    print(text)
    draw(found, PAGE.parent)
    PAGE.write_text(pages.filled(PAGE.read_text(), text, "study-loop"))


if __name__ == "__main__":
    main()
