"""Commands that an error suggests work as they stand: the same home, the same brokers, the same program."""

import re
import shlex
from pathlib import Path

import pytest

from streams.cli import main
from streams.cli.hints import complete, program, suggestion

GIVEN = {"--home": "/srv/my shop", "--bootstrap-servers": "kafka:9092"}


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("recommend 42 -n 10", ["--home", "/srv/my shop", "--bootstrap-servers", "kafka:9092"]),
        ("up", ["--home", "/srv/my shop", "--bootstrap-servers", "kafka:9092"]),
        ("broker --port 9191", ["--home", "/srv/my shop"]),
        ("models verify", ["--home", "/srv/my shop"]),
        ("import movielens FOLDER", ["--home", "/srv/my shop", "--bootstrap-servers", "kafka:9092"]),
        ("config schema", []),
        ("no such command", []),
    ],
)
def test_a_suggestion_has_what_was_given_and_its_command_takes(words: str, options: list[str]) -> None:
    assert shlex.split(suggestion(words, GIVEN))[1:] == [*words.split(), *options]


def test_what_was_left_to_its_default_is_left_out() -> None:
    assert complete("`canarec up` or `canarec worker`", {}) == "`canarec up` or `canarec worker`"


def test_the_program_is_called_as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = tmp_path / "canarec"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    assert program(str(script)) == str(script)
    assert program(".venv/bin/canarec") == ".venv/bin/canarec"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert program(str(script)) == "canarec"


def test_an_error_suggests_with_the_options_of_the_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "my shop"
    home.mkdir()
    with pytest.raises(SystemExit):
        main(["models", "verify", "--home", str(home)])
    (hint,) = re.findall("`(.*)`", capsys.readouterr().err)
    assert shlex.split(hint) == ["canarec", "up", "--home", str(home)]


def test_a_home_from_the_environment_is_named_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CANAREC_HOME", str(tmp_path))
    main(["models", "list"])
    assert f"`canarec up --home {tmp_path}`" in capsys.readouterr().out


def test_the_suggested_broker_is_the_one_that_was_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["recommend", "1", "--home", str(tmp_path), "--bootstrap-servers", "127.0.0.1:1"])
    assert f"`canarec broker --port 1 --home {tmp_path}`" in capsys.readouterr().err
