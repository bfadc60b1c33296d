"""Following a trial on a real broker: the same topics give the same evidence, whoever looked when; status and verify say what it is."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from models.config import canonical
from models.events import CanaryEvent, Split
from models.release.chain import Chain, covers
from models.release.record import seal
from models.release.verdict import decide
from pipelines import times, trial
from pipelines.release import Releasing
from pipelines.trial import Following
from streams.cli import main
from streams.cli.release import Around, Checksums
from streams.home import Home, write_whole

from .conftest import settled

USERS = 60
SPLIT = {"stable": "v1", "candidate": "v2", "percentage": 50}
RELEASE = {"automation": "advise", "decides_from": 10}


@pytest.fixture(scope="module")
def shared(installations):
    with installations(canary=SPLIT, release=RELEASE, metrics={"horizon_s": 1}) as installation:
        yield installation


@pytest.fixture
def trials(shared):
    """A trial of its own on the shared topics: its candidate has a name that no other test's has."""
    shared.split = {**SPLIT, "candidate": f"c{time.time_ns()}"}
    shared.configure(canary=shared.split)
    in_force(shared, shared.split)
    return shared


@pytest.fixture
def shop(installations):
    """Topics and a chain of its own."""
    with installations(canary=SPLIT, release=RELEASE, metrics={"horizon_s": 1}) as installation:
        installation.split = SPLIT
        in_force(installation, SPLIT)
        yield installation


def in_force(shop, split, who="w"):
    """As a worker tells it."""
    to = Split("x", split["stable"], split["candidate"], split["percentage"])
    event = CanaryEvent("configuration_applied", "2026-11-27T08:00:00Z", who, None, to)
    shop.publish("canary-events", json.loads(msgspec.json.encode(event)))
    shop.flush()


def serve(shop, users, *, transaction=None):
    """Answers, feedback and watches of these users, as a worker and users leave them."""
    made = []
    for user in users if transaction is None else ():
        shop.publish("user-profiles", {"user_id": f"u{user}", "gender": "MF"[user // 2 % 2]}, f"u{user}")
    shop.flush()
    for user in users:
        variant, version = ("canary", shop.split["candidate"]) if user % 2 else ("stable", "v1")
        request = f"r{user}-{time.time_ns()}"
        record = {
            **{"request_id": request, "user_id": f"u{user}", "status": "ok", "recommendations": ["m1", "m2"]},
            **{"latency_ms": 5, "variant": variant, "model_version": version, "canary_percentage": 50.0},
            **{"config_sha256": "x", "scoring_ms": 1.0, "scored_together": 1},
        }
        if transaction is not None:
            transaction.produce(shop.applied.topic("provenance"), json.dumps(record).encode(), f"u{user}")
            continue
        shop.publish("provenance", record, f"u{user}")
        made.append((user, request))
    shop.flush()  # whoever chooses has read their list
    for user, request in made:
        chosen = np.random.default_rng(user).random() < 0.4
        said = {"request_id": request, "selected": "m1" if chosen else None, "satisfaction": 0.5}
        shop.publish("recommendation-feedback", said, f"u{user}")
        if chosen:
            shop.see(f"u{user}", "m1")
    shop.flush()


def now_ms():
    return int(time.time() * 1000)


def following(shop):
    return Following(shop.cluster, Checksums(shop.home))


def test_the_same_topics_give_the_same_evidence_whoever_looked_when(trials, monkeypatch):
    often = following(trials)
    for number in range(4):
        serve(trials, range(number * USERS // 4, (number + 1) * USERS // 4))
        often.look(trials.home.load(), now_ms())
        time.sleep(0.3)
    time.sleep(1.5)
    moment = now_ms()
    seen = often.look(trials.home.load(), moment)
    once = following(trials).look(trials.home.load(), moment)
    assert (once.evidence, once.until_ms, once.offsets) == (seen.evidence, seen.until_ms, seen.offsets)
    monkeypatch.setattr(trial, "AT_ONCE", 7)
    monkeypatch.setattr(trial, "SHORTEST_MS", 50)
    sliced = following(trials).look(trials.home.load(), moment)
    assert (sliced.evidence, sliced.offsets) == (seen.evidence, seen.offsets)
    arms = (seen.evidence.stable_arm, seen.evidence.canary_arm)
    assert [arm.requests for arm in arms] == [USERS / 2] * 2
    assert [arm.moments("ctr").n for arm in arms] == [USERS / 2] * 2
    chose = [sum(np.random.default_rng(user).random() < 0.4 for user in range(side, USERS, 2)) for side in (0, 1)]
    for metric in ("ctr", "hit_rate"):
        assert [arm.moments(metric).total for arm in arms] == [10_000 * count for count in chose]
    assert {group for arm in arms for group in arm.users["ctr"]} == {"M", "F"}
    assert seen.offsets["provenance"].keys() == {"0", "1", "2", "3"}


def test_what_an_open_transaction_may_still_bring_is_waited_for(trials, monkeypatch):
    monkeypatch.setattr(times, "PATIENCE_S", 0.2)
    looks = following(trials)
    serve(trials, range(10))
    time.sleep(0.8)
    before = looks.look(trials.home.load(), now_ms())
    producer = trials.cluster.producer(transactional_id=trials.prefix + "open")
    producer.init_transactions(30)
    producer.begin_transaction()
    serve(trials, range(10, 14), transaction=producer)
    producer.flush(30)
    time.sleep(0.8)
    held = looks.look(trials.home.load(), now_ms())
    assert (held.until_ms, held.evidence.canary_arm.requests) == (before.until_ms, 5)
    producer.commit_transaction(30)
    trials.wait(lambda: settled(trials.cluster, [trials.applied.topic("provenance")]), "the commit to be seen")
    time.sleep(0.8)
    after = looks.look(trials.home.load(), now_ms())
    assert (after.evidence.canary_arm.requests, after.evidence.stable_arm.requests) == (7, 7)


def test_without_a_trial_there_is_nothing_to_see(trials):
    serve(trials, range(4))
    trials.configure(canary={**trials.split, "candidate": "v3"})  # no worker answers by it
    assert following(trials).look(trials.home.load(), now_ms()) is None
    trials.configure(canary={**trials.split, "candidate": None})
    assert following(trials).look(trials.home.load(), now_ms()) is None


def test_a_worker_of_another_home_with_another_split_ends_no_trial_and_is_seen(trials, monkeypatch):
    in_force(trials, {**trials.split, "candidate": f"other-{trials.split['candidate']}"}, who="of another home")
    time.sleep(1)
    serve(trials, range(4))
    trials.publish("provenance", {**answered("u9"), "config_sha256": "another"}, "u9")
    trials.flush()
    time.sleep(0.8)
    monkeypatch.setattr("models.release.trial.CHANGEOVER_MS", 1_000)
    seen = following(trials).look(trials.home.load(), now_ms())
    assert (seen.in_force, seen.evidence.canary_arm.requests) == (True, 2)
    assert decide(seen.evidence, trials.home.load().config.release).reason == "configurations_differ"


def test_a_trial_that_only_a_dead_worker_names_does_not_run(trials):
    in_force(trials, trials.split, who=f"dead-{trials.split['candidate']}")
    serve(trials, range(4))
    in_force(trials, {**trials.split, "candidate": None})
    time.sleep(0.8)
    assert following(trials).look(trials.home.load(), now_ms()) is None


def test_a_step_that_no_worker_has_begun_is_seen_as_such(trials):
    serve(trials, range(4))
    time.sleep(0.8)
    trials.configure(canary={**trials.split, "percentage": 60})
    seen = following(trials).look(trials.home.load(), now_ms())
    assert (seen.in_force, seen.evidence.held_s, seen.evidence.percentage) == (False, 0.0, 60)


def test_a_damaged_file_and_an_answer_from_another_one_are_told(shop):
    path = shop.home.models / "v2" / "factors.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    shop.publish("provenance", {**answered("u1"), "model_sha256": "0123456789"}, "u1")
    shop.flush()
    time.sleep(0.8)
    wrong = following(shop).look(shop.applied, now_ms()).evidence.wrong_checksums
    assert len(wrong) == 2
    assert wrong[0].startswith("v1 is more than one file: 01234567, ")
    assert wrong[1].startswith("v2: factors.npz is ")


def answered(user):
    return {
        **{"request_id": f"r-{user}", "user_id": user, "status": "ok", "recommendations": [], "latency_ms": 5},
        **{"variant": "stable", "model_version": "v1", "canary_percentage": 50.0, "config_sha256": "x"},
    }


# -- status and verify ----------------------------------------------------------------------------


def canary(shop, *arguments):
    at = ["--home", str(shop.home.path), "--bootstrap-servers", shop.cluster.bootstrap_servers]
    main(["canary", *arguments, *at])


def test_the_status_says_the_verdict_so_far_and_what_it_lacks(shop, capsys):
    serve(shop, range(USERS))
    time.sleep(2)
    canary(shop, "status", "--json")
    computed = json.loads(capsys.readouterr().out)["verdict"]
    assert (computed["outcome"], computed["phase"], computed["reason"]) == ("INCONCLUSIVE", "hold", "no_requests")
    assert computed["metrics"]["ctr"]["users_canary"] == USERS / 2
    Releasing(following(shop), Around(shop.home, shop.cluster.bootstrap_servers)).turn(datetime.now(UTC))
    canary(shop, "status", "--json")
    told = json.loads(capsys.readouterr().out)["verdict"]
    assert told["metrics"] == computed["metrics"]
    assert told["timestamp"] == shop.everything("canary-events")[-1]["timestamp"]
    canary(shop, "status")
    shown = capsys.readouterr().out
    assert "HOLD: 30 requests answered by v2 < 200" in shown
    assert "ctr: " in shown
    assert "more of v2" in shown


def test_what_is_verified_is_whole_until_a_byte_is_another(shop, capsys):
    job = Releasing(following(shop), Around(shop.home, shop.cluster.bootstrap_servers))
    job.turn(datetime.now(UTC))
    serve(shop, range(6))
    time.sleep(0.8)
    shop.configure(canary={**SPLIT, "percentage": 60})
    in_force(shop, {**SPLIT, "percentage": 60})
    job.turn(datetime.now(UTC))
    capsys.readouterr()
    canary(shop, "verify")
    records = [event for event in shop.everything("canary-events") if event["event"] == "verdict"]
    assert capsys.readouterr().out == f"2 verdicts recomputed, the chain is whole: newest {records[-1]['sha256']}\n"
    forged = {key: value for key, value in records[-1].items() if key not in ("previous", "sha256")}
    forged["evidence"]["canary_arm"]["requests"] += 1
    forged["covers"] = covers([])
    place = shop.publish("canary-events", canonical(seal(forged, records[-1]["sha256"])).encode())
    shop.flush()
    with pytest.raises(SystemExit) as ended:
        canary(shop, "verify")
    assert ended.value.code == 1
    assert f"canary-events: partition 0, offset {place['offset']}: message is " in capsys.readouterr().err


def test_a_newest_verdict_that_is_missing_is_known_to_its_home(shop, capsys):
    shop.home.last_verdict.write_text(json.dumps({"sha256": "ab" * 32}))
    with pytest.raises(SystemExit) as ended:
        canary(shop, "verify")
    assert ended.value.code == 1
    assert f"the newest verdict that was kept in this home is missing: {'ab' * 32}" in capsys.readouterr().err


def test_schedulers_of_two_homes_that_write_at_the_same_time_break_no_chain(shop, tmp_path, capsys):
    other, both = Home(tmp_path), threading.Barrier(2)
    write_whole(other.config, shop.home.config.read_bytes())

    class Together(Around):
        """Keeps its record when the other one, too, has made its own."""

        def keep(self, record):
            both.wait(30)
            super().keep(record)

    servers = shop.cluster.bootstrap_servers
    jobs = [Releasing(following(shop), Together(home, servers)) for home in (shop.home, other)]
    for _ in range(2):
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(job.turn, datetime.now(UTC)) for job in jobs]:
                done.result()
        serve(shop, range(6))
        time.sleep(0.8)
        for home in (shop.home, other):
            write_whole(home.config, json.dumps({**shop.settings, "canary": {**SPLIT, "percentage": 60}}).encode())
        in_force(shop, {**SPLIT, "percentage": 60})
    capsys.readouterr()
    canary(shop, "verify")
    assert capsys.readouterr().out.startswith("4 verdicts recomputed, 2 chains are whole: newest ")


def test_a_restarted_scheduler_goes_on_with_the_chain(shop):
    for percentage in (50, 60, 70):
        shop.configure(canary={**SPLIT, "percentage": percentage})
        in_force(shop, {**SPLIT, "percentage": percentage})
        serve(shop, range(4))
        time.sleep(0.8)
        Releasing(following(shop), Around(shop.home, shop.cluster.bootstrap_servers)).turn(datetime.now(UTC))
    chain = Chain()
    problems = [line for message, _ in shop.all_messages("canary-events") for line in chain.add(message.value())[1]]
    assert (chain.records, problems) == (3, [])
