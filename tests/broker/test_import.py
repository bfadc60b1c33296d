"""Importers against a real broker: published once, however often and however brutally they are stopped."""

import gzip
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from models import wire
from models.config import Applied, parse
from models.events import Movie, Profile
from models.topics import TOPICS
from models.wire import Limits
from pipelines import movielens, movielog
from pipelines.movielens import NotMovieLens
from pipelines.once import Once
from streams.cli import main
from streams.clients import Cluster, partitions
from tests.waiting import wait_for

NAMES = ("movie-catalog", "user-profiles", "rating-events", "movielog")
PARTITIONS = 3
Event = tuple[str, str, float, int]


@pytest.fixture
def cluster(kafka: str) -> Cluster:
    return Cluster(kafka)


@pytest.fixture
def applied(cluster: Cluster, unique: str) -> Applied:
    """A configuration whose import topics are this test's own, and made."""
    applied = parse(json.dumps({"topics": {name: unique + name for name in TOPICS}}))
    admin = cluster.admin()  # kept: its futures end with it
    made = admin.create_topics(
        [NewTopic(applied.topic(name), PARTITIONS, config=TOPICS[name].settings()) for name in NAMES]
    )
    for created in made.values():
        created.result(30)
    wait_for_topics(admin, set(made))
    return applied


def ml_1m(folder: Path, *, users: int = 6, movies: int = 5) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "movies.dat").write_text(
        "".join(f"{m}::Film nº {m}, The ({1980 + m % 40})::Action|Comedy\n" for m in range(1, movies + 1)), "latin-1"
    )
    (folder / "users.dat").write_text("".join(f"{u}::{'FM'[u % 2]}::25::7::12345\n" for u in range(1, users + 1)))
    (folder / "ratings.dat").write_text(
        "".join(
            f"{u}::{m}::{1 + (u + m) % 5}::{978_300_000 + 1_000 * u + m}\n"
            for u in range(1, users + 1)
            for m in range(1, movies + 1)
        )
    )
    return folder


def in_file(folder: Path) -> list[Event]:
    rows = [line.split("::") for line in (folder / "ratings.dat").read_text().splitlines()]
    return sorted((user, movie, float(stars), 1_000 * int(at)) for user, movie, stars, at in rows)


def everything(cluster: Cluster, topic: str) -> list[Message]:
    """Every message that a topic holds."""
    consumer = cluster.consumer(enable_partition_eof=True, isolation_level="read_uncommitted", fetch_wait_max_ms=10)
    try:
        left = set(partitions(consumer, topic))
        consumer.assign([TopicPartition(topic, p, 0) for p in left])
        found: list[Message] = []
        while left:
            first = consumer.poll(1)
            for message in [first, *consumer.consume(10_000, 0)] if first is not None else ():
                error = message.error()
                if error is None:
                    found.append(message)
                else:
                    assert error.code() == KafkaError._PARTITION_EOF
                    left.discard(int(message.partition() or 0))
        return found
    finally:
        consumer.close()


def ratings(messages: list[Message]) -> list[Event]:
    read = [wire.rating(message.value(), wire.YEAR_10000_MS, Limits()) for message in messages]
    return sorted((r.user_id, r.movie_id, r.rating, r.timestamp_ms) for r in read)


def sizes(cluster: Cluster, applied: Applied) -> dict[str, int]:
    return {name: len(everything(cluster, applied.topic(name))) for name in NAMES}


def test_a_folder_becomes_catalogue_profiles_and_ratings(cluster: Cluster, applied: Applied, tmp_path: Path) -> None:
    folder = ml_1m(tmp_path / "ml-1m")
    done = movielens.publish(folder, cluster, applied)
    assert (done.published, done.present, done.bad_lines) == (
        {"movies": 5, "profiles": 6, "ratings": 30},
        {"movies": 0, "profiles": 0, "ratings": 0},
        0,
    )
    movies = {m.key(): wire.movie(m.value()) for m in everything(cluster, applied.topic("movie-catalog"))}
    assert movies[b"3"] == Movie("3", "The Film nº 3", ("Action", "Comedy"), 1983)
    assert len(movies) == 5
    profiles = {m.key(): wire.profile(m.value()) for m in everything(cluster, applied.topic("user-profiles"))}
    assert profiles[b"2"] == Profile("2", "F", 25, "executive/managerial")
    assert len(profiles) == 6
    events = everything(cluster, applied.topic("rating-events"))
    assert ratings(events) == in_file(folder)
    assert all(event.key() == wire.rating(event.value(), 2**42, Limits()).user_id.encode() for event in events)
    assert len({(event.key(), event.partition()) for event in events}) == 6


def test_a_second_import_changes_nothing(cluster: Cluster, applied: Applied, tmp_path: Path) -> None:
    movielens.publish(ml_1m(tmp_path / "here"), cluster, applied)
    before = sizes(cluster, applied)
    again = movielens.publish(ml_1m(tmp_path / "elsewhere"), cluster, applied)
    assert not again.changed
    assert again.present == {"movies": 5, "profiles": 6, "ratings": 30}
    assert sizes(cluster, applied) == before


CHILD = """
import sys, threading
from pathlib import Path
from models.config import parse
from pipelines import movielens
from streams.clients import Cluster

folder, servers, config, stop_what, stop_lines = sys.argv[1:]

def progress(what, lines, share):
    if what == stop_what and lines >= int(stop_lines):
        print("here", flush=True)
        threading.Event().wait()

movielens.publish(Path(folder), Cluster(servers), parse(config), progress)
"""


@pytest.mark.parametrize(
    ("what", "lines"), [("movies", 1), ("ratings", 5_000), ("ratings", 35_000), ("ratings", 60_000)]
)
def test_a_killed_import_goes_on_without_loss_or_double(
    cluster: Cluster, applied: Applied, tmp_path: Path, what: str, lines: int
) -> None:
    """Killed while the first lines are on their way, in the middle, and when all were read but not all acknowledged."""
    folder = ml_1m(tmp_path / "ml", users=600, movies=100)
    config = json.dumps({"topics": dict(applied.config.topics)})
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder), cluster.bootstrap_servers, config, what, str(lines)],
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "here\n"
        child.send_signal(signal.SIGKILL)
        assert child.wait(30) == -signal.SIGKILL

    done = movielens.publish(folder, cluster, applied)
    assert ratings(everything(cluster, applied.topic("rating-events"))) == in_file(folder)
    assert done.published["ratings"] + done.present["ratings"] == 60_000
    before = sizes(cluster, applied)
    assert before == {"movie-catalog": 100, "user-profiles": 600, "rating-events": 60_000, "movielog": 0}
    assert not movielens.publish(folder, cluster, applied).changed
    assert sizes(cluster, applied) == before


def test_events_of_others_do_not_disturb_an_import(cluster: Cluster, applied: Applied, tmp_path: Path) -> None:
    folder = ml_1m(tmp_path / "ml", users=100, movies=50)
    topic = applied.topic("rating-events")
    live = wire_rating("live", "7", 3.0, 1_700_000_000)
    with writing(cluster, topic, live, [("import", b"somebody:else"), ("import", None)]):
        movielens.publish(folder, cluster, applied)
        forget(cluster, folder, applied)
        assert not movielens.publish(folder, cluster, applied).changed
    own = [event for event in everything(cluster, topic) if event.key() != b"live"]
    assert ratings(own) == in_file(folder)


def test_an_open_transaction_hides_nothing_from_an_import(cluster: Cluster, applied: Applied, tmp_path: Path) -> None:
    folder, topic = ml_1m(tmp_path / "ml"), applied.topic("rating-events")
    other = cluster.producer(transactional_id=f"{topic}-other", transaction_timeout_ms=60_000)
    other.init_transactions(30)
    other.begin_transaction()
    for partition in partitions(other, topic):
        other.produce(topic, wire_rating("other", "7", 3.0, 1_700_000_000), b"other", partition)
    other.flush(30)
    assert movielens.publish(folder, cluster, applied).published["ratings"] == 30
    forget(cluster, folder, applied)
    assert not movielens.publish(folder, cluster, applied).changed
    other.abort_transaction(30)


def test_what_was_finished_may_be_forgotten_by_the_coordinator(
    cluster: Cluster, applied: Applied, tmp_path: Path
) -> None:
    folder = ml_1m(tmp_path / "ml")
    movielens.publish(folder, cluster, applied)
    before = sizes(cluster, applied)
    forget(cluster, folder, applied)
    again = movielens.publish(folder, cluster, applied)
    assert (again.changed, again.present["ratings"]) == (False, 30)
    assert sizes(cluster, applied) == before


def test_a_topic_made_anew_is_filled_anew(cluster: Cluster, applied: Applied, tmp_path: Path) -> None:
    folder, topic = ml_1m(tmp_path / "ml"), applied.topic("rating-events")
    movielens.publish(folder, cluster, applied)
    admin = cluster.admin()
    admin.delete_topics([topic])[topic].result(30)
    # else it might be taken for the new one
    wait_for(lambda: topic not in admin.list_topics(timeout=10).topics, "the topic's end", 30)
    again = NewTopic(topic, 3, config=TOPICS["rating-events"].settings())
    retried(lambda: admin.create_topics([again])[topic].result(30))
    wait_for_topics(admin, {topic})
    done = movielens.publish(folder, cluster, applied)
    assert done.published == {"movies": 0, "profiles": 0, "ratings": 30}
    assert ratings(everything(cluster, topic)) == in_file(folder)


def test_what_changed_after_an_import_stays_changed(cluster: Cluster, applied: Applied, tmp_path: Path) -> None:
    folder, topic = ml_1m(tmp_path / "ml"), applied.topic("movie-catalog")
    movielens.publish(folder, cluster, applied)
    producer = cluster.producer()
    producer.produce(topic, b'{"movie_id":"3","title":"Mine","genres":[]}', b"3")
    assert producer.flush(30) == 0
    movielens.publish(folder, cluster, applied)
    newest = {message.key(): message.value() for message in everything(cluster, topic)}
    assert b"Mine" in (newest[b"3"] or b"")


def test_another_content_is_imported_beside_the_first(cluster: Cluster, applied: Applied, tmp_path: Path) -> None:
    folder = ml_1m(tmp_path / "ml")
    movielens.publish(folder, cluster, applied)
    with (folder / "ratings.dat").open("a") as more:
        more.write("7::1::5::978300760\n")
    done = movielens.publish(folder, cluster, applied)
    assert done.published["ratings"] == 31


def test_bad_lines_are_counted_and_reported_and_counted_again(
    cluster: Cluster, applied: Applied, tmp_path: Path
) -> None:
    folder, reported = ml_1m(tmp_path / "ml"), list[str]()
    for name in ("movies.dat", "users.dat", "ratings.dat"):
        with (folder / name).open("a") as more:
            more.write("nonsense\n")
    done = movielens.publish(folder, cluster, applied, report=reported.append)
    assert (done.bad_lines, done.published["ratings"]) == (3, 30)
    assert [line.split(": expected")[0] for line in reported] == ["movies.dat:6", "users.dat:7", "ratings.dat:31"]
    assert movielens.publish(folder, cluster, applied).bad_lines == 3


def test_the_groups_of_an_import_begin_with_the_group_prefix(
    cluster: Cluster, applied: Applied, tmp_path: Path, unique: str
) -> None:
    folder = ml_1m(tmp_path / "ml")
    other = parse(json.dumps({"topics": dict(applied.config.topics), "group_prefix": unique + "shop"}))
    movielens.publish(folder, cluster, other)
    origin = movielens.read(folder, other.config.events.limits()).origin()
    admin = cluster.admin()  # kept: its futures end with it
    groups = {group.group_id for group in admin.list_consumer_groups().result(30).valid}
    assert f"{unique}shop-import-{origin}" in groups
    assert Once(cluster, other, origin).finished(other.topic("rating-events")) is not None
    assert Once(cluster, applied, origin).finished(applied.topic("rating-events")) is None


def test_a_folder_without_a_usable_rating_is_an_error(cluster: Cluster, tmp_path: Path, applied: Applied) -> None:
    folder = ml_1m(tmp_path / "ml")
    (folder / "ratings.dat").write_text("1::1::11::978300760\n")
    with pytest.raises(NotMovieLens, match=r"not one usable rating in 1 lines of ratings\.dat"):
        movielens.publish(folder, cluster, applied)


# -- movie logs -----------------------------------------------------------------------------------

LOG = b"2022-11-14T12:23:12,7,GET /data/m/a/1.mpg\r\n\n\xff\x00\n2022-11-14T12:24,7,GET /rate/a=3"
LINES = [b"\xff\x00", b"2022-11-14T12:23:12,7,GET /data/m/a/1.mpg", b"2022-11-14T12:24,7,GET /rate/a=3"]


def values(cluster: Cluster, applied: Applied) -> list[bytes]:
    messages = everything(cluster, applied.topic("movielog"))
    assert all(message.key() is None for message in messages)
    return sorted(message.value() or b"" for message in messages)


@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_the_lines_of_a_log_are_published_as_they_are_and_once(
    cluster: Cluster, applied: Applied, tmp_path: Path, compress: Callable[[bytes], bytes]
) -> None:
    file = tmp_path / "log"
    file.write_bytes(compress(LOG))
    for published, present in ((3, 0), (0, 3)):
        with file.open("rb") as lines:
            done = movielog.publish(lines, cluster, applied)
        assert (done.published, done.present, done.bad_lines) == (published, present, 0)
        assert values(cluster, applied) == sorted(LINES)
    with file.open("rb") as lines:
        assert movielog.publish(lines, cluster, applied, again=True).published == 3
    assert values(cluster, applied) == sorted(2 * LINES)


def test_a_pipe_is_always_published(cluster: Cluster, applied: Applied) -> None:
    for _ in range(2):
        reading, writing_end = os.pipe()
        with os.fdopen(writing_end, "wb") as pipe:
            pipe.write(LOG)
        with os.fdopen(reading, "rb") as lines:
            assert movielog.publish(lines, cluster, applied).published == 3
    assert values(cluster, applied) == sorted(2 * LINES)


def test_a_line_that_no_message_can_hold_is_reported(cluster: Cluster, applied: Applied, tmp_path: Path) -> None:
    longest = os.urandom(movielog.MAX_LINE_BYTES // 2).hex().encode()
    file, reported = tmp_path / "log", list[str]()
    file.write_bytes(b"a\n" + b"x" * 20_000_000 + b"\n" + longest + b"\r\n" + longest + b"xyz\nb")
    with file.open("rb") as lines:
        done = movielog.publish(lines, cluster, applied, report=reported.append)
    assert (done.published, done.bad_lines) == (3, 2)
    assert [line.split(": ")[0] for line in reported] == [f"{file}:2", f"{file}:4"]
    assert values(cluster, applied) == sorted([b"a", longest, b"b"])


# -- the commands ---------------------------------------------------------------------------------


@pytest.fixture
def home(applied: Applied, tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    (home / "config.json").write_text(json.dumps({"topics": dict(applied.config.topics)}))
    return home


def run(*arguments: str) -> int:
    try:
        main(["--log-level", "error", "import", *arguments])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_the_command_says_what_it_did(
    kafka: str, home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = ml_1m(tmp_path / "ml")
    with (folder / "ratings.dat").open("a") as more:
        more.write("nonsense\n")
    options = (str(folder), "--home", str(home), "--bootstrap-servers", kafka)
    assert run("movielens", *options) == 0
    out, err = capfd.readouterr()
    assert out == "published 5 movies, 6 profiles, 30 ratings; there already: nothing; bad lines: 1\n"
    assert "ratings.dat:31: expected UserID::MovieID::Rating::Timestamp, found 'nonsense'" in err
    assert "ratings: 31 lines, 100%" in err
    assert run("movielens", *options) == 0
    assert capfd.readouterr().out == (
        "published 0 movies, 0 profiles, 0 ratings; there already: 5 movies, 6 profiles, 30 ratings; bad lines: 1\n"
    )


def test_the_command_for_logs_says_what_it_did(
    kafka: str, home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "log").write_bytes(LOG)
    options = (str(tmp_path / "log"), "--home", str(home), "--bootstrap-servers", kafka)
    assert run("movielog", *options) == 0
    assert capfd.readouterr().out == "published 3 lines; there already: 0; bad lines: 0\n"
    assert run("movielog", *options) == 0
    assert capfd.readouterr().out == "published 0 lines; there already: 3; bad lines: 0\n"


def test_a_wrong_folder_is_one_line_and_exit_code_1(
    kafka: str, home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("movielens", str(tmp_path), "--home", str(home), "--bootstrap-servers", kafka) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"canarec: {tmp_path}: no MovieLens data set: looked for ")
    assert err.count("\n") == 1


def test_a_folder_or_a_file_that_is_not_there_is_one_line_and_exit_code_2(
    home: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for what in ("movielens", "movielog"):
        assert run(what, str(tmp_path / "nowhere"), "--home", str(home)) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert str(tmp_path / "nowhere") in err
        assert err.count("\n") == 1


# -- around ---------------------------------------------------------------------------------------


def wire_rating(user: str, movie: str, stars: float, seconds: int) -> bytes:
    return json.dumps({"user_id": user, "movie_id": movie, "rating": stars, "timestamp": seconds}).encode()


def forget(cluster: Cluster, folder: Path, applied: Applied) -> None:
    """Deletes the consumer group that an import of the folder left."""
    origin = movielens.read(folder, applied.config.events.limits()).origin()
    group = applied.group(f"import-{origin}")
    admin = cluster.admin()
    admin.delete_consumer_groups([group])[group].result(30)
    assert Once(cluster, applied, origin).finished(applied.topic("rating-events")) is None


def wait_for_topics(admin: AdminClient, topics: set[str]) -> None:
    """Until the broker tells of them: it knows a new topic a moment later than its controller."""
    wait_for(lambda: topics <= admin.list_topics(timeout=10).topics.keys(), "the topics", 30)


def retried(attempt: Callable[[], object]) -> None:
    """Until it works: a topic that is being deleted is there for a moment."""

    def done() -> bool:
        try:
            attempt()
            return True
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
            return False

    wait_for(done, "the old topic's end", 30)


class writing:
    """Writes one event again and again for as long as the block runs; at least once."""

    def __init__(self, cluster: Cluster, topic: str, value: bytes, headers: list[tuple[str, bytes | None]]) -> None:
        self._producer: Producer = cluster.producer(linger_ms=0)
        self._message = (topic, value, headers)
        self._first, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> None:
        self._thread.start()
        assert self._first.wait(30)

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(30)

    def _write(self) -> None:
        topic, value, headers = self._message
        while not self._ending.is_set():
            for partition in range(PARTITIONS):
                self._producer.produce(topic, value, b"live", partition, headers=list(headers))
            self._producer.flush(30)
            self._first.set()
