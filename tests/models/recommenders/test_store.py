"""Model versions on disk: whole or not at all, the same bytes for the same model, and no damage goes unseen."""

import hashlib
import json
import zipfile

import numpy as np
import pytest

from models.errors import BadArtifact, NoModel
from models.recommenders import store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.ease import Ease

HISTORY = Rows.of([[0, 1]])
IDS = ("a", "é,1", "10")  # ids are any text


@pytest.fixture(scope="module")
def recommender():
    recipe = {"factors": 2, "regularization": 1.0, "alpha": 2.0, "iterations": 3}
    return Als.fit(Rows.of([[0, 1], [1, 2], [0]]), 3, recipe, 0)


def metadata(version="v1"):
    return store.Metadata(
        model_id="als-2",
        model_version=version,
        training_method={"algorithm": "als", "factors": 2},
        data_version={"md5": "d41d8", "offsets": {"watch-events": {"0": [0, 5]}}},
        evaluation={"ndcg_at_20": 0.1},
        dvc_ref=None,
        code_version="0.1.0",
        created_at="2026-11-23T00:00:00Z",
        files={},
    )


@pytest.fixture
def models(tmp_path, recommender):
    store.write(tmp_path, recommender, IDS, np.array([2, 2, 1]), metadata())
    return tmp_path


def test_a_version_comes_back_as_it_was_written(models, recommender):
    model = store.read(models, "v1")
    assert (model.version, model.model_id, model.data_version, model.movie_ids) == ("v1", "als-2", "d41d8", IDS)
    assert model.popularity.tolist() == [2, 2, 1]
    np.testing.assert_array_equal(model.recommender.users(HISTORY), recommender.users(HISTORY))


def test_the_models_hash_is_that_of_its_factors_file(models):
    digest = hashlib.sha256((models / "v1" / "factors.npz").read_bytes()).hexdigest()
    model = store.read(models, "v1")
    assert model.sha256 == digest == model.metadata.files["factors.npz"]


def test_metadata_has_exactly_the_fields_of_the_contract(models):
    assert set(json.loads((models / "v1" / "metadata.json").read_text())) == {
        "model_id", "model_version", "training_method", "data_version", "evaluation", "dvc_ref", "code_version", "files", "created_at",
    }  # fmt: skip


def test_the_same_model_gives_the_same_bytes(models, recommender):
    store.write(models, recommender, IDS, np.array([2, 2, 1]), metadata("v2"))
    assert (models / "v1" / "factors.npz").read_bytes() == (models / "v2" / "factors.npz").read_bytes()


def test_factors_need_no_pickle(models):
    with np.load(models / "v1" / "factors.npz", allow_pickle=False) as arrays:
        assert "model.item_factors" in arrays.files
        assert all(arrays[name].dtype != object for name in arrays.files)


@pytest.mark.parametrize("name", ["factors.npz", "metadata.json", "metadata.json.sha256"])
def test_one_flipped_bit_is_found_anywhere(models, name):
    path = models / "v1" / name
    whole = path.read_bytes()
    for place in range(0, len(whole), max(1, len(whole) // 20)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert store.verify(models, "v1"), f"bit 0 of byte {place}"
    path.write_bytes(whole)
    assert store.verify(models, "v1") == []


def test_a_wrong_hash_names_file_expected_and_found(models):
    path = models / "v1" / "factors.npz"
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(b"something else")
    with pytest.raises(BadArtifact) as error:
        store.read(models, "v1")
    for part in (str(path), expected, hashlib.sha256(b"something else").hexdigest()):
        assert part in str(error.value)


@pytest.mark.parametrize("name", ["factors.npz", "metadata.json", "metadata.json.sha256"])
def test_a_missing_file_is_named(models, name):
    (models / "v1" / name).unlink()
    with pytest.raises(BadArtifact, match=name):
        store.read(models, "v1")


def test_a_stranger_in_the_folder_is_reported(models):
    (models / "v1" / "notes.txt").write_text("mine")
    assert len(store.verify(models, "v1")) == 1


def test_a_pickle_in_place_of_factors_is_not_opened(models):
    factors = models / "v1" / "factors.npz"
    with zipfile.ZipFile(factors, "w") as archive, archive.open("algorithm.npy", "w") as file:
        np.lib.format.write_array(file, np.array([print], dtype=object), allow_pickle=True)
    seal(models, {"factors.npz": hashlib.sha256(factors.read_bytes()).hexdigest()})
    with pytest.raises(BadArtifact, match="cannot be read"):
        store.read(models, "v1")


def seal(models, files):
    """Someone who can write the folder can make the hashes fit."""
    path = models / "v1" / "metadata.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"files": files}))
    path.with_name("metadata.json.sha256").write_text(
        hashlib.sha256(path.read_bytes()).hexdigest() + "  metadata.json\n"
    )


def test_a_version_never_changes(models, recommender):
    with pytest.raises(BadArtifact, match="already"):
        store.write(models, recommender, IDS, np.array([2, 2, 1]), metadata())


def test_what_a_killed_writer_left_is_no_version_and_no_obstacle(models, recommender):
    (models / ".v2.partial").mkdir()
    (models / ".v2.partial" / "factors.npz").write_bytes(b"half")
    assert store.list_versions(models) == ["v1"]
    store.write(models, recommender, IDS, np.array([2, 2, 1]), metadata("v2"))
    assert store.list_versions(models) == ["v1", "v2"]
    assert store.verify(models, "v2") == []


def test_versions_are_listed_by_number(tmp_path):
    for name in ("v10", "v9", "v1", "2026-1"):
        (tmp_path / name).mkdir()
    assert store.list_versions(tmp_path) == ["2026-1", "v1", "v9", "v10"]


def test_an_unknown_version_says_which_there_are(models):
    with pytest.raises(NoModel, match=r"v7.*there are: v1"):
        store.read(models, "v7")


def test_movies_and_model_must_fit_together(tmp_path, recommender):
    with pytest.raises(BadArtifact, match="3 movies"):
        store.write(tmp_path, recommender, ("a", "b"), np.array([1, 1]), metadata())
    assert store.list_versions(tmp_path) == []


@pytest.fixture
def ease():
    """Two of three movies take part, with one weight each."""
    recipe = {"regularization": 1.0, "movies": 2, "neighbours": 1}
    return Ease.fit(Rows.of([[0, 1], [0, 1], [0, 2]]), 3, recipe, 0)


def test_an_ease_model_comes_back_as_it_was_written(tmp_path, ease):
    store.write(tmp_path, ease, IDS, np.array([3, 2, 1]), metadata())
    model = store.read(tmp_path, "v1")
    assert isinstance(model.recommender, Ease)
    assert (model.movie_ids, model.recommender.n_movies) == (IDS, 3)
    np.testing.assert_array_equal(model.recommender.users(HISTORY), ease.users(HISTORY))
    assert store.verify(tmp_path, "v1") == []


def test_the_same_ease_model_gives_the_same_bytes(tmp_path, ease):
    for version in ("v1", "v2"):
        store.write(tmp_path, ease, IDS, np.array([3, 2, 1]), metadata(version))
    assert (tmp_path / "v1" / "factors.npz").read_bytes() == (tmp_path / "v2" / "factors.npz").read_bytes()
