"""The delivery pipeline's own lines at a real trial: users of the simulator decide what becomes of a candidate, and the exit codes say it."""

import os
import subprocess
import time

import pytest

from tests.broker.test_canary_release import RELEASE, publish_model, publish_world, simulated_users
from tests.test_delivery import CANAREC, JOBS, PIPELINE

pytestmark = pytest.mark.timeout(400)

WAIT_S = 180


@pytest.fixture
def trial(installations):
    """v8 is published and offered, and answers nobody yet; people decide."""
    settings = {
        "canary": {"stable": "v7", "candidate": "v8", "percentage": 0},
        "release": {**RELEASE, "automation": "advise", "decides_from": 10},
        "metrics": {"horizon_s": 2},
    }
    with installations(**settings) as shop:
        publish_world(shop)
        yield shop


def run(shop, job, **variables):
    """A job's lines, as a runner runs them."""
    environment = {
        **{**os.environ, **PIPELINE["variables"], "CI_PIPELINE_ID": "7", "GITLAB_USER_LOGIN": "ada"},
        "CANAREC_HOME": str(shop.home.path),
        "CANAREC_BOOTSTRAP_SERVERS": shop.cluster.bootstrap_servers,
        **variables,
    }
    script = "\n".join(["set -e", *JOBS[job]["script"]]).replace(".venv/bin/canarec", CANAREC)
    return subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)


def released(shop, candidate):
    """Canary and analysis; what the analysis said."""
    publish_model(shop.home, "v7", "good")
    publish_model(shop.home, "v8", candidate)
    shop.start_worker()
    shop.ask("u1")
    with simulated_users(shop):
        begun = run(shop, "canary", CANARY_PERCENT="50")  # both arms fill soon
        assert begun.returncode == 0, begun.stderr
        return run(shop, "analysis", ANALYSIS_SECONDS=str(WAIT_S))


def test_a_damaged_candidate_is_found_and_rolled_back(trial):
    analysis = released(trial, "shuffled")
    assert analysis.returncode == 3, analysis.stdout + analysis.stderr
    assert "fail: ROLLBACK" in analysis.stdout
    assert run(trial, "rollback").returncode == 0
    canary = trial.home.load().config.canary
    assert (canary.stable, canary.candidate, canary.rolled_back) == ("v7", None, "v8")


def test_an_equal_candidate_passes_and_is_promoted(trial):
    analysis = released(trial, "good")
    assert analysis.returncode == 0, analysis.stdout + analysis.stderr
    assert "pass: ADVANCE" in analysis.stdout
    assert run(trial, "promote").returncode == 0
    canary = trial.home.load().config.canary
    assert (canary.stable, canary.candidate, canary.previous) == ("v8", None, "v7")


def test_undecided_is_no_pass(trial):
    publish_model(trial.home, "v7", "good")
    publish_model(trial.home, "v8", "good")
    trial.start_worker()
    trial.ask("u1")
    begun = time.monotonic()
    analysis = run(trial, "analysis", ANALYSIS_SECONDS="3")
    assert analysis.returncode == 4, analysis.stdout + analysis.stderr
    assert time.monotonic() - begun >= 3
