"""EASE: the weights solve the paper's problem, training repeats to the bit, only what something speaks for is recommended."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.errors import BadArtifact, BadConfig, NoModel
from models.recommenders.base import Rows
from models.recommenders.ease import Ease
from models.recommenders.folded import FoldIns

RECIPE = {"regularization": 5.0, "movies": 100, "neighbours": 100}
MOVIES = 60


@pytest.fixture(scope="module")
def checkerboard():
    """Even users watch even movies, odd users odd ones: 200 users, 60 movies, 12 each."""
    rng = np.random.default_rng(0)
    return Rows.of([np.sort(rng.choice(MOVIES // 2, 12, replace=False)) * 2 + user % 2 for user in range(200)])


@pytest.fixture(scope="module")
def model(checkerboard):
    return Ease.fit(checkerboard, MOVIES, RECIPE, 0)


def weights(model):
    """B as the model uses it, in the catalogue's columns: what a user who watched movie i alone scores."""
    dense = np.zeros((model.n_movies, model.n_movies))
    columns = model.arrays()["columns"]
    dense[:, columns] = model.users(Rows.of([[movie] for movie in range(model.n_movies)]))
    return dense


def least_squares(matrix, regularization):
    """min |x − XB|² + λ|B|², diag(B) = 0, column by column: the other movies' ridge regression on this one (no closed form)."""
    movies = matrix.shape[1]
    solved = np.zeros((movies, movies))
    for movie in range(movies):
        others = [other for other in range(movies) if other != movie]
        stacked = np.vstack([matrix[:, others], np.sqrt(regularization) * np.eye(movies - 1)])
        target = np.concatenate([matrix[:, movie], np.zeros(movies - 1)])
        solved[others, movie] = np.linalg.lstsq(stacked, target, rcond=None)[0]
    return solved


def rows_of(matrix):
    rows, columns = np.nonzero(matrix)
    indptr = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return Rows(indptr, columns.astype(np.int32), matrix[rows, columns].astype(np.float32))


MATRICES = arrays.arrays(
    np.float64,
    st.tuples(st.integers(1, 9), st.integers(1, 8)),
    elements=st.sampled_from([0.0, 0.0, 1.0, 0.5, 3.0]),
).filter(np.any)


@given(matrix=MATRICES, regularization=st.floats(0.1, 50))
def test_the_weights_are_each_movies_ridge_regression_on_the_others(matrix, regularization):
    model = Ease.fit(rows_of(matrix), matrix.shape[1], RECIPE | {"regularization": regularization}, 0)
    np.testing.assert_allclose(weights(model), least_squares(matrix, regularization), atol=1e-5)


@given(matrix=MATRICES, kept=st.integers(1, 8))
def test_the_largest_weights_of_each_movie_are_kept_as_they_are(matrix, kept):
    whole, less = (
        weights(Ease.fit(rows_of(matrix), matrix.shape[1], RECIPE | {"neighbours": many}, 0)) for many in (100, kept)
    )
    for movie in range(matrix.shape[1]):
        best = sorted(range(matrix.shape[1]), key=lambda row: (-abs(whole[row, movie]), row))[:kept]
        expected = np.zeros(matrix.shape[1])
        expected[best] = whole[best, movie]
        np.testing.assert_array_equal(less[:, movie], expected)


def test_of_equal_weights_those_of_the_lower_rows_are_kept():
    """A hundred movies that the same users watch, each kept beside five others."""
    model = Ease.fit(Rows.of([range(100)] * 5), 100, RECIPE | {"neighbours": 5}, 0)
    assert len(np.unique(model.arrays()["weights"])) == 1
    for movie, column in enumerate(weights(model).T):
        assert np.flatnonzero(column).tolist() == [row for row in range(6) if row != movie][:5]


@given(matrix=MATRICES, most=st.integers(1, 8))
def test_only_the_most_watched_movies_take_part(matrix, most):
    model = Ease.fit(rows_of(matrix), matrix.shape[1], RECIPE | {"movies": most}, 0)
    counts = np.count_nonzero(matrix, axis=0)
    by_count = sorted(range(len(counts)), key=lambda movie: (-counts[movie], movie))
    taking_part = sorted(movie for movie in by_count[:most] if counts[movie])
    assert model.arrays()["columns"].tolist() == taking_part
    assert model.n_movies == matrix.shape[1]
    part = np.ix_(taking_part, taking_part)
    expected = np.zeros((len(counts), len(counts)))
    expected[part] = least_squares(matrix[:, taking_part], RECIPE["regularization"])
    np.testing.assert_allclose(weights(model), expected, atol=1e-5)


HISTORIES = st.lists(st.lists(st.integers(0, MOVIES - 1), unique=True, max_size=12).map(sorted), min_size=1, max_size=6)


@given(histories=HISTORIES, n=st.integers(0, 70), data=st.data())
@settings(max_examples=60)
def test_a_list_is_all_movies_with_a_score_above_0_sorted_and_cut(model, histories, n, data):
    """By falling score, equals by column, nothing excluded or not allowed: against a plain sort."""
    masks = [
        data.draw(st.none() | arrays.arrays(np.bool_, MOVIES, elements=st.booleans()), label="allowed")
        for _ in histories
    ]
    users = model.users(Rows.of(histories))
    before = users.copy()
    top = model.top(users, n, Rows.of(histories), masks)
    np.testing.assert_array_equal(users, before)
    for row, (history, mask) in enumerate(zip(histories, masks, strict=True)):
        may = [m for m in range(MOVIES) if m not in history and (mask is None or mask[m]) and users[row, m] > 0]
        expected = sorted(may, key=lambda movie: (-users[row, movie], movie))[:n]
        columns, scores = top.row(row)
        assert columns.tolist() == expected
        assert scores.tolist() == [users[row, movie] for movie in expected]


def test_equal_scores_stand_by_column():
    """Movies 1 to 6 are watched by the same users: no score tells them apart."""
    model = Ease.fit(Rows.of([[0, 1, 2, 3, 4, 5, 6]] * 5 + [[7]]), 8, RECIPE, 0)
    assert model.top(model.users(Rows.of([[0]])), 4, Rows.of([[0]])).row(0)[0].tolist() == [1, 2, 3, 4]


@given(histories=HISTORIES)
@settings(max_examples=30)
def test_a_user_alone_is_the_user_in_a_batch_to_the_bit(model, histories):
    together = model.users(Rows.of(histories))
    for row, history in enumerate(histories):
        np.testing.assert_array_equal(model.users(Rows.of([history]))[0], together[row])


def test_a_large_batch_is_the_same_as_its_users_alone(model, checkerboard):
    many = Rows.of([checkerboard.indices[: 1 + user % 12] for user in range(600)])
    together = model.users(many)
    for user in (0, 255, 256, 599):
        np.testing.assert_array_equal(model.users(Rows.of([checkerboard.indices[: 1 + user % 12]]))[0], together[user])


def test_lists_stay_on_the_users_colour(model):
    histories = Rows.of([[0, 4, 10], [1, 5, 11]])
    top = model.top(model.users(histories), 10, histories)
    assert set(top.row(0)[0] % 2) == {0}
    assert set(top.row(1)[0] % 2) == {1}


@pytest.mark.parametrize("users", [8, 20])
def test_a_regularization_made_for_more_data_leaves_tastes_in_little(users):
    """Even users watch even movies; λ = 300 is far more than the first hours' data weigh."""
    rng = np.random.default_rng(0)
    few = Rows.of([np.sort(rng.choice(10, 5, replace=False)) * 2 + user % 2 for user in range(users)])
    model = Ease.fit(few, 20, RECIPE | {"regularization": 300.0}, 0)
    top = model.top(model.users(few), 3, few)
    assert (top.columns % 2 == np.arange(users)[:, None] % 2).all()


def test_what_takes_no_part_is_neither_recommended_nor_speaks_for_anything(checkerboard):
    model = Ease.fit(checkerboard, MOVIES, RECIPE | {"movies": 20}, 0)
    out = sorted(set(range(MOVIES)) - set(model.arrays()["columns"].tolist()))
    seen = model.arrays()["columns"][:2].tolist()
    top = model.top(model.users(Rows.of([seen, sorted([*seen, out[0]]), out[:3]])), 60, Rows.of([seen, seen, out[:3]]))
    assert not set(top.row(0)[0]) & set(out)
    np.testing.assert_array_equal(top.row(0)[0], top.row(1)[0])
    assert len(top.row(2)[0]) == 0


def test_no_history_scores_zeros_and_has_no_list(model):
    users = model.users(Rows.of([[], [1]]))
    assert not users[0].any()
    assert model.top(users, 5).counts.tolist()[0] == 0


def test_an_excluded_column_below_0_hides_nothing_else(model):
    with pytest.raises(IndexError, match="-1"):
        model.top(model.users(Rows.of([[0]])), 5, Rows.of([[-1]]))


def test_each_user_may_ask_for_another_number(model):
    histories = Rows.of([[0, 4], [1, 5], [0, 4]])
    top = model.top(model.users(histories), np.array([3, 0, 7]), histories)
    assert top.counts.tolist() == [3, 0, 7]
    assert top.row(0)[0].tolist() == top.row(2)[0][:3].tolist()


@given(history=HISTORIES.map(lambda found: found[0]).filter(bool))
@settings(max_examples=30)
def test_an_explanation_adds_up_to_the_score(model, history):
    strengths = np.linspace(0.5, 2, len(history)).astype(np.float32)
    user = model.users(Rows(np.array([0, len(history)]), np.array(history, np.int32), strengths))
    columns, scores = model.top(user, 10, Rows.of([history])).row(0)
    parts = model.explain(np.array(history, np.int32), columns, strengths)
    assert parts.shape == (len(columns), len(history))
    np.testing.assert_allclose(parts.sum(axis=1), scores, rtol=1e-4, atol=1e-6)


def test_a_movie_that_takes_no_part_explains_nothing(checkerboard):
    model = Ease.fit(checkerboard, MOVIES, RECIPE | {"movies": 20}, 0)
    inside, outside = (
        model.arrays()["columns"][:2].tolist(),
        sorted(set(range(MOVIES)) - set(model.arrays()["columns"])),
    )
    parts = model.explain(np.array([inside[0], outside[0]], np.int32), np.array([inside[1], outside[1]], np.int32))
    assert parts[0, 0] != 0
    assert not parts[1].any()
    assert not parts[:, 1].any()


def test_the_same_input_gives_the_same_bits_whatever_the_seed(model, checkerboard):
    again = Ease.fit(checkerboard, MOVIES, RECIPE, 7)
    for name, array in model.arrays().items():
        np.testing.assert_array_equal(again.arrays()[name], array)


def test_arrays_give_the_same_model_again(model, checkerboard):
    again = Ease.from_arrays(model.arrays())
    np.testing.assert_array_equal(again.users(checkerboard), model.users(checkerboard))
    assert again.n_movies == MOVIES


def test_remembered_scores_keep_to_their_memory(model):
    """A row is as wide as the movies that take part: what is remembered is counted in bytes, not in users."""
    rows = Rows.of([[movie, other] for movie in range(MOVIES) for other in range(movie + 1, MOVIES)])
    folded = FoldIns(model, capacity=20_000)
    for start in range(0, len(rows.indptr) - 1, 10):
        part = Rows(np.arange(11) * 2, rows.indices[start * 2 : start * 2 + 20], rows.data[start * 2 : start * 2 + 20])
        np.testing.assert_array_equal(folded.users(part), model.users(part))
    assert sum(vector.nbytes for kept in (folded._young, folded._old) for vector in kept.values()) < 2 * 20_000 + 12_000


def test_training_tells_of_its_progress(checkerboard):
    told = []
    Ease.fit(checkerboard, MOVIES, RECIPE, 0, lambda done, steps: told.append((done, steps)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_nothing_to_learn_from_is_said():
    with pytest.raises(NoModel):
        Ease.fit(Rows.of([[], []]), 5, RECIPE, 0)


def test_one_movie_is_a_model_that_recommends_nothing():
    model = Ease.fit(Rows.of([[0]]), 1, RECIPE, 0)
    assert model.top(model.users(Rows.of([[0]])), 5).counts.tolist() == [0]


@pytest.mark.parametrize(
    "wrong", [{"regularization": 0}, {"movies": 0}, {"neighbours": "5"}, {"regularization": float("nan")}]
)
def test_a_parameter_out_of_range_is_named(checkerboard, wrong):
    with pytest.raises(BadConfig, match=next(iter(wrong))):
        Ease.fit(checkerboard, MOVIES, RECIPE | wrong, 0)


@pytest.mark.parametrize("strength", [0.0, -1.0, float("nan")])
def test_a_strength_that_is_not_above_0_is_refused(model, strength):
    with pytest.raises(ValueError, match="strength"):
        model.users(Rows(np.array([0, 1]), np.array([0], np.int32), np.array([strength], np.float32)))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("n_movies", lambda a: a - 1),
        ("n_movies", lambda a: a[:0]),
        ("columns", lambda a: a[::-1]),
        ("columns", lambda a: a - 1),
        ("columns", lambda a: a[:0]),
        ("indptr", lambda a: a[1:]),
        ("indptr", lambda a: a * 0),
        ("indptr", lambda a: np.concatenate([a[:1], a[:0:-1]])),
        ("indices", lambda a: a + MOVIES),
        ("indices", lambda a: a[1:]),
        ("indices", lambda a: a.astype(np.float32)),
        ("weights", lambda a: a * np.nan),
        ("weights", lambda a: a.astype(np.float64)),
    ],
)
def test_damaged_arrays_are_refused(model, name, change):
    arrays = {key: array.copy() for key, array in model.arrays().items()}
    arrays[name] = change(arrays[name])
    with pytest.raises(BadArtifact):
        Ease.from_arrays(arrays)


def test_a_missing_array_is_named(model):
    arrays = model.arrays()
    del arrays["columns"]
    with pytest.raises(BadArtifact, match="columns"):
        Ease.from_arrays(arrays)
