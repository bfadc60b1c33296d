"""`.gitlab-ci.yml` against what is there: its order, and each line of its scripts, which is a command that exists; the cheap ones are run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from jsonschema import Draft7Validator

from models.config import Config
from tests.test_docs import accepts, simple_commands

ROOT = Path(__file__).parents[1]
PIPELINE = yaml.safe_load((ROOT / ".gitlab-ci.yml").read_text())
GLOBAL = {"stages", "workflow", "variables", "default"}
JOBS = {name: job for name, job in PIPELINE.items() if name not in GLOBAL and not name.startswith(".")}
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
CANARY = {"stable": "v1", "candidate": "v2", "percentage": 0}
NOBODY = "127.0.0.1:1"


def of(job, key, default=None):
    """A key of a job, or what it inherits."""
    for part in (JOBS[job], PIPELINE.get(JOBS[job].get("extends"), {}), PIPELINE["default"]):
        if key in part:
            return part[key]
    return default


def lines(job):
    return [*of(job, "before_script", []), *JOBS[job]["script"]]


def when(job):
    return [rule.get("when", "on_success") for rule in of(job, "rules", [{}])]


# -- the form --------------------------------------------------------------------------------------------

SCHEMA = Draft7Validator(json.loads((ROOT / "tests" / "schemas" / "gitlab-ci.json").read_text()))


def test_gitlab_s_own_schema_takes_the_file():
    assert [f"{list(error.absolute_path)}: {error.message[:200]}" for error in SCHEMA.iter_errors(PIPELINE)] == []


def test_a_word_that_gitlab_does_not_know_would_be_noticed():
    changed = {**PIPELINE, "lint": {**PIPELINE["lint"], "scripts": ["make lint"]}}
    assert not SCHEMA.is_valid(changed)


# -- the order -------------------------------------------------------------------------------------------


def test_the_stages_are_the_canary_workflow():
    assert PIPELINE["stages"] == ["lint", "test", "build", "image", "deploy", "canary", "analysis", "release"]


def test_every_job_is_of_a_stage_and_every_stage_has_a_job():
    assert {job["stage"] for job in JOBS.values()} == set(PIPELINE["stages"])


def test_a_job_needs_none_of_its_own_stage_or_later():
    place = PIPELINE["stages"].index
    for name, job in JOBS.items():
        for needed in job.get("needs", []):
            assert place(JOBS[needed]["stage"]) <= place(job["stage"]), (name, needed)
            assert needed != name


def test_the_canary_answers_ten_percent_which_is_enough_to_decide():
    share = PIPELINE["variables"]["CANARY_PERCENT"]
    assert (share, float(share) >= Config().release.decides_from) == ("10", True)


def test_nothing_is_promoted_without_the_analysis():
    assert (JOBS["promote"]["needs"], when("promote")) == (["analysis"], ["on_success"])


def test_a_failed_analysis_is_rolled_back_by_itself():
    assert "analysis" in JOBS["rollback"]["needs"]
    assert when("rollback") == ["on_failure"]


@pytest.mark.parametrize("job", ["promote-now", "rollback-now"])
def test_a_person_may_decide_while_the_analysis_waits(job):
    (rule,) = of(job, "rules")
    assert (rule["when"], rule["allow_failure"], JOBS[job]["needs"]) == ("manual", True, ["canary"])
    assert of(job, "resource_group") != of("analysis", "resource_group")


def test_changes_of_the_split_come_one_at_a_time():
    changing = [name for name in JOBS if any(" canary " in line and "gate" not in line for line in lines(name))]
    assert changing
    assert {of(name, "resource_group") for name in changing} == {"production"}
    assert not any(of(name, "interruptible") for name in changing)


def test_the_analysis_may_take_as_long_as_it_waits():
    assert JOBS["analysis"]["timeout"] == "5h"
    assert int(PIPELINE["variables"]["ANALYSIS_SECONDS"]) < 5 * 3_600


def test_environments_are_stopped_by_jobs_that_are_there():
    for job in JOBS.values():
        stops = job.get("environment", {}).get("on_stop")
        if stops is not None:
            assert JOBS[stops]["environment"] == {"name": job["environment"]["name"], "action": "stop"}


# -- the lines -------------------------------------------------------------------------------------------

LINES = sorted({line for job in JOBS for line in lines(job)})


def said(line):
    """The line as a runner's shell would have it."""
    given = {**PIPELINE["variables"], "CI_PIPELINE_ID": "7", "GITLAB_USER_LOGIN": "ada"}
    return re.sub(r"\$(\w+)", lambda found: given[found[1]], line)


@pytest.mark.parametrize("line", LINES)
def test_a_line_is_one_command_that_exists(line):
    (words,) = simple_commands(said(line))
    if words[0] == "make":
        assert set(words[1:]) <= TARGETS
    else:
        assert words[0] == ".venv/bin/canarec"
        accepts(words[1:])


@pytest.mark.parametrize("line", [".venv/bin/canarec canary sett 10", ".venv/bin/canarec canary set 10 --if-some"])
def test_a_command_that_does_not_exist_would_be_noticed(line):
    with pytest.raises((AssertionError, click.UsageError)):
        test_a_line_is_one_command_that_exists(line)


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("make ")])
def test_make_knows_how(line):
    told = subprocess.run([*line.split(), "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stderr) == (0, "")


# -- run, in a home, by the shell ------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"canary": CANARY}))
    return tmp_path


def run(job, home):
    """The job's own lines, as a runner runs them; without a broker, which takes the events later."""
    environment = {
        **os.environ,
        **PIPELINE["variables"],
        "CI_PIPELINE_ID": "7",
        "GITLAB_USER_LOGIN": "ada",
        "CANAREC_HOME": str(home),
        "CANAREC_BOOTSTRAP_SERVERS": NOBODY,
    }
    script = "\n".join(["set -e", *JOBS[job]["script"]]).replace(".venv/bin/canarec", CANAREC)
    told = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    split = json.loads((home / "config.json").read_bytes())["canary"]
    return told, {name: split.get(name) for name in ("stable", "candidate", "percentage")}


CANAREC = str(Path(sys.executable).with_name("canarec"))


def test_the_canary_begins_with_ten_percent(home):
    told, split = run("canary", home)
    assert (told.returncode, split) == (0, {"stable": "v1", "candidate": "v2", "percentage": 10})


@pytest.mark.parametrize("job", ["promote", "promote-now"])
def test_a_promotion_is_for_everybody(home, job):
    told, split = run(job, home)
    assert (told.returncode, split) == (0, {"stable": "v2", "candidate": None, "percentage": 0})


@pytest.mark.parametrize("job", ["rollback", "rollback-now"])
def test_a_rollback_ends_the_trial(home, job):
    told, split = run(job, home)
    assert (told.returncode, split) == (0, {"stable": "v1", "candidate": None, "percentage": 0})


@pytest.mark.parametrize("job", ["canary", "analysis", "promote", "rollback"])
def test_without_a_candidate_there_is_nothing_to_do(home, job):
    without = {"stable": "v2", "candidate": None, "percentage": 0, "previous": "v1"}
    (home / "config.json").write_text(json.dumps({"canary": without}))
    told, _ = run(job, home)
    assert told.returncode == 0, told.stderr
    assert told.stdout.startswith("no candidate: nothing to ")
    assert json.loads((home / "config.json").read_bytes())["canary"] == without


def test_an_analysis_that_knows_nothing_lets_nothing_pass(home):
    told, split = run("analysis", home)
    assert told.returncode == 1  # no broker answers
    assert "no Kafka broker answers" in told.stderr
    assert split["candidate"] == "v2"


def test_who_and_why_are_in_the_audit(home):
    run("rollback-now", home)
    (event,) = (home / "artifacts" / "outbox" / "canary-events").glob("*.json")
    told = json.loads(event.read_bytes())
    assert (told["event"], told["who"], told["why"]) == ("rolled_back", "ada", "by hand, pipeline 7")
