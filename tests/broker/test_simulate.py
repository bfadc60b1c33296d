"""The simulator on a real broker: its history is published once, and its users do what users of the contract do."""

import json
import re
import signal
import subprocess
import threading
import time

import pytest

from models import movielog
from models.config import Simulator, parse
from models.errors import BadMessage
from models.simulated import history
from models.topics import TOPICS
from models.viewer import who_asks
from models.wire import Limits
from pipelines.simulated import publish_history
from streams import topics
from streams.cli import main
from streams.clients import Cluster, messages, whole
from streams.crowd import crowd
from streams.simulator import Simulation
from streams.worker import child_command

HISTORY_TOPICS = ("movie-catalog", "user-profiles", "watch-events", "rating-events")
SIZE = {"n_users": 30, "n_movies": 60}


@pytest.fixture(scope="module")
def service(installations):
    """Another one, which has lines for events."""
    with installations() as installation:
        installation.publish_world()
        installation.start_worker()
        installation.ask("u1")
        yield installation


@pytest.fixture
def cluster(kafka):
    return Cluster(kafka)


@pytest.fixture
def applied(cluster, unique):
    """A configuration whose topics are this test's own, and made."""
    applied = parse(json.dumps({"topics": {name: unique + name for name in TOPICS}}))
    topics.ensure(cluster, applied)
    return applied


def held(cluster, applied, name):
    """All (key, value as JSON) of a topic."""
    consumer = cluster.consumer()
    ranges = whole(consumer, [applied.topic(name)])
    consumer.close()
    return [
        (message.key().decode(), json.loads(message.value()))
        for batch in messages(cluster, ranges)
        for message in batch
    ]


# -- the history ----------------------------------------------------------------------------------


def test_a_history_is_published_once(cluster, applied):
    made = history(7, **SIZE)
    first = publish_history(cluster, applied, 7, **SIZE)
    there = {name: held(cluster, applied, name) for name in HISTORY_TOPICS}
    assert {key for key, _ in there["movie-catalog"]} == {movie.movie_id for movie in made.movies}
    assert {value["gender"] for _, value in there["user-profiles"]} == {"M", "F"}
    assert len(there["watch-events"]) + len(there["rating-events"]) == len(made.events)
    assert all(key == value["user_id"] for key, value in there["watch-events"])
    assert first.changed
    second = publish_history(cluster, applied, 7, **SIZE)
    assert not second.changed
    assert second.present == first.published
    assert {name: len(held(cluster, applied, name)) for name in HISTORY_TOPICS} == {n: len(v) for n, v in there.items()}


def test_a_history_that_was_stopped_half_way_goes_on_where_it_was(cluster, applied):
    def stop_at_watches(what, lines, share):
        if what == "watches":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish_history(cluster, applied, 7, stop_at_watches, **SIZE)
    assert held(cluster, applied, "rating-events") == []
    publish_history(cluster, applied, 7, **SIZE)
    events = held(cluster, applied, "watch-events") + held(cluster, applied, "rating-events")
    made = history(7, **SIZE).events
    assert sorted((v["user_id"], v["movie_id"], v["timestamp"]) for _, v in events) == sorted(
        (event.user_id, event.movie_id, event.timestamp_ms) for event in made
    )


@pytest.mark.parametrize("topic", ["movie-catalog", "rating-events"])
def test_data_of_another_origin_are_left_alone(topic, cluster, applied):
    producer = cluster.producer()
    producer.produce(applied.topic(topic), b'{"movie_id": "heat", "title": "Heat", "genres": []}', b"heat")
    producer.flush()
    assert not publish_history(cluster, applied, 7, **SIZE).changed
    assert sum(len(held(cluster, applied, name)) for name in HISTORY_TOPICS) == 1


# -- the users ------------------------------------------------------------------------------------


def simulate(shop, *arguments):
    return child_command("simulate", shop.home, shop.cluster.bootstrap_servers, *arguments)


def test_users_ask_choose_watch_rate_and_report(shop):
    before = {answer["request_id"] for answer in shop.everything("recommendations")}
    done = subprocess.run(
        simulate(shop, "--rate", "60", "--for", "4", "--seed", "5"),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "users known, 155 movies" in done.stdout
    counted = re.search(r"asked (\d+), answered (\d+)", done.stdout.splitlines()[-1])
    assert counted is not None
    asked, answered = map(int, counted.groups())
    assert asked == answered
    assert 150 < asked < 350
    answers = {a["request_id"]: a for a in shop.everything("recommendations") if a["request_id"] not in before}
    all_feedback = shop.everything("recommendation-feedback")
    feedback = [said for said in all_feedback if said["request_id"] in answers]
    assert len(feedback) == len(answers) == asked
    for said in feedback:
        answer = answers[said["request_id"]]
        assert said["user_id"] == answer["user_id"]
        assert 0 <= said["satisfaction"] <= 1
        assert said["selected"] is None or said["selected"] in answer["recommendations"]
    assert any(said["selected"] for said in feedback)
    # the world's own events have numbers for times
    watched = [event for event in shop.everything("watch-events") if isinstance(event["timestamp"], str)]
    chosen = [said for said in all_feedback if said["selected"]]
    assert sorted((event["user_id"], event["movie_id"]) for event in watched) == sorted(
        (said["user_id"], said["selected"]) for said in chosen
    )
    newcomers = {answer["user_id"] for answer in answers.values() if answer["user_id"].startswith("sim-5-")}
    profiles = [p["user_id"] for p in shop.everything("user-profiles") if p["user_id"].startswith("sim-5-")]
    assert newcomers
    assert sorted(profiles) == sorted(newcomers)  # each once
    assert not [letter for letter in shop.everything("dead-letters") if "sim-" in (letter["payload"] or "")]


def test_the_same_seed_makes_the_same_users_ask(shop):
    found = crowd(shop.cluster, shop.applied)
    known = len(found.users)
    seen = []
    for _ in range(2):
        run = Simulation(shop.cluster, shop.applied, found, Simulator(rate=200, seed=11))
        counts = run.run(threading.Event(), 0.5)
        assert counts.asked == counts.answered > 50
        mine = [
            r for r in shop.everything("recommendation-requests") if r["request_id"].startswith(f"sim-{run._run_id}-")
        ]
        seen.append({int(r["request_id"].rsplit("-", 1)[1]): r["user_id"] for r in mine})
    both = seen[0].keys() & seen[1].keys()
    assert len(both) > 50
    assert all(seen[0][number] == seen[1][number] for number in both)
    turns = [who_asks(11, number, known) for number in sorted(both)]
    assert [found.users[turn] if isinstance(turn, int) else turn for turn in turns] == [
        seen[0][n] for n in sorted(both)
    ]


def test_lines_become_events_and_damaged_ones_are_refused_or_say_something_else(service):
    """Every line is damaged, so it is a dead letter of `movielog` or one that the parser reads."""
    old = len(service.everything("dead-letters"))
    run = Simulation(
        service.cluster,
        service.applied,
        crowd(service.cluster, service.applied),
        Simulator(rate=150, seed=23, newcomers=1.0, movielog=True, damage=1.0),
    )
    counts = run.run(threading.Event(), 1.0)
    assert counts.lines == counts.damaged > counts.asked > 50  # an answer each, an account, watches and ratings
    lines = [m.value() for m in raw(service.cluster, service.applied, "movielog") if m.key().startswith(b"80000000023")]
    assert len(lines) == counts.lines
    refused = sum(not parses(line) for line in lines)
    assert 0 < refused < counts.lines

    def letters():
        found = [
            x
            for x in service.everything("dead-letters")[old:]
            if x["source"]["topic"] == service.applied.topic("movielog")
        ]
        return len(found) == refused

    service.wait(letters, "a dead letter for each line that cannot be read")


def test_whole_lines_become_the_events_that_they_say(service):
    run = Simulation(
        service.cluster,
        service.applied,
        crowd(service.cluster, service.applied),
        Simulator(rate=150, seed=24, newcomers=0.5, bots=0.5, movielog=True, damage=0.0),
    )
    counts = run.run(threading.Event(), 1.0)
    assert counts.asked > counts.bots > 20

    def events(topic):
        return sum(event["user_id"].startswith(("80000000024", "90000000024")) for event in service.everything(topic))

    said = [json.loads(m.value()) for m in raw(service.cluster, service.applied, "recommendation-feedback")]
    chosen = sum(bool(x["selected"]) and x["user_id"].startswith(("80000000024", "90000000024")) for x in said)
    assert chosen >= counts.bots
    service.wait(lambda: events("watch-events") == chosen - counts.bots, "the lines' watches")  # bots watch nothing
    service.wait(lambda: events("rating-events") >= counts.bots, "the lines' ratings")  # bots rate whatever they take


def raw(cluster, applied, name):
    """All messages of a topic."""
    consumer = cluster.consumer()
    ranges = whole(consumer, [applied.topic(name)])
    consumer.close()
    return [message for batch in messages(cluster, ranges) for message in batch]


def parses(line):
    try:
        movielog.parse(line, Limits())
    except BadMessage:
        return False
    return True


def test_a_crowd_may_be_named(shop, tmp_path):
    (tmp_path / "ids").write_text("u3\nu4\n")
    subprocess.run(
        simulate(shop, "--rate", "50", "--for", "1", "--users", str(tmp_path / "ids"), "--seed", "77"),
        capture_output=True,
        timeout=60,
        check=True,
    )
    found = crowd(shop.cluster, shop.applied, ["u3", "u4"])
    assert {who_asks(77, number, 2, newcomers=found.newcomers) for number in range(50)} == {0, 1}
    assert found.person(1, "u3").weights != found.person(1, "u4").weights


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly_with_a_summary(shop, number):
    child = subprocess.Popen(simulate(shop, "--rate", "30"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert "Ctrl-C" in child.stdout.readline()
    child.send_signal(number)
    begun = time.monotonic()
    out, error = child.communicate(timeout=20)
    assert child.returncode == 0, error
    assert out.startswith("asked ")
    assert time.monotonic() - begun < 10
    assert "Traceback" not in error


def test_a_history_comes_first_where_it_is_asked_for(installations):
    with installations(simulator={"seed": 3, "rate": 20}) as shop:
        for published in ("[1-9][0-9,]+ published, 0 there already", "0 published, [1-9][0-9,]+ there already"):
            words = simulate(shop, "--history", "--for", "0.2", "--quiet")
            done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
            assert re.search(f"^history: {published}$", done.stdout, flags=re.MULTILINE), done.stdout


def test_quiet_says_only_what_came_of_it(shop):
    done = subprocess.run(
        simulate(shop, "--rate", "20", "--for", "1", "--quiet"), capture_output=True, text=True, timeout=60, check=True
    )
    assert len(done.stdout.splitlines()) == 1


def test_nobody_to_answer_is_no_reason_to_wait(installations):
    with installations() as empty:
        done = Simulation(
            empty.cluster, empty.applied, crowd(empty.cluster, empty.applied), Simulator(rate=100, seed=1)
        )
        counts = done.run(threading.Event(), 0.3)
        assert counts.answered == 0 < counts.asked
        assert "answered 0 (– fallback" in counts.line()


def test_without_a_broker_it_says_so(capsys, tmp_path):
    with pytest.raises(SystemExit) as ended:
        main(["simulate", "--home", str(tmp_path), "--bootstrap-servers", "127.0.0.1:1", "--for", "1"])
    assert ended.value.code == 1
    assert "no Kafka broker answers at 127.0.0.1:1" in capsys.readouterr().err
