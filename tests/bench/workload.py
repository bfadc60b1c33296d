"""The workload that every contestant gets: 42,991 users, 21,941 movies, a million draws, ALS with 64 factors, top 20 unseen.

Also imported by peers that have an environment of their own: numpy, scipy and implicit, nothing of canarec.
"""

import json
import os
from pathlib import Path

import numpy as np
import scipy.sparse as sp

USERS, MOVIES, FACTORS, TOP = 42_991, 21_941, 64, 20
BROKER = os.environ.get("BENCH_BROKER", "127.0.0.1:19092")
FOLDER = Path(os.environ.get("BENCH_FOLDER", "."))


def interactions() -> sp.csr_matrix:
    """(users × movies) ones, drawn evenly over users; the same in every process."""
    rng = np.random.default_rng(0)
    users = rng.integers(0, USERS, 1_000_000)
    return _matrix(users, drawn_movies(rng, len(users), MOVIES), USERS, MOVIES)


def histories(users: int, movies: int, each: int, seed: int = 0) -> sp.csr_matrix:
    """(users × movies) ones, `each` draws for every user; a movie that was drawn twice counts once."""
    rng = np.random.default_rng(seed)
    drawn = np.repeat(np.arange(users), each)
    return _matrix(drawn, drawn_movies(rng, len(drawn), movies), users, movies)


def drawn_movies(rng: np.random.Generator, n: int, movies: int) -> np.ndarray:
    """Columns; popularity falls as rank to the power −0.9."""
    popularity = 1 / np.arange(1, movies + 1) ** 0.9
    return rng.choice(movies, n, p=popularity / popularity.sum())


def _matrix(users: np.ndarray, movies: np.ndarray, n_users: int, n_movies: int) -> sp.csr_matrix:
    drawn = sp.csr_matrix((np.ones(len(users), np.float32), (users, movies)), shape=(n_users, n_movies))
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


def fields(request: dict[str, str], movies: list[int], scores: list[float]) -> dict[str, object]:
    """What a peer answers."""
    return {**request, "recommendations": movies, "scores": scores, "model_version": "v1"}


def answer(request: dict[str, str], movies: list[int], scores: list[float]) -> bytes:
    """The same as JSON."""
    return json.dumps(fields(request, movies, scores)).encode()
