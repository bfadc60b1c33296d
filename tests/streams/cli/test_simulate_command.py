"""`canarec simulate --check`: the table, and an exit code that says whether every figure is kept. No broker."""

import pytest

from models.calibration import TARGETS
from streams.cli import main


def test_the_history_of_up_is_checked_without_a_broker(tmp_path, capsys):
    main(["simulate", "--check", "--home", str(tmp_path), "--bootstrap-servers", "127.0.0.1:1"])
    said = capsys.readouterr()
    header, *lines = said.out.splitlines()
    assert header.split() == ["figure", "target", "got", "tolerance"]
    assert [line.rsplit(maxsplit=4)[0].strip() for line in lines] == [target.name for target in TARGETS]
    assert all(line.endswith("  ok") for line in lines)


def test_a_figure_that_is_off_is_named_with_exit_code_1(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--check", "--tilt", "8", "--home", str(tmp_path)])
    said = capsys.readouterr()
    assert ended.value.code == 1
    off = [line.rsplit(maxsplit=4)[0].strip() for line in said.out.splitlines() if line.endswith("OFF")]
    assert off
    assert said.err == f"canarec: off by more than the tolerance: {', '.join(off)}\n"


@pytest.mark.parametrize("wrong", [["--bots", "1.1"], ["--night", "-1"], ["--drift", "sudden"], ["--bursts", "0.5"]])
def test_what_is_out_of_bounds_is_bad_usage(wrong, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--check", *wrong, "--home", str(tmp_path)])
    assert ended.value.code == 2
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.parametrize(
    ("others", "named"),
    [
        (["--rate", "5"], "--rate"),
        (["--bots", "0"], "--bots"),
        (["--seed", "1", "--for", "1", "--quiet"], "--for, --quiet"),
    ],
)
def test_what_a_check_would_not_heed_is_bad_usage(others, named, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--check", *others, "--home", str(tmp_path)])
    assert ended.value.code == 2
    assert f"where {named} would do nothing" in capsys.readouterr().err
