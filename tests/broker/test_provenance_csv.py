"""The provenance CSV of a real Kafka: a row for each committed record, once, through kills, full disks and topics made anew."""

import json
import os
import random
import signal
import subprocess
import threading
import time
from contextlib import contextmanager, suppress

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

from models.topics import TOPICS
from pipelines import provenance_csv
from streams import scribe
from streams.clients import messages, whole
from streams.home import Home
from streams.worker import child_command
from tests.waiting import PATIENCE_S, wait_for

from .conftest import settled

PARTITIONS = 3
RECORD = (
    '{"request_id":"%s","user_id":"=u,1","status":"ok","recommendations":["m1","m2"],"scores":[0.5,0.25],'
    '"model_id":"als-2","model_version":"v1","variant":"stable","source":{"topic":"requests","partition":3,"offset":1},'
    '"served_at":"2026-11-2%dT08:00:00.123Z","latency_ms":7,"asked":null,"canary_percentage":10.0,"bucket":1,'
    '"config_sha256":"c","model_sha256":"a","data_version":"d","catalog_sha256":"b","history_offsets":{"watch-events":{"0":5}}}'
)


class Kept:
    """A provenance topic of one's own, its producer, a home, and the writers of its CSV."""

    def __init__(self, servers, prefix, folder):
        self.home, self._servers = Home(folder), servers
        self.topic = prefix + "provenance"
        folder.mkdir(exist_ok=True)
        self.home.config.write_text(json.dumps({"topics": {"provenance": self.topic}, "group_prefix": prefix + "c"}))
        self.cluster = self.home.cluster(servers)
        self.admin = self.cluster.admin()
        self.producer = self.cluster.producer(transactional_id=self.topic, linger_ms=1)
        self.producer.init_transactions(30)
        self.create()
        self.scribes = []
        self._published = 0

    def create(self):
        settings = TOPICS["provenance"].settings()
        self.admin.create_topics([NewTopic(self.topic, PARTITIONS, config=settings)])[self.topic].result(30)

    def delete(self):
        self.admin.delete_topics([self.topic])[self.topic].result(30)

    def publish(self, count, *, commit=True, partitions=range(PARTITIONS), day=7):
        """So many records in one transaction, which may not be visible yet in each partition."""
        self.producer.begin_transaction()
        for _ in range(count):
            self._published += 1
            record = RECORD % (f"r{self._published}", day)
            self.producer.produce(self.topic, record, partition=self._published % len(partitions))
        # what the broker has not been told of yet cannot be taken back: its refusal would be fatal
        if not commit:
            assert self.producer.flush(30) == 0
        (self.producer.commit_transaction if commit else self.producer.abort_transaction)(30)

    def begin(self):
        """Another worker of the home, as far as its CSV is concerned."""
        command = child_command("worker", self.home, self._servers)
        self.scribes.append(scribe.Scribe(self.home.provenance, command, backoff_s=0))
        return self.scribes[-1]

    def look(self):
        for one in self.scribes:
            one.look()

    def rows(self):
        found = [(r["record_partition"], r["record_offset"], r["request_id"]) for r in self.read()]
        return sorted(found)

    def read(self):
        return list(provenance_csv.rows(self.home.provenance))

    def records(self):
        """What was committed, also what its readers are to see in a moment."""
        self.wait(lambda: settled(self.cluster, [self.topic]), "the markers of the last transaction")
        reader = self.cluster.consumer()
        try:
            ranges = whole(reader, [self.topic])
        finally:
            reader.close()
        return sorted(
            (m.partition(), m.offset(), json.loads(m.value())["request_id"])
            for some in messages(self.cluster, ranges)
            for m in some
        )

    def wait(self, condition, what, seconds=PATIENCE_S):
        return wait_for(condition, what, seconds, between=self.look)

    def wait_for_all(self):
        records = self.records()
        self.wait(lambda: len(self.rows()) >= len(records), f"{len(records)} rows")
        return records

    def status(self):
        return scribe.status(self.home.provenance)

    def stop(self):
        for one in self.scribes:
            one.stop()
        with suppress(Exception):
            self.delete()


@pytest.fixture
def kept(kafka, unique, tmp_path):
    kept = Kept(kafka, unique, tmp_path / "home")
    yield kept
    kept.stop()


@contextmanager
def flow(kept):
    """Transactions, one in five aborted, until the block ends."""
    ending = threading.Event()

    def publish():
        rng = random.Random(7)
        while not ending.wait(0.02):
            kept.publish(rng.randint(1, 60), commit=rng.random() > 0.2, day=rng.choice([6, 7]))

    thread = threading.Thread(target=publish)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()


def test_a_writer_that_is_killed_at_any_moment(kept):
    one, rng, kills = kept.begin(), random.Random(1), 0
    with flow(kept):
        while kills < 8:
            reached = len(kept.rows())
            kept.wait(lambda reached=reached: one.process is not None and len(kept.rows()) > reached, "new rows")
            time.sleep(rng.uniform(0, 0.3))
            one.process.send_signal(signal.SIGKILL)
            one.process.wait()
            kills += 1
    assert kept.wait_for_all() == kept.rows()
    assert len({path.name for path in provenance_csv.files(kept.home.provenance)}) == 2


def test_rows_come_soon_and_the_metrics_say_so(kept):
    kept.begin()
    kept.publish(5)
    kept.wait(lambda: len(kept.rows()) == 5, "the first rows")
    begun = time.monotonic()
    kept.publish(5)
    kept.wait(lambda: len(kept.rows()) == 10, "rows", 10)
    assert time.monotonic() - begun < 5
    kept.wait(lambda: (found := kept.status()) and found.lag == 0 and time.time() - found.at < 5, "a lag of nothing")


def test_one_writes_and_another_takes_over_when_its_worker_is_gone(kept):
    first, second = kept.begin(), kept.begin()
    kept.publish(30)
    kept.wait_for_all()
    kept.look()
    assert second.process is None
    writer = first.process
    kept.scribes.remove(first)
    os.close(first._lock)  # its supervisor is dead
    with flow(kept):
        time.sleep(1.2)
        kept.look()
        assert second.process is None  # its writer is not yet
        writer.kill()
        writer.wait()
        kept.wait(lambda: second.process is not None, "another writer", 5)
    assert kept.wait_for_all() == kept.rows()


def test_a_stop_writes_what_is_there(kept):
    one = kept.begin()
    kept.publish(30)
    kept.wait_for_all()
    kept.publish(500)
    records = kept.records()
    one.stop()
    assert records == kept.rows()


def test_what_retention_has_dropped_is_a_gap(kept):
    kept.publish(30, partitions=range(1))
    kept.admin.delete_records([TopicPartition(kept.topic, 0, 10)])[TopicPartition(kept.topic, 0, 10)].result(30)
    kept.begin()
    kept.wait_for_all()
    assert [offset for _, offset, _ in kept.rows()] == list(range(10, 30))
    kept.wait(lambda: (found := kept.status()) and found.lost == 10, "the metric")
    (gap,) = (json.loads(line) for line in (kept.home.provenance / "gaps.jsonl").read_text().splitlines())
    assert (gap["topic"], gap["partition"], gap["first"], gap["last"]) == (kept.topic, 0, 0, 9)


def test_a_topic_that_is_made_anew_under_a_running_writer(kept):
    kept.begin()
    kept.publish(40)
    before = kept.wait_for_all()
    kept.delete()
    kept.wait(lambda: kept.topic not in kept.admin.list_topics(timeout=10).topics, "the topic to go")
    kept.wait(lambda: created(kept), "the topic to come")
    kept.publish(60)
    kept.wait(lambda: len(kept.rows()) >= 100, "rows of both")
    assert kept.rows() == sorted([*before, *kept.records()])
    assert len({found["record_topic_id"] for found in kept.read()}) == 2


def created(kept):
    with suppress(Exception):  # it may still be going
        kept.create()
        return True
    return False


def test_messages_that_are_no_records_are_passed_by(kept):
    kept.publish(3)
    kept.producer.begin_transaction()
    for value in (b"[]", None, b"\xff"):
        kept.producer.produce(kept.topic, value, partition=0)
    kept.producer.commit_transaction(30)
    kept.publish(3)
    kept.begin()
    kept.wait(lambda: len(kept.rows()) == 6, "the others")
    kept.wait(lambda: (found := kept.status()) and (found.refused, found.lag) == (3, 0), "the metrics")


@pytest.fixture
def small_disk(tmp_path):
    """A home whose provenance/ is a disk of half a megabyte."""
    folder = tmp_path / "home" / "artifacts" / "provenance"
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", folder]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_makes_the_csv_wait_and_nothing_else(small_disk, kept):
    kept.begin()
    kept.publish(10)
    kept.wait_for_all()
    kept.wait(kept.status, "the metrics")
    ballast = small_disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    kept.publish(400)
    kept.wait(lambda: (found := kept.status()) and found.lag >= 100, "a lag that is told of on a full disk")
    assert all(r["user_id"] == "=u,1" for r in kept.read())
    ballast.unlink()
    assert kept.wait_for_all() == kept.rows()
    kept.wait(lambda: (found := kept.status()) and found.lag == 0, "the lag to go")


# -- with real workers -----------------------------------------------------------------------------


def test_two_workers_of_a_home_and_the_end_of_one(installations):
    with installations() as shop:
        shop.publish_world()
        workers = [shop.start_worker(), shop.start_worker()]
        asked = [shop.request(f"u{n % 40}") for n in range(200)]
        shop.flush()
        shop.records_of(asked)
        folder = shop.home.provenance
        shop.wait(lambda: len(list(provenance_csv.rows(folder))) >= 200, "their rows")
        shop.wait(lambda: shop.metric("canarec_provenance_csv_looked_timestamp_seconds") > 0, "the metric")
        assert shop.metric("canarec_provenance_csv_lost") == 0
        holders = [w for w in workers if b"--scribe" in children(w.pid)]
        assert len(holders) == 1
        os.killpg(holders[0].pid, signal.SIGKILL)
        asked += [shop.request(f"u{n % 40}") for n in range(200)]
        shop.flush()
        shop.records_of(asked)
        shop.wait(lambda: len(list(provenance_csv.rows(folder))) >= 400, "the rows of all")
        rows = {found["request_id"]: found for found in provenance_csv.rows(folder)}
        records = {found["request_id"]: found for found in shop.committed("provenance")}
        assert len(list(provenance_csv.rows(folder))) == len(rows)
        assert rows.keys() == records.keys() == set(asked)
        for request_id, record in records.items():
            row = rows[request_id]
            assert (row["predictions"], row["scores"]) == (record["recommendations"], record["scores"])
            assert (row["predicted_at"], row["model_version"]) == (record["served_at"], record["model_version"])
            assert row["history_offsets"] == record["history_offsets"]


def children(pid):
    """The command lines of the processes below this one."""
    found = subprocess.run(["ps", "--ppid", str(pid), "-o", "args", "-ww"], check=True, capture_output=True)
    return found.stdout
