"""`canarec models`: what is listed, shown and verified, and what it says where something is wrong."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.erasure import Erasure, user_digest
from models.recommenders import store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.popular import counts
from pipelines import erasures
from streams.cli import main
from streams.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with v1 and v10."""
    home = Home(tmp_path)
    rows = Rows.of([[0, 1], [1, 2], [0, 2], [3]])
    figure = {"value": 0.25, "low": 0.2, "high": 0.3}
    for version in ("v10", "v1"):
        recipe = {"factors": 2, "regularization": 1.0, "alpha": 1.0, "iterations": 2}
        store.write(
            home.models,
            Als.fit(rows, 4, recipe, 0),
            ("a", "b", "c", "d"),
            np.asarray(counts(rows, 4)),
            store.Metadata(
                model_id="als-2",
                model_version=version,
                training_method={"algorithm": "als", **recipe},
                data_version={"md5": "0" * 32},
                evaluation={
                    "model": {"ndcg_at_20": figure},
                    "popularity": {"ndcg_at_20": figure},
                    "ndcg_ratio": figure,
                },
                dvc_ref=None,
                code_version="0",
                created_at="2026-11-23T12:34:56Z",
                files={},
            ),
        )
    return home


def canarec(*arguments: str) -> int:
    """The exit code."""
    try:
        main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_list_names_versions_in_order_with_their_part_and_figures(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert canarec("models", "list", "--home", str(home.path)) == 0
    shown = capsys.readouterr().out
    assert shown.index("v1 ") < shown.index("v10 ")
    assert "stable, 90 %" in shown
    assert "0.250 (0.200–0.300)" in shown
    assert "2026-11-23 12:34" in shown


def test_one_damaged_version_does_not_hide_the_others(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.models / "v10" / store.METADATA).write_text("{}")
    assert canarec("models", "list", "--home", str(home.path)) == 0
    shown = capsys.readouterr().out
    assert "stable, 90 %" in shown
    assert "damaged" in shown


def test_a_version_that_was_trained_on_an_erased_user_is_marked_and_a_training_is_due_until_there_was_one(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    erasures.keep(home.artifacts, Erasure(user_digest("u1"), "2026-11-27T08:00:00.000Z", models=["v10"]))
    marks = []
    for _ in range(2):
        assert canarec("models", "list", "--home", str(home.path)) == 0
        listed = capsys.readouterr().out
        assert "erased" not in listed[: listed.index("v10")]
        marks.append(listed[listed.index("v10") :].replace("│", "").split())
        erasures.settle(home.artifacts)
    assert [("erased" in mark, "due" in mark) for mark in marks] == [(True, True), (True, False)]


@pytest.mark.parametrize(
    "damaged",
    [b"", b'{"user_sha256": 5}', b'{"user_sha256": "\xff"}', b'{"x": ' + b"[" * 100_000],
    ids=["empty", "type", "UTF-8", "deep"],
)
def test_a_damaged_record_of_an_erasure_is_a_warning_and_the_versions_are_listed(
    damaged: bytes, home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    erasures.keep(home.artifacts, Erasure(user_digest("u1"), "2026-11-27T08:00:00.000Z", models=["v10"]))
    path = erasures.where(home.artifacts, user_digest("u2"))
    path.write_bytes(damaged)
    assert canarec("models", "list", "--home", str(home.path)) == 0
    said = capsys.readouterr()
    assert "stable, 90 %" in said.out
    (warning,) = said.err.splitlines()
    assert warning.startswith("warning: no version is marked as trained on an erased user's data: ")
    assert str(path) in warning


def test_an_empty_list_is_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert canarec("models", "list", "--home", str(tmp_path)) == 0
    assert f"no models in {tmp_path / 'artifacts' / 'models'}" in capsys.readouterr().out


def test_nothing_to_verify_is_a_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert canarec("models", "verify", "--home", str(tmp_path)) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"canarec: no models in {tmp_path / 'artifacts' / 'models'}: ")
    assert len(said.err.splitlines()) == 1


def test_show_is_the_metadata(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert canarec("models", "show", "v1", "--home", str(home.path)) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((home.models / "v1" / store.METADATA).read_text())


@pytest.mark.parametrize("version", ["v2", "", ".", "..", "/", "../models/v1"])
def test_a_version_that_is_not_there_is_one_line(version: str, home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert canarec("models", "show", version, "--home", str(home.path)) == 1
    said = capsys.readouterr().err.strip()
    assert len(said.splitlines()) == 1
    assert repr(version) in said
    assert "v1, v10" in said


def test_a_folder_of_any_name_is_listed(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    (home.models / "v²").mkdir()
    (home.models / "²").mkdir()
    assert canarec("models", "list", "--home", str(home.path)) == 0
    assert "damaged" in capsys.readouterr().out


def test_verify_finds_every_damage_one_line_each(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert canarec("models", "verify", "--home", str(home.path)) == 0
    assert "v1, v10: as they were written" in capsys.readouterr().out
    factors = home.models / "v1" / store.FACTORS
    factors.write_bytes(factors.read_bytes()[:-1])
    (home.models / "v10" / "stranger.txt").write_text("")
    assert canarec("models", "verify", "--home", str(home.path)) == 1
    problems = capsys.readouterr().out.splitlines()
    assert len(problems) == 2
    assert str(factors) in problems[0]
    assert "stranger.txt" in problems[1]
