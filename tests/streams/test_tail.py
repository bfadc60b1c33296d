"""The question for the ends of partitions, where a broker has just come back."""

import time
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from streams.tail import Ends

PLACE = ("watch-events", 0)


def ends(*answers):
    """Ends as a broker tells them: offsets or errors' codes, one after the other; the last one stays."""
    left = list(answers)

    def ask():
        answer, future = left.pop(0) if len(left) > 1 else left[0], Future()
        if isinstance(answer, KafkaError):
            future.set_exception(KafkaException(answer))
        else:
            future.set_result(SimpleNamespace(offset=answer))
        return {TopicPartition(*PLACE): future}

    return Ends(ask)


@pytest.mark.parametrize("code", [KafkaError._NOENT, KafkaError._TRANSPORT])
def test_a_broker_that_has_just_come_back_is_asked_again(code):
    assert ends(KafkaError(code), KafkaError(code), 500).settled(10) == {PLACE: 500}


def test_it_is_asked_no_longer_than_an_answer_may_wait():
    begun = time.monotonic()
    with pytest.raises(KafkaException):
        ends(KafkaError(KafkaError._NOENT)).settled(0.3)
    assert time.monotonic() - begun < 5


def test_who_may_not_know_them_is_not_asked_again():
    with pytest.raises(KafkaException):
        ends(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED), 500).settled(10)
