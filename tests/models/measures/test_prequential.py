"""Watches predicted from what was before them: known by construction, and the ranking measure as oracle."""

import numpy as np
import pytest

from models.measures import prequential, ranking
from models.recommenders.als import Als
from models.recommenders.base import Rows


@pytest.fixture(scope="module")
def model():
    """Even users like even movies, odd ones odd ones."""
    rng = np.random.default_rng(3)
    rows = Rows.of([np.sort(rng.choice(20, 9, replace=False)) * 2 + user % 2 for user in range(60)])
    return Als.fit(rows, 40, {"factors": 4, "regularization": 1.0, "alpha": 5.0, "iterations": 8}, 0)


def test_each_is_the_ndcg_of_a_list_with_one_relevant_movie(model):
    histories = Rows.of([[0, 2, 4], [1, 3], [6, 8, 10, 12], [5]])
    watched = np.array([6, 5, 7, 39], np.int32)
    top = model.top(model.users(histories), 20, excluded=histories)
    truth = Rows.of([[movie] for movie in watched])
    expected = ranking.ndcg(ranking.hits(top.columns, truth), np.ones(4, np.int64))
    assert prequential.ndcg(model, histories, watched).tolist() == pytest.approx(expected.tolist())
    assert expected[0] > 0  # so that something is compared


def test_a_movie_that_the_model_does_not_know_is_not_predicted(model):
    assert prequential.ndcg(model, Rows.of([[0, 2]]), np.array([-1], np.int32)).tolist() == [0.0]


def test_portions_change_nothing(model, monkeypatch):
    rng = np.random.default_rng(4)
    histories = Rows.of([np.sort(rng.choice(40, 5, replace=False)) for _ in range(30)])
    watched = rng.integers(-1, 40, 30).astype(np.int32)
    whole = prequential.ndcg(model, histories, watched)
    monkeypatch.setattr(prequential, "AT_ONCE", 7)
    assert prequential.ndcg(model, histories, watched).tolist() == whole.tolist()


def test_nothing_is_nothing(model):
    assert prequential.ndcg(model, Rows.of([]), np.empty(0, np.int32)).tolist() == []
