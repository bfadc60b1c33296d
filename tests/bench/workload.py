"""The workload that every contestant gets: 42,991 users, 21,941 movies, a million draws, ALS with 64 factors, top 20 unseen."""

import json
import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import scipy.sparse as sp

USERS, MOVIES, FACTORS, TOP = 42_991, 21_941, 64, 20
BROKER = os.environ.get("BENCH_BROKER", "127.0.0.1:19092")
FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))


def interactions() -> sp.csr_matrix:
    """(users × movies) ones, popularity falling as rank to the power −0.9; the same in every process."""
    rng = np.random.default_rng(0)
    popularity = 1 / np.arange(1, MOVIES + 1) ** 0.9
    users = rng.integers(0, USERS, 1_000_000)
    movies = rng.choice(MOVIES, 1_000_000, p=popularity / popularity.sum())
    drawn = sp.csr_matrix((np.ones(len(users), np.float32), (users, movies)), shape=(USERS, MOVIES))
    drawn.sum_duplicates()
    drawn.data[:] = 1
    return drawn


def peers_model():  # type: ignore[no-untyped-def]
    """implicit's own ALS, trained once and kept."""
    from implicit.cpu.als import AlternatingLeastSquares

    path = FOLDER / "peers-als.npz"
    if path.exists():
        return AlternatingLeastSquares.load(str(path))
    model = AlternatingLeastSquares(factors=FACTORS, iterations=5, random_state=0)
    model.fit(interactions(), show_progress=False)
    model.save(str(path))
    return model


def answer(request: dict[str, str], movies: list[int], scores: list[float]) -> bytes:
    """A peer's answer."""
    return json.dumps({**request, "recommendations": movies, "scores": scores, "model_version": "v1"}).encode()
