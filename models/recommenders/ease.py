"""A linear item-item model in closed form: what to add to each movie's score for each movie that was watched.

Learns and scores; which movies a user must not get is the caller's to say. No randomness: the seed of the protocol is not used.

Steck, Embarrassingly Shallow Autoencoders for Sparse Data, WWW 2019. His symbols: X the interactions (users × movies), λ the
regularization, G = XᵀX + λI, P = G⁻¹, B the weights (equation 8):

    min over B with diag(B) = 0 of |X − XB|² + λ|B|²        Bᵢⱼ = −Pᵢⱼ / Pⱼⱼ for i ≠ j        score of j = Σᵢ xᵢ Bᵢⱼ

Two limits keep it servable. The most watched movies take part, since G is dense: no other is recommended, or says anything
about one. And of each column of B the largest weights are kept (by size; equals by the lower row), for B is dense, too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse
from threadpoolctl import threadpool_limits

from models.errors import BadArtifact, BadConfig, NoModel
from models.recommenders import popular, topk
from models.recommenders.base import F32, F64, I32, I64, Bools, Csr, Parameters, Progress, Top

AT_ONCE = 256  # rows of a matrix in work at a time
STEPS = 4  # that progress is told of
ABOVE_0 = float(np.finfo(np.float32).smallest_subnormal)


@dataclass(frozen=True, slots=True, kw_only=True)
class EaseParameters:
    """The hyperparameters, as config.json's `training` names them."""

    regularization: float  # λ
    movies: int  # how many take part, at most
    neighbours: int  # weights kept of each movie's column of B, at most

    @classmethod
    def of(cls, recipe: Parameters) -> Self:
        """Errors: BadConfig with the key that is missing or out of range. Other keys are ignored."""
        least = {"regularization": 1e-6, "movies": 1, "neighbours": 1}
        for key, lowest in least.items():
            value = recipe.get(key)
            if isinstance(value, bool | str) or value is None or not lowest <= value < float("inf"):
                raise BadConfig(f"training.{key}", f"{value!r} is not a number from {lowest:g} on")
        return cls(
            regularization=float(recipe["regularization"]),
            movies=int(recipe["movies"]),
            neighbours=int(recipe["neighbours"]),
        )


class Ease:
    """A learned B. Never changes; safe to use from several threads."""

    algorithm: ClassVar[str] = "ease"
    size: ClassVar[str] = "movies"
    weight_power: ClassVar[float] = 0.5  # G = XᵀX is of products of two strengths

    def __init__(self, n_movies: int, columns: I32, weights: scipy.sparse.csr_matrix) -> None:
        """columns: the catalogue's column of each movie that takes part, ascending, (m,). weights: B, float32, (m, m)."""
        self._n_movies = n_movies
        self._columns = columns
        self._weights = weights
        self._place: I32 = np.full(n_movies, -1, np.int32)  # column → row of B, −1 where it takes no part
        self._place[columns] = np.arange(len(columns), dtype=np.int32)

    @property
    def n_movies(self) -> int:
        return self._n_movies

    @classmethod
    def fit(
        cls,
        interactions: Csr,
        n_movies: int,
        parameters: Parameters,
        seed: int,
        progress: Progress | None = None,
    ) -> Self:
        """Learn B from (users × movies), values r > 0. One BLAS thread: more would change the last bits from run to run.

        Takes 8 m² bytes for the m movies that take part: G becomes its factor, and that P, in place.
        Errors: NoModel where there is nothing to learn from, BadConfig for a parameter out of range.
        """
        chosen = EaseParameters.of(parameters)
        counts = popular.counts(interactions, n_movies)
        most = popular.order(counts)[: min(chosen.movies, np.count_nonzero(counts))]
        if not len(most):
            raise NoModel("no interactions to learn from")
        model = cls(n_movies, np.sort(most), scipy.sparse.csr_matrix((len(most), len(most)), dtype=np.float32))
        tell = progress or (lambda done, steps: None)
        with threadpool_limits(limits=1, user_api="blas"):
            gram = _gram(model._known(interactions), chosen.regularization)
            tell(1, STEPS)
            factor, failed = scipy.linalg.lapack.dpotrf(gram.T, lower=1, clean=0, overwrite_a=1)
            tell(2, STEPS)
            if not failed:
                inverse, failed = scipy.linalg.lapack.dpotri(factor, lower=1, overwrite_c=1)
            if failed:
                raise BadConfig("training.regularization", f"{chosen.regularization:g} is too small for this data")
            tell(3, STEPS)
            weights = _strongest(_mirrored(inverse.T), chosen.neighbours)
            tell(4, STEPS)
        return cls(n_movies, model._columns, weights)

    def users(self, histories: Csr) -> F32:
        """xB of each row: the score of each movie that takes part, (users, m). Sums run in the order of the history.

        Zeros throughout where nothing that was watched says anything.
        """
        known = self._known(histories)
        scores: F32 = np.empty(known.shape, np.float32)
        for start in range(0, len(scores), AT_ONCE):
            (known[start : start + AT_ONCE] @ self._weights).toarray(out=scores[start : start + AT_ONCE])
        return scores

    def top(
        self, users: F32, n: int | I64, excluded: Csr | None = None, allowed: Sequence[Bools | None] | None = None
    ) -> Top:
        """See `topk.best`. Only movies that something speaks for: a score is above 0, else the list is shorter than n."""
        places = None
        if excluded is not None:
            columns = np.asarray(excluded.indices)
            if len(columns) and columns.min() < 0:
                raise IndexError(f"excluded column {columns.min()} is below 0")
            places = self._place[columns], np.repeat(np.arange(len(users)), np.diff(excluded.indptr))
        wanted = np.broadcast_to(np.asarray(n, np.int64), len(users))
        scores = users.copy()
        if places is not None:
            place, row = places
            scores[row[place >= 0], place[place >= 0]] = -np.inf
        if allowed is not None:
            for row_of, mask in enumerate(allowed):
                if mask is not None:
                    scores[row_of, ~mask[self._columns]] = -np.inf
        return topk.of_scores(scores, wanted, self._columns, lowest=ABOVE_0)

    def explain(self, history: I32, recommended: I32, strengths: F32 | None = None) -> F32:
        """xᵢ Bᵢⱼ of each movie i of a history and each recommended j: (recommended, history). A row adds up to the score."""
        held = np.ones(len(history), np.float32) if strengths is None else strengths
        parts: F32 = np.zeros((len(recommended), len(history)), np.float32)
        of, to = self._place[history], self._place[recommended]
        block = self._weights[of[of >= 0]][:, to[to >= 0]].toarray().T
        parts[np.ix_(to >= 0, of >= 0)] = block * held[of >= 0]
        return parts

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "n_movies": np.array([self._n_movies], np.int64),
            "columns": self._columns,
            "indptr": self._weights.indptr.astype(np.int64),
            "indices": self._weights.indices.astype(np.int32),
            "weights": self._weights.data,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Errors: BadArtifact where an array is missing, misshapen or not finite."""
        try:
            number, columns, indptr, indices, weights = (
                arrays[name] for name in ("n_movies", "columns", "indptr", "indices", "weights")
            )
        except KeyError as error:
            raise BadArtifact(f"the model lacks the array {error}") from None
        if any(array.dtype.kind != "i" for array in (number, columns, indptr, indices)):
            raise BadArtifact("n_movies, columns, indptr and indices: whole numbers expected")
        if number.shape != (1,) or not 0 < len(columns) <= number[0]:
            raise BadArtifact(f"n_movies and columns: {number} do not fit {columns.shape} columns")
        if columns[0] < 0 or columns[-1] >= number[0] or not (np.diff(columns) > 0).all():
            raise BadArtifact("columns: not ascending, or not of this catalogue")
        if weights.dtype != np.float32 or not np.isfinite(weights).all():
            raise BadArtifact("weights: float32 and finite expected")
        if indptr.shape != (len(columns) + 1,) or indptr[0] != 0 or not (np.diff(indptr) >= 0).all():
            raise BadArtifact(f"indptr: {indptr.shape} does not fit {len(columns)} movies")
        if not indptr[-1] == len(indices) == len(weights):
            raise BadArtifact(f"indices and weights: {len(indices)} and {len(weights)}, {indptr[-1]} expected")
        if len(indices) and not 0 <= indices.min() <= indices.max() < len(columns):
            raise BadArtifact("indices: not of these movies")
        matrix = scipy.sparse.csr_matrix((weights, indices, indptr), shape=(len(columns), len(columns)))
        return cls(int(number[0]), columns.astype(np.int32), matrix)

    def _known(self, interactions: Csr) -> scipy.sparse.csr_matrix:
        """The part of (users × movies) that movies of this model are in, (users, m)."""
        strengths = np.asarray(interactions.data, np.float32)
        if len(strengths) and not strengths.min() > 0:  # also NaN
            raise ValueError(f"an interaction's strength must be above 0, found {strengths.min()}")
        place = self._place[interactions.indices]
        keep = place >= 0
        before = np.concatenate([[0], np.cumsum(keep)])
        indptr = before[np.asarray(interactions.indptr)]
        return scipy.sparse.csr_matrix(
            (strengths[keep], place[keep], indptr), shape=(len(indptr) - 1, len(self._columns))
        )


def _gram(interactions: scipy.sparse.csr_matrix, regularization: float) -> F64:
    """G = XᵀX + λI, dense, some rows at a time: the sparse product of everything would be larger than G."""
    exact = interactions.astype(np.float64)
    transposed = exact.T.tocsr()
    gram: F64 = np.empty((exact.shape[1],) * 2)
    for start in range(0, len(gram), AT_ONCE):
        (transposed[start : start + AT_ONCE] @ exact).toarray(out=gram[start : start + AT_ONCE])
    gram.flat[:: len(gram) + 1] += regularization
    return gram


def _mirrored(upper: F64) -> F64:
    """The symmetric matrix whose upper triangle this is, in place."""
    for start in range(0, len(upper), AT_ONCE):
        stop = start + AT_ONCE
        block = upper[start:stop, start:stop]
        block[:] = np.triu(block) + np.triu(block, 1).T
        upper[stop:, start:stop] = upper[start:stop, stop:].T
    return upper


def _strongest(inverse: F64, neighbours: int) -> scipy.sparse.csr_matrix:
    """B with the largest `neighbours` of each column, from P: row j of the symmetric P is its column j."""
    movies = len(inverse)
    kept = min(neighbours, movies - 1)
    rows: list[npt.NDArray[np.int32]] = []
    values: list[F32] = []
    for start in range(0, movies, AT_ONCE):
        block = inverse[start : start + AT_ONCE]
        here = np.arange(len(block))
        weights = (-block / block[here, start + here, None]).astype(np.float32)
        weights[here, start + here] = 0
        chosen = _largest(np.abs(weights), kept)
        rows.append(chosen.astype(np.int32).ravel())
        values.append(np.take_along_axis(weights, chosen, axis=1).ravel())
    transposed = scipy.sparse.csr_matrix(
        (np.concatenate(values), np.concatenate(rows), np.arange(movies + 1) * kept), shape=(movies, movies)
    )
    transposed.eliminate_zeros()
    weights = transposed.T.tocsr()
    weights.sort_indices()
    return weights


def _largest(sizes: F32, kept: int) -> I64:
    """The places of the largest `kept` of each row, ascending, (rows, kept); of equals at the border the first ones."""
    if not kept:
        return np.empty((len(sizes), 0), np.int64)
    border = -np.partition(-sizes, kept - 1, axis=1)[:, kept - 1, None]
    above, equal = sizes > border, sizes == border
    left = kept - np.count_nonzero(above, axis=1, keepdims=True)
    return np.nonzero(above | (equal & (np.cumsum(equal, axis=1, dtype=np.int32) <= left)))[1].reshape(-1, kept)
