"""The barrier's question for the ends of the event topics, where a broker has just come back."""

import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.histories import Asked, Known
from streams.tail import Ends

PLACE = ("watch-events", 0)


def told(answer):
    """Ends as a broker tells them: an offset, or an error."""
    future = Future()
    if isinstance(answer, KafkaError):
        future.set_exception(KafkaException(answer))
    else:
        future.set_result(SimpleNamespace(offset=answer))
    return Ends(lambda: {TopicPartition(*PLACE): future})


@pytest.fixture
def caught_up():
    """Whether everything was read, of a reader at offset 500 that is given these answers one after the other; the last one stays."""

    def ask(*answers, wait_s):
        left, known = list(answers), Known.__new__(Known)
        known.wait_s = wait_s
        known.tail = SimpleNamespace(wait=lambda targets, until: targets == {PLACE: 500})
        known.ends = lambda: Asked({PLACE: 500}, told(left.pop(0) if len(left) > 1 else left[0]))
        return known.caught_up(known.ends())

    return ask


@pytest.mark.parametrize("code", [KafkaError._NOENT, KafkaError._TRANSPORT])
def test_a_broker_that_has_just_come_back_is_asked_again(caught_up, code):
    assert caught_up(KafkaError(code), KafkaError(code), 500, wait_s=10)


def test_it_is_asked_no_longer_than_an_answer_may_wait(caught_up):
    begun = time.monotonic()
    assert not caught_up(KafkaError(KafkaError._NOENT), wait_s=0.3)
    assert time.monotonic() - begun < 5


def test_who_may_not_know_them_is_not_asked_again(caught_up):
    assert not caught_up(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), 500, wait_s=10)
