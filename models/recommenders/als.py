"""Implicit-feedback matrix factorisation by alternating least squares. `implicit` is imported here and nowhere else.

implicit only trains. Folding a user in is done here, since it pads, cannot explain in a batch and is slower; what it does and
what this file does is the same linear system, which tests hold.

Hu, Koren and Volinsky, Collaborative Filtering for Implicit Feedback Datasets, ICDM 2008. Their symbols: yᵢ the factors of movie
i (rows of Y), r the strength of an interaction, c = 1 + αr its confidence, p = 1, λ the regularization; xᵤ the factors of user u.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from models.errors import BadArtifact, BadConfig, NoModel
from models.recommenders import topk
from models.recommenders.base import F32, F64, I32, I64, Bools, Csr, Parameters, Progress, Top
from models.recommenders.basis import balanced

AT_ONCE = 256  # users


@dataclass(frozen=True, slots=True, kw_only=True)
class AlsParameters:
    """The hyperparameters, as config.json's `training` names them."""

    factors: int  # f
    regularization: float  # λ; on data too small for it a third of their largest singular value instead (`_bearable`)
    alpha: float  # α: how much more an interaction of strength 1 weighs than none
    iterations: int
    popularity_damping: float  # δ: a movie's score is divided by nᵢ^δ, nᵢ its interactions; 0 (the default) leaves it

    @classmethod
    def of(cls, recipe: Parameters) -> Self:
        """Errors: BadConfig with the key that is missing or out of range. Other keys are ignored."""
        recipe = {"popularity_damping": 0.0, **recipe}
        least = {"factors": 1, "regularization": 0.0, "alpha": 1e-6, "iterations": 1, "popularity_damping": 0.0}
        for key, lowest in least.items():
            value = recipe.get(key)
            if isinstance(value, bool | str) or value is None or not lowest <= value < float("inf"):
                raise BadConfig(f"training.{key}", f"{value!r} is not a number from {lowest:g} on")
        return cls(
            factors=int(recipe["factors"]),
            regularization=float(recipe["regularization"]),
            alpha=float(recipe["alpha"]),
            iterations=int(recipe["iterations"]),
            popularity_damping=float(recipe["popularity_damping"]),
        )


class Als:
    """A trained factorisation. Never changes; safe to use from several threads."""

    algorithm: ClassVar[str] = "als"
    size: ClassVar[str] = "factors"
    weight_power: ClassVar[float] = 1.0  # c = 1 + αr

    def __init__(self, item_factors: F32, gramian: F64, alpha: float, weights: F32) -> None:
        """item_factors: Y, (movies, f). gramian: YᵀY + λI, (f, f), symmetric and positive definite. alpha: α > 0.

        weights: wᵢ > 0, (movies,). A score is xᵤ·yᵢwᵢ.
        """
        self._item_factors = item_factors
        self._gramian = gramian
        self._alpha = alpha
        self._weights = weights
        # With G = YᵀY + λI = RRᵀ and W = R⁻ᵀ: in the basis of V = YW the Gramian is the identity, and xᵤ = W x'ᵤ.
        self._whitener: F64 = scipy.linalg.solve_triangular(
            np.linalg.cholesky(gramian), np.eye(len(gramian)), lower=True
        ).T
        self._whitened: F32 = (item_factors @ self._whitener).astype(np.float32)
        self._shelf = topk.Shelf(item_factors * weights[:, None])

    @property
    def n_movies(self) -> int:
        return len(self._item_factors)

    @classmethod
    def fit(
        cls,
        interactions: Csr,
        n_movies: int,
        parameters: Parameters,
        seed: int,
        progress: Progress | None = None,
    ) -> Self:
        """Learn Y from (users × movies), values r > 0. One BLAS thread: more would change the last bits from run to run.

        Errors: NoModel where there is nothing to learn from, BadConfig for a parameter out of range.
        """
        chosen = AlsParameters.of(parameters)
        strengths = _strengths(interactions)
        n_users = len(interactions.indptr) - 1
        if not len(strengths):
            raise NoModel("no interactions to learn from")
        # implicit takes the confidence itself, and its own alpha multiplies: so 1 + αr goes in and alpha stays 1.
        confidence = scipy.sparse.csr_matrix(
            ((1 + chosen.alpha * strengths).astype(np.float32), interactions.indices, interactions.indptr),
            shape=(n_users, n_movies),
        )
        bearable = _bearable(chosen.regularization, confidence)
        with threadpool_limits(limits=1, user_api="blas"):
            model = AlternatingLeastSquares(
                factors=chosen.factors,
                regularization=bearable,
                alpha=1.0,
                iterations=chosen.iterations,
                random_state=seed,
            )
            model.fit(
                confidence,
                show_progress=False,
                callback=(lambda done, *_: progress(done + 1, chosen.iterations)) if progress else None,
            )
            learned: F64 = model.item_factors.astype(np.float64)
            seen_by = np.bincount(confidence.indices, minlength=n_movies)
            weights = (np.maximum(seen_by, 1.0) ** -chosen.popularity_damping).astype(np.float32)
            basis = balanced(model.user_factors, model.item_factors * weights[:, None])
            gramian = basis.T @ (learned.T @ learned + bearable * np.eye(chosen.factors)) @ basis
            return cls((learned @ basis).astype(np.float32), (gramian + gramian.T) / 2, chosen.alpha, weights)

    def users(self, histories: Csr) -> F32:
        """xᵤ of each row: (YᵀY + λI + Yᵤᵀ(C−I)Yᵤ) xᵤ = Yᵤᵀ c, solved row by row in double precision (section 4, equation 4).

        A history has each movie once. An empty one gives zeros; a row that cannot be solved gives NaN, and hence no list.
        """
        indptr = np.asarray(histories.indptr)
        rises = self._alpha * _strengths(histories)  # c − 1
        vectors = np.zeros((len(indptr) - 1, self._item_factors.shape[1]), np.float32)
        for start in range(0, len(vectors), AT_ONCE):  # their factors are in memory at a time
            ends = indptr[start : start + AT_ONCE + 1].tolist()
            factors = self._whitened[histories.indices[ends[0] : ends[-1]]].astype(np.float64)
            for row, (first, last) in enumerate(pairwise(ends), start):
                if first < last:
                    watched = factors[first - ends[0] : last - ends[0]]  # Vᵤ
                    solve = _dual if last - first <= factors.shape[1] else _primal
                    vectors[row] = self._whitener @ solve(watched, rises[first:last])
        return vectors

    def top(
        self, users: F32, n: int | I64, excluded: Csr | None = None, allowed: Sequence[Bools | None] | None = None
    ) -> Top:
        """See `topk.best`."""
        return topk.best(self._shelf, users, n, excluded, allowed)

    def explain(self, history: I32, recommended: I32, strengths: F32 | None = None) -> F32:
        """What each movie j of a history adds to the score of each recommended i: wᵢ yᵢᵀ(…)⁻¹yⱼ cⱼ (section 5, equation 7).

        history: (h,) columns. Gives (recommended, h); a row adds up to the score. May be below 0. No history: (recommended, 0).
        """
        rises = self._alpha * (np.ones(len(history)) if strengths is None else strengths.astype(np.float64))
        watched = self._whitened[history].astype(np.float64)
        system = np.eye(watched.shape[1]) + watched.T @ (watched * rises[:, None])
        targets = self._whitened[recommended].astype(np.float64)
        pull: F64 = watched @ scipy.linalg.solve(system, targets.T, assume_a="pos")
        return (pull.T * (1 + rises) * self._weights[recommended, None]).astype(np.float32)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        return {
            "item_factors": self._item_factors,
            "gramian": self._gramian,
            "alpha": np.float64(self._alpha).reshape(1),
            "weights": self._weights,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Errors: BadArtifact where an array is missing, misshapen or not finite."""
        try:
            item_factors, gramian, alpha, weights = (
                arrays[name] for name in ("item_factors", "gramian", "alpha", "weights")
            )
        except KeyError as error:
            raise BadArtifact(f"the model lacks the array {error}") from None
        if item_factors.ndim != 2 or item_factors.dtype != np.float32:
            raise BadArtifact(
                f"item_factors: float32 of two dimensions expected, found {item_factors.dtype} {item_factors.shape}"
            )
        if (
            gramian.shape != (item_factors.shape[1],) * 2
            or alpha.shape != (1,)
            or weights.shape != item_factors.shape[:1]
        ):
            raise BadArtifact(
                f"gramian, alpha and weights: {gramian.shape}, {alpha.shape}, {weights.shape} do not fit {item_factors.shape} factors"
            )
        if not all(np.isfinite(array).all() for array in (item_factors, gramian, alpha, weights)):
            raise BadArtifact("the model holds numbers that are not finite")
        if not (alpha[0] > 0 and (weights > 0).all()):
            raise BadArtifact("alpha or a weight is not above 0")
        try:
            return cls(item_factors, gramian, float(alpha[0]), weights)
        except np.linalg.LinAlgError:
            raise BadArtifact("gramian: not positive definite") from None


def _strengths(interactions: Csr) -> F64:
    """r of each entry. Errors: ValueError where one is not above 0: no interaction is said by leaving it out."""
    strengths = np.asarray(interactions.data, np.float64)
    if len(strengths) and not strengths.min() > 0:  # also NaN
        raise ValueError(f"an interaction's strength must be above 0, found {strengths.min()}")
    return strengths


def _bearable(regularization: float, interactions: scipy.sparse.csr_matrix) -> float:
    """λ, or a third of the largest singular value σ of the 0/1 matrix of interactions where that is less.

    Factorising with λ takes λ from every singular value (Srebro, Rennie and Jaakkola, NIPS 2004): with λ ≥ σ nothing is left,
    and lists would be rounding errors in order. The first hours of a new service have such data. σ by power iteration.
    """
    ones = interactions.sign()
    right = np.ones(ones.shape[1])
    for _ in range(30):
        right = ones.T @ (ones @ (right / np.linalg.norm(right)))
    return min(regularization, float(np.sqrt(np.linalg.norm(right))) / 3)


def _dual(factors: F64, rises: F64) -> F64:
    """x' of a history of h movies by a system of size h: Woodbury's identity on (I + Vᵤᵀ D Vᵤ) x' = Vᵤᵀ c, D = diag(c − 1).

    x' = Vᵤᵀ w with (VᵤVᵤᵀ + D⁻¹) w = D⁻¹ c.
    """
    kernel = factors @ factors.T
    inverse = 1 / rises
    kernel.flat[:: len(kernel) + 1] += inverse
    _, weights, failed = scipy.linalg.lapack.dposv(kernel.T, inverse + 1, lower=1, overwrite_a=1, overwrite_b=1)
    x: F64 = weights @ factors
    return x if not failed else np.full_like(x, np.nan)


def _primal(factors: F64, rises: F64) -> F64:
    """The same by a system of size f: for long histories."""
    weighted = factors * np.sqrt(rises)[:, None]
    system = weighted.T @ weighted
    system.flat[:: len(system) + 1] += 1
    _, x, failed = scipy.linalg.lapack.dposv(system.T, (1 + rises) @ factors, lower=1, overwrite_a=1, overwrite_b=1)
    solved: F64 = x
    return solved if not failed else np.full_like(solved, np.nan)
