"""An installation of canarec on the tests' broker: a home with two small models, topics and groups of its own, its workers.

Tests stand outside: they publish, read what was committed, and wait for conditions.
"""

import json
import time
import urllib.request
import uuid
from collections import defaultdict
from contextlib import contextmanager

import numpy as np
import pytest
from confluent_kafka import IsolationLevel, TopicPartition
from confluent_kafka.admin import OffsetSpec

from models import config
from models.recommenders import store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.popular import counts
from models.topics import TOPICS
from streams import processes, topics
from streams.clients import Cluster, partitions
from streams.home import Home, write_whole
from streams.worker import child_command, free_port
from tests.waiting import PATIENCE_S, wait_for

MOVIES = 150
USERS = 40
KNOWN_MOVIES = [f"m{number:03}" for number in range(MOVIES)]
NEW_MOVIES = [f"n{number:03}" for number in range(5)]


def histories():
    """Even users like even movies, odd users odd ones: the columns of u0 … u39."""
    rng = np.random.default_rng(5)
    return [np.sort(rng.choice(MOVIES // 2, 8, replace=False)) * 2 + user % 2 for user in range(USERS)]


def store_model(home, version, factors):
    rows = Rows.of(histories() * 5)
    recipe = {"factors": factors, "regularization": 2.0, "alpha": 5.0, "iterations": 4}
    store.write(
        home.models,
        Als.fit(rows, MOVIES, recipe, 0),
        tuple(KNOWN_MOVIES),
        counts(rows, MOVIES),
        store.Metadata(
            model_id=f"als-{factors}",
            model_version=version,
            training_method={"algorithm": "als", "seed": 0, **recipe},
            data_version={"md5": f"data-of-{version}"},
            evaluation={},
            dvc_ref=None,
            code_version="0",
            created_at="2026-11-23T00:00:00Z",
            files={},
        ),
    )


class Installation:
    """What an operator of canarec and its clients do."""

    watched_movies = tuple(KNOWN_MOVIES[c] for c in sorted({int(c) for columns in histories() for c in columns}))

    def __init__(self, servers, folder, **settings):
        self.home = Home(folder)
        self.prefix = f"t-{uuid.uuid4().hex[:8]}-"
        self.settings = {
            "canary": {"stable": "v1", "candidate": "v2", "percentage": 50},
            "topics": {name: self.prefix + name for name in TOPICS},
            "group_prefix": self.prefix + "canarec",
            **settings,
        }
        self.configure()
        self.applied = self.home.load()
        self.cluster = Cluster(servers)
        self.workers = []
        for version, factors in (("v1", 6), ("v2", 10)):
            store_model(self.home, version, factors)
        topics.ensure(self.cluster, self.applied)
        self.producer = self.cluster.producer(linger_ms=2)
        self._readers = {}

    # -- operator -----------------------------------------------------------------------------

    def configure(self, **changes):
        """Changes config.json; gives the digest of the new configuration."""
        self.settings = {**self.settings, **changes}
        text = json.dumps(self.settings)
        write_whole(self.home.config, text.encode())
        return config.parse(text).sha256

    def publish_model(self, version, factors=8):
        store_model(self.home, version, factors)

    def kept(self, config_sha256):
        """The configuration that a record names, as the worker kept it."""
        return json.loads((self.home.configs / f"{config_sha256}.json").read_bytes())

    def start_worker(self, *, script=None):
        """A worker, supervised as `canarec worker` does it; `script` instead of it is not."""
        port = free_port(0)
        command = child_command("worker", self.home, self.cluster.bootstrap_servers, "--metrics-port", str(port))
        if script is not None:
            command = [command[0], script, str(self.home.path), self.cluster.bootstrap_servers]
        log = (self.home.path / f"worker-{len(self.workers)}.log").open("wb")
        worker = processes.start(command, stdout=log, stderr=log)
        worker.log, worker.metrics_port = log, port
        self.workers.append(worker)
        return worker

    def stop(self):
        for worker in self.workers:
            processes.stop(worker, 8)
            worker.log.close()
        for reader in self._readers.values():
            reader.close()
        admin = self.cluster.admin()
        for deleted in admin.delete_topics([self.applied.topic(name) for name in TOPICS]).values():
            deleted.exception(30)

    def metric(self, name, **labels):
        """The sum over a metric's series with these labels, of the first worker."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.workers[0].metrics_port}/metrics", timeout=5) as page:
            lines = page.read().decode().splitlines()
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        return sum(
            float(line.rsplit(" ", 1)[1])
            for line in lines
            if line.split("{")[0].split(" ")[0] == name and all(label in line for label in wanted)
        )

    def logs(self):
        """All that the workers have written to stderr."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.home.path.glob("worker-*.log")))

    def last_words(self):
        """The end of that."""
        return self.logs()[-8_000:]

    # -- clients ------------------------------------------------------------------------------

    def publish(self, topic, value, key=None, partition=-1, headers=None):
        """Bytes as they are, anything else as JSON. Not acknowledged before `flush`. Gives a dict that gets the place."""
        if not isinstance(value, bytes | None):
            value = json.dumps(value).encode()
        place = {}

        def acknowledged(error, message):
            assert error is None, error
            place.update(partition=message.partition(), offset=message.offset())

        self.producer.produce(
            self.applied.topic(topic), value, key, partition, on_delivery=acknowledged, headers=headers
        )
        return place

    def flush(self):
        assert self.producer.flush(30) == 0

    def publish_world(self):
        """The catalogue and the histories of u0 … u39, half watched, half rated; p0 has only a profile."""
        for number, movie in enumerate([*KNOWN_MOVIES, *NEW_MOVIES]):
            fields = {"movie_id": movie, "title": movie.upper(), "genres": ["Even" if number % 2 == 0 else "Odd"]}
            self.publish("movie-catalog", fields, movie)
        self.publish("user-profiles", {"user_id": "p0", "gender": "F"}, "p0")
        for user, columns in enumerate(histories()):
            for place, column in enumerate(columns):
                self.see(f"u{user}", KNOWN_MOVIES[column], rating=4.0 if place % 2 else None, at=1_700_000_000 + place)
        self.flush()

    def see(self, user, movie, *, rating=None, at=None):
        """A watch or a rating, without a key: in any partition."""
        event = {"user_id": user, "movie_id": movie, "timestamp": time.time() if at is None else at}
        if rating is None:
            return self.publish("watch-events", {**event, "minute": 90})
        return self.publish("rating-events", {**event, "rating": rating})

    def request(self, user, request_id=None, *, partition=-1, **fields):
        """Publishes a request; its id."""
        request_id = request_id or uuid.uuid4().hex
        key = None if partition >= 0 else user
        self.publish("recommendation-requests", {"request_id": request_id, "user_id": user, **fields}, key, partition)
        return request_id

    def ask(self, user, **fields):
        """One request, and its provenance record: the answer and what made it."""
        request_id = self.request(user, **fields)
        self.flush()
        return self.records_of([request_id])[request_id]

    def records_of(self, request_ids):
        """The one provenance record of each of these requests, as soon as all are there."""
        wanted, found = set(request_ids), {}

        def complete():
            found.update((r["request_id"], r) for r in self.committed("provenance") if r["request_id"] in wanted)
            return found.keys() == wanted

        self.wait(complete, f"answers to {len(wanted)} requests")
        return found

    def committed(self, topic):
        """All that was committed to a topic so far, as JSON, in the order of reading."""
        return [value for _, value in self.messages(topic)]

    def messages(self, topic):
        """The same, each with its message."""
        if topic not in self._readers:
            self._readers[topic] = Reader(self.cluster, self.applied.topic(topic))
        return self._readers[topic].read()

    def everything(self, topic):
        """All of a topic, up to its end as it was at the call: transactions that are open then are waited for."""
        return [value for _, value in self.all_messages(topic)]

    def all_messages(self, topic, begun=None):
        """The same, each with its message; `begun`: only from these offsets of partitions on."""
        reader = Reader(self.cluster, self.applied.topic(topic), begun)
        try:
            ends = reader.ends()
            self.wait(lambda: reader.reached(ends), f"the end of {topic}")
            return reader.found
        finally:
            reader.close()

    def wait(self, condition, what, seconds=PATIENCE_S):
        """What the condition gives once that is true; a worker that ends by itself ends the waiting."""
        return wait_for(condition, what, seconds, between=self._look, said=self.last_words)

    def _look(self):
        for worker in self.workers:
            assert worker.poll() in (None, 0, -9, -15), f"a worker ended with {worker.returncode}:\n{self.last_words()}"


def as_json(value):
    """A message's value as JSON, or as it is where it is none."""
    try:
        return json.loads(value or b"")
    except (ValueError, RecursionError):
        return value


class Reader:
    """Follows a topic from its beginning, or from these offsets, committed messages only."""

    def __init__(self, cluster, topic, begun=None):
        self._admin, self._begun = cluster.admin(), begun or {}
        self._consumer = cluster.consumer(fetch_wait_max_ms=20)
        self._places = [TopicPartition(topic, p, self._begun.get(p, 0)) for p in partitions(self._consumer, topic, 30)]
        self._consumer.assign(self._places)
        self.found = []

    def read(self, patience_s=0.1):
        """All so far; waits a moment for more."""
        first = self._consumer.poll(patience_s)
        for message in [first, *self._consumer.consume(5_000, 0)] if first else []:
            assert message.error() is None, message.error()
            self.found.append((message, as_json(message.value())))
        return self.found

    def ends(self):
        """Of what is committed and what is not yet: a transaction that one topic shows may be seconds from showing in another."""
        return {at.partition: end for at, end in end_offsets(self._admin, self._places).items()}

    def reached(self, ends):
        """Reads on; whether these ends have been reached."""
        self.read()
        now = self._consumer.position(self._places)
        # a partition that nothing was read from has no position: only then may it end where it was begun
        return all(max(at.offset, self._begun.get(at.partition, 0)) >= ends[at.partition] for at in now)

    def close(self):
        self._consumer.close()


def end_offsets(admin, places, isolation_level=IsolationLevel.READ_UNCOMMITTED):
    """The next offset of each of these partitions. The futures end with `admin`: whoever asks keeps it."""
    wanted = {TopicPartition(at.topic, at.partition): OffsetSpec.latest() for at in places}
    found = admin.list_offsets(wanted, isolation_level=isolation_level)
    return {at: end.result(10).offset for at, end in found.items()}


def settled(cluster, topics):
    """Whether no transaction is open in these topics: after a commit its markers reach the partitions one by one."""
    admin = cluster.admin()
    places = [TopicPartition(name, p) for name in topics for p in partitions(admin, name, 30)]
    return end_offsets(admin, places) == end_offsets(admin, places, IsolationLevel.READ_COMMITTED)


def audit(installation):
    """The outside judge's rules, over all requests: one answer and one record each, which agree, by the right model.

    Gives what is wrong, one line each.
    """
    from models.release.split import bucket

    asked = defaultdict(list)
    topic = installation.applied.topic("recommendation-requests")
    for message, request in installation.all_messages("recommendation-requests"):
        asked[request["request_id"]].append((message.partition(), message.offset()))
    answers, records = defaultdict(list), defaultdict(list)
    for name, into in (("recommendations", answers), ("provenance", records)):
        for value in installation.everything(name):
            into[value["request_id"]].append(value)
    wrong = []
    for request_id in answers.keys() - asked.keys():
        wrong.append(f"{request_id}: answered, never asked")
    for request_id, places in asked.items():
        got, made = answers[request_id], records[request_id]
        if len(got) != 1 or len(made) != 1:
            wrong.append(f"{request_id}: {len(got)} answers, {len(made)} records")
            continue
        answer, record = got[0], made[0]
        if {**record, **answer} != record:
            wrong.append(f"{request_id}: the record differs from the answer")
        if (answer["source"]["topic"], answer["source"]["partition"], answer["source"]["offset"]) not in [
            (topic, *place) for place in places
        ]:
            wrong.append(f"{request_id}: wrong source")
        if len(set(answer["recommendations"])) != len(answer["recommendations"]):
            wrong.append(f"{request_id}: a movie twice")
        if answer["status"] == "rejected":
            continue
        canary = installation.kept(record["config_sha256"])["canary"]
        if (
            record["bucket"] != bucket(answer["user_id"], "2026-11")
            or record["canary_percentage"] != canary["percentage"]
        ):
            wrong.append(f"{request_id}: wrong bucket or percentage")
        trial = record["bucket"] < 100 * record["canary_percentage"]
        set_for = canary.get("forced", {}) if canary.get("candidate", "v2") is not None else {}
        if record.get("forced", False) != (answer["user_id"] in set_for):
            wrong.append(f"{request_id}: forced, or not, and the record says otherwise")
        elif record.get("forced"):
            trial = set_for[answer["user_id"]] == "canary"
        if (answer["variant"], answer["model_version"]) != (
            ("canary", canary["candidate"]) if trial else ("stable", canary["stable"])
        ):
            wrong.append(f"{request_id}: wrong variant or version")
    return wrong


@pytest.fixture(scope="session")
def installations(kafka, tmp_path_factory):
    """Makes installations that end with the `with` block."""

    @contextmanager
    def make(**settings):
        installation = Installation(kafka, tmp_path_factory.mktemp("home"), **settings)
        try:
            yield installation
        finally:
            installation.stop()

    return make


@pytest.fixture(scope="module")
def shop(installations):
    """A world of 155 movies and 40 users, and a worker that answers, 50 % of the users by v2. A module of another kind makes its own."""
    with installations() as installation:
        installation.publish_world()
        installation.start_worker()
        installation.ask("u1")
        yield installation


@pytest.fixture(scope="session")
def audited():
    """The audit, for tests that assert that it finds nothing."""
    return audit
