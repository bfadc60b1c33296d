"""`canarec canary` with a real broker and a worker: in force within 5 s, told in `canary-events`, and no request is lost."""

import json
import shutil
import threading
import time

import pytest

from models import wire
from models.release.split import arm
from streams.cli import main

IN_FORCE_S = 5.0
USERS = [f"u{number}" for number in range(40)]


@pytest.fixture(autouse=True)
def as_at_the_beginning(shop):
    shop.configure()
    shop.wait(lambda: shop.ask("u1")["config_sha256"] == shop.home.load().sha256, "the first configuration")


def canary(shop, *arguments, servers=None):
    main(
        [
            *("canary", *arguments, "--home", str(shop.home.path)),
            *("--bootstrap-servers", servers or shop.cluster.bootstrap_servers),
        ]
    )


def told(shop, who):
    """The changes that this one has made, as `canary-events` tells them."""
    return [event for event in shop.everything("canary-events") if event["who"] == who]


def in_force(shop):
    """Waits until answers are made by the file as it is now; fails after 5 s."""
    wanted = shop.home.load().sha256
    shop.wait(lambda: shop.ask("u1")["config_sha256"] == wanted, "the new split", IN_FORCE_S)


class Traffic:
    """Forty users who ask all the time."""

    def __init__(self, shop):
        self._shop, self.asked, self._ending = shop, [], threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._ending.wait(0.02):
            self.asked.append(self._shop.request(USERS[len(self.asked) % len(USERS)]))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()
        self._shop.flush()


def test_every_change_is_in_force_within_5_seconds_told_once_and_loses_no_request(shop, audited, capsys):
    before = shop.home.load().sha256
    with Traffic(shop) as traffic:
        for arguments in (["set", "60"], ["promote", "--why", "better"], ["rollback"]):
            canary(shop, *arguments, "--who", "life")
            in_force(shop)
    assert len(traffic.asked) > 20
    shop.records_of(traffic.asked)
    assert audited(shop) == []
    events = told(shop, "life")
    assert [event["event"] for event in events] == ["set", "promoted", "rolled_back"]
    assert [event.get("why") for event in events] == [None, "better", None]
    roles = [(to["stable"], to["candidate"], to["percentage"]) for to in (event["to"] for event in events)]
    assert roles == [("v1", "v2", 60), ("v2", None, 0), ("v1", None, 0)]
    digests = [before, *(event["to"]["config_sha256"] for event in events)]
    assert [event["from"]["config_sha256"] for event in events] == digests[:-1]
    assert capsys.readouterr().err == ""


def test_a_forced_user_meets_the_variant_that_was_set_and_the_record_says_so(shop):
    split = {**shop.settings["canary"], "percentage": 0, "forced": {"u3": "canary"}}
    shop.home.config.write_text(json.dumps({**shop.settings, "canary": split}))
    in_force(shop)
    forced, drawn = shop.ask("u3"), shop.ask("u4")
    assert (forced["variant"], forced["model_version"], forced["forced"]) == ("canary", "v2", True)
    assert forced["bucket"] == arm("u3", "r", shop.applied.config.canary)[0]
    assert drawn["variant"] == "stable"
    assert "forced" not in drawn


def test_what_kafka_was_not_told_of_is_told_by_the_next_command(shop, capsys):
    canary(shop, "set", "20", "--who", "away", servers="127.0.0.1:1")
    assert "canary-events is not told yet, 1 waiting in" in capsys.readouterr().err
    in_force(shop)
    assert told(shop, "away") == []
    canary(shop, "status")
    assert capsys.readouterr().err == ""
    canary(shop, "set", "30", "--who", "away")
    assert [(event["event"], event["to"]["percentage"]) for event in told(shop, "away")] == [("set", 20), ("set", 30)]


def test_the_status_counts_what_each_arm_has_done(shop, capsys):
    shutil.rmtree(shop.home.outbox, ignore_errors=True)
    since = time.time()
    records = [shop.ask(user) for user in USERS[:12]]
    by_arm = {variant: [r for r in records if r["variant"] == variant] for variant in ("stable", "canary")}
    assert all(by_arm.values())
    for record in records:  # women are told from men, and v2's users take what they are shown
        woman = int(record["user_id"][1:]) % 2
        shop.publish("user-profiles", {"user_id": record["user_id"], "gender": "MF"[woman]}, record["user_id"])
        choice = record["recommendations"][0] if record["variant"] == "canary" else None
        said = {"request_id": record["request_id"], "selected": choice, "satisfaction": (1 + woman) / 4}
        shop.publish("recommendation-feedback", said)
        if choice:
            shop.see(record["user_id"], choice)
    shop.flush()
    capsys.readouterr()
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since)) + f".{int(since % 1 * 1000):03}Z"
    canary(shop, "status", "--json", "--since", moment)
    found = json.loads(capsys.readouterr().out)
    assert (found["stable"], found["candidate"], found["percentage"], found["phase"]) == ("v1", "v2", 50, "step")
    for variant, ctr in (("stable", 0.0), ("canary", 1.0)):
        arm_ = found["arms"][variant]
        assert arm_["users"] == arm_["requests"] == arm_["ok"] == len(by_arm[variant])
        assert (arm_["success"], arm_["ctr"]) == (1.0, ctr)
        assert 0 <= arm_["latency_ms"]["p50"] <= arm_["latency_ms"]["p99"]
        assert {group: said["mean"] for group, said in arm_["satisfaction"].items()} == {
            "MF"[number]: (1 + number) / 4 for number in {int(record["user_id"][1:]) % 2 for record in by_arm[variant]}
        }
    canary(shop, "status", "--since", moment)
    shown = capsys.readouterr().out
    assert "stable v1" in shown
    assert "canary v2" in shown
    assert "click-through" in shown


def test_what_others_write_there_is_read_over(installations, capsys):
    with installations() as nobody:
        for topic in ("provenance", "canary-events", "recommendation-feedback", "watch-events", "user-profiles"):
            for junk in (b"\xff", b"[]", b"{}", b'{"to": 7}'):
                nobody.publish(topic, junk, "key")
        nobody.flush()
        capsys.readouterr()
        canary(nobody, "status", "--json")
    found = json.loads(capsys.readouterr().out)
    assert [arm_["requests"] for arm_ in found["arms"].values()] == [0, 0]


def test_the_status_begins_with_the_trial_that_runs(shop, capsys):
    shop.ask("u1")
    before = wire.rfc3339(int(time.time() * 1000))
    shop.configure(canary={"stable": "v1", "candidate": "v1", "percentage": 50})  # A/A
    try:
        in_force(shop)
        shop.wait(lambda: shop.everything("canary-events")[-1]["to"]["candidate"] == "v1", "the worker's event")
        records = [shop.ask(user) for user in USERS[:12]]
        capsys.readouterr()
        canary(shop, "status", "--json")
    finally:
        shop.configure(canary={"stable": "v1", "candidate": "v2", "percentage": 50})
    found = json.loads(capsys.readouterr().out)
    assert found["since"] > before
    assert {variant: arm_["version"] for variant, arm_ in found["arms"].items()} == {"stable": "v1", "canary": "v1"}
    for variant, arm_ in found["arms"].items():
        drawn = {record["user_id"] for record in records if record["variant"] == variant}
        assert len(drawn) <= arm_["users"] <= len(drawn | {"u1"})
    assert found["users_in_both_arms"] == 0


def test_of_too_many_answers_the_newest_are_counted_and_the_status_says_so(shop, capsys):
    for user in USERS:
        shop.request(user)
    shop.flush()
    shop.ask("u1")
    capsys.readouterr()
    canary(shop, "status", "--json", "--since", "1h", "--at-most", "20")
    found = json.loads(capsys.readouterr().out)
    assert found["older_left_out"]
    assert 0 < sum(arm_["requests"] for arm_ in found["arms"].values()) <= 20
