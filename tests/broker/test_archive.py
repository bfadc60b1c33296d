"""The archive of a real Kafka: committed messages, each offset once, through kills; what is gone is a gap, another life another archive."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

from models.config import parse
from models.errors import CanarecError
from models.topics import TOPICS
from pipelines import archive
from pipelines.tiles import MANY, Gap
from streams.clients import Cluster
from tests.waiting import wait_for

from .conftest import settled

WATCHES, RATINGS = "watch-events", "rating-events"
PARTITIONS = 2
ROOT = Path(__file__).parents[2]
CHILD = """
import sys
from pathlib import Path
from models.config import parse
from pipelines import archive
from streams.clients import Cluster
cluster, applied = Cluster(sys.argv[1]), parse(sys.argv[2])
print("ready", flush=True)
while True:
    archive.extend(cluster, applied, Path(sys.argv[3]), topics=sys.argv[4:])
"""


class Stored:
    """Two event topics of one's own, their producer, and an archive of them."""

    def __init__(self, servers, prefix, folder):
        self.cluster, self.folder = Cluster(servers), folder / "archive"
        self.text = json.dumps({"topics": {name: prefix + name for name in TOPICS}})
        self.applied = parse(self.text)
        self.admin = self.cluster.admin()
        self.producer = self.cluster.producer(linger_ms=2)
        self.create(WATCHES, RATINGS)

    def create(self, *names):
        made = self.admin.create_topics(
            [NewTopic(self.applied.topic(n), PARTITIONS, config=TOPICS[n].settings()) for n in names]
        )
        for created in made.values():
            created.result(30)

    def delete(self, name):
        self.admin.delete_topics([self.applied.topic(name)])[self.applied.topic(name)].result(30)

    def drop(self, name, partition, below):
        """What retention does."""
        place = TopicPartition(self.applied.topic(name), partition, below)
        self.admin.delete_records([place])[place].result(30)

    def watch(self, first, after, *, partition=0, producer=None):
        """Watches of users u<first> … below u<after>."""
        value = b'{"user_id": "u%d", "movie_id": "m1", "minute": 3, "timestamp": 1700000000}'
        for n in range(first, after):
            (producer or self.producer).produce(self.applied.topic(WATCHES), value % n, partition=partition)
        assert (producer or self.producer).flush(30) == 0

    def transactional(self):
        producer = self.cluster.producer(transactional_id=self.applied.topic(WATCHES))
        producer.init_transactions(30)
        return producer

    def wait_until_settled(self):
        """After a commit: until its readers see it."""
        wait_for(lambda: settled(self.cluster, [self.applied.topic(WATCHES)]), "the transaction's end", 30)

    def extend(self):
        return archive.extend(self.cluster, self.applied, self.folder, topics=(WATCHES, RATINGS))

    def users(self):
        return [int(user[1:]) for user in archive.table(self.folder, WATCHES)["user_id"].to_pylist()]

    def spans(self):
        return archive.spans(self.folder, WATCHES)

    def names(self, partition=0):
        return sorted(path.name for path in (self.folder / WATCHES / str(partition)).iterdir())


@pytest.fixture
def stored(kafka, unique, tmp_path):
    stored = Stored(kafka, unique, tmp_path)
    yield stored
    for name in (WATCHES, RATINGS):
        stored.delete(name)


def test_each_run_archives_what_has_come_since(stored):
    stored.watch(0, 30)
    first = stored.extend()
    stored.watch(30, 40)
    stored.watch(40, 45, partition=1)
    second = stored.extend()
    third = stored.extend()
    assert [report.rows for report in (first, second, third)] == [30, 15, 0]
    assert [report.files for report in (first, second, third)] == [1, 2, 0]
    assert stored.names() == ["0-29.parquet", "30-39.parquet"]
    assert stored.users() == list(range(45))
    assert not first.findings + second.findings + third.findings


def test_progress_ends_when_all_is_done(stored):
    stored.watch(0, 30)
    stored.watch(30, 45, partition=1)
    seen = []
    archive.extend(
        stored.cluster,
        stored.applied,
        stored.folder,
        topics=(WATCHES, RATINGS),
        progress=lambda done, total: seen.append((done, total)),
    )
    assert seen == sorted(seen)
    assert seen[-1] == (45, 45)


def test_refused_messages_are_covered_and_counted(stored):
    stored.watch(0, 3)
    stored.producer.produce(stored.applied.topic(WATCHES), b"?", partition=0)
    stored.watch(3, 5)
    report = stored.extend()
    assert report.refused == {WATCHES: {"not_json": 1}, RATINGS: {}}
    assert archive.refused(stored.folder, WATCHES) == {"not_json": 1}
    assert stored.spans() == {0: (0, 6), 1: (0, 0)}


def test_only_committed_messages_are_archived_and_control_records_are_covered(stored):
    producer = stored.transactional()
    producer.begin_transaction()
    stored.watch(0, 3, producer=producer)
    producer.commit_transaction()  # offset 3
    producer.begin_transaction()
    stored.watch(100, 104, producer=producer)
    producer.abort_transaction()  # offset 8
    producer.begin_transaction()
    stored.watch(3, 5, producer=producer)
    stored.extend()
    assert stored.users() == [0, 1, 2]
    assert stored.spans()[0] == (0, 9)  # the open transaction waits
    producer.commit_transaction()
    stored.wait_until_settled()
    stored.extend()
    assert stored.users() == [0, 1, 2, 3, 4]
    assert stored.spans()[0] == (0, 12)
    assert archive.table(stored.folder, WATCHES)["offset"].to_pylist() == [0, 1, 2, 9, 10]


def test_what_retention_dropped_is_a_gap_that_is_told_once_and_kept(stored):
    stored.watch(0, 10)
    stored.extend()
    stored.watch(10, 40)
    stored.drop(WATCHES, 0, 25)
    report = stored.extend()
    gap = Gap(WATCHES, 0, 10, 24, "retention")
    assert report.gaps == (gap,)
    assert report.findings == (str(gap),)
    assert archive.gaps(stored.folder) == [gap]
    assert stored.users() == [*range(10), *range(25, 40)]
    assert stored.extend().findings == ()


def test_a_topic_whose_beginning_is_gone_already_begins_with_a_gap(stored):
    stored.watch(0, 10)
    stored.drop(WATCHES, 0, 10)
    assert stored.extend().gaps == (Gap(WATCHES, 0, 0, 9, "retention"),)
    assert stored.spans()[0] == (10, 10)


def test_reading_stops_where_retention_was_quicker_instead_of_going_on_behind_it(stored):
    stored.watch(0, 20)
    stored.drop(WATCHES, 0, 10)
    place = (stored.applied.topic(WATCHES), 0)
    assert [found for some, _ in archive._committed(stored.cluster, place, 0, 20) for found in some] == []


def test_half_a_file_is_set_aside_and_read_again(stored):
    stored.watch(0, 10)
    stored.extend()
    path = stored.folder / WATCHES / "0" / "0-9.parquet"
    path.write_bytes(path.read_bytes()[:200])
    report = stored.extend()
    assert [finding.split(": ")[1] for finding in report.findings] == ["was damaged, and is set aside"]
    assert report.gaps == ()
    assert stored.users() == list(range(10))


def test_a_file_with_a_damaged_page_is_set_aside_and_read_again_when_it_is_joined(stored):
    for n in range(MANY):
        if n == MANY - 1:  # with the next one there are enough of them
            path = stored.folder / WATCHES / "0" / "100-199.parquet"
            users = pq.read_metadata(path).row_group(0).column(3)
            content = bytearray(path.read_bytes())
            content[users.data_page_offset + users.total_compressed_size // 4] ^= 1
            path.write_bytes(content)
        stored.watch(100 * n, 100 * (n + 1))
        report = stored.extend()
    [finding] = report.findings
    assert finding.startswith(f"{path.with_name('_100-199.parquet.damaged')}: was damaged (")
    assert (report.gaps, stored.users()) == ((), list(range(100 * MANY)))
    assert stored.extend().compacted == MANY
    assert stored.users() == list(range(100 * MANY))


def test_half_a_file_whose_offsets_the_topic_has_no_more_is_a_gap(stored):
    stored.watch(0, 10)
    stored.extend()
    stored.watch(10, 20)
    stored.extend()
    stored.drop(WATCHES, 0, 15)
    path = stored.folder / WATCHES / "0" / "0-9.parquet"
    path.write_bytes(b"")
    assert stored.extend().gaps == (Gap(WATCHES, 0, 0, 9, "damaged"),)
    assert stored.users() == list(range(10, 20))


def test_a_topic_that_was_made_anew_begins_a_new_archive_and_the_old_one_is_kept(stored):
    stored.watch(0, 10)
    stored.extend()
    stored.delete(WATCHES)
    _wait_until_gone(stored, WATCHES)
    stored.create(WATCHES)
    stored.watch(50, 54)
    report = stored.extend()
    assert stored.users() == [50, 51, 52, 53]
    assert stored.spans()[0] == (0, 4)
    [finding] = report.findings
    assert "watch-events: the topic is not the one that was archived" in finding
    kept = Path(finding.rsplit(" ", 1)[1])
    assert duckdb.sql(f"select count(*) from '{kept}/*/*.parquet'").fetchall() == [(10,)]


def test_a_topic_that_ends_below_what_is_archived_is_one_clear_error(stored):
    stored.watch(0, 10)
    stored.extend()
    path = stored.folder / WATCHES / "0" / "0-9.parquet"
    path.rename(path.with_name("0-99.parquet"))
    path.with_name("_10-99.gap.json").write_text(
        json.dumps({"topic": WATCHES, "partition": 0, "first": 10, "last": 99, "reason": "retention"})
    )
    with pytest.raises(CanarecError, match=r"watch-events/0: ends at 10, but offsets up to 100 are archived: "):
        stored.extend()


def test_a_topic_that_does_not_exist_is_one_clear_error(stored):
    with pytest.raises(CanarecError, match="user-profiles does not exist"):
        archive.extend(stored.cluster, stored.applied, stored.folder, topics=("user-profiles",))


def test_each_offset_once_through_kills_at_any_moment(stored):
    luck = random.Random(7)
    command = [sys.executable, "-c", CHILD, stored.cluster.bootstrap_servers, stored.text, str(stored.folder), WATCHES]
    published = 0
    for _ in range(5):
        child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        with child.stdout:
            assert child.stdout.readline() == "ready\n"
            until = time.monotonic() + luck.uniform(0.2, 1.2)
            while time.monotonic() < until:
                stored.watch(published, published + 50, partition=published // 50 % PARTITIONS)
                published += 50
        child.send_signal(signal.SIGKILL)
        child.wait(30)
        so_far = stored.users()
        assert len(so_far) == len(set(so_far))
        assert len(so_far) == sum(after - first for first, after in stored.spans().values())
    report = stored.extend()
    assert sorted(stored.users()) == list(range(published))
    assert report.findings == ()
    [tiles] = duckdb.sql(f"select count(*) from '{stored.folder}/{WATCHES}/*/*.parquet'").fetchall()
    assert tiles == (published,)  # nothing that counts twice is left lying about


def _wait_until_gone(stored, name):
    wait_for(
        lambda: stored.applied.topic(name) not in stored.admin.list_topics(timeout=10).topics, "the topic's end", 30
    )
