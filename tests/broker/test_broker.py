"""The embedded broker: started, killed, started again, in the way of others, and out of space. All real."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import NewTopic

from models.errors import CanarecError
from streams.broker import Broker, BrokerFailed
from streams.clients import Cluster
from streams.data_folder import DataFolder
from tests.compose.test_files import COMPOSE, module
from tests.waiting import is_gone, wait_for

health = module(COMPOSE / "health.py")
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One for all tests here; who stops it starts it again. Its folder's name is one that Kafka's own files could not hold."""
    broker = Broker(tmp_path_factory.mktemp("broker") / "an é, a # and a = b", port=0)
    with broker:
        yield broker


def create(broker: Broker, topic: str, **settings: str) -> None:
    admin = Cluster(broker.bootstrap_servers).admin()
    for created in admin.create_topics([NewTopic(topic, 1, 1, config=settings)]).values():
        created.result(30)


def publish(broker: Broker, topic: str, *values: bytes, **settings: object) -> None:
    failed: list[object] = []
    producer = Cluster(broker.bootstrap_servers).producer(**settings)
    for value in values:
        producer.produce(topic, value, key="k", on_delivery=lambda error, _: failed.append(error) if error else None)
    assert producer.flush(30) == 0
    assert not failed


def read(broker: Broker, topic: str, count: int) -> list[bytes]:
    consumer = Cluster(broker.bootstrap_servers).consumer()
    consumer.assign([TopicPartition(topic, 0, 0)])
    values = [value for message in consumer.consume(count, 30) if (value := message.value()) is not None]
    consumer.close()
    return values


def test_a_dead_letter_of_10_mb_fits(running: Broker, unique: str) -> None:
    create(running, unique, **{"max.message.bytes": "12582912"})
    publish(running, unique, os.urandom(10_000_000), message_max_bytes=12_582_912)
    assert len(read(running, unique, 1)[0]) == 10_000_000


def test_the_image_s_health_check_finds_it_well(running: Broker) -> None:
    where = running.bootstrap_servers.rpartition(":")
    words = ["broker", "--host", where[0], "--port", where[2]]
    assert health.kafka_answers(*health.address(words))
    assert not health.kafka_answers("127.0.0.1", 1)


@pytest.mark.parametrize("codec", CODECS)
def test_every_compression_is_understood(running: Broker, unique: str, codec: str) -> None:
    create(running, unique, **{"cleanup.policy": "compact", "message.timestamp.type": "LogAppendTime"})
    publish(running, unique, b"a" * 1000, compression_type=codec)
    assert read(running, unique, 1) == [b"a" * 1000]


def test_topics_are_not_made_by_asking_for_them(running: Broker, unique: str) -> None:
    admin = Cluster(running.bootstrap_servers).admin()
    admin.list_topics(unique, timeout=10)
    assert unique not in admin.list_topics(timeout=10).topics


def test_it_listens_on_this_machine_only(running: Broker) -> None:
    assert running.pid is not None
    listening = [each for each in psutil.Process(running.pid).net_connections("inet") if each.status == "LISTEN"]
    # Java writes the loopback address as an IPv6 one.
    assert {each.laddr.ip for each in listening} <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert running.port in {each.laddr.port for each in listening}


def test_killed_and_its_meta_properties_damaged_it_still_has_everything(running: Broker, unique: str) -> None:
    create(running, unique)
    publish(running, unique, b"1", b"2", b"3")
    cluster, port = running.folder.cluster_id, running.port
    running.kill()
    (running.folder.data / "meta.properties").write_text("cluster.id=")
    running.start()
    assert read(running, unique, 3) == [b"1", b"2", b"3"]
    assert (running.folder.cluster_id, running.port) == (cluster, port)
    publish(running, unique, b"4")


def test_killed_with_a_transaction_open_it_ends_it_and_readers_go_on(running: Broker, unique: str) -> None:
    """Kafka by itself skips the markers: it is fenced as its own predecessor while it sends them."""
    create(running, unique)
    owner = Cluster(running.bootstrap_servers).producer(transactional_id=unique, transaction_timeout_ms=1_000)
    owner.init_transactions(10)
    owner.begin_transaction()
    owner.produce(unique, b"open")
    assert owner.flush(10) == 0
    running.kill()
    running.start()
    publish(running, unique, b"behind it")
    assert read(running, unique, 1) == [b"behind it"]


def test_a_clean_end_needs_no_clearing_up(running: Broker) -> None:
    said: list[str] = []
    running.stop()
    running.start(saying=said.append)
    assert said == ["starting Kafka"]


def test_stopped_it_frees_port_and_folder(running: Broker) -> None:
    pid = running.pid
    started = time.monotonic()
    running.stop()
    running.stop()  # twice is harmless
    assert time.monotonic() - started < 10
    assert running.pid is None
    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert (running.folder.data / ".kafka_cleanshutdown").exists()
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", running.port))
    running.start()


def test_a_folder_has_one_broker(running: Broker) -> None:
    second = Broker(running.folder.path, port=0)
    with pytest.raises(CanarecError, match=f"in use by process {os.getpid()}"):
        second.start()
    assert running.failure() is None
    with pytest.raises(CanarecError, match="already running"):
        running.start()


def test_a_port_that_a_kafka_has_is_offered(running: Broker, tmp_path: Path) -> None:
    with pytest.raises(CanarecError) as raised:
        Broker(tmp_path, port=running.port).start()
    assert f"port {running.port}" in str(raised.value)
    assert f"--bootstrap-servers 127.0.0.1:{running.port}" in str(raised.value)


def test_a_port_that_another_program_has_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(CanarecError, match=f"port {port} on 127.0.0.1 is taken by another program"):
            Broker(tmp_path, port=port).start()
    DataFolder(tmp_path).claim()  # what failed holds nothing


def test_an_address_that_is_not_ours_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CanarecError, match=r"cannot listen on 192\.0\.2\.1:0: "):  # TEST-NET-1, nobody's
        Broker(tmp_path, port=0, host="192.0.2.1").start()


def test_a_disk_that_is_nearly_full_is_named_before_the_start(tmp_path: Path) -> None:
    with pytest.raises(CanarecError, match=r"the disk is full: \d+ MB are free"):
        Broker(tmp_path, port=0, min_free_bytes=10**18).start()


def test_why_kafka_could_not_start_is_said_in_one_line(tmp_path: Path) -> None:
    broker = Broker(tmp_path, port=0)
    metadata = broker.folder.data / "__cluster_metadata-0"
    metadata.mkdir(parents=True)
    (metadata / "00000000000000000000-0000000000.checkpoint").write_bytes(b"not a checkpoint")
    (broker.folder.data / "bootstrap.checkpoint").write_bytes(b"not a checkpoint")
    ids = "cluster.id=F755UUC4T5O0ZZ8-BKc5jw\ndirectory.id=FmpfwzuJSOG668zz5BcWYw\n"
    (broker.folder.data / "meta.properties").write_text(f"{ids}node.id=1\nversion=1\n")
    with pytest.raises(
        BrokerFailed, match=r"^Kafka ended with exit code 1: .*bootstrap\.checkpoint.* \(see .*server\.log\)$"
    ):
        broker.start()


# The command, as a user meets it.

START = "import sys; from streams.cli import main; main(sys.argv[1:])"


def command(home: Path) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", START, "broker", "--home", str(home), "--port", "0"]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ready_line(process: subprocess.Popen[str]) -> tuple[int, int]:
    """(port, Kafka's pid) from the one line on stdout."""
    assert process.stdout
    words = process.stdout.readline().split()
    assert words[2:5] == ["is", "ready", "on"], (words, process.stderr and process.stderr.read())
    return int(words[5].rpartition(":")[2]), int(words[words.index("pid") + 1].rstrip(");"))


def accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_command_killed_leaves_nothing_and_told_to_stop_stops(tmp_path: Path) -> None:
    first = command(tmp_path)
    with first:
        port, kafka = ready_line(first)
        first.kill()
        first.wait()
        wait_for(lambda: is_gone(kafka) and not accepts(port), "end of Kafka", 30)
    second = command(tmp_path)
    with second:
        port, kafka = ready_line(second)
        assert "-XX:TieredStopAtLevel=1" not in psutil.Process(kafka).cmdline()  # it is to run for hours
        second.send_signal(signal.SIGTERM)
        assert second.wait(30) == 0
        assert is_gone(kafka)
        assert not accepts(port)


def test_the_command_ends_with_1_and_one_line_when_kafka_dies(tmp_path: Path) -> None:
    process = command(tmp_path)
    with process:
        _, kafka = ready_line(process)
        os.kill(kafka, signal.SIGKILL)
        assert process.wait(30) == 1
        assert process.stderr
        *_, last = process.stderr.read().splitlines()
        assert last.startswith("canarec: Kafka was killed by SIGKILL")


def test_a_format_that_is_killed_is_made_again(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "artifacts" / "kafka")
    process = command(tmp_path)
    with process:
        wait_for(folder.unfinished.exists, "start of the format", 30)
        process.kill()
        process.wait()
    assert not folder.data.exists()
    with Broker(folder.path, port=0) as broker:
        assert accepts(broker.port)
        assert not folder.unfinished.exists()
