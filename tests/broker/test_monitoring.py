"""Every query of every panel and every alert, asked of a real Prometheus that scrapes a really running system: data must come back.

Two workers' worth of life within a minute or two: simulated users, a candidate in the shadow and then in the split, windows of seconds, a damaged model, a
wrong configuration, refused messages, fallbacks, an overloaded gateway. What a query needs and a healthy system would not show is made to happen.
"""

import json
import re
import shutil
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import yaml

from streams import processes
from streams.worker import child_command, free_port
from tests.broker.gateway import running
from tests.broker.test_canary_release import RELEASE, publish_model, publish_world, simulated_users
from tests.compose.conftest import COMPOSE
from tests.compose.test_files import dashboards

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: prometheus)"),
]

PATIENCE_S = 180
TOKEN = "shown-to-the-gateway-only"
SETTINGS = {
    "canary": {"stable": "v7", "candidate": "v8", "percentage": 0},
    "release": {
        **RELEASE,
        "automation": "advise",
        "users_min": 5_000,
    },  # undecided, so that there is a rest to estimate
    "metrics": {"horizon_s": 2, "windows_s": [5], "lateness_s": 1, "group_users_min": 5},
    "retraining": {"days": 3_650, "look_every_s": 1, "drift": {"events": 100, "cool_down_days": 0, "psi": 100}},
}


class Prometheus:
    """A server over the repository's own configuration, with addresses of this machine in place of the containers'."""

    def __init__(self, folder, targets):
        self.port, self.folder = free_port(0), folder
        (folder / "token").write_text(TOKEN)
        given = yaml.safe_load((COMPOSE / "prometheus" / "prometheus.yml").read_text())
        jobs = [job for job in given["scrape_configs"] if job["job_name"] in targets]
        assert {job["job_name"] for job in jobs} == targets.keys()
        for job in jobs:
            del job["dns_sd_configs"]
            job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
            if "authorization" in job:
                job["authorization"]["credentials_file"] = str(folder / "token")
        (folder / "rules").mkdir()
        for path in (COMPOSE / "prometheus" / "rules").glob("*.yml"):
            (folder / "rules" / path.name).write_text(path.read_text().replace("interval: 30s", "interval: 1s"))
        configuration = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "rule_files": given["rule_files"],
            "scrape_configs": jobs,
        }
        (folder / "prometheus.yml").write_text(yaml.safe_dump(configuration))
        with (folder / "prometheus.log").open("wb") as log:
            self.process = processes.start(
                [
                    "prometheus",
                    f"--config.file={folder / 'prometheus.yml'}",
                    f"--storage.tsdb.path={folder / 'data'}",
                    f"--web.listen-address=127.0.0.1:{self.port}",
                ],
                stdout=log,
                stderr=log,
            )

    def get(self, path, **parameters):
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as page:
                return json.loads(page.read())["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def data(self, query):
        """How many series have a number, now."""
        found = self.get("query", query=query)["result"]
        return sum(series["value"][1] != "NaN" for series in found)

    def ready(self):
        assert self.process.poll() is None, (self.folder / "prometheus.log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10):
                return True
        except OSError:  # not yet, or 503
            return False


def plain(query):
    """Without what would give data whatever a metric is called."""
    return query.replace(" or vector(0)", "")


def always(condition):
    """An alert's condition as a query that gives 0 or 1 where there are data, whether it fires or not."""
    return re.sub(r" (==|!=|<=|>=|<|>) (?!bool)", r" \1 bool ", plain(condition))


def queries(window):
    """Every query, by where it stands."""
    found = {}
    for name, board in dashboards.DASHBOARDS.items():
        for panel in board["panels"]:
            for target in panel["targets"]:
                text = target["expr"].replace("$__rate_interval", "15s").replace("$window", window)
                if not text.startswith("vector("):  # a threshold's line
                    found[f"{name}: {panel['title']} ({target['refId']})"] = plain(text)
        for note in board["annotations"]["list"]:
            found[f"{name}: annotation {note['name']}"] = note["expr"]
    for path in sorted((COMPOSE / "prometheus" / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            for rule in group["rules"]:
                if "alert" in rule:
                    found[f"alert {rule['alert']}"] = always(rule["expr"])
                else:
                    found[f"record {rule['record']}"] = plain(rule["expr"])
    return found


@contextmanager
def started(command, log):
    with log.open("wb") as output:
        process = processes.start(command, stdout=output, stderr=output)
    try:
        yield process
    finally:
        processes.stop(process, 10)


@contextmanager
def visitors(api):
    """They ask the gateway for lists, several at once, and more of them than it takes."""
    ending = threading.Event()

    def visit(number):
        while not ending.is_set():
            api.get(f"/recommend/u{number}?n=5", Authorization=f"Bearer {TOKEN}")

    with ThreadPoolExecutor(4) as pool:
        for number in range(4):
            pool.submit(visit, number)
        try:
            yield
        finally:
            ending.set()


def misfortunes(shop):
    """What a healthy system does not show."""
    shop.publish("watch-events", b"no JSON")
    shop.publish(
        "watch-events", {"user_id": "u1", "movie_id": "nobody-knows-it", "minute": 1, "timestamp": time.time()}
    )
    shop.request("nobody knows")
    shop.flush()
    publish_model(shop.home, "v9", "good")
    (shop.home.models / "v9" / "factors.npz").write_bytes(b"damaged")


def fail_for_a_moment(shop):
    """A wrong configuration, then one that no request is young enough for, then the right one again with a share for the candidate."""
    shop.home.config.write_text('{"canary": {"percentage": 101}}')
    time.sleep(2)  # shorter, and it would count as being written
    serving = {"deadline_ms": 1}
    shop.configure(serving=serving)
    time.sleep(3)
    shop.configure(serving={}, canary={"stable": "v7", "candidate": "v8", "percentage": 50})


@pytest.fixture(scope="module")
def answers(installations, tmp_path_factory):
    """Of each query, how many series with data it had at most; it is asked again and again until it has some."""
    with installations(**SETTINGS) as shop:
        servers = shop.cluster.bootstrap_servers
        publish_model(shop.home, "v7", "good")
        publish_model(shop.home, "v8", "good")
        publish_world(shop)
        metrics, planning = free_port(0), free_port(0)
        at = ("--metrics-host", "127.0.0.2")  # not where it is by default
        worker = child_command("worker", shop.home, servers, "--metrics-port", str(metrics), *at)
        scheduler = child_command("scheduler", shop.home, servers, "--metrics-port", str(planning), *at)
        with (
            started(worker, shop.home.path / "worker-0.log"),
            started(scheduler, shop.home.path / "worker-scheduler.log"),
            running(shop, "--most-waiting", "3", token=TOKEN) as api,
        ):
            shop.ask("u1")
            targets = {
                "worker": f"127.0.0.2:{metrics}",
                "scheduler": f"127.0.0.2:{planning}",
                "api": f"127.0.0.1:{api.port}",
            }
            prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), targets)
            try:
                shop.wait(prometheus.ready, "Prometheus")
                with simulated_users(shop), visitors(api):
                    yield collected(shop, prometheus)
            finally:
                processes.stop(prometheus.process, 10)


def collected(shop, prometheus):
    asked = queries("5")
    found = dict.fromkeys(asked, 0)
    until, at = time.monotonic() + PATIENCE_S, time.monotonic()
    steps = {
        10: lambda: misfortunes(shop),
        25: lambda: fail_for_a_moment(shop),
        40: lambda: publish_model(shop.home, "v10", "good"),
    }
    while (left := [name for name, count in found.items() if not count] or steps) and time.monotonic() < until:
        for after_s in [s for s in steps if time.monotonic() - at > s]:
            steps.pop(after_s)()
        for name in list(left):
            if name in asked:
                found[name] = prometheus.data(asked[name])
        time.sleep(1)
    return {name: (asked[name], count) for name, count in found.items()}


def test_every_query_of_every_panel_and_alert_gives_data(answers, capsys):
    with capsys.disabled():
        print(f"\n{len(answers)} queries; series with data:")
        for name, (_, count) in answers.items():
            print(f"{count:4}  {name}")
    without = {name: query for name, (query, count) in answers.items() if not count}
    assert not without


def test_a_condition_gives_data_only_where_its_metrics_do():
    assert always("(sum(canarec_worker_ready) or vector(0)) < 1") == "(sum(canarec_worker_ready)) < bool 1"
