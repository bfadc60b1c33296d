"""How fast lists are made, beside the bare matrix product and implicit's own `recommend`, on one thread:

    python -m pipelines.studies.scoring_speed          (1 minute)

Synthetic: 42,991 users, 1,000,000 interactions with 21,941 movies whose popularity falls by a power law, the 20 best, seen ones
left out. Figures are medians of five alternating rounds; compare them with each other, not with another machine's.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy

import statistics
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares

from models.recommenders.als import Als
from models.recommenders.base import F32, Rows, Top

USERS, MOVIES, INTERACTIONS = 42_991, 21_941, 1_000_000
ASKED = 6_400
ROUNDS = 5


def interactions() -> Rows:
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, MOVIES + 1) ** 0.9
    users = rng.integers(0, USERS, INTERACTIONS)
    movies = rng.choice(MOVIES, INTERACTIONS, p=popularity / popularity.sum())
    pairs = np.unique(users * MOVIES + movies)
    indptr = np.searchsorted(pairs, np.arange(USERS + 1) * MOVIES)
    return Rows(indptr, (pairs % MOVIES).astype(np.int32), np.ones(len(pairs), np.float32))


def part(rows: Rows, start: int, size: int) -> Rows:
    bounds = rows.indptr[start : start + size + 1]
    return Rows(bounds - bounds[0], rows.indices[bounds[0] : bounds[-1]], rows.data[bounds[0] : bounds[-1]])


def contest(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Users a second, each way once in each round."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            taken[name].append(time.perf_counter() - start)
    return {name: ASKED / statistics.median(times) for name, times in taken.items()}


def against_implicit(rows: Rows, factors: int) -> None:
    """Speed in batches of 64, and whether the lists are the same."""
    confidence = scipy.sparse.csr_matrix((rows.data * 2, rows.indices, rows.indptr), (USERS, MOVIES))
    recipe = {"factors": factors, "regularization": 0.01, "alpha": 1.0, "iterations": 5}
    start = time.perf_counter()
    ours = Als.fit(rows, MOVIES, recipe, 0)
    trained = time.perf_counter() - start
    theirs = AlternatingLeastSquares(
        factors=factors, regularization=0.01, alpha=1.0, iterations=5, random_state=0, num_threads=1
    )
    theirs.fit(confidence, show_progress=False)
    theirs.item_factors = ours.arrays()["item_factors"]  # the same factors, so that lists can be compared
    theirs.user_factors = ours.users(rows)
    transposed = np.ascontiguousarray(theirs.item_factors.T)
    scores = np.empty((64, MOVIES), np.float32)
    batches = [(start, part(rows, start, 64)) for start in range(0, ASKED, 64)]
    vectors: list[F32] = [ours.users(batch) for _, batch in batches]

    def recommend() -> None:
        for start, _ in batches:
            some = np.arange(start, start + 64)
            theirs.recommend(some, confidence[some], N=20)

    rates = contest(
        {
            "bare product": lambda: [np.matmul(some, transposed, out=scores) for some in vectors],
            "fold-in": lambda: [ours.users(batch) for _, batch in batches],
            "20 best": lambda: [ours.top(some, 20, batch) for some, (_, batch) in zip(vectors, batches, strict=True)],
            "fold-in and 20 best": lambda: [lists(ours, batch) for _, batch in batches],
            "implicit, 20 best": recommend,
        }
    )
    print(f"\n{factors} factors, batches of 64, trained in {trained:.1f} s")
    for name, rate in rates.items():
        print(f"  {name:<22}{rate:>8,.0f} users/s   × bare product {rate / rates['bare product']:.2f}")
    alone = contest({"": lambda: [lists(ours, part(rows, user, 1)) for user in range(ASKED)]})[""]
    print(f"  {'alone':<22}{alone:>8,.0f} users/s")
    different = 0
    for start in range(0, 10_048, 64):
        some = np.arange(start, start + 64)
        ids, _ = theirs.recommend(some, confidence[some], N=20)
        different += int(
            (ids != ours.top(theirs.user_factors[some], 20, part(rows, start, 64)).columns).any(axis=1).sum()
        )
    print(f"  lists of 10,048 users that differ from implicit's: {different}")


def lists(model: Als, histories: Rows) -> Top:
    return model.top(model.users(histories), 20, histories)


def fold_in(rows: Rows, factors: int) -> None:
    """By length of history."""
    rng = np.random.default_rng(1)
    model = Als.fit(rows, MOVIES, {"factors": factors, "regularization": 1.0, "alpha": 1.0, "iterations": 1}, 0)
    short, long = (
        Rows.of([np.sort(rng.choice(MOVIES, length, replace=False)) for _ in range(64)]) for length in (20, 200)
    )
    rates = contest(
        {
            "20 movies": lambda: [model.users(short) for _ in range(ASKED // 64)],
            "200 movies": lambda: [model.users(long) for _ in range(ASKED // 64)],
        }
    )
    print(
        f"fold-in with {factors:>3} factors, histories of "
        + ", ".join(f"{n}: {rate:,.0f}/s" for n, rate in rates.items())
    )


def main() -> None:
    rows = interactions()
    for factors in (64, 128):
        against_implicit(rows, factors)
    print()
    for factors in (64, 96, 128):
        fold_in(rows, factors)


if __name__ == "__main__":
    main()
