"""A change of basis that keeps every score and lets norms say more.

Pure linear algebra on factors; knows nothing of movies, training or serving.
"""

import numpy as np
import scipy.linalg

from models.recommenders.base import F32, F64


def balanced(users: F32, movies: F32) -> F64:
    """T (f, f), invertible, such that users·T⁻ᵀ and movies·T have the same diagonal second moments.

    With u' = T⁻¹u and v' = Tᵀv every u·v stays what it is, and mean |u'|² · mean |v'|² is the least that any basis can reach,
    so Cauchy and Schwarz' |u'||v'| comes closest to |u·v|: `topk` is done with a user earlier. The balanced realisation of
    control theory (Moore, IEEE TAC 26, 1981): with Cᵤ = AAᵀ and AᵀCᵥA = QΛQᵀ, T = AQΛ^(−1/4).
    users: (any number, f), movies: (any number, f). Directions that hold nothing are kept, tiny, so that T stays invertible;
    all zeros give the identity.

    >>> movies = np.array([[1, 0], [0, 1]], np.float32)
    >>> T = balanced(np.array([[4, 0], [0, 1]], np.float32), movies)
    >>> np.linalg.norm(movies @ T, axis=1).round(3).tolist()
    [2.0, 1.0]
    """
    factors = users.shape[1]
    user_covariance, movie_covariance = _second_moments(users), _second_moments(movies)
    if not (user_covariance.any() and movie_covariance.any()):
        return np.eye(factors)
    half: F64 = scipy.linalg.cholesky(user_covariance, lower=True)
    spread, turn = scipy.linalg.eigh(half.T @ movie_covariance @ half)
    basis: F64 = half @ turn * np.maximum(spread, spread[-1] * 1e-12) ** -0.25
    return basis


def _second_moments(vectors: F32) -> F64:
    """(f, f), with a ridge of a millionth so that no direction is empty."""
    exact = vectors.astype(np.float64)
    moments: F64 = exact.T @ exact / max(len(exact), 1)
    moments.flat[:: len(moments) + 1] += np.trace(moments) / len(moments) * 1e-6
    return moments
