"""Calls that another thread makes, one that does not come back, and what a transaction makes of it."""

import gc
import threading
import weakref
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from streams import transactions
from streams.clients import Cluster
from streams.clock import BrokerClock
from streams.transactions import Aside, Transactions
from tests.waiting import wait_for


def aside_threads():
    return {thread for thread in threading.enumerate() if thread.name == "aside"}


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


def test_its_thread_ends_with_it():
    before = aside_threads()
    aside = Aside()
    (thread,) = aside_threads() - before
    del aside
    wait_for(lambda: not thread.is_alive(), "the thread's end", 10)


class Caller:
    """Raises, as a producer's methods do."""

    def call(self):
        raise KafkaException(KafkaError(KafkaError._FENCED))


def test_a_call_that_raises_keeps_nothing_alive_until_the_garbage_collector_comes():
    caller, aside = Caller(), Aside()
    gone = weakref.ref(caller)
    gc.disable()
    try:
        with pytest.raises(KafkaException):
            aside.call(caller.call, patience_s=10)
        del caller
        wait_for(lambda: gone() is None, "its end", 10)
    finally:
        gc.enable()


def test_offsets_that_cannot_be_sent_in_time_fail_the_transaction_and_not_the_next_one(monkeypatch):
    monkeypatch.setattr(transactions, "CALL_S", 0.01)
    own, came_back, sent = Transactions(Cluster("127.0.0.1:1"), "g", "w", 1, [], BrokerClock()), threading.Event(), []
    hanging = SimpleNamespace(send_offsets_to_transaction=lambda *arguments: came_back.wait(60))
    with pytest.raises(KafkaException, match="did not come back"):
        own._send_offsets(hanging, [], None)
    own._send_offsets(SimpleNamespace(send_offsets_to_transaction=lambda *arguments: sent.append(1)), [], None)
    assert sent == [1]
    came_back.set()
