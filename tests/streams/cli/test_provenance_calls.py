"""`canarec provenance`, called wrongly: one line and exit 2, before anything is read or anybody asked."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from streams.cli import main

NOBODY = ("--bootstrap-servers", "127.0.0.1:1")
COMMANDS = ["show", "replay", "diff"]


def refused(arguments: Sequence[str], home: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a refused call says."""
    with pytest.raises(SystemExit) as ended:
        main(["provenance", *arguments, "--home", str(home), *NOBODY])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("canarec: ")
    return line


@pytest.mark.parametrize("request_id", ["", "x" * 257, "ü" * 129, "a\nb", "a\x1b[31m", "\udcff"])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_request_id_is_one(command: str, request_id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["r2"] if command == "diff" else []
    assert "request id" in refused([command, request_id, *more], tmp_path, capsys)


@pytest.mark.parametrize("day", ["", "today", "2026-13-01", "2026-02-30", "0001-01-01", "9999-12-31", "x" * 5_000])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_date_is_one(command: str, day: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["r2"] if command == "diff" else []
    assert "--date" in refused([command, "r1", *more, "--date", day], tmp_path, capsys)


@pytest.mark.parametrize("number", ["0", "-1", "1.5", "nan", "", "1e3", "99999999999999999999"])
@pytest.mark.parametrize("option", ["--sample", "--seed"])
def test_a_sample_and_a_seed_are_whole_numbers(
    option: str, number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if (option, number) != ("--seed", "0"):
        assert option in refused(["replay", option, number], tmp_path, capsys)


@pytest.mark.parametrize("arguments", [["replay"], ["replay", "r1", "--sample", "5"]])
def test_a_replay_is_of_one_record_or_of_some(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "REQUEST_ID" in refused(arguments, tmp_path, capsys)


@pytest.mark.parametrize(
    "arguments", [["show", "r1"], ["replay", "r1"], ["replay", "--sample", "5"], ["diff", "r1", "r2"]]
)
def test_a_home_that_is_not_there_is_a_wrong_call(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "no" / "such"
    assert refused(arguments, home, capsys) == f"canarec: --home {home}: no such folder"


def test_a_group_alone_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["provenance"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("Usage: canarec provenance")
