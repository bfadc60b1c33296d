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
        Aside().call(lambda: (threads.append(threading.current_thread()), came_back.wait(60)), patience_s=0.5)
    wait_for(lambda: threads, "the call")
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


class Made:
    """A producer that can be buried."""

    def purge(self):
        pass


@pytest.fixture
def own(monkeypatch):
    """Transactions whose producers are made by `own.make`, which tells how often it was asked."""
    made = Transactions(Cluster("127.0.0.1:1"), "g", "w", 1, [], BrokerClock())
    made.asked, made.make = [], lambda: [Made()]
    monkeypatch.setattr(made, "_all_made", lambda patience_s: (made.asked.append(patience_s), made.make())[1])
    return made


def guarded(work):
    work()


def test_producers_are_made_once_however_often_they_are_to_be_made_anew(own):
    with own.lock:  # a transaction is in flight
        own.rebuild(guarded)
        own.rebuild(guarded)
        assert own.making
        assert not own.ready()
        assert own.asked == []
    wait_for(lambda: own.ready() and not own.making, "the producers", 10)
    own.ensure()
    assert len(own.asked) == 1


def test_producers_that_could_not_be_made_are_made_by_whoever_needs_them_next(own):
    make, own.make = own.make, lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        own.ensure()
    assert (own.making, own.ready()) == (False, False)
    own.make = make
    own.ensure()
    assert own.ready()


def test_old_producers_are_gone_while_new_ones_are_being_made(own):
    own.ensure()
    gone = weakref.ref(own._producers[0])
    gc.disable()
    try:
        own.make = lambda: (wait_for(lambda: gone() is None, "its end", 10), [Made()])[1]
        own._sound = False
        own.ensure()
    finally:
        gc.enable()
    assert own.ready()


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
    monkeypatch.setattr(transactions, "CALL_S", 60)
    own._send_offsets(SimpleNamespace(send_offsets_to_transaction=lambda *arguments: sent.append(1)), [], None)
    assert sent == [1]
    came_back.set()
