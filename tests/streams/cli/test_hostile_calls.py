"""Calls that cannot be meant: exit code 2 and one line that names what is wrong, before anybody is asked or anything is made."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from streams.cli import main

NOBODY = ("--bootstrap-servers", "127.0.0.1:1")
NO_NUMBERS = ["nan", "inf", "-inf", "-1", "1e400", "abc", ""]
NO_SERVERS = ["", " ", ",", "a b", "nonsense:::", "127.0.0.1:99999", "127.0.0.1:0", "127.0.0.1:x", ":9092", "a:1\nb:1"]
NO_HOSTS = ["", "a b", "a\nlisteners=x", "x" * 70, "x" * 300]


def refused(arguments: Sequence[str], capsys: pytest.CaptureFixture[str], code: int = 2) -> str:
    """The one line that a refused call says."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    said = capsys.readouterr()
    assert ended.value.code == code, said
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("canarec: ")
    return line


@pytest.mark.parametrize("number", [*NO_NUMBERS, "0", "1e9"])
@pytest.mark.parametrize("option", ["simulate --rate", "recommend 1 --timeout"])
def test_a_rate_or_a_time_out_is_a_number_above_0(
    option: str, number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *command, name = option.split()
    assert name in refused([*command, name, number, "--home", str(tmp_path), *NOBODY], capsys)


@pytest.mark.parametrize("number", NO_NUMBERS)
@pytest.mark.parametrize("option", ["simulate --for", "up --for", "up --traffic"])
def test_a_time_or_a_traffic_is_a_number(
    option: str, number: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, name = option.split()
    assert name in refused([command, name, number, "--home", str(tmp_path)], capsys)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("port", ["-1", "65536", "99999999999999999999", "nan", "8000.5", ""])
@pytest.mark.parametrize(
    "option",
    ["up --port", "up --metrics-port", "up --api-port", "broker --port", "worker --metrics-port", "api --port"],
)
def test_a_port_is_one(option: str, port: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, name = option.split()
    assert name in refused([command, name, port], capsys)


@pytest.mark.parametrize("servers", NO_SERVERS)
@pytest.mark.parametrize("command", ["recommend 1", "simulate", "worker", "doctor", "up"])
def test_servers_are_hosts_with_ports(command: str, servers: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected HOST:PORT" in refused([*command.split(), "--bootstrap-servers", servers], capsys)


@pytest.mark.parametrize("host", NO_HOSTS)
@pytest.mark.parametrize("option", ["--host", "--advertised-host"])
def test_a_host_is_a_name_or_an_address(option: str, host: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert option in refused(["broker", "--port", "0", option, host], capsys)


@pytest.mark.parametrize("path", ["", "FILE", "/dev/null", "a" * 5_000, "a/" * 3_000])
@pytest.mark.parametrize("command", ["doctor", "models list", "config check", "recommend 1", "worker", "up", "broker"])
def test_a_home_is_a_folder(command: str, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    home = str(tmp_path / "file") if path == "FILE" else path
    assert "--home" in refused([*command.split(), "--home", home], capsys)


@pytest.mark.parametrize(
    "command", ["models list", "models verify", "models show v1", "config check", "canary status", "canary rollback"]
)
def test_what_is_only_read_must_be_there(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = str(tmp_path / "no" / "such")
    assert refused([*command.split(), "--home", home], capsys) == f"canarec: --home {home}: no such folder"


@pytest.mark.parametrize("path", ["", "MISSING", "a" * 5_000])
@pytest.mark.parametrize("command", ["import movielens", "import movielog", "up --data"])
def test_data_that_are_not_there_are_a_wrong_call(
    command: str, path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = str(tmp_path / "missing") if path == "MISSING" else path
    refused([*command.split(), data, "--home", str(tmp_path)], capsys)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["import movielens", "up --data"])
def test_an_archive_for_a_folder_is_to_be_unpacked(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "ml.zip").write_bytes(b"PK")
    assert "unpack it first" in refused([*command.split(), str(tmp_path / "ml.zip"), "--home", str(tmp_path)], capsys)


def test_a_folder_for_a_log_is_a_wrong_call(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Is a directory" in refused(["import", "movielog", str(tmp_path), "--home", str(tmp_path)], capsys)


@pytest.mark.parametrize("genres", ["", " ", " , ,"])
def test_genres_name_one(genres: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["recommend", "1", "--genres", genres, "--home", str(tmp_path), *NOBODY], capsys)
    assert line == f"canarec: --genres: {genres!r} names no genre"


@pytest.mark.parametrize("users", ["", "5-1", "/", "/dev/null", "1-999999999"])
def test_users_name_somebody(users: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--users" in refused(["simulate", "--users", users, "--home", str(tmp_path), *NOBODY], capsys)


def test_two_listeners_need_two_ports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["up", "--port", "9191", "--metrics-port", "9191", "--home", str(tmp_path)], capsys)
    assert line == "canarec: --metrics-port and --port are both 9191: they need two"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("kafka", [{"no.such.key": 1}, {"error_cb": "x"}, {"security.protocol": "none"}])
def test_a_property_that_no_client_takes_is_a_wrong_configuration(
    kafka: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"kafka": kafka}))
    assert "config.json: kafka" in refused(["config", "check", "--home", str(tmp_path)], capsys)


def test_an_unexpected_error_of_the_system_is_one_line_and_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / "workers").write_text("")
    line = refused(["worker", "--home", str(tmp_path), "--metrics-port", "0", *NOBODY], capsys, code=1)
    assert line == f"canarec: {tmp_path / 'artifacts' / 'workers'}: File exists"


def test_control_characters_do_not_break_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert refused(["no\nsuch\x1b[31m"], capsys) == "canarec: No such command 'no\\nsuch\\x1b[31m'."


@pytest.mark.parametrize("group", [[], ["canary"], ["config"], ["models"], ["import"]])
def test_a_group_alone_shows_its_help_as_it_is(group: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(group)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("Usage: canarec")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_a_home_that_may_not_be_written_is_a_failure_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tmp_path.chmod(0o500)
    assert "cannot be written" in refused(["worker", "--home", str(tmp_path), *NOBODY], capsys, code=1)


NO_MOMENTS = [
    "",
    "yesterday",
    "2h ago",
    "2 h",
    "h",
    "1w",
    "-1h",
    "nan",
    "2026-13-01",
    "9999999d",
    "1969-12-31T23:59:59Z",
]


@pytest.mark.parametrize("moment", NO_MOMENTS)
@pytest.mark.parametrize(
    "option", ["analyze --since", "analyze --until", "canary status --since", "dead-letters list --until"]
)
def test_a_moment_is_one_or_how_long_ago_it_was(
    option: str, moment: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *command, name = option.split()
    assert name in refused([*command, f"{name}={moment}", "--home", str(tmp_path), *NOBODY], capsys)


@pytest.mark.parametrize("command", ["canary status", "dead-letters list", "dead-letters replay"])
def test_what_is_counted_from_then_on_begins_before_now(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "not over yet" in refused([*command.split(), "--since", "2999-01-01T00:00:00Z", *NOBODY], capsys)


@pytest.mark.parametrize("option", ["windows --last", "recommend 1 -n", "canary status --at-most", "api --port"])
def test_an_integer_is_one(option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    *command, name = option.split()
    line = refused([*command, name, "x", *(() if command == ["api"] else ("--home", str(tmp_path)))], capsys)
    assert line == f"canarec: Invalid value for '{name}': 'x' is not a valid integer."


def test_a_version_is_compared_with_another_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(["analyze", "--compare", "v1", "v1", "--home", str(tmp_path), *NOBODY], capsys)
    assert line == "canarec: --compare v1 v1: a version is compared with another one"
