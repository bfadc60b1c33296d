"""The image and compose.yaml with a real Docker engine, as a team uses them: built, started, asked, a worker killed, three of them, a retraining,
an alert, down and up again. `make containers`; minutes.

Public images are taken where the engine can get them. Where it cannot:

    the base         a Debian of debootstrap with its Python 3.11 (root, debootstrap)
    Kafka            the image's own `canarec broker`
    Prometheus, Alertmanager    Debian's packages on that base
    Grafana, the exporter       left out, and said so
"""

import base64
import json
import os
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import pytest
import yaml

from streams.worker import free_port
from tests.compose.conftest import COMPOSE, ROOT
from tests.waiting import wait_for

pytestmark = [pytest.mark.containers, pytest.mark.timeout(2_400)]

PATIENCE_S = 180
IMAGE = "canarec:test"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PORTS = ("API_PORT", "GRAFANA_PORT", "PROMETHEUS_PORT", "ALERTMANAGER_PORT", "KAFKA_PORT")
SERVICES = yaml.safe_load((COMPOSE / "compose.yaml").read_text())["services"]
DEBIANS = {  # the package's program in the place of the public image's
    "prometheus": ("prometheus", "/usr/bin/prometheus"),
    "alertmanager": ("prometheus-alertmanager", "/usr/bin/prometheus-alertmanager"),
}
AUDIT = """
import collections, json
from streams.clients import Cluster, messages, whole
cluster, asked, answered = Cluster("kafka:9092"), collections.Counter(), collections.Counter()
for topic, into in (("recommendation-requests", asked), ("recommendations", answered)):
    reader = cluster.consumer()
    ranges = whole(reader, [topic])
    reader.close()
    for some in messages(cluster, ranges):
        into.update(json.loads(message.value())["request_id"] for message in some)
wrong = {r: n for r, n in answered.items() if n != 1}
print(json.dumps({"asked": len(asked), "unanswered": len(asked.keys() - answered.keys()), "wrong": wrong}))
"""


class Engine:
    """Docker and Make, with what this run is called."""

    def __init__(self, folder):
        self.folder, self.files = folder, [str(COMPOSE / "compose.yaml")]
        self.environment = {
            **os.environ,
            "COMPOSE_PROJECT_NAME": "canarec-test",
            "MONITORING_NETWORK": "canarec-test",
            "CANAREC_IMAGE": IMAGE,
            **{name: str(free_port(0)) for name in PORTS},
        }

    def run(self, *words, check=True, patience_s=900):
        done = subprocess.run(
            [*map(str, words)],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=patience_s,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{words}: {done.stdout[-3000:]}\n{done.stderr[-6000:]}"
        return done.stdout.strip() if check else done

    def compose(self, *words, **options):
        return self.run("docker", "compose", *(f"--file={file}" for file in self.files), *words, **options)

    def deploy(self, *words):
        return self.run("make", "deploy", f"COMPOSE_FILES={' '.join(self.files)}", *words)

    def has(self, image):
        """Whether the engine has it or can get it."""
        if self.run("docker", "image", "inspect", image, check=False).returncode == 0:
            return True
        return self.run("docker", "pull", "--quiet", image, check=False).returncode == 0

    def base(self):
        image = self.environment.get("BASE_IMAGE", "python:3.11.14-slim-bookworm")
        if not self.has(image):
            image = "canarec-base:test"
            if not self.has(image):
                self._debian(image)
        self.environment["BASE_IMAGE"] = image

    def _debian(self, image):
        if shutil.which("debootstrap") is None or os.geteuid() != 0:
            pytest.skip("the engine gets no Python image, and there is no debootstrap to make one")
        root = self.folder / "base"
        packages = "--include=python3.11,python3.11-venv,python3-distutils,ca-certificates,wget"
        self.run("debootstrap", "--variant=minbase", packages, "bookworm", root)
        if os.path.exists(CERTIFICATES):  # this machine's, where a proxy has one of its own
            shutil.copy(CERTIFICATES, f"{root}{CERTIFICATES}")
        told = " ".join(f"{name}={CERTIFICATES}" for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT"))
        self.run("sh", "-c", f"tar -C {root} -c . | docker import --change 'ENV {told}' - {image}")
        self.environment["BUILD_NETWORK"] = "host"

    def stand_ins(self):
        """compose.yaml's images that cannot be had, by others; who has none."""
        other = {}
        for name, service in SERVICES.items():
            variable, _, default = service["image"].strip("${}").partition(":-")
            image = self.environment.get(variable, default)
            if image == IMAGE or self.has(image):
                continue
            if name in DEBIANS:
                other[name] = self._packaged(name)
            elif name == "kafka":
                other[name] = (
                    f"image: {IMAGE}\n    command: [broker, --host, 0.0.0.0, --advertised-host, kafka]\n"
                    '    volumes: !override ["kafka:/srv/canarec"]'
                )
            else:
                other[name] = "profiles: [cannot-be-had]"
        if other:
            path = self.folder / "stand-ins.yaml"
            path.write_text("services:\n" + "".join(f"  {name}:\n    {text}\n" for name, text in other.items()))
            self.files.append(str(path))
        return other

    def _packaged(self, name):
        package, program = DEBIANS[name]
        image, folder = f"canarec-{name}:test", self.folder / name
        folder.mkdir()
        (folder / "Dockerfile").write_text(
            f"FROM {self.environment['BASE_IMAGE']}\n"
            f"RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends {package} wget"
            f" && mkdir -p /{name} && chown nobody /{name}\n"
            f'USER nobody\nVOLUME /{name}\nENTRYPOINT ["{program}"]\n'
        )
        self.run("docker", "build", "--quiet", "--network", "host", "--tag", image, folder)
        return f"image: {image}"

    def ids(self, service):
        return self.compose("ps", "--quiet", service).split()

    def state(self, container):
        return json.loads(self.run("docker", "inspect", container))[0]

    def healthy(self, service, count):
        found = [self.state(container)["State"] for container in self.ids(service)]
        return len(found) == count and all(state.get("Health", {}).get("Status") == "healthy" for state in found)

    def inside(self, service, *words, **options):
        return self.compose("exec", "-T", service, *words, **options)

    def get(self, variable, path):
        """Over HTTP, as somebody on this machine; with the token."""
        token = (COMPOSE / "secrets" / "api-token").read_text().strip()
        shown = base64.b64encode(f"any:{token}".encode()).decode()
        url = f"http://127.0.0.1:{self.environment[variable]}{path}"
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {shown}", "Accept": "application/json"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read() or b"null")

    def answer(self, user, status):
        """A list of this status, or None."""
        given = self.get("API_PORT", f"/recommend/{user}?n=5")
        return given if given["status"] == status else None

    def metric(self, query):
        found = self.get("PROMETHEUS_PORT", f"/api/v1/query?query={urllib.request.quote(query)}")["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0


def wait(condition, what, seconds=PATIENCE_S):
    """Until it is true; who cannot be reached yet is waited for."""

    def found():
        try:
            return condition()
        except OSError:
            return None

    return wait_for(found, what, seconds, every_s=1)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = Engine(tmp_path_factory.mktemp("engine"))
    for words in (("docker", "version"), ("docker", "compose", "version")):
        if shutil.which("docker") is None or engine.run(*words, check=False).returncode:
            pytest.skip(f"no Docker engine: `{' '.join(words)}` fails")
    engine.base()
    return engine


def down_and_up(engine, seen, say):
    """What was there is there again."""
    engine.compose("--profile", "simulate", "down")
    say("down: " + engine.compose("ps", "--all"))
    engine.deploy()
    seen["kept"] = json.loads(engine.inside("scheduler", "python", "-c", AUDIT))
    seen["record"] = engine.inside(
        "scheduler", "canarec", "provenance", "show", seen["answer"]["request_id"], check=False
    )
    say(f"up again, {seen['kept']}:\n" + engine.compose("ps"))


@pytest.fixture(scope="module")
def story(engine, pytestconfig):
    """What was seen, step by step."""
    seen = {}

    def say(line):
        with pytestconfig.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
            print(f"\n-- {line}", flush=True)

    say(f"built on {engine.environment['BASE_IMAGE']}:\n{engine.run('make', 'image', patience_s=1_800)[-3_000:]}")
    seen["image"] = engine.state(IMAGE)
    say(f"stand-ins: {engine.stand_ins() or 'none'}")
    try:
        engine.deploy("PROFILE=simulate")
        say("up:\n" + engine.compose("ps"))
        seen["user"] = engine.inside("worker", "id", "-u")
        seen["written"] = engine.inside("worker", "touch", "/opt/canarec/anything", check=False).returncode
        # the simulator has just begun to tell what its users have watched
        seen["answer"] = wait(lambda: engine.answer(1, "ok"), "a list of a model's")
        seen["scraped"] = wait(lambda: engine.metric("sum(canarec_requests_total) > 100"), "traffic")

        (victim,) = engine.ids("worker")
        os.kill(engine.state(victim)["State"]["Pid"], 9)  # as a crash: `docker kill` would be somebody's wish
        wait(lambda: engine.state(victim)["RestartCount"] == 1 and engine.healthy("worker", 1), "the worker again")
        seen["after a kill"] = engine.get("API_PORT", "/recommend/1?n=5")
        say(
            f"worker killed, restarted {engine.state(victim)['RestartCount']} time(s):\n"
            + engine.compose("ps", "worker")
        )

        engine.deploy("SCALE=3")
        wait(lambda: engine.healthy("worker", 3), "three workers")
        seen["workers"] = wait(lambda: engine.metric("sum(canarec_worker_ready) == 3"), "three that are scraped")
        say("three workers:\n" + engine.compose("ps", "worker"))

        seen["retrain"] = engine.inside("scheduler", "canarec", "retrain", check=False)
        say(f"retrain: {seen['retrain'].returncode} {(seen['retrain'].stdout + seen['retrain'].stderr)[-400:]}")

        engine.compose("--profile", "simulate", "stop", "simulator")
        seen["audit"] = json.loads(engine.inside("scheduler", "python", "-c", AUDIT))
        say(f"audit: {seen['audit']}")

        begun = time.monotonic()
        engine.compose("stop", "worker", "api", "scheduler")
        seen["stopped in"] = time.monotonic() - begun
        stopped = engine.compose("ps", "--all", "--quiet", "worker", "api", "scheduler").split()
        seen["exit codes"] = {engine.state(container)["State"]["ExitCode"] for container in stopped}
        say("stopped:\n" + engine.compose("ps", "--all"))
        alert = wait(
            lambda: engine.get("ALERTMANAGER_PORT", "/api/v2/alerts?filter=alertname=NoWorkerAnswers"), "the alert"
        )
        seen["alert"] = alert[0]["labels"]["severity"], alert[0]["receivers"][0]["name"]

        down_and_up(engine, seen, say)
        yield seen
    finally:
        logs = engine.compose("--profile", "simulate", "logs", "--tail", "30", check=False).stdout
        (engine.folder / "logs.txt").write_text(logs)
        if len(seen) < 14:
            say(logs[-12_000:])
        engine.compose("--profile", "simulate", "down", "--volumes", check=False)


def test_the_image_is_under_a_gigabyte(story):
    assert story["image"]["Size"] < 1e9


def test_the_image_says_what_it_is_and_how_it_is(story):
    configuration = story["image"]["Config"]
    assert configuration["User"] == "10001:10001"
    assert configuration["Labels"]["org.opencontainers.image.title"] == "canarec"
    assert configuration["Healthcheck"]["Test"]


def test_nobody_is_root_and_nothing_can_be_changed(story):
    assert (story["user"], story["written"] != 0) == ("10001", True)


def test_both_models_are_inside_and_answer(story):
    assert (story["answer"]["status"], len(story["answer"]["recommendations"])) == ("ok", 5)


def test_what_happens_is_scraped(story):
    assert story["scraped"] > 100


def test_a_worker_that_is_killed_comes_back(story):
    assert story["after a kill"]["status"] == "ok"


def test_three_workers_are_found_by_prometheus(story):
    assert story["workers"] == 3


def test_a_retraining_runs_in_a_container_that_cannot_be_written(story):
    assert story["retrain"].returncode == 0, story["retrain"].stderr


def test_every_request_has_one_answer(story):
    assert story["audit"]["asked"] > 100
    assert (story["audit"]["unanswered"], story["audit"]["wrong"]) == (0, {})


def test_a_signal_ends_every_part_in_order(story):
    assert story["exit codes"] == {0}
    assert story["stopped in"] < 60


def test_an_alert_reaches_its_receiver(story):
    assert story["alert"] == ("page", "page")


def test_data_are_kept(story):
    assert story["kept"]["asked"] >= story["audit"]["asked"]
    assert story["record"].returncode == 0, story["record"].stderr
