"""Events that wait: none lost, in order, sent by one at a time."""

import fcntl
import os

import pytest

from pipelines import outbox


class Kafka:
    """Takes so many events."""

    def __init__(self, takes=100):
        self.took, self.takes = [], takes

    def publish(self, event):
        if len(self.took) == self.takes:
            raise ConnectionError("away")
        self.took.append(event)


def fill(folder, *events):
    for number, event in enumerate(events):
        outbox.put(folder, "canary-events", event, now_ms=1_700_000_000_000 + number)


def test_what_was_put_is_sent_once_in_order(tmp_path):
    fill(tmp_path, b"1", b"2", b"3")
    kafka = Kafka()
    assert outbox.send(tmp_path, "canary-events", kafka.publish) == 3
    assert outbox.send(tmp_path, "canary-events", kafka.publish) == 0
    assert kafka.took == [b"1", b"2", b"3"]
    assert os.listdir(tmp_path / "canary-events") == []


def test_what_kafka_does_not_take_waits(tmp_path):
    fill(tmp_path, b"1", b"2", b"3")
    with pytest.raises(ConnectionError):
        outbox.send(tmp_path, "canary-events", Kafka(takes=1).publish)
    kafka = Kafka()
    outbox.send(tmp_path, "canary-events", kafka.publish)
    assert kafka.took == [b"2", b"3"]


def test_two_events_of_one_moment_are_two(tmp_path):
    for _ in range(2):
        outbox.put(tmp_path, "canary-events", b"same", now_ms=5)
    assert len(outbox.kept(tmp_path, "canary-events")) == 2


def test_topics_do_not_mix(tmp_path):
    outbox.put(tmp_path, "retraining-events", b"r", now_ms=5)
    assert outbox.send(tmp_path, "canary-events", Kafka().publish) == 0
    assert len(outbox.kept(tmp_path, "retraining-events")) == 1


def test_a_half_written_event_is_not_sent(tmp_path):
    fill(tmp_path, b"1")
    (tmp_path / "canary-events" / ".000000000000005-aaaa.json").write_bytes(b"{")
    kafka = Kafka()
    outbox.send(tmp_path, "canary-events", kafka.publish)
    assert kafka.took == [b"1"]


def test_while_another_one_sends_nothing_is_sent_twice(tmp_path):
    fill(tmp_path, b"1")
    descriptor = os.open(tmp_path / "canary-events", os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    kafka = Kafka()
    assert outbox.send(tmp_path, "canary-events", kafka.publish) == 0
    os.close(descriptor)
    assert outbox.send(tmp_path, "canary-events", kafka.publish) == 1
