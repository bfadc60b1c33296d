"""`canarec dead-letters`, called wrongly: one line and exit 2, before anybody is asked."""

import pytest

from streams.cli import main

NOBODY = ("--bootstrap-servers", "127.0.0.1:1")


def refused(arguments, home, capsys):
    """The one line that a refused call says."""
    with pytest.raises(SystemExit) as ended:
        main(["dead-letters", *arguments, "--home", str(home), *NOBODY])
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    (line,) = said.err.splitlines()
    assert line.startswith("canarec: ")
    return line


@pytest.mark.parametrize("place", ["", "1", "1:", ":1", "1:2:3", "-1:2", "1:-2", "a:b", "1 :2", "9" * 20 + ":1", "١:٢"])
@pytest.mark.parametrize("command", ["show", "replay"])
def test_a_place_is_one(command, place, tmp_path, capsys):
    assert "PARTITION:OFFSET" in refused([command, "--", place][:3] if place else [command, ""], tmp_path, capsys)


@pytest.mark.parametrize(
    "arguments", [[], ["1:2", "--all"], ["1:2", "--reason", "bad_id"], ["--all", "--topic", "movielog"]]
)
def test_a_replay_says_which(arguments, tmp_path, capsys):
    assert "--all" in refused(["replay", *arguments], tmp_path, capsys)


@pytest.mark.parametrize("command", ["list", "replay"])
def test_a_reason_is_one_of_the_list(command, tmp_path, capsys):
    assert "bad_rating" in refused([command, "--reason", "nonsense"], tmp_path, capsys)


@pytest.mark.parametrize("time", ["", "yesterday", "2026-13-01", "9999-01-01", "-1h"])
@pytest.mark.parametrize("option", ["--since", "--until"])
def test_a_time_is_one(option, time, tmp_path, capsys):
    assert option in refused(["list", option, time], tmp_path, capsys)


@pytest.mark.parametrize("arguments", [["list", "--limit"], ["replay", "--all", "--max-attempts"]])
@pytest.mark.parametrize("number", ["0", "-1", "1.5", "x"])
def test_a_limit_is_a_number_above_0(arguments, number, tmp_path, capsys):
    assert arguments[-1] in refused([*arguments, number], tmp_path, capsys)


def test_a_payload_goes_out_in_one_form(tmp_path, capsys):
    assert "--raw" in refused(["show", "1:2", "--json", "--raw"], tmp_path, capsys)


def test_a_home_that_is_not_there_is_a_wrong_call(tmp_path, capsys):
    assert "no such folder" in refused(["list"], tmp_path / "nowhere", capsys)
