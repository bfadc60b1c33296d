"""`canarec config`: ok with the digest, or the wrong key and what was expected, exit 2."""

import json
from pathlib import Path

import pytest

from models import config
from streams.cli import main


def canarec(*arguments: str) -> int:
    """The exit code."""
    try:
        main(list(arguments))
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_good_file_gives_its_digest_and_warns_of_missing_models(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = json.dumps({"canary": {"stable": "v7", "candidate": None}})
    (tmp_path / "config.json").write_text(text)
    assert canarec("config", "check", "--home", str(tmp_path)) == 0
    said = capsys.readouterr()
    assert said.out.startswith("ok: ")
    assert config.parse(text).sha256 in said.out
    assert said.err.strip() == f"warning: canary.stable: there is no model v7 in {tmp_path / 'artifacts' / 'models'}"


def test_no_file_means_the_defaults(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert canarec("config", "check", "--home", str(tmp_path)) == 0
    assert "the defaults" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ('{"canary": {"percentage": 101}}', "canary.percentage"),
        ('{"canary": {"percentage": "10"}}', "canary.percentage"),
        ('{"training": {"versions": {"v1": {"algorithm": "als", "factors": 0}}}}', "training.versions"),
        ('{"topics": {"nosuch": "x"}}', "topics.nosuch"),
        ('{"colour": 1}', "colour"),
        ("{", "not JSON"),
        ("", "not JSON"),
        ("[]", "config.json"),
    ],
)
def test_a_bad_file_names_the_key_and_is_exit_code_2(
    text: str, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(text)
    assert canarec("config", "check", "--home", str(tmp_path)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.strip().splitlines()) == 1
    assert path in said.err


def test_a_file_that_cannot_be_read_is_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.json").mkdir()
    assert canarec("config", "check", "--home", str(tmp_path)) == 2
    assert "cannot be read" in capsys.readouterr().err


def test_the_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert canarec("config", "schema") == 0
    assert json.loads(capsys.readouterr().out) == config.schema()
