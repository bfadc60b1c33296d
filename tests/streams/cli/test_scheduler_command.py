"""`canarec scheduler`, as it is called."""

import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from streams.cli import canarec


@pytest.mark.parametrize(
    ("number", "when", "command", "log"),
    [(0, ["17", "*"], ["retrain", "--if-due"], "retrain.log"), (1, ["*", "*"], ["scheduler", "--once"], "canary.log")],
)
def test_a_crontab_line_is_a_command_of_this_installation(tmp_path, number, when, command, log):
    folder = tmp_path / "a home"
    folder.mkdir()
    told = CliRunner().invoke(
        canarec, ["scheduler", "--print-crontab", "--home", str(folder), "--bootstrap-servers", "b:1"], obj={}
    )
    assert told.exit_code == 0
    words = shlex.split(told.output.splitlines()[number].replace(r"\%", "%"))
    assert words[:5] == [*when, "*", "*", "*"]
    logs = folder / "artifacts" / "logs"
    assert words[5:9] == ["mkdir", "-p", str(logs), "&&"]
    assert Path(words[9]).name == "canarec"
    assert Path(words[9]).exists()
    assert words[10:16] == [*command, "--home", str(folder), "--bootstrap-servers", "b:1"]
    assert words[16:] == [">>", str(logs / log), "2>&1"]


def test_the_example_keeps_what_stands_in_the_crontab():
    shown = CliRunner().invoke(canarec, ["scheduler", "--help"], obj={}).output
    assert "(crontab -l; canarec scheduler --print-crontab) | crontab -" in shown


def test_a_wrong_configuration_is_told_of_before_anything_starts(tmp_path):
    (tmp_path / "config.json").write_text('{"retraining": {"days": -1}}')
    told = CliRunner().invoke(canarec, ["scheduler", "--home", str(tmp_path)], obj={})
    assert told.exit_code != 0
    assert "retraining.days" in str(told.exception)
