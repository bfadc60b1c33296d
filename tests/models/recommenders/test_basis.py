"""The change of basis: every score stays, the norms' bound gets tighter."""

import numpy as np

from models.recommenders.basis import balanced


def test_scores_stay_and_second_moments_meet():
    rng = np.random.default_rng(0)
    users = (rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6))).astype(np.float32)
    movies = (rng.standard_normal((80, 6)) @ rng.standard_normal((6, 6))).astype(np.float32)
    basis = balanced(users, movies)
    turned_users, turned_movies = users @ np.linalg.inv(basis).T, movies @ basis
    np.testing.assert_allclose(turned_users @ turned_movies.T, users @ movies.T, rtol=1e-4, atol=1e-4)
    moments = [turned.T @ turned / len(turned) for turned in (turned_users, turned_movies)]
    np.testing.assert_allclose(moments[0], np.diag(np.diag(moments[0])), atol=1e-4 * moments[0].max())
    np.testing.assert_allclose(moments[0], moments[1], rtol=1e-3, atol=1e-3 * moments[0].max())


def test_the_product_of_mean_norms_is_least():
    rng = np.random.default_rng(1)
    users = (rng.standard_normal((300, 6)) @ rng.standard_normal((6, 6))).astype(np.float32)
    movies = rng.standard_normal((80, 6)).astype(np.float32)
    basis = balanced(users, movies)

    def product(turn):
        return np.square(users @ np.linalg.inv(turn).T).sum() * np.square(movies @ turn).sum()

    for _ in range(20):
        assert product(basis) <= product(basis @ (np.eye(6) + rng.normal(0, 0.1, (6, 6)))) * (1 + 1e-9)


def test_empty_directions_leave_the_basis_invertible():
    users = np.zeros((5, 3), np.float32)
    users[:, 0] = 1
    assert np.linalg.matrix_rank(balanced(users, users), tol=0) == 3
    np.testing.assert_array_equal(balanced(np.zeros((2, 3), np.float32), users), np.eye(3))
