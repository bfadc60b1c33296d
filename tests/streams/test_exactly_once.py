"""How far the consumer of requests may be ahead of the transactions, and what it does when one hangs."""

import time

import pytest

from streams import exactly_once
from streams.clients import Cluster
from streams.clock import BrokerClock
from streams.exactly_once import BATCHES_AHEAD, ExactlyOnce, Session


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


def stalled(pipe, *, transaction_s, looked_s):
    """A session with a batch that nothing has come of for 11 s; a transaction for so long, looked at so long ago."""
    now, session = time.monotonic(), Session(None, [])
    session.put = 1
    pipe._progress, pipe.transactions._since, pipe._looked_at = now - 11, now - transaction_s, now - looked_s
    return session


def test_a_transaction_that_does_not_keep_its_time_outs_ends_the_worker(pipe):
    with pytest.raises(RuntimeError, match="a transaction hangs"):
        pipe._has_room(stalled(pipe, transaction_s=10, looked_s=0.2))


@pytest.mark.parametrize(("transaction_s", "looked_s"), [(8, 0.2), (30, 15)], ids=["within them", "stopped meanwhile"])
def test_a_batch_of_which_nothing_comes_is_read_again(pipe, transaction_s, looked_s):
    session = stalled(pipe, transaction_s=transaction_s, looked_s=looked_s)
    assert not pipe._has_room(session)
    assert not session.open
