"""How far the consumer of requests may be ahead of the transactions."""

import time
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError

from streams import exactly_once
from streams.clients import Cluster
from streams.clock import BrokerClock
from streams.exactly_once import BATCHES_AHEAD, ExactlyOnce, Session
from streams.messages import ThrownOut


@pytest.fixture(params=[1, 64, 256, 1_000])
def pipe(request):
    """A pipe of these batches that nobody has started."""
    return ExactlyOnce(
        Cluster("127.0.0.1:1"),
        group="g",
        topics=["requests"],
        name="w",
        batch_size=request.param,
        outputs=[],
        clock=BrokerClock(),
        feed=lambda batch: None,
    )


def most_ahead(pipe):
    """Batches that are put before there is no more room, none of them taken."""
    session = Session(None, [])
    pipe._progress = float("inf")  # nothing is stalled
    while pipe._has_room(session):
        session.put += 1
    return session.put


def test_so_many_batches_wait_for_a_transaction(pipe):
    assert most_ahead(pipe) == BATCHES_AHEAD


def test_in_a_backlog_more_wait_but_no_more_messages_than_a_transaction_takes(pipe):
    pipe._backlog = True
    ahead = most_ahead(pipe)
    assert ahead >= BATCHES_AHEAD
    assert ahead == BATCHES_AHEAD or ahead * pipe.batch_size <= exactly_once.TRANSACTION_MESSAGES
    assert (ahead > BATCHES_AHEAD) == (pipe.batch_size < 256)


def test_a_batch_of_which_nothing_comes_is_read_again(pipe):
    session = Session(None, [])
    session.put, pipe._progress = 1, time.monotonic() - exactly_once.STALLED_S - 1
    assert not pipe._has_room(session)
    assert not session.open


@pytest.mark.parametrize(("sound", "ending", "renewed"), [(True, False, 1), (False, False, 0), (True, True, 0)])
def test_producers_that_may_have_outlived_a_broker_are_made_anew(pipe, monkeypatch, sound, ending, renewed):
    rebuilt = []
    monkeypatch.setattr(pipe.transactions, "rebuild", rebuilt.append)
    pipe.transactions._sound, pipe.ending = sound, ending
    pipe._on_lost(None, [])
    assert len(rebuilt) == renewed


def test_a_consumer_that_was_thrown_out_says_so_behind_any_other_error(pipe, monkeypatch):
    """It is said once, in a message of its own, and not marked as fatal."""
    errors = [KafkaError(KafkaError._TRANSPORT), KafkaError(KafkaError._FATAL)]
    messages = [SimpleNamespace(error=lambda error=error: error) for error in errors]
    consumer = SimpleNamespace(
        subscribe=lambda topics, **callbacks: None,
        poll=lambda seconds: messages[0],
        consume=lambda count, seconds: messages[1:],
    )
    monkeypatch.setattr(Cluster, "consumer", lambda self, **settings: consumer)
    pipe._rewind_due = False
    with pytest.raises(ThrownOut):
        pipe._consume()
