"""Every command explains itself with an example, and a wrong call is exit code 2 without a traceback."""

import click
import pytest

from streams.cli import Commands, canarec, main


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    context = click.Context(canarec)
    for name in sorted(Commands.lazy):
        command = canarec.get_command(context, name)
        found.append((name,))
        if isinstance(command, click.Group):
            found += [(name, below) for below in sorted(command.commands)]
    return found


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_has_an_example(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    main([*command, "--help"])  # would raise for any exit code but 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert f"canarec {command[0]}" in shown.partition("Example:")[2]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_an_option_that_is_not_there_is_exit_code_2(
    command: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*command, "--no-such-option"])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "--no-such-option" in said
    assert "Traceback" not in said
