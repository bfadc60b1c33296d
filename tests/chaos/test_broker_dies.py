"""The broker is killed, hangs, or is away, and comes back on its data: answers flow again, none is given again or left out."""

import asyncio
import os
import random
import signal
import threading
import time

import pytest
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import NewTopic

from streams.broker import Broker
from streams.clients import Cluster
from streams.clock import BrokerClock
from streams.committed import committed
from streams.data_folder import DataFolder
from streams.exactly_once import ExactlyOnce

OFFSETS_MB = 50  # in the log of the group's coordinator: it loads for a while, and may answer from the past meanwhile
PARTITIONS = 100
METADATA = 4_000  # 4,096 were refused as too large
PLACE = ("asked", 0)


def broker_killed(faulty, own, requests):
    own.restart(requests)
    requests.flow(1)


def broker_hangs(faulty, own, requests):
    """Longer than calls, transactions and sessions last."""
    seconds = random.uniform(8, 11)
    requests.fault(f"broker hangs for {seconds:.1f} s", aim_s=seconds + 5)
    os.kill(own.broker.pid, signal.SIGSTOP)
    requests.flow(seconds)
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
FULL = {broker_killed: 10, broker_hangs: 6, broker_away: 1, broker_away_when_a_worker_starts: 3}


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


def test_a_transaction_that_kafka_called_complete_without_its_markers_holds_nobody_up(full, tmp_path, monkeypatch):
    """As a whole cluster may leave it that was killed: our own broker's last run is fenced before, so here it is not."""
    monkeypatch.setattr(DataFolder, "was_killed", lambda folder: False)
    with Broker(tmp_path, port=0, properties={"broker.session.timeout.ms": "3000"}) as broker:
        cluster = Cluster(broker.bootstrap_servers)
        admin = cluster.admin()  # kept: its futures end with it
        for made in admin.create_topics([NewTopic("asked", 1), NewTopic("told", 2)]).values():
            made.result(30)
        metadata = cluster.consumer(group_id="g").consumer_group_metadata()  # of nobody in particular
        owner = cluster.producer(transactional_id="g-w-0", transaction_timeout_ms=1_000)
        owner.init_transactions(10)
        for offset in (5, 9):
            owner.begin_transaction()
            owner.produce("told", str(offset), partition=1)
            owner.send_offsets_to_transaction([TopicPartition(*PLACE, offset)], metadata, 10)
            if offset == 5:
                owner.commit_transaction(10)
        broker.kill()
        broker.start()
        time.sleep(5)  # longer than the transaction may last, and than the broker needs to notice
        with pytest.raises(KafkaException):
            committed(cluster.consumer(group_id="g"), [PLACE], 5)
        assert read_committed(cluster, "told") == [b"5"]

        loop = asyncio.new_event_loop()
        threading.Thread(target=loop.run_forever, daemon=True).start()
        worker = ExactlyOnce(
            cluster,
            group="g",
            topics=["asked"],
            name="w",
            batch_size=10,
            outputs=["told"],
            clock=BrokerClock(),
            feed=lambda batch: None,
        )
        worker.start(loop)
        until = time.monotonic() + 60
        while not worker.session:
            assert time.monotonic() < until
            time.sleep(0.1)
        assert worker.session.next == {PLACE: 5}
        assert worker.stop()
        loop.call_soon_threadsafe(loop.stop)
        assert committed(cluster.consumer(group_id="g"), [PLACE], 5)[0].offset == 5
        publish = cluster.producer()
        publish.produce("told", b"behind it", partition=1)
        publish.flush()
        assert read_committed(cluster, "told") == [b"5", b"behind it"]


def read_committed(cluster, topic):
    """What a partition 1 shows, up to where readers are held up."""
    reader = cluster.consumer(enable_partition_eof=True)
    reader.assign([TopicPartition(topic, 1, 0)])
    values = []
    while not (message := reader.poll(30)).error():
        values.append(message.value())
    reader.close()
    return values
