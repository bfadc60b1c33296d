"""Scoring alone, without Kafka: the exact 20 best beside the bare matrix product and implicit's own `recommend`.

    python -m tests.bench.scoring [--asked 6400] [--rounds 3]        about 1 minute

One BLAS thread for all; implicit's selection also with a thread for each core. Workload and stop-watch are those of
`pipelines.studies.scoring_speed`, which says more about fold-in and other sizes.
"""

import argparse
import os
from typing import Any

import numpy as np
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares

from models.recommenders.als import Als
from models.recommenders.base import Bools, Rows
from pipelines.studies import scoring_speed as study
from tests.bench import machine, report
from tests.bench.installation import ALPHA, RECIPE, REGULARIZATION
from tests.bench.report import Goal
from tests.bench.workload import FACTORS, TOP

ASKED = study.ASKED
COMPARED = 10_048  # users whose lists are held against implicit's: 157 batches
BATCH = 64
GENRES = 18
TIE = 1e-6  # relative
PRODUCT, FOLD_IN, OURS, BOTH, SHAPELESS = (
    "bare product",
    "fold-in",
    "20 best",
    "fold-in and 20 best",
    "20 best, factors drawn at random",
)
TITLE = "Scoring alone, batches of 64"
ONE, ALL = "implicit, one thread", f"implicit, {os.cpu_count()} threads"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--asked", type=int, default=ASKED, help=f"users that are timed (default: {ASKED})")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    found = measured(asked.asked, asked.rounds)
    report.publish("scoring", {TITLE: table(found)}, goals_of(found), quiet=quiet, asked=vars(asked), scoring=found)


def measured(asked: int, rounds: int) -> dict[str, Any]:
    """Users a second, medians of alternating rounds; and how many lists differ from implicit's."""
    study.ASKED, study.ROUNDS = max(BATCH, asked // BATCH * BATCH), rounds
    watch = machine.Watch()
    rows = study.interactions()
    confidence = sp.csr_matrix((rows.data * 2, rows.indices, rows.indptr), (study.USERS, study.MOVIES))
    ours = Als.fit(rows, study.MOVIES, RECIPE, 0)
    theirs = _implicit(ours, rows)
    rates = study.contest(_ways(ours, theirs, rows, confidence))
    users = min(COMPARED, study.ASKED * 2)
    return {
        "users_per_s": rates,
        "different": compared(ours, theirs, rows, confidence, users, genres=False),
        "different_of_a_genre": compared(ours, theirs, rows, confidence, users, genres=True),
        "machine": watch.figures(),
    }


def _implicit(ours: Als, rows: Rows) -> AlternatingLeastSquares:
    """implicit with the same factors, so that lists can be compared."""
    theirs = AlternatingLeastSquares(factors=FACTORS, regularization=REGULARIZATION, alpha=ALPHA)
    theirs.item_factors = ours.arrays()["item_factors"]
    theirs.user_factors = ours.users(rows)
    return theirs


def _ways(ours: Als, theirs: AlternatingLeastSquares, rows: Rows, confidence: sp.csr_matrix) -> dict[str, Any]:
    batches = [(start, study.part(rows, start, BATCH)) for start in range(0, study.ASKED, BATCH)]
    vectors = [ours.users(batch) for _, batch in batches]
    transposed, scores = np.ascontiguousarray(theirs.item_factors.T), np.empty((BATCH, study.MOVIES), np.float32)
    drawn = np.random.default_rng(0).normal(size=(study.MOVIES, FACTORS)).astype(np.float32)
    shapeless = Als(drawn, np.eye(FACTORS), 1.0, np.ones(study.MOVIES, np.float32))

    def best(model: Als) -> None:
        for some, (_, batch) in zip(vectors, batches, strict=True):
            model.top(some, TOP, batch)

    def recommend(threads: int) -> None:
        theirs.num_threads = threads
        for start, _ in batches:
            some = np.arange(start, start + BATCH)
            theirs.recommend(some, confidence[some], N=TOP)

    return {
        PRODUCT: lambda: [np.matmul(some, transposed, out=scores) for some in vectors],
        FOLD_IN: lambda: [ours.users(batch) for _, batch in batches],
        OURS: lambda: best(ours),
        BOTH: lambda: [study.lists(ours, batch) for _, batch in batches],
        SHAPELESS: lambda: best(shapeless),
        ONE: lambda: recommend(1),
        ALL: lambda: recommend(0),
    }


def compared(
    ours: Als, theirs: AlternatingLeastSquares, rows: Rows, confidence: sp.csr_matrix, users: int, *, genres: bool
) -> dict[str, int]:
    """Lists that differ from implicit's; seen movies left out, with `genres` only those of one genre.

    `ties`: only where the exact scores of two movies differ by less than 1e-6 of themselves, which implicit's single precision
    cannot tell apart. `lists`: all others.
    """
    genre_of = np.random.default_rng(1).integers(0, GENRES, study.MOVIES)
    movies = theirs.item_factors.astype(np.float64)
    found = {"users": 0, "lists": 0, "ties": 0}
    for number, start in enumerate(range(0, users, BATCH)):
        some = np.arange(start, start + BATCH)
        mask: Bools | None = genre_of == number % GENRES if genres else None
        barred = None if mask is None else np.flatnonzero(~mask).astype(np.int32)
        expected, _ = theirs.recommend(some, confidence[some], N=TOP, filter_items=barred)
        lists = ours.top(theirs.user_factors[some], TOP, study.part(rows, start, BATCH), [mask] * BATCH)
        found["users"] += BATCH
        for row in np.flatnonzero((expected != lists.columns).any(axis=1)):
            vector = theirs.user_factors[some[row]].astype(np.float64)
            scores, own = movies[expected[row]] @ vector, movies[lists.columns[row]] @ vector
            found["ties" if np.allclose(own, scores, rtol=TIE, atol=0) else "lists"] += 1
    return found


def goals_of(found: dict[str, Any]) -> list[Goal]:
    rate = found["users_per_s"]
    implicit = max(rate[ONE], rate[ALL])
    return [
        Goal(name=f"scoring, {OURS} ÷ {PRODUCT}", found=rate[OURS] / rate[PRODUCT], least=0.6),
        Goal(name=f"scoring, {BOTH} ÷ {PRODUCT}", found=rate[BOTH] / rate[PRODUCT], least=0.6),
        Goal(name=f"scoring, {OURS} ÷ implicit's faster", found=rate[OURS] / implicit, least=1.6),
        *(
            Goal(
                name=f"lists of {one['users']:,} users{of} that differ from implicit's ({one['ties']} more by a tie)",
                found=one["lists"],
                most=0,
            )
            for of, one in (("", found["different"]), (" in one genre", found["different_of_a_genre"]))
        ),
    ]


def table(found: dict[str, Any]) -> str:
    rates = found["users_per_s"]
    rows = [(name, f"{rate:,.0f}", report.number(rate / rates[PRODUCT])) for name, rate in rates.items()]
    return report.table(("", "users/s", "÷ bare product"), rows)


if __name__ == "__main__":
    main()
