"""What a worker tells of itself: a file that others can rely on, whatever the disk and Kafka do. Events: tests/broker/test_reload.py."""

import json
import time

import pytest

from models import config
from models.errors import BadConfig
from streams.clients import Cluster
from streams.home import Home
from streams.notices import Notices, Standing

NOBODY = "127.0.0.1:1"  # no broker listens there
APPLIED = config.parse("{}")
STANDING = Standing(APPLIED, {"v1": "a" * 64}, None)


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


@pytest.fixture
def notices(home):
    return Notices(home, Cluster(NOBODY), APPLIED, "w-1")


def written(home):
    return json.loads((home.workers / "w-1.json").read_text())


def test_the_file_says_what_is_in_force_what_is_warm_and_what_is_refused(home, notices):
    notices.tell(STANDING)
    found = {"config_sha256": APPLIED.sha256, "models": {"v1": "a" * 64}, "refused": None, "told": None}
    assert written(home) == found
    notices.tell(Standing(APPLIED, {"v2": "b" * 64}, BadConfig("canary.percentage", "too much")))
    assert written(home)["models"] == {"v2": "b" * 64}
    assert written(home)["refused"] == {
        "path": "canary.percentage",
        "error": "config.json: canary.percentage: too much",
    }


def test_the_file_is_written_only_when_something_has_changed(home, notices):
    notices.tell(STANDING)
    before = (home.workers / "w-1.json").stat()
    notices.tell(STANDING)
    Notices(home, Cluster(NOBODY), APPLIED, "w-1").tell(STANDING)  # the next worker of this name
    after = (home.workers / "w-1.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_nobody_waits_for_a_broker_that_is_away(notices):
    begun = time.monotonic()
    notices.tell(STANDING)
    assert time.monotonic() - begun < 1


def test_a_file_that_cannot_be_written_is_written_as_soon_as_it_can(home, notices):
    (home.workers / "w-1.json").mkdir(parents=True)
    notices.tell(STANDING)
    notices.tell(STANDING)
    (home.workers / "w-1.json").rmdir()
    notices.tell(STANDING)
    assert written(home)["config_sha256"] == APPLIED.sha256


@pytest.mark.parametrize("content", ["", "[]", '{"config_sha256": 7}', '{"config_sha256": "../../etc"}', "\udcff"])
def test_a_predecessors_file_that_is_no_use_is_replaced(home, notices, content):
    home.workers.mkdir(parents=True)
    (home.workers / "w-1.json").write_bytes(content.encode(errors="surrogateescape"))
    notices.tell(STANDING)
    assert written(home)["config_sha256"] == APPLIED.sha256
