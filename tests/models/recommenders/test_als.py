"""ALS: folding in is the paper's linear system, training repeats to the bit, planted tastes are found."""

import numpy as np
import pytest
import scipy.sparse
from implicit.cpu.als import AlternatingLeastSquares

from models.errors import BadArtifact, BadConfig, NoModel
from models.recommenders.als import Als
from models.recommenders.base import Rows

RECIPE = {"factors": 8, "regularization": 3.0, "alpha": 5.0, "iterations": 8}
MOVIES = 60


@pytest.fixture(scope="module")
def checkerboard():
    """Even users watch even movies, odd users odd ones: 200 users, 60 movies, 12 each."""
    rng = np.random.default_rng(0)
    return Rows.of([np.sort(rng.choice(MOVIES // 2, 12, replace=False)) * 2 + user % 2 for user in range(200)])


@pytest.fixture(scope="module")
def model(checkerboard):
    return Als.fit(checkerboard, MOVIES, RECIPE, 0)


def normal_equations(model, columns, strengths, alpha):
    """Hu, Koren & Volinsky, equation 4, term by term, from the stored factors."""
    arrays = model.arrays()
    factors = arrays["item_factors"].astype(np.float64)
    confidence = 1 + alpha * strengths
    watched = factors[columns]
    system = arrays["gramian"] + watched.T @ np.diag(confidence - 1) @ watched
    return np.linalg.solve(system, watched.T @ confidence)


@pytest.mark.parametrize("watched", [1, 3, 8, 9, 40], ids="{} movies".format)
def test_folding_in_solves_the_normal_equations(model, watched):
    rng = np.random.default_rng(watched)
    columns = rng.choice(MOVIES, watched, replace=False)
    strengths = rng.uniform(0.5, 5, watched).astype(np.float32)
    history = Rows(np.array([0, watched]), columns.astype(np.int32), strengths)
    expected = normal_equations(model, columns, strengths, RECIPE["alpha"])
    np.testing.assert_allclose(model.users(history)[0], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_scores_of_a_fold_in_are_those_of_implicit(checkerboard):
    """Another basis, the same scores: implicit trained alike, asked to recalculate a user of its own."""
    ours = Als.fit(checkerboard, MOVIES, RECIPE, 3)
    confidence = scipy.sparse.csr_matrix(
        (1 + np.float32(RECIPE["alpha"]) * checkerboard.data, checkerboard.indices, checkerboard.indptr), (200, MOVIES)
    )
    theirs = AlternatingLeastSquares(factors=8, regularization=3.0, alpha=1.0, iterations=8, random_state=3)
    theirs.fit(confidence, show_progress=False)
    expected = theirs.recalculate_user(np.arange(200), confidence) @ theirs.item_factors.T
    found = ours.users(checkerboard) @ ours.arrays()["item_factors"].T
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_a_fold_in_does_not_depend_on_the_batch(model, checkerboard):
    together = model.users(checkerboard)
    for user in (0, 7, 199):
        alone = Rows.of([checkerboard.indices[checkerboard.indptr[user] : checkerboard.indptr[user + 1]]])
        np.testing.assert_array_equal(model.users(alone)[0], together[user])


def test_lists_stay_on_the_users_colour(model):
    top = model.top(model.users(Rows.of([[0, 4, 10], [1, 5, 11]])), 20, Rows.of([[0, 4, 10], [1, 5, 11]]))
    assert set(top.row(0)[0] % 2) == {0}
    assert set(top.row(1)[0] % 2) == {1}


def test_the_same_input_and_seed_give_the_same_bits(model, checkerboard):
    again = Als.fit(checkerboard, MOVIES, RECIPE, 0)
    for name, array in model.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def test_another_seed_gives_another_model(model, checkerboard):
    assert (Als.fit(checkerboard, MOVIES, RECIPE, 1).arrays()["item_factors"] != model.arrays()["item_factors"]).any()


def test_arrays_give_the_same_model_again(model, checkerboard):
    again = Als.from_arrays(model.arrays())
    np.testing.assert_array_equal(again.users(checkerboard), model.users(checkerboard))


def test_no_history_folds_in_as_zeros(model):
    assert not model.users(Rows.of([[], [1]]))[0].any()


def test_an_explanation_adds_up_to_the_score(model):
    history, strengths = np.array([0, 4, 10], np.int32), np.array([1, 2, 0.5], np.float32)
    user = model.users(Rows(np.array([0, 3]), history, strengths))
    columns, scores = model.top(user, 10, Rows.of([history])).row(0)
    parts = model.explain(history, columns, strengths)
    assert parts.shape == (10, 3)
    np.testing.assert_allclose(parts.sum(axis=1), scores, rtol=1e-4)


def test_an_explanation_names_the_movie_of_the_same_taste(model):
    parts = model.explain(np.array([0, 1], np.int32), np.array([8, 9], np.int32))
    assert parts.argmax(axis=1).tolist() == [0, 1]


def test_training_tells_of_its_progress(checkerboard):
    told = []
    Als.fit(checkerboard, MOVIES, RECIPE, 0, lambda done, all_: told.append((done, all_)))
    assert told == [(done, 8) for done in range(1, 9)]


def test_more_factors_than_users_or_movies_is_no_error():
    model = Als.fit(Rows.of([[0, 1], [1]]), 3, RECIPE | {"factors": 32}, 0)
    top = model.top(model.users(Rows.of([[0]])), 20, Rows.of([[0]]))
    assert sorted(top.row(0)[0].tolist()) == [1, 2]


@pytest.mark.parametrize("users", [8, 20])
def test_a_regularization_made_for_more_data_leaves_tastes_in_little(users):
    """Even users watch even movies; λ = 16 would take everything from the first hours' data."""
    rng = np.random.default_rng(0)
    few = Rows.of([np.sort(rng.choice(10, 5, replace=False)) * 2 + user % 2 for user in range(users)])
    model = Als.fit(few, 20, RECIPE | {"regularization": 16.0}, 0)
    top = model.top(model.users(few), 3, few)
    assert (top.columns % 2 == np.arange(users)[:, None] % 2).mean() > 0.9
    assert top.scores.min() > 1e-3


def test_a_regularization_that_the_data_bear_is_left_alone(checkerboard):
    models = [Als.fit(checkerboard, MOVIES, RECIPE | {"regularization": value}, 0) for value in (3.0, 4.0)]
    assert (models[0].arrays()["gramian"] != models[1].arrays()["gramian"]).any()


def test_nothing_to_learn_from_is_said():
    with pytest.raises(NoModel):
        Als.fit(Rows.of([]), 0, RECIPE, 0)


@pytest.mark.parametrize(
    "wrong", [{"factors": 0}, {"alpha": 0}, {"regularization": -1}, {"iterations": "5"}, {"alpha": float("nan")}]
)
def test_a_parameter_out_of_range_is_named(checkerboard, wrong):
    with pytest.raises(BadConfig, match=next(iter(wrong))):
        Als.fit(checkerboard, MOVIES, RECIPE | wrong, 0)


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan")])
def test_a_strength_that_is_not_above_0_is_refused(model, strength):
    with pytest.raises(ValueError, match="strength"):
        model.users(Rows(np.array([0, 1]), np.array([0], np.int32), np.array([strength], np.float32)))


def damaged(model, name, change):
    arrays = {key: array.copy() for key, array in model.arrays().items()}
    arrays[name] = change(arrays[name])
    return arrays


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("item_factors", lambda a: a.astype(np.float64)),
        ("item_factors", lambda a: a[0]),
        ("item_factors", lambda a: a * np.nan),
        ("gramian", lambda a: a[1:]),
        ("gramian", lambda a: -a),
        ("alpha", lambda a: a * 0),
    ],
)
def test_damaged_arrays_are_refused(model, name, change):
    with pytest.raises(BadArtifact):
        Als.from_arrays(damaged(model, name, change))


def test_a_missing_array_is_named(model):
    arrays = model.arrays()
    del arrays["gramian"]
    with pytest.raises(BadArtifact, match="gramian"):
        Als.from_arrays(arrays)
