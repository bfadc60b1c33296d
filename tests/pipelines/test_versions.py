"""Versions leave for the remote and come back by their hash, whatever became of one side or the other."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from models.config import Canary
from models.errors import BadArtifact, CanarecError, NoModel
from models.recommenders import store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.popular import counts
from pipelines import project, versions
from pipelines.places import Places

ROOT = Path(__file__).parents[2]
CANARY = Canary(stable="v2", candidate="v3")
METADATA = store.Metadata(
    model_id="als-2",
    model_version="",
    training_method={"algorithm": "als"},
    data_version={"md5": "0" * 32},
    evaluation={},
    dvc_ref=None,
    code_version="0",
    created_at="2026-11-27T00:00:00Z",
    files={},
)


def publish(places, *names):
    rows = Rows.of([[0, 1], [1, 2], [0, 2]])
    for name in names:
        recipe = {"factors": 2, "regularization": 1.0, "alpha": 1.0, "iterations": 2}
        model = Als.fit(rows, 3, recipe, int(name[1:]))
        store.write(places.models, model, ("a", "b", "c"), counts(rows, 3), replace(METADATA, model_version=name))


def keep(places, canary, most):
    return versions.keep(places, lambda look: look(canary), most)


@pytest.fixture
def places(tmp_path):
    """A home with v1 to v4, v1 in the remote only."""
    found = Places(tmp_path)
    project.prepare(tmp_path, None)
    publish(found, "v1", "v2", "v3", "v4")
    assert keep(found, CANARY, 3) == ["v1"]
    return found


def test_the_oldest_leaves_and_comes_back_as_it_was(places, tmp_path_factory):
    other = Places(tmp_path_factory.mktemp("other"))
    publish(other, "v1")
    assert store.list_versions(places.models) == ["v2", "v3", "v4"]
    assert versions.pushed(places) == ["v1", "v2", "v3", "v4"]
    folder = versions.fetch(places, "v1")
    assert store.verify(places.models, "v1") == []
    assert (folder / store.FACTORS).read_bytes() == (other.models / "v1" / store.FACTORS).read_bytes()
    assert keep(places, CANARY, 3) == ["v1"]  # it leaves again with the next run


def test_a_version_that_a_rollback_brought_back_meanwhile_stays(places):
    publish(places, "v5")
    splits = iter([Canary(stable="v4", candidate="v5"), Canary(stable="v2", candidate=None, rolled_back="v5")])
    assert versions.keep(places, lambda look: look(next(splits)), 3) == []
    assert store.list_versions(places.models) == ["v2", "v3", "v4", "v5"]


def test_dvc_knows_the_same_hashes(places):
    (places.home / "config.json").write_text('{"training": {"recipes": {}}}')
    told = subprocess.run(
        [sys.executable, "-m", "dvc", "pull", "artifacts/versions/v1.dvc"],
        cwd=places.home,
        env=project.environment(places.home, ""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert store.verify(places.versions, "v1") == []


def test_a_damaged_version_is_replaced_by_the_remotes(places):
    factors = places.models / "v3" / store.FACTORS
    content = bytearray(factors.read_bytes())
    content[len(content) // 2] ^= 1
    factors.write_bytes(content)
    versions.fetch(places, "v3")
    assert store.verify(places.models, "v3") == []


def test_what_the_remote_has_lost_is_put_there_again_before_anything_is_removed(places):
    shutil.rmtree(places.artifacts / "remote")
    publish(places, "v5")
    assert keep(places, Canary(stable="v3", candidate="v4"), 3) == ["v2"]
    assert store.verify(versions.fetch(places, "v2").parent, "v2") == []
    with pytest.raises(BadArtifact, match="the DVC remote does not have v1"):
        versions.fetch(places, "v1")
    assert "v1" not in store.list_versions(places.models)


def test_half_an_object_in_the_remote_is_written_anew_and_never_served(places):
    objects = [path for path in (places.artifacts / "remote").rglob("*") if path.is_file()]
    for path in objects:
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(BadArtifact, match="damaged"):
        versions.fetch(places, "v1")
    assert "v1" not in store.list_versions(places.models)
    versions.push(places, "v2")
    shutil.rmtree(places.models / "v2")
    assert store.verify(versions.fetch(places, "v2").parent, "v2") == []


def test_a_version_that_never_was_is_said_with_those_that_are(places):
    with pytest.raises(NoModel, match=r"'v9': no such model version in the remote; there are: v1, v2, v3, v4"):
        versions.fetch(places, "v9")


def test_the_repositorys_own_files_are_those_that_a_home_gets(tmp_path):
    project.prepare(tmp_path, None)
    for name in ("dvc.yaml", ".dvcignore", ".dvc/config", ".dvc/.gitignore"):
        assert (tmp_path / name).read_text() == (ROOT / name).read_text()


def test_a_change_of_any_parameter_of_training_runs_the_stages_that_read_it():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    named = {
        name: {key for file in stage.get("params", ()) for key in file["config.json"]}
        for name, stage in ((name, stage.get("do", stage)) for name, stage in stages.items())
    }
    assert "training.validation" in named["evaluate"]
    assert {key.split(".")[1] for keys in named.values() for key in keys} == set(project.PARAMETERS)


def test_a_home_keeps_its_own_pipeline_and_a_users_settings(tmp_path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text("['remote \"canarec\"']\n    verify = true\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    project.prepare(tmp_path, "s3://bucket/models")
    assert (tmp_path / "dvc.yaml").read_text() == "stages: {}\n"
    local = (tmp_path / ".dvc" / "config.local").read_text()
    assert "verify = true" in local
    assert "url = s3://bucket/models" in local
    project.prepare(tmp_path, None)
    assert "s3:" not in (tmp_path / ".dvc" / "config.local").read_text()


def test_a_configuration_that_dvc_refuses_is_one_line(tmp_path):
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text("[core]\n    colour = blue\n")
    with pytest.raises(CanarecError, match=r"\.dvc: config file error: extra keys not allowed"):
        project.prepare(tmp_path, None)


@pytest.mark.parametrize(("git", "no_scm"), [(None, True), ("..", True), (".", False)])
def test_only_the_root_of_a_git_repository_is_tracked_by_git(tmp_path, git, no_scm):
    home = tmp_path / "home"
    home.mkdir()
    if git is not None:
        (home / git / ".git").mkdir()
    project.prepare(home, None)
    assert ("no_scm = True" in (home / ".dvc" / "config.local").read_text()) == no_scm


def test_what_a_killed_dvc_left_is_removed_but_not_under_one_that_works(tmp_path):
    project.prepare(tmp_path, None)
    left = tmp_path / ".dvc" / "tmp" / "rwlock"
    left.write_text('{"write": {"half')
    command = [sys.executable, "-c", "input()", "dvc"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE) as working:
        assert project.at_work(tmp_path) == [working.pid]
        project.free(tmp_path)
        assert left.exists()
        working.communicate(b"\n")
    project.free(tmp_path)
    assert not left.exists()
