"""Changes under traffic, seen from outside: each edit is in force within 5 s, a new version is warm within 10, no request is lost."""

import json
import threading
import time
from contextlib import contextmanager
from itertools import pairwise

import pytest

from models import config
from streams.clients import Cluster
from streams.home import write_whole
from streams.notices import Notices, Standing

IN_FORCE_S, SEEN_S = 5.0, 10.0


@pytest.fixture(scope="module")
def shop(installations):
    """A world of 155 movies and 40 users, and one worker that has answered."""
    with installations() as installation:
        installation.publish_world()
        installation.start_worker()
        installation.ask("u1")
        first_event(installation)
        yield installation


@contextmanager
def requests_flowing(shop, rate=100):
    """Users who ask all the time; the ids that were asked."""
    asked, ending = [], threading.Event()

    def ask():
        while not ending.wait(1 / rate):
            asked.append(shop.request(f"u{len(asked) % 40}"))
            shop.producer.poll(0)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield asked
    finally:
        ending.set()
        thread.join()
        shop.flush()


def in_place(path, content):
    with path.open("r+b") as file:  # as some editors do, and not at once
        file.truncate(0)
        file.write(content[:20])
        file.flush()
        time.sleep(0.6)  # longer than between two looks; broken for a second, it would be refused
        file.write(content[20:])


def by_rename(path, content):
    write_whole(path, content)


def as_kubernetes_does(path, content):
    """config.json → ..data/config.json, ..data → a folder of this moment, swapped by a rename of the link."""
    folder = path.parent / f"..{time.monotonic_ns()}"
    folder.mkdir()
    (folder / path.name).write_bytes(content)
    (path.parent / "..data_tmp").symlink_to(folder.name)
    (path.parent / "..data_tmp").rename(path.parent / "..data")
    if not path.is_symlink():
        (path.parent / "link").symlink_to(f"..data/{path.name}")
        (path.parent / "link").rename(path)


def standing(shop):
    """What the worker says of itself."""
    [path] = shop.home.workers.glob("*.json")
    return json.loads(path.read_bytes())


def in_force(shop, digest):
    """The newest answer was made by this configuration."""
    return shop.committed("provenance")[-1]["config_sha256"] == digest


def told(shop, event):
    """The events of this kind so far."""
    return [found for found in shop.everything("canary-events") if found["event"] == event]


def first_event(shop):
    return shop.wait(lambda: told(shop, "configuration_applied"), "the first event")


def test_every_way_to_edit_the_file_is_in_force_within_5_seconds_and_loses_no_request(shop, audited):
    refused = shop.metric("canarec_config_refused_total")
    before = told(shop, "configuration_applied")
    digests = [before[-1]["to"]["config_sha256"]]
    took = {}
    with requests_flowing(shop) as asked:
        for edit in (in_place, by_rename, as_kubernetes_does, as_kubernetes_does):
            shop.settings = {**shop.settings, "canary": {**shop.settings["canary"], "percentage": 10 + len(digests)}}
            content = json.dumps(shop.settings).encode()
            digests.append(config.parse(content).sha256)
            edit(shop.home.config, content)
            begun = time.monotonic()
            shop.wait(lambda: in_force(shop, digests[-1]), f"{edit.__name__} to be in force", 2 * IN_FORCE_S)
            took[edit.__name__] = time.monotonic() - begun
    shop.records_of(asked)
    assert audited(shop) == []
    assert max(took.values()) < IN_FORCE_S, took
    assert shop.metric("canarec_config_refused_total") == refused  # half a file for a moment is no mistake
    shop.wait(lambda: standing(shop)["told"] == digests[-1], "the last event")
    events = told(shop, "configuration_applied")[len(before) :]
    assert [(e["from"]["config_sha256"], e["to"]["config_sha256"]) for e in events] == list(pairwise(digests))
    assert {e["who"] for e in events} == {path.stem for path in shop.home.workers.glob("*.json")}


def test_a_new_version_is_warm_before_it_is_named_and_answers_at_once_when_it_is(shop, audited):
    with requests_flowing(shop) as asked:
        shop.publish_model("v3")
        begun = time.monotonic()
        shop.wait(lambda: "v3" in standing(shop)["models"], "v3 to be warm", 2 * SEEN_S)
        assert time.monotonic() - begun < SEEN_S
        # the file may be a look ahead of the gauges
        shop.wait(lambda: shop.metric("canarec_model_info", model_version="v3", role="newest") == 1, "its gauge")
        digest = shop.configure(canary={**shop.settings["canary"], "candidate": "v3", "percentage": 50})
        shop.wait(lambda: in_force(shop, digest), "v3 to be the candidate", IN_FORCE_S)
        shop.wait(lambda: shop.metric("canarec_requests_total", model_version="v3"), "an answer of v3", 2)
    records = shop.records_of(asked).values()
    assert {r["status"] for r in records} == {"ok"}
    assert "v3" in {r["model_version"] for r in records}
    assert audited(shop) == []
    assert standing(shop)["config_sha256"] == digest


def test_a_refusal_is_an_event_and_stands_in_the_workers_file_until_it_is_mended(shop):
    good = shop.home.config.read_bytes()
    write_whole(shop.home.config, json.dumps({**shop.settings, "canary": {"percentage": 101}}).encode())
    shop.wait(lambda: standing(shop)["refused"], "the refusal", 2 * IN_FORCE_S)
    assert standing(shop)["refused"]["path"] == "canary.percentage"
    write_whole(shop.home.config, good)
    shop.wait(lambda: not standing(shop)["refused"], "the good file", 2 * IN_FORCE_S)
    [event] = told(shop, "configuration_refused")
    assert (event["path"], event["to"]) == ("canary.percentage", None)
    assert event["from"]["config_sha256"] == config.parse(good).sha256


def test_a_worker_that_is_started_again_tells_only_what_is_new(installations):
    with installations() as shop:
        shop.publish_world()
        first = shop.start_worker()
        shop.ask("u1")
        [begun] = first_event(shop)
        assert (begun["from"], begun["to"]["config_sha256"]) == (None, shop.applied.sha256)
        shop.wait(lambda: standing(shop)["told"], "what was told to be noted")
        first.kill()
        second = shop.start_worker()
        shop.ask("u1")
        digest = shop.configure(canary={**shop.settings["canary"], "percentage": 77})
        shop.wait(lambda: standing(shop)["told"] == digest, "what was told of the new split to be noted")
        second.terminate()
        assert second.wait(10) == 0
        [_, event] = told(shop, "configuration_applied")
    assert (event["from"]["config_sha256"], event["to"]["config_sha256"]) == (shop.applied.sha256, digest)


def test_what_kafka_was_not_told_before_the_worker_died_the_next_one_of_its_name_tells(installations):
    with installations() as shop:
        now = Standing(shop.applied, {}, None)
        Notices(shop.home, Cluster("127.0.0.1:1"), shop.applied, "w-1").tell(now)  # and is killed
        for _ in range(2):
            notices = Notices(shop.home, shop.cluster, shop.applied, "w-1")
            notices.tell(now)
            shop.wait(lambda: told(shop, "configuration_applied"), "the event")
            notices.close()
        [event] = told(shop, "configuration_applied")
    assert (event["who"], event["to"]["config_sha256"]) == ("w-1", shop.applied.sha256)
