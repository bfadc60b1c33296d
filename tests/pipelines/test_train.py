"""From data set and recipe to a published version."""

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from models import config
from models.errors import BadArtifact, BadConfig, NoModel
from models.recommenders import store
from pipelines.dataset import Dataset
from pipelines.train import train

RECIPE = {"algorithm": "als", "factors": 4, "regularization": 1.0, "alpha": 3.0, "iterations": 5, "seed": 0}


def events(seed=0):
    """40 users, 10 of 30 movies each; every event a place in five lists."""
    rng = np.random.default_rng(seed)
    users = [f"u{user}" for user in range(40) for _ in range(10)]
    movies = [f"m{movie}" for user in range(40) for movie in np.random.default_rng(user).choice(30, 10, replace=False)]
    order = rng.permutation(len(users))
    times = np.arange(len(users))[order] * 1000
    return [users[i] for i in order], [movies[i] for i in order], np.full(len(users), 4.0), times


@pytest.fixture(scope="module")
def data():
    return Dataset.from_events(*events(), offsets={"rating-events": {"0": [0, 400]}})


def test_the_same_events_in_another_order_give_the_same_model_to_the_bit(data, tmp_path):
    one = train(data, RECIPE, "v1", tmp_path)
    two = train(Dataset.from_events(*events(seed=5), offsets={}), RECIPE, "v2", tmp_path)
    assert one.sha256 == two.sha256
    assert one.data_version == two.data_version


def test_metadata_tells_how_the_version_can_be_made_again(data, tmp_path):
    train(data, RECIPE, "v1", tmp_path, dvc_ref="abc", code_version="1.2", created_at=datetime(2026, 1, 2, tzinfo=UTC))
    written = json.loads((tmp_path / "v1" / "metadata.json").read_text())
    assert written["training_method"] == RECIPE
    assert written["data_version"]["md5"] == data.md5
    assert written["data_version"]["offsets"] == {"rating-events": {"0": [0, 400]}}
    assert written["evaluation"]["model"]["ndcg_at_20"]["value"] > 0
    assert (written["model_id"], written["model_version"]) == ("als-4", "v1")
    assert (written["dvc_ref"], written["code_version"], written["created_at"]) == (
        "abc",
        "1.2",
        "2026-01-02T00:00:00Z",
    )


def test_what_is_served_was_trained_on_everything(data, tmp_path):
    model = train(data, RECIPE, "v1", tmp_path)
    assert model.popularity.sum() == len(data)
    assert model.movie_ids == data.movies


def test_progress_is_told_from_start_to_end_once(data, tmp_path):
    told = []
    train(data, RECIPE, "v1", tmp_path, progress=lambda done, steps: told.append((done, steps)))
    assert told == [(done, 10) for done in range(1, 11)]


def test_popularity_can_be_damped(data, tmp_path):
    plain = train(data, RECIPE, "v1", tmp_path)
    damped = train(data, RECIPE | {"popularity_damping": 0.3}, "v2", tmp_path)
    assert plain.sha256 != damped.sha256
    rows = data.rows()
    tops = [model.recommender.top(model.recommender.users(rows), 5, rows).columns for model in (plain, damped)]
    assert data_mean(damped, tops[1]) < data_mean(plain, tops[0])


def data_mean(model, columns):
    return model.popularity[columns].mean()


@pytest.mark.parametrize("wrong", [{"algorithm": "magic"}, {"factors": 0}, {"popularity_damping": -1}])
def test_a_wrong_recipe_names_its_key(data, tmp_path, wrong):
    with pytest.raises(BadConfig, match=next(iter(wrong))):
        train(data, RECIPE | wrong, "v1", tmp_path)
    assert store.list_versions(tmp_path) == []


def test_an_empty_data_set_is_no_model(tmp_path):
    empty = Dataset.from_events([], [], np.empty(0), np.empty(0, np.int64), offsets={})
    with pytest.raises(NoModel):
        train(empty, RECIPE, "v1", tmp_path)


def test_one_user_with_one_movie_is_a_model(tmp_path):
    one = Dataset.from_events(["a"], ["x"], np.array([5.0]), np.array([1]), offsets={})
    assert train(one, RECIPE, "v1", tmp_path).movie_ids == ("x",)


def test_a_version_is_never_replaced(data, tmp_path):
    train(data, RECIPE, "v1", tmp_path)
    with pytest.raises(BadArtifact, match="already"):
        train(data, RECIPE, "v1", tmp_path)


EASE = {"algorithm": "ease", "regularization": 5.0, "movies": 20, "neighbours": 10}


def test_ease_is_published_by_the_same_steps(data, tmp_path):
    one, two = train(data, EASE, "v1", tmp_path), train(data, EASE, "v2", tmp_path)
    assert one.sha256 == two.sha256
    assert (one.model_id, one.metadata.training_method) == ("ease-20", EASE)
    assert (len(one.movie_ids), one.recommender.n_movies) == (30, 30)
    rows = data.rows()
    recommended = one.recommender.top(one.recommender.users(rows), 20, rows).columns
    assert set(recommended[recommended >= 0]) <= set(np.argsort(-one.popularity, kind="stable")[:20])


def test_group_weights_are_part_of_the_training_method(data, tmp_path):
    training = config.parse('{"training": {"group_weights": {"F": 2}}}').config.training
    recipe = training.method(config.AlsRecipe(factors=4, regularization=1.0, alpha=3.0, iterations=5))
    model = train(data, recipe, "v1", tmp_path)
    assert model.metadata.training_method == RECIPE | {"popularity_damping": 0.0, "group_weights": {"F": 2.0}}
    assert "group_weights" not in config.Training().method(config.AlsRecipe())
