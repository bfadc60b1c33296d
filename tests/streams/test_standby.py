"""A supervisor's two children: who answers, who stands by, who follows whom. Real processes, no Kafka."""

import os
import signal
import sys
import threading
import time

import pytest

from streams import processes, worker
from streams.standby import ANSWER, ANSWERS, PREPARE, START_ANEW_EXIT, WARM, Child, Turn
from tests.waiting import wait_for

WORKER = """
import sys, signal
from streams.standby import ANSWERS, WARM, Turn
turn = Turn(int(sys.argv[2]))
turn.prepare.wait()
turn.tell(WARM)
turn.answer.wait()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
turn.tell(ANSWERS)
signal.pause()
"""
NOBODY_ENDS = threading.Event()


def until(condition):
    wait_for(condition, "the children", 20)


@pytest.fixture
def pair():
    """Two children that say what a worker says, and do nothing else."""
    made = worker.Pair([sys.executable, "-c", WORKER], standby=True, name="w")
    yield made
    made.kill()


@pytest.fixture
def warm_pair(pair):
    pair.begin()
    until(lambda: pair.look(NOBODY_ENDS) or (pair.spare and pair.spare.has_told(WARM)))
    return pair


def die(child, code=None):
    if code is None:
        processes.kill(child.process)
    child.process.wait(20)


def test_without_a_supervisor_it_is_this_workers_turn_at_once():
    turn = Turn()
    assert turn.prepare.is_set()
    assert turn.answer.is_set()


def test_a_child_waits_for_its_turn():
    child = Child([sys.executable, "-c", WORKER])
    try:
        child.say(PREPARE)
        until(lambda: child.has_told(WARM))
        assert not child.has_told(ANSWERS)
        child.say(ANSWER)
        until(lambda: child.has_told(ANSWERS))
    finally:
        processes.kill(child.process)


def test_the_standby_starts_once_the_active_one_answers(warm_pair):
    assert warm_pair.active.has_told(ANSWERS)
    assert not warm_pair.spare.has_told(ANSWERS)


def test_the_standby_takes_over_when_the_active_one_dies(warm_pair):
    spare = warm_pair.spare
    die(warm_pair.active)
    until(lambda: warm_pair.look(NOBODY_ENDS) or warm_pair.active is spare)
    until(lambda: spare.has_told(ANSWERS))


def test_a_standby_that_dies_is_replaced(warm_pair):
    first = warm_pair.spare
    die(first)
    until(lambda: warm_pair.look(NOBODY_ENDS) or warm_pair.spare not in (None, first))


def test_a_standby_that_is_stopped_does_not_take_over(warm_pair):
    stopped = warm_pair.spare
    os.kill(stopped.process.pid, signal.SIGSTOP)
    until(stopped.is_stopped)
    die(warm_pair.active)
    until(lambda: warm_pair.look(NOBODY_ENDS) or warm_pair.active.has_told(ANSWERS))
    assert warm_pair.active is not stopped
    assert stopped.process.wait(20) == -signal.SIGKILL


def test_a_standby_that_read_topics_that_are_gone_does_not_take_over():
    anew = WORKER.replace("signal.pause()", f"sys.exit({START_ANEW_EXIT}) if turn else None")
    pair = worker.Pair([sys.executable, "-c", WORKER], standby=True, name="w")
    try:
        pair._command = [sys.executable, "-c", anew]
        processes.kill(pair.active.process)
        pair.active = Child(pair._command)
        pair.begin()
        pair.spare = stale = Child([sys.executable, "-c", WORKER])
        die(pair.active, START_ANEW_EXIT)
        pair.look(NOBODY_ENDS)
        assert pair.active is not stale
        assert stale.process.wait(5) == -signal.SIGKILL
    finally:
        pair.kill()


def test_without_a_standby_the_active_one_is_started_again():
    pair = worker.Pair([sys.executable, "-c", WORKER], standby=False, name="w")
    try:
        pair.begin()
        first = pair.active
        until(lambda: first.has_told(ANSWERS))
        pair.look(NOBODY_ENDS)
        assert pair.spare is None
        die(first)
        until(lambda: pair.look(NOBODY_ENDS) or pair.active is not first)
        until(lambda: pair.active.has_told(ANSWERS))
    finally:
        pair.kill()


def test_a_child_that_never_answered_ends_cleanly_whatever_it_says(pair):
    assert pair.stop()


def test_a_child_that_answers_ends_by_itself(warm_pair):
    assert warm_pair.stop()
    assert warm_pair.active.exit_code() == 0


def test_an_interrupt_for_the_whole_group_does_not_reach_the_children(warm_pair):
    os.kill(warm_pair.active.process.pid, signal.SIGINT)
    time.sleep(0.1)
    assert warm_pair.active.exit_code() is None


@pytest.mark.parametrize(("deaths", "seconds"), [(1, 0.0), (2, 0.5), (3, 1.0), (5, 4.0), (50, 4.0), (5_000, 4.0)])
def test_only_the_first_death_is_made_good_at_once(deaths, seconds):
    assert worker._backoff(deaths) == seconds


@pytest.mark.parametrize(("number", "noted"), [(signal.SIGSEGV, [-11]), (signal.SIGKILL, [])])
def test_a_fault_of_its_own_is_noted_and_a_kill_is_not(number, noted):
    codes = []
    pair = worker.Pair([sys.executable, "-c", WORKER], standby=False, name="w", crashed=codes.append)
    try:
        pair.begin()
        until(lambda: pair.active.has_told(ANSWERS))
        pair.active.process.send_signal(number)
        pair.active.process.wait(5)
        pair.look(NOBODY_ENDS)
        assert codes == noted
    finally:
        pair.kill()
