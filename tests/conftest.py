"""One real broker for all integration tests, and what keeps them apart in it.

CANAREC_TEST_BOOTSTRAP     a running broker to use, to save the start while developing
else a container           where a Docker engine answers and gives the image KAFKA_IMAGE (default: apache/kafka:4.3.1; canarec's own will do)
else the embedded one      canarec's own, on a free port, in a temporary folder
The report's last lines say which it was.
"""

import os
import re
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from streams.broker import Broker
from streams.worker import free_port

# The same examples in each run, and a busy machine is no failure.
settings.register_profile("canarec", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("canarec")

KAFKA_IMAGE = os.environ.get("KAFKA_IMAGE", "apache/kafka:4.3.1")
_broker_used = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def kafka(pytestconfig: pytest.Config) -> Iterator[str]:
    """Bootstrap servers of a real broker. Shared by all tests: name topics and groups with `unique`."""
    with ExitStack() as stack:
        if named := os.environ.get("CANAREC_TEST_BOOTSTRAP"):
            servers, used = named, f"{named}, from CANAREC_TEST_BOOTSTRAP"
        else:
            try:
                servers, used = _in_docker(stack), f"a container of {KAFKA_IMAGE}"
            except _NoContainer as why:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="canarec-kafka-")))
                servers = stack.enter_context(Broker(folder, port=0)).bootstrap_servers
                used = f"the embedded Kafka ({why})"
        pytestconfig.stash[_broker_used] = used
        yield servers


@pytest.fixture
def unique() -> str:
    """A prefix for topics and groups that no other test has."""
    return f"t-{uuid.uuid4().hex[:8]}-"


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if used := config.stash.get(_broker_used, None):
        terminalreporter.write_line(f"Kafka of the integration tests: {used}")


class _NoContainer(Exception):
    """Why the tests' Kafka is not in a container; the report shows it."""

    def __init__(self, what: str, cause: BaseException | None = None) -> None:
        super().__init__(f"{what}: {str(cause).splitlines()[0][:120]}" if cause else what)


def _in_docker(stack: ExitStack) -> str:
    """Bootstrap servers of a Kafka in a container, which ends with `stack`."""
    import docker
    from docker.errors import DockerException
    from testcontainers.core.config import testcontainers_config

    try:
        engine = stack.enter_context(closing(docker.from_env(timeout=60)))
    except DockerException as error:
        raise _NoContainer("no Docker engine answers") from error
    try:
        labels = _obtain(engine, KAFKA_IMAGE).labels
    except (DockerException, OSError) as error:  # OSError: requests', of a registry that does not answer
        raise _NoContainer(f"Docker cannot get {KAFKA_IMAGE}", error) from error
    try:
        _obtain(engine, testcontainers_config.ryuk_image)
    except (DockerException, OSError):
        # The helper that removes the containers of killed test runs. Without its image, only a clean end removes ours.
        testcontainers_config.ryuk_disabled = True
    ours = labels.get("org.opencontainers.image.title") == "canarec"
    container = _canarec_broker() if ours else _container()
    stack.callback(container.stop)
    try:
        return str(container.start(timeout=120).get_bootstrap_server())
    except (DockerException, OSError, RuntimeError) as error:  # testcontainers' are RuntimeErrors and TimeoutErrors
        raise _NoContainer(f"the container of {KAFKA_IMAGE} did not start", error) from error


def _obtain(engine: Any, image: str) -> Any:
    from docker.errors import ImageNotFound

    try:
        return engine.images.get(image)
    except ImageNotFound:
        return engine.images.pull(image)


def _canarec_broker() -> Any:
    """`canarec broker` of the image, on one port within and without: what it advertises is what it listens on."""
    from testcontainers.community.kafka import KafkaContainer

    class CanarecContainer(KafkaContainer):
        def configure(self) -> None:
            self.with_bind_ports(self.port, self.port)
            self.with_kwargs(
                entrypoint="env"
            )  # in the place of `canarec`: it starts with a shell that waits for the script
            self.wait_for = re.compile(".*is ready on.*")

        def tc_start(self) -> None:
            words = f"--host 0.0.0.0 --port {self.port} --advertised-host {self.get_container_host_ip()}"
            self.create_file(f"exec canarec broker {words}\n".encode(), KafkaContainer.TC_START_SCRIPT)

    return CanarecContainer(KAFKA_IMAGE, port=free_port(0))


def _container() -> Any:
    """testcontainers' Kafka, taught the Apache image: its own start script is for Confluent's."""
    from testcontainers.community.kafka import KafkaContainer

    class ApacheKafkaContainer(KafkaContainer):
        def configure(self) -> None:
            del self.env["KAFKA_BROKER_ID"]  # node.id in KRaft
            settings = {
                "CLUSTER_ID": self.cluster_id,
                "KAFKA_NODE_ID": "1",
                "KAFKA_PROCESS_ROLES": "broker,controller",
                "KAFKA_LISTENERS": f"{self.listeners},CONTROLLER://0.0.0.0:9094",
                "KAFKA_LISTENER_SECURITY_PROTOCOL_MAP": f"{self.security_protocol_map},CONTROLLER:PLAINTEXT",
                "KAFKA_CONTROLLER_LISTENER_NAMES": "CONTROLLER",
                "KAFKA_CONTROLLER_QUORUM_VOTERS": "1@localhost:9094",
                "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
                "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
                "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR": "1",
                "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR": "1",
                "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
                "KAFKA_MESSAGE_MAX_BYTES": "12582912",
                "KAFKA_REPLICA_FETCH_MAX_BYTES": "12582912",
                "KAFKA_TRANSACTION_ABORT_TIMED_OUT_TRANSACTION_CLEANUP_INTERVAL_MS": "1000",
            }
            for name, value in settings.items():
                self.with_env(name, value)
            self.wait_for = re.compile(".*Kafka Server started.*")

        def tc_start(self) -> None:
            outside = f"{self.listener_name}://{self.get_container_host_ip()}:{self.get_exposed_port(self.port)}"
            script = f"export KAFKA_ADVERTISED_LISTENERS={outside},BROKER://$(hostname -i):9092\nexec /etc/kafka/docker/run\n"
            self.create_file(script.encode(), KafkaContainer.TC_START_SCRIPT)

    return ApacheKafkaContainer(KAFKA_IMAGE)
