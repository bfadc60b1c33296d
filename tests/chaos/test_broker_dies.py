"""The broker is killed, hangs, or is away, and comes back on its data: answers flow again, none is given again or left out."""

import os
import random
import signal

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

OFFSETS_MB = 50  # in the log of the group's coordinator: it loads for a while, and may answer from the past meanwhile
PARTITIONS = 100
METADATA = 4_096  # the longest that Kafka takes


def broker_killed(faulty, own, requests):
    own.restart(requests)
    requests.flow(1)


def broker_hangs(faulty, own, requests):
    """Longer than calls, transactions and sessions last."""
    requests.fault("broker hangs for 8 s", aim_s=13)
    os.kill(own.broker.pid, signal.SIGSTOP)
    requests.flow(8)
    os.kill(own.broker.pid, signal.SIGCONT)
    requests.flow(2)


def broker_away(faulty, own, requests):
    own.restart(requests, away_s=60)
    requests.flow(2)


def broker_away_when_a_worker_starts(faulty, own, requests):
    for worker in faulty.running():
        worker.terminate()
        assert worker.wait(10) == 0
    requests.flow(0.5)  # some are waiting when it goes
    own.restart(requests, away_s=3, meanwhile=lambda: [faulty.start_worker() for _ in range(2)])
    faulty.ready(faulty.running())


SHORT = [broker_killed, broker_away_when_a_worker_starts]
FULL = {broker_killed: 10, broker_hangs: 3, broker_away: 1, broker_away_when_a_worker_starts: 3}


@pytest.fixture(scope="module")
def loaded(own, long):
    """The coordinator's log is long, in the full form; filled once for all."""
    filled = []

    def fill(faulty):
        if long and faulty.group not in filled:
            filled.append(faulty.group)
            fill_offsets(faulty, OFFSETS_MB)
            assert offsets_bytes(own, faulty) > OFFSETS_MB * 1e6

    return fill


def test_a_broker_that_goes_and_comes_loses_and_doubles_nothing(faulty_alone, own, loaded, traffic, faults):
    loaded(faulty_alone)
    faulty_alone.staff(2)
    with traffic(faulty_alone) as requests:
        for fault in faults:
            requests.flow(random.uniform(0.5, 3))
            fault(faulty_alone, own, requests)
            requests.calm(180)
        requests.finish("2 workers")
    assert all(seconds < 30 for seconds in requests.resumed())  # aim: 10


def fill_offsets(faulty, megabytes):
    """Committed offsets of strangers, in the log that holds those of the requests."""
    topic = f"{faulty.prefix}strangers"
    admin = faulty.cluster.admin()  # kept: its futures end with it
    admin.create_topics([NewTopic(topic, PARTITIONS)])[topic].result(30)
    strangers = (f"{faulty.prefix}stranger-{number}" for number in range(100_000))
    beside = (group for group in strangers if log_of(group) == log_of(faulty.group))
    for _ in range(int(megabytes * 1e6 / (PARTITIONS * METADATA)) + 2):
        stranger = faulty.cluster.consumer(group_id=next(beside))
        places = [TopicPartition(topic, number, number, "x" * METADATA) for number in range(PARTITIONS)]
        faulty.insist(lambda stranger=stranger, places=places: stranger.commit(offsets=places, asynchronous=False))
        stranger.close()


def log_of(group, logs=8):
    """The partition of __consumer_offsets that holds a group: Java's hash of its name."""
    code = 0
    for character in group:
        code = (31 * code + ord(character)) & 0xFFFFFFFF
    return abs(code - (1 << 32) if code >> 31 else code) % logs


def offsets_bytes(own, faulty):
    folder = own.broker.folder.path / "data" / f"__consumer_offsets-{log_of(faulty.group)}"
    return sum(path.stat().st_size for path in folder.glob("*.log"))
