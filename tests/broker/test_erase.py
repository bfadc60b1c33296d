"""`canarec erase` with a real worker: nothing of the user stays, nothing of the others goes, and answers that were given say so."""

import dataclasses
import json
import os
import re
import shutil
import signal
import subprocess
import time

import numpy as np
import pytest

from models.erasure import user_digest
from models.recommenders import store
from pipelines import archive, dataset, provenance_csv
from pipelines.places import Places
from streams import clients, processes
from streams.cli import main
from streams.worker import child_command

METRICS = {"windows_s": [2], "horizon_s": 1, "lateness_s": 1, "group_users_min": 5}
USER, OTHER = "u1", "u2"


def run(shop, *words):
    """The exit code of a command."""
    try:
        main([*words, "--home", str(shop.home.path), "--bootstrap-servers", shop.cluster.bootstrap_servers])
    except SystemExit as ended:
        return ended.code
    return 0


def found(shop, user):
    """Where the bytes of a user's id still are: topics, archive, CSV, snapshots, and any other file of the home."""
    name = user.encode()
    places = [f"{topic} {m.partition()}:{m.offset()}" for topic in TOPICS_HELD for m in holds(shop, topic, name)]
    folder = Places(shop.home.path).archive
    places += [
        f"archive of {topic}"
        for topic in archive.ARCHIVED
        if topic != "movie-catalog" and user in archive.table(folder, topic, ["user_id"])["user_id"].to_pylist()
    ]
    places += [row["request_id"] for row in provenance_csv.rows(shop.home.provenance) if row["user_id"] == user]
    return places


TOPICS_HELD = (
    *("movielog", "watch-events", "rating-events", "recommendation-requests", "recommendation-feedback"),
    *("recommendations", "provenance", "recommendation-quality", "dead-letters"),
)


def everything(shop, topic):
    """All that a topic has, which may begin in the middle."""
    consumer = shop.cluster.consumer()
    try:
        ranges = clients.whole(consumer, [shop.applied.topic(topic)])
    finally:
        consumer.close()
    return [message for some in clients.messages(shop.cluster, ranges) for message in some]


def holds(shop, topic, name):
    quoted = b'"' + name + b'"'
    for message in everything(shop, topic):
        if (
            message.key() == name
            or quoted in (message.value() or b"")
            or b"," + name + b"," in (message.value() or b"")
        ):
            yield message


@pytest.fixture(scope="module")
def shop(installations):
    """A user with watches, ratings, a profile, answers, feedback, a line and a dead letter, who is erased while a worker is at work."""
    with installations(metrics=METRICS) as shop:
        mark(shop)
        shop.publish_world()
        for user, gender in ((USER, "F"), (OTHER, "M")):
            shop.publish("user-profiles", {"user_id": user, "gender": gender}, user)
            shop.publish("rating-events", {"user_id": user, "movie_id": "m001", "rating": 99, "timestamp": 1}, user)
            shop.publish("movielog", f"2022-11-14T12:23:12,{user},GET /data/m/m007/16.mpg".encode())
        shop.start_worker()
        shop.given = [shop.ask(USER) for _ in range(3)]
        shop.kept = [shop.ask(OTHER) for _ in range(3)]
        for record in (*shop.given, *shop.kept):
            shop.publish("recommendation-feedback", {"request_id": record["request_id"], "satisfaction": 0.5})
        shop.flush()
        shop.wait(lambda: shop.committed("recommendation-quality"), "a window")
        shop.wait(lambda: len(csv_of(shop, USER)) == 3, "rows of the CSV")
        shop.code = complete(shop)
        # Now: later tests ask for the user again, and erase others
        shop.found, shop.rows_kept = found(shop, USER), csv_of(shop, OTHER)
        yield shop


def csv_of(shop, user):
    return [row for row in provenance_csv.rows(shop.home.provenance) if row["user_id"] == user]


def mark(shop):
    """v1 was trained on all that there is, v2 on events long after it; a data set, and DVC's copy of it, have the user."""
    for version, span in (("v1", [0, 10**6]), ("v2", [10**6, 10**7])):
        spans = {str(number): span for number in range(4)}
        model = store.read(shop.home.models, version)
        trained_on = {**model.metadata.data_version, "offsets": {"watch-events": spans, "rating-events": spans}}
        metadata = dataclasses.replace(model.metadata, data_version=trained_on)
        shutil.rmtree(shop.home.models / version)
        store.write(shop.home.models, model.recommender, model.movie_ids, model.popularity, metadata)
    of = dataset.Dataset.from_events(
        [USER, OTHER], ["m001", "m002"], np.array([4.0, 3.0]), np.array([1, 2]), offsets={}
    )
    dataset.write(of, Places(shop.home.path).dataset)
    cached = shop.home.path / ".dvc" / "cache" / "files" / "md5" / "ab" / "cdef"
    cached.parent.mkdir(parents=True)
    shutil.copy(Places(shop.home.path).dataset, cached)


def complete(shop):
    """Erases; what has to wait for a window to close is erased by a later run."""
    until = time.monotonic() + 90
    while (code := run(shop, "erase", USER)) == 1 and time.monotonic() < until:
        time.sleep(1)
    return code


def report(shop):
    return json.loads((shop.home.artifacts / "erasures" / f"{user_digest(USER)}.json").read_bytes())


def test_it_is_done(shop):
    assert (shop.code, report(shop)["left"]) == (0, [])


def test_nothing_of_the_user_is_left(shop):
    assert shop.found == []


def test_the_report_names_nobody_and_says_what_is_gone(shop):
    said = report(shop)
    assert USER not in json.dumps(said).replace(said["user_sha256"], "")
    assert {"messages", "archive rows", "CSV rows", "profiles", "data sets"} <= said["removed"].keys()
    assert said["removed"]["CSV rows"] == 3
    assert said["removed"]["data sets"] == 2


def test_the_profile_has_a_tombstone(shop):
    last = [m for m in everything(shop, "user-profiles") if m.key() == USER.encode()][-1]
    assert (last.value(), dict(last.headers())["canarec-erased"]) == (None, b"1")


def test_others_keep_their_rows(shop):
    table = archive.table(Places(shop.home.path).archive, "watch-events", ["user_id"])
    assert {f"u{number}" for number in range(40)} - set(table["user_id"].to_pylist()) == {USER}
    assert [row["request_id"] for row in shop.rows_kept] == [record["request_id"] for record in shop.kept]


def test_the_worker_at_work_has_forgotten_the_user(shop):
    record = shop.ask(USER)
    assert (record["status"], record["reason"]) == ("fallback", "unknown_user")


def test_the_worker_at_work_still_knows_the_others(shop):
    assert shop.ask(OTHER)["status"] == "ok"


def test_a_new_worker_knows_the_others_and_not_the_user(shop):
    """The topics begin in the middle now: it starts from what was made of the archive."""
    processes.stop(shop.workers[0], 8)
    shop.start_worker()
    assert shop.ask("u3")["status"] == "ok"
    assert shop.ask(USER)["reason"] == "unknown_user"


def test_a_replay_of_an_answer_says_erased(shop, capsys):
    assert run(shop, "provenance", "replay", shop.given[0]["request_id"]) == 4
    assert "erased" in capsys.readouterr().err


def test_a_replay_of_anothers_answer_is_the_same(shop, capsys):
    assert run(shop, "provenance", "replay", shop.kept[0]["request_id"]) == 0


def test_the_version_that_was_trained_on_the_user_is_marked(shop):
    assert report(shop)["models"] == ["v1"]


def test_the_list_of_versions_shows_the_mark(shop, capsys):
    main(["models", "list", "--home", str(shop.home.path)])
    listed = capsys.readouterr().out
    first, second = listed.index("v1"), listed.index("v2")
    assert "erased" in listed[first:second]
    assert "erased" not in listed[second:]


def test_a_training_is_due(shop, capsys):
    assert run(shop, "retrain", "--if-due", "--dry-run") == 0
    assert re.match(r"due: \d+ users? of earlier data erased", capsys.readouterr().out)


def test_the_audit_has_the_digest_and_not_the_user(shop):
    events = [json.loads(message.value()) for message in everything(shop, "retraining-events")]
    (told,) = [e for e in events if e["event"] == "erased" and e["user_sha256"] == user_digest(USER)]
    assert told["model_versions"] == ["v1"]
    assert USER not in json.dumps(told).replace(told["user_sha256"], "")


def test_an_unknown_user_is_nothing_to_erase(shop, capsys):
    assert run(shop, "erase", "nobody-at-all") == 0
    assert "neither the topics nor the archive hold anything" in capsys.readouterr().out


def test_a_dry_run_removes_nothing(shop, capsys):
    assert run(shop, "erase", OTHER, "--dry-run") == 0
    assert "rating-events" in capsys.readouterr().out
    kept = {row["request_id"] for row in csv_of(shop, OTHER)}
    assert kept >= {record["request_id"] for record in shop.kept}


@pytest.mark.parametrize("step", [None, "archive rows", "CSV rows", "messages"])
def test_a_run_that_is_killed_after_a_step_is_completed_by_the_next_one(shop, step):
    user = f"killed after {step}"
    for number in range(5):
        shop.see(user, f"m00{number}", rating=3.0 if number % 2 else None)
    shop.flush()
    shop.ask(user)
    shop.wait(lambda: csv_of(shop, user), "a row of the CSV")
    path = shop.home.artifacts / "erasures" / f"{user_digest(user)}.json"
    words = child_command("erase", shop.home, shop.cluster.bootstrap_servers, user, "--regardless")
    killed = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    reached = lambda: path.exists() and (step is None or step in json.loads(path.read_bytes())["removed"])  # noqa: E731
    shop.wait(reached, f"the step {step}")
    os.killpg(killed.pid, signal.SIGKILL)
    assert killed.wait(10) == -signal.SIGKILL
    assert json.loads(path.read_bytes())["left"] == ["it was not finished"]
    shop.wait(lambda: run(shop, "erase", user, "--regardless") == 0, "the erasure", 60)
    assert found(shop, user) == []


def test_without_a_cut_the_home_is_clean_and_the_topics_wait(shop, capsys):
    for number in range(3):
        shop.see("split", f"m00{number}")
    shop.flush()
    assert run(shop, "erase", "split", "--no-cut") == 0
    said = capsys.readouterr().out
    assert "left: watch-events/" in said
    assert {place.split()[0] for place in found(shop, "split")} == {"watch-events"}
    assert run(shop, "erase", "split", "--regardless") == 0
    assert found(shop, "split") == []
