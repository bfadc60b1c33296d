"""Calls that another thread makes: what comes back, what is raised, and one that does not come back."""

import threading

import pytest

from streams.transactions import Aside
from tests.waiting import wait_for


def test_a_call_is_made_before_the_next_step():
    made, aside = [], Aside()
    for number in range(100):
        aside.call(lambda number=number: made.append(number), patience_s=10)
        assert made[-1] == number


def test_what_a_call_raises_is_raised_and_the_next_one_is_made():
    made, aside = [], Aside()
    with pytest.raises(ZeroDivisionError):
        aside.call(lambda: 1 / 0, patience_s=10)
    aside.call(lambda: made.append(1), patience_s=10)
    assert made == [1]


def test_a_call_that_does_not_come_back_is_left_behind_and_its_thread_ends_with_it():
    came_back, threads, before = threading.Event(), [], set(threading.enumerate())
    with pytest.raises(TimeoutError):
        Aside().call(lambda: (threads.append(threading.current_thread()), came_back.wait(60)), patience_s=0.1)
    assert threads[0] not in before
    assert threads[0].is_alive()
    came_back.set()
    wait_for(lambda: not threads[0].is_alive(), "the thread's end", 10)
