"""`canarec provenance` with a real worker: what made an answer, the answer made again, why two differ."""

import json
import re
import shutil
import threading

import numpy as np
import pytest
from confluent_kafka import TopicPartition

from models import provenance
from models.errors import BadArtifact
from models.ids import Ids
from models.wire import Limits
from pipelines import archive, below
from pipelines.explain import history_of
from streams import clients
from streams.cli import main

USERS = [f"u{number}" for number in range(40)]


def run(shop, *arguments, home=None):
    """The exit code of a command."""
    options = ("--home", str(home or shop.home.path), "--bootstrap-servers", shop.cluster.bootstrap_servers)
    try:
        main(["provenance", *arguments, *options])
    except SystemExit as ended:
        return ended.code
    return 0


def in_force(shop):
    wanted = shop.home.load().sha256
    shop.wait(lambda: shop.ask("u1")["config_sha256"] == wanted, "the new configuration")


def test_a_record_is_shown_with_what_it_names(shop, capsys):
    record = shop.ask("u1", n=12)
    assert run(shop, "show", record["request_id"], "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    assert {name: shown["record"][name] for name in record} == record
    assert shown["model"]["files"]["factors.npz"] == record["model_sha256"]
    assert shown["configuration"] == shop.kept(record["config_sha256"])
    assert shown["titles"][record["recommendations"][0]] == record["recommendations"][0].upper()
    assert run(shop, "show", record["request_id"]) == 0
    screen = capsys.readouterr().out
    assert all(movie.upper() in screen for movie in record["recommendations"])
    assert len(screen.splitlines()) <= 40


@pytest.mark.parametrize("user", ["u3", "p0", "stranger"])
def test_an_answer_is_made_again(shop, user, capsys):
    record = shop.ask(user)
    assert run(shop, "replay", record["request_id"]) == 0
    assert f"{record['request_id']}: the same: 20 movies" in capsys.readouterr().out


def test_a_record_is_explained_and_a_replay_is_for_programs_too(shop, capsys):
    record = shop.ask("u6", n=3)
    assert run(shop, "show", record["request_id"], "--explain", "--json") == 0
    because = json.loads(capsys.readouterr().out)["because"]
    assert list(because) == record["recommendations"]
    assert all(because.values())
    assert run(shop, "show", record["request_id"], "--explain") == 0
    assert "because of" in capsys.readouterr().out
    assert run(shop, "replay", record["request_id"], "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["same"], told["recommendations"], told["differences"]) == (True, record["recommendations"], [])


def test_a_record_whose_list_was_altered_is_found_in_the_csv_of_another_home(shop, tmp_path, capsys):
    for folder in ("configs", "catalogs", "models"):
        shutil.copytree(shop.home.artifacts / folder, tmp_path / "artifacts" / folder)
    shutil.copy(shop.home.config, tmp_path)
    record = shop.ask("u4")
    forged = {**record, "request_id": "forged", "recommendations": record["recommendations"][::-1]}
    rows = [provenance.row(json.dumps(each).encode(), provenance.Place("t", 0, 0)) for each in (record, forged)]
    (tmp_path / "artifacts" / "provenance").mkdir()
    path = tmp_path / "artifacts" / "provenance" / f"{rows[0].date}.csv"
    path.write_bytes(provenance.HEADER + b"".join(row.line for row in rows))
    assert run(shop, "replay", record["request_id"], home=tmp_path) == 0
    assert run(shop, "replay", "forged", home=tmp_path) == 3
    assert "forged: different" in capsys.readouterr().out
    assert run(shop, "replay", "--sample", "100000", home=tmp_path) == 3
    assert "1 different" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["show", "replay", "diff"])
def test_a_request_that_nobody_answered_is_exit_code_4_in_one_line(shop, command, capsys):
    more = ["no-such-id"] if command == "diff" else []
    assert run(shop, command, "no-such-id", *more) == 4
    said = capsys.readouterr()
    (line,) = said.err.splitlines()
    assert (said.out, line.startswith("canarec: 'no-such-id': no record in ")) == ("", True)


def test_a_date_leaves_out_what_was_answered_on_another_day(shop):
    record = shop.ask("u5")
    assert run(shop, "show", record["request_id"], "--date", "2020-01-01") == 4
    assert run(shop, "show", record["request_id"], "--date", record["served_at"][:10]) == 0


def test_why_two_answers_differ_names_the_event_that_came_between(shop, capsys):
    first = shop.ask("u6")
    movie = first["recommendations"][0]
    shop.see("u6", movie)
    shop.flush()
    second = shop.ask("u6")
    assert run(shop, "diff", first["request_id"], second["request_id"]) == 0
    said = capsys.readouterr().out
    assert "They differ in the history." in said
    assert f"watched to minute 90: {movie.upper()}" in said
    assert f"Only in the first list: {movie.upper()}" in said


class Watching:
    """Users who watch all the time."""

    def __init__(self, shop):
        self._shop, self._ending = shop, threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        rng = np.random.default_rng(2)
        while not self._ending.wait(0.005):
            self._shop.see(USERS[rng.integers(40)], f"m{rng.integers(150):03}")

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._ending.set()
        self._thread.join()
        self._shop.flush()


def asked(shop, count):
    """So many requests of every kind, answered."""
    rng, ids = np.random.default_rng(count), []
    for _ in range(count):
        user = ["stranger", "p0", "forced", *USERS][rng.integers(43)]
        ids.append(shop.request(user, n=int(rng.integers(1, 101)), exclude_seen=bool(rng.integers(2))))
    ids.append(shop.request("u1", genres=["Western"]))
    shop.flush()
    return shop.records_of(ids)


def test_a_sample_replays_whatever_changed_while_it_was_answered(shop, capsys):
    worker = shop.workers[0]
    try:
        with Watching(shop):
            records = asked(shop, 100)
            shop.configure(canary={"stable": "v1", "candidate": "v2", "percentage": 10, "forced": {"forced": "canary"}})
            in_force(shop)
            records |= asked(shop, 101)
            shop.publish_model("v3")
            shop.publish("movie-catalog", {"movie_id": "x1", "title": "New", "genres": ["Odd"]}, "x1")
            shop.publish("movie-catalog", None, "m000")
            shop.flush()
            shop.configure(canary={"stable": "v2", "candidate": "v3", "percentage": 60})
            in_force(shop)
            worker.kill()  # the supervisor's child dies with it
            worker.wait(10)
            shop.start_worker()
            records |= asked(shop, 102)
        assert len({record["config_sha256"] for record in records.values()}) == 3
        assert {record["model_version"] for record in records.values()} == {"v1", "v2", "v3", None}
        assert run(shop, "replay", "--sample", "5000", "--seed", "7") == 0
        said = capsys.readouterr().out
        replayed = int(re.search(r"replayed ([\d,]+) in", said)[1].replace(",", ""))
        assert replayed >= 303
        assert "not replayed" not in said
    finally:
        shop.configure(canary={"stable": "v1", "candidate": "v2", "percentage": 50})


# -- the events, wherever they are -------------------------------------------------------------------


def test_events_are_the_same_from_topics_and_archive_and_what_neither_has_is_told(installations, tmp_path):
    with installations() as shop:
        shop.publish_world()
        events = [shop.applied.topic(name) for name in below.NAMES]
        off_scale = {"user_id": "u1", "movie_id": "m008", "rating": 99, "timestamp": 1}
        shop.publish("rating-events", off_scale)  # no row of the archive
        shop.flush()
        archive.extend(shop.cluster, shop.applied, tmp_path / "archive", topics=below.NAMES)
        shop.see("u1", "m007")
        shop.flush()
        everywhere = whole(shop, events)
        names = dict(zip(events, below.NAMES, strict=True))

        def read(folder):
            ends = {place: after for place, (_, after) in everywhere.items()}
            return below.read(shop.cluster, folder, USERS, ends, names, Ids())

        offsets = {
            topic: {str(n): after for (t, n), (_, after) in everywhere.items() if t == topic} for topic in events
        }
        expected = history_of(shop.cluster, shop.applied, "u1", offsets)
        wanted = {expected.movie_ids.text(number) for number in expected.movies("u1").tolist()}
        assert "m007" in wanted
        configured = shop.applied.config.events.limits()

        def movies(folder, limits=configured):
            found = read(folder)
            return {found.ids.text(number) for number in found.movies("u1", offsets, limits).tolist()}

        assert movies(tmp_path / "archive") == movies(tmp_path / "none") == wanted
        # by a record of a time with another scale, that rating is in the history
        assert movies(tmp_path / "archive", Limits(rating_max=100.0)) == wanted | {"m008"}
        lost = [TopicPartition(*place, max(0, after - 2)) for place, (_, after) in everywhere.items()]
        admin = shop.cluster.admin()
        for deleted in admin.delete_records(lost).values():
            deleted.result(30)
        with pytest.raises(BadArtifact, match="neither in the topic nor in the archive"):
            movies(tmp_path / "none")
        assert movies(tmp_path / "archive") == wanted


def test_an_archive_of_a_topic_that_was_deleted_says_nothing_of_the_one_that_has_its_name(installations, tmp_path):
    with installations() as shop:
        shop.see("u1", "m007")
        shop.flush()
        topic = shop.applied.topic("watch-events")
        archive.extend(shop.cluster, shop.applied, tmp_path, topics=["watch-events"])
        ends = {place: after for place, (_, after) in whole(shop, [topic]).items()}
        admin = shop.cluster.admin()
        for deleted in admin.delete_records([TopicPartition(*place, after) for place, after in ends.items()]).values():
            deleted.result(30)

        def movies():
            found = below.read(shop.cluster, tmp_path, {"u1"}, ends, {topic: "watch-events"}, Ids())
            offsets = {topic: {str(number): after for (_, number), after in ends.items()}}
            return found.movies("u1", offsets, shop.applied.config.events.limits()).tolist()

        assert movies() == [0]
        identity = tmp_path / "watch-events" / "_topic.json"
        identity.write_text(json.dumps({**json.loads(identity.read_text()), "topic_id": "another"}))
        with pytest.raises(BadArtifact, match="neither in the topic nor in the archive"):
            movies()


def whole(shop, topics):
    consumer = shop.cluster.consumer()
    try:
        return clients.whole(consumer, topics)
    finally:
        consumer.close()
