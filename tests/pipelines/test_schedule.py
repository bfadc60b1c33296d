"""The scheduler's choices about retraining: when a run is let, how long is waited, what is said once."""

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from models import config
from models.errors import CanarecError
from models.retraining import Counts, Last, decide
from pipelines.schedule import Ended, Retraining, after_failures, crontab

MADE = datetime(2026, 11, 1, tzinfo=UTC)
RULE = config.Retraining(days=3, look_every_s=60, retry_after_s=300)


class World:
    """A version, what is new since, and how runs end; remembers what was run and shown."""

    def __init__(self, rule=RULE):
        self.rule, self.last, self.counts = rule, Last("v3", MADE), Counts(0, 0)
        self.ends, self.ran, self.shown = Ended("finished"), [], []
        self.job = Retraining(self.look, self.run, self.shown.append)

    def look(self, now):
        return self.rule, decide(self.last, self.counts, None, self.rule, now)

    def run(self, decision):
        self.ran.append(decision.reason.split(":")[0])
        if isinstance(self.ends, Exception):
            raise self.ends
        if decision.due and self.ends.outcome in ("finished", "refused"):
            self.last = Last("v4", self.now, refused=self.ends.outcome == "refused")
        return self.ends if decision.due or self.ends.outcome == "failed" else Ended("skipped")

    def turn(self, days):
        self.now = MADE + timedelta(days=days)
        return self.job.turn(self.now)


def test_between_due_moments_nothing_is_run_or_told():
    world = World()
    world.counts = Counts(500, 500)
    assert [world.turn(days) for days in (0, 1, 2.9)] == [60, 60, 60]
    assert world.ran == []
    assert len(world.shown) == 3


def test_a_due_moment_trains_once():
    world = World()
    world.counts = Counts(50, 80)
    assert world.turn(3) == 60
    world.counts = Counts(0, 0)
    assert world.turn(3.01) == 60
    assert world.ran == ["due"]


@pytest.mark.parametrize("outcome", ["finished", "refused"])
def test_a_refused_version_is_not_tried_again_at_once(outcome):
    world = World()
    world.counts, world.ends = Counts(50, 80), Ended(outcome)
    for minutes in range(10):
        world.turn(3 + minutes / 1_440)
    assert world.ran == ["due"]


def test_a_skip_is_told_once_for_each_due_moment_and_not_each_minute():
    world = World()
    for days in (3, 3.001, 3.5, 5.999, 6, 6.001, 8.9, 9):
        world.turn(days)
    assert world.ran == ["skipped"] * 3


def test_enough_after_a_skip_trains_without_waiting_for_the_next_due_moment():
    world = World()
    world.turn(3)
    world.counts = Counts(0, 100)
    world.turn(3.5)
    assert world.ran == ["skipped", "due"]


def test_a_version_from_the_future_is_told_of_once():
    world = World()
    world.counts = Counts(500, 500)
    for days in (-5, -4, -3, -0.5):
        world.turn(days)
    assert world.ran == ["skipped"]


def test_failures_wait_twice_as_long_each_time_and_a_success_forgets_them():
    world = World()
    world.counts, world.ends = Counts(50, 80), Ended("failed", "a full disk")
    assert [world.turn(3 + n / 100) for n in range(3)] == [300, 600, 1_200]
    world.ends = Ended("finished")
    assert world.turn(4) == 60
    world.last, world.ends = Last("v3", MADE), Ended("failed", "again")
    assert world.turn(5) == 300


def test_a_skip_that_could_not_be_told_is_told_later():
    world = World()
    world.ends = Ended("failed", "no broker")
    assert [world.turn(3), world.turn(3.1)] == [300, 600]
    world.ends = Ended("skipped")
    assert world.turn(3.2) == 60
    assert world.turn(3.3) == 60
    assert world.ran == ["skipped"] * 3


def test_a_run_that_saw_nothing_to_do_is_asked_again_ever_less_often():
    world = World()
    world.counts, world.ends = Counts(50, 80), Ended("skipped")
    assert [world.turn(3 + n / 100) for n in range(3)] == [300, 600, 1_200]
    world.counts = Counts(0, 0)
    assert [world.turn(4), world.turn(4.1)] == [60, 60]
    world.counts = Counts(50, 80)
    assert world.turn(5) == 300


def test_a_retry_never_comes_before_the_next_look():
    world = World(config.Retraining(days=3, look_every_s=600, retry_after_s=1))
    world.counts, world.ends = Counts(50, 80), Ended("failed")
    assert world.turn(3) == 600


def test_errors_are_the_callers():
    world = World()
    world.counts, world.ends = Counts(50, 80), CanarecError("no broker")
    with pytest.raises(CanarecError):
        world.turn(3)


def test_the_wait_never_exceeds_a_day():
    assert after_failures(10_000, 300) == 86_400
    assert after_failures(1, 86_400) == 86_400


def test_without_days_a_skip_is_told_once():
    world = World(config.Retraining(days=0))
    for days in (0, 1, 7):
        world.turn(days)
    assert world.ran == ["skipped"]


def test_the_crontab_line_is_quoted_for_shell_and_cron():
    line = crontab(["/a b/canarec", "retrain", "--home", "/x%y"], Path("/a b/log"))
    assert line == r"17 * * * * mkdir -p '/a b' && '/a b/canarec' retrain --home /x\%y >> '/a b/log' 2>&1"


def test_the_crontab_line_runs_where_no_log_was_ever_written(tmp_path):
    log = tmp_path / "50% off" / "logs" / "retrain.log"
    command = crontab(["echo", "it ran"], log).split(maxsplit=5)[5].replace(r"\%", "%")  # as cron hands it over
    subprocess.run(["sh", "-c", command], check=True)
    assert log.read_text() == "it ran\n"
