"""`canarec canary` without a broker: the file is changed, the event waits, and calls that cannot be meant change nothing."""

import json
from pathlib import Path

import numpy as np
import pytest

from models.recommenders import store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.popular import counts
from pipelines import outbox
from streams.cli import main
from streams.home import Home

NOBODY = "127.0.0.1:1"
CANARY = {"stable": "v1", "candidate": "v2", "percentage": 10}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """10 % to v2, v1 stable. No client takes its Kafka property, so nothing waits for a broker that is not there."""
    home = Home(tmp_path)
    home.config.write_text(json.dumps({"canary": CANARY, "kafka": {"no.such": 1}}) + "\n")
    return home


@pytest.fixture
def with_models(home: Home) -> Home:
    """v1, v2 and v3 are at hand."""
    rows = Rows.of([[0, 1], [1, 2], [0, 2], [3]])
    recipe = {"factors": 2, "regularization": 1.0, "alpha": 1.0, "iterations": 2}
    for version in ("v1", "v2", "v3"):
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
                evaluation={},
                dvc_ref=None,
                code_version="0",
                created_at="2026-11-23T12:34:56Z",
                files={},
            ),
        )
    return home


def canarec(home: Home, *arguments: str) -> int:
    """The exit code."""
    try:
        main(["canary", *arguments, "--home", str(home.path), "--bootstrap-servers", NOBODY])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def configure(home: Home, **changes: object) -> dict[str, object]:
    """Another split in the file; it."""
    raw = json.loads(home.config.read_text())
    raw["canary"] |= changes
    home.config.write_text(json.dumps(raw))
    canary: dict[str, object] = raw["canary"]
    return canary


def split(home: Home) -> tuple[str, str | None, float]:
    canary = home.load().config.canary
    return canary.stable, canary.candidate, canary.percentage


def waiting(home: Home) -> list[dict[str, object]]:
    """The events that wait for a broker."""
    return [json.loads(path.read_bytes()) for path in outbox.kept(home.outbox, "canary-events")]


@pytest.mark.parametrize("percent", ["0", "0.5", "60", "100"])
def test_set_changes_the_percentage_and_no_other_byte(home: Home, percent: str) -> None:
    before = home.config.read_text()
    assert canarec(home, "set", percent) == 0
    assert home.config.read_text() == before.replace('"percentage": 10', f'"percentage": {percent}')


def test_a_change_is_told_in_one_line_and_what_was_in_another(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    canarec(home, "set", "60")
    assert capsys.readouterr().out.splitlines() == [
        "on trial: 60 % of users to v2, the others to v1",
        "was on trial: 10 % of users to v2, the others to v1",
    ]


def test_a_life_of_two_candidates(home: Home) -> None:
    seen = []
    for command in ("set 50", "promote", "rollback"):
        assert canarec(home, *command.split()) == 0
        seen.append(split(home))
    assert seen == [("v1", "v2", 50), ("v2", None, 0), ("v1", None, 0)]


def test_rollback_works_while_no_broker_answers_and_its_event_waits(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.config.write_text(json.dumps({"canary": CANARY}))
    before = home.load()
    assert canarec(home, "rollback", "--why", "complaints", "--who", "night@shop") == 0
    said = capsys.readouterr()
    assert split(home) == ("v1", None, 0)
    (line,) = said.err.splitlines()
    assert line.startswith(f"warning: no Kafka broker answers at {NOBODY}: canary-events is not told yet, 1 waiting in")
    (event,) = waiting(home)
    assert (event["event"], event["who"], event["why"]) == ("rolled_back", "night@shop", "complaints")
    assert event["from"] == {
        "config_sha256": before.sha256,
        "stable": "v1",
        "candidate": "v2",
        "percentage": 10.0,
        "previous": None,
        "rolled_back": None,
        "paused": False,
    }
    assert event["to"] == {
        "config_sha256": home.load().sha256,
        "stable": "v1",
        "candidate": None,
        "percentage": 0.0,
        "previous": None,
        "rolled_back": "v2",
        "paused": False,
    }


def test_rollback_works_with_a_kafka_configuration_that_no_client_takes(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert canarec(home, "rollback") == 0
    assert split(home) == ("v1", None, 0)
    assert "kafka.no.such" in capsys.readouterr().err
    assert len(waiting(home)) == 1


def test_a_change_that_cannot_be_audited_is_said_to_be_made(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    home.artifacts.mkdir()
    home.outbox.write_text("in the way")
    assert canarec(home, "rollback") == 1
    assert split(home) == ("v1", None, 0)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("canarec: config.json is changed, but not audited: ")


def test_events_wait_in_the_order_of_the_changes(home: Home) -> None:
    for command in ("set 20", "pause", "resume", "rollback"):
        canarec(home, *command.split())
    told = waiting(home)
    assert [event["event"] for event in told] == ["set", "paused", "resumed", "rolled_back"]
    assert [event["from"] for event in told[1:]] == [event["to"] for event in told[:-1]]


@pytest.mark.parametrize("command", ["set 10", "resume"])
def test_what_is_so_already_is_no_event(home: Home, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = home.config.read_bytes()
    assert canarec(home, *command.split()) == 0
    assert capsys.readouterr().out.startswith("nothing to change: on trial: 10 %")
    assert home.config.read_bytes() == before
    assert waiting(home) == []


def test_a_second_rollback_goes_no_further(home: Home) -> None:
    configure(home, stable="v2", candidate="v3", previous="v1")
    assert [canarec(home, "rollback") for _ in range(2)] == [0, 0]
    assert split(home) == ("v2", None, 0)
    assert canarec(home, "rollback", "--to", "v1") == 0
    assert split(home) == ("v1", None, 0)


def test_who_is_the_user_at_this_machine_and_nothing_more(home: Home) -> None:
    canarec(home, "pause")
    (event,) = waiting(home)
    user, _, machine = str(event["who"]).partition("@")
    assert user
    assert machine
    assert "." not in machine
    assert "why" not in event


# -- versions that are not there ------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["set 20", "promote", "rollback --to v9"])
def test_a_version_that_is_not_at_hand_gets_no_users(
    with_models: Home, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    canary = configure(with_models, candidate="v8")
    assert canarec(with_models, *command.split()) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no model v" in line
    assert "nothing was changed" in line
    assert json.loads(with_models.config.read_text())["canary"] == canary


def test_a_damaged_version_is_not_promoted(with_models: Home, capsys: pytest.CaptureFixture[str]) -> None:
    factors = with_models.models / "v2" / "factors.npz"
    factors.write_bytes(factors.read_bytes()[:-1] + b"x")
    assert canarec(with_models, "promote") == 1
    assert "model v2 is damaged, nothing was changed" in capsys.readouterr().err
    assert split(with_models) == ("v1", "v2", 10)


def test_a_candidate_that_is_lost_can_be_rolled_back(with_models: Home) -> None:
    configure(with_models, candidate="v8")
    assert canarec(with_models, "rollback") == 0
    assert split(with_models) == ("v1", None, 0)


# -- calls that cannot be meant -------------------------------------------------------------------------


def refused(home: Home, capsys: pytest.CaptureFixture[str], *arguments: str, code: int) -> str:
    """The one line, after which everything is as it was."""
    before = home.config.read_bytes() if home.config.exists() else None
    assert canarec(home, *arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    assert line.startswith("canarec: ")
    assert (home.config.read_bytes() if home.config.exists() else None) == before
    assert waiting(home) == []
    return line


@pytest.mark.parametrize("percent", ["101", "-1", "abc", "nan", "inf", "", "1e400"])
def test_a_percentage_is_from_0_to_100(home: Home, percent: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "PERCENT" in refused(home, capsys, "set", "--", percent, code=2) or percent in ("-1",)


@pytest.mark.parametrize("option", ["--why", "--who"])
@pytest.mark.parametrize("words", ["", "  ", "two\nlines", "\x1b[31mred", "x" * 2_000])
def test_a_reason_is_one_line(home: Home, option: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected a line of 1 to" in refused(home, capsys, "pause", option, words, code=2)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("set 10", "there is no candidate to set a percentage for: v1 answers everyone"),
        ("promote", "there is no candidate to promote: v1 answers everyone"),
        ("pause", "there is no candidate to pause: v1 answers everyone"),
        ("resume", "there is no candidate to resume: v1 answers everyone"),
        ("rollback", "nothing to roll back: there is no candidate, and no version before v1 is known"),
    ],
)
def test_without_a_candidate_there_is_nothing_to_change(
    home: Home, command: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(home, candidate=None)
    assert refused(home, capsys, *command.split(), code=1) == f"canarec: {said}"


def test_a_version_has_a_name(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    assert "canary.stable" in refused(home, capsys, "rollback", "--to", "../v1", code=2)


@pytest.mark.parametrize("command", ["set 20", "promote", "rollback", "pause", "status"])
def test_a_broken_file_is_left_to_its_owner(home: Home, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    home.config.write_text('{"canary": {"percentage": 300}}')
    assert "canary.percentage" in refused(home, capsys, *command.split(), code=2)


@pytest.mark.parametrize("command", ["set 20", "rollback", "status"])
def test_a_home_that_is_not_there_is_a_wrong_call(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = Home(tmp_path / "none")
    assert refused(nowhere, capsys, *command.split(), code=2).endswith("no such folder")
    assert not nowhere.path.exists()


def test_a_folder_that_is_no_home_gets_no_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "is not there: nothing to change" in refused(Home(tmp_path), capsys, "rollback", code=2)


@pytest.mark.parametrize("since", ["", "yesterday", "24", "-1h", "9999-01-01T00:00:00Z", "1e9d"])
def test_since_is_a_moment_before_now(home: Home, since: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--since" in refused(home, capsys, "status", f"--since={since}", code=2)


def test_without_a_broker_the_split_is_shown_and_the_figures_are_a_failure(
    home: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    home.config.write_text(json.dumps({"canary": CANARY}))
    assert canarec(home, "status") == 1
    said = capsys.readouterr()
    assert said.out.startswith("on trial: 10 % of users to v2, the others to v1\n")
    assert f"config_sha256 {home.load().sha256[:12]}" in said.out
    assert said.err.splitlines()[-1].startswith(f"canarec: no Kafka broker answers at {NOBODY}")
