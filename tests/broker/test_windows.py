"""The windows of a real Kafka: each record once and equal to its recomputation, whatever kills their writer."""

import json
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import NewTopic

from models.errors import CanarecError
from models.measures.feedback import CLOCKS_MS
from models.measures.reports import FAIRNESS, LOOPS, Fairness, FeedbackLoop, Levels, at_ms
from models.measures.windows import Span
from models.topics import TOPICS
from models.wire import rfc3339
from pipelines import windows
from streams import alerts, scribe
from streams.cli import main
from streams.clients import messages, whole
from streams.home import Home
from streams.tail import Followed, Tail
from streams.worker import child_command
from tests.waiting import PATIENCE_S, wait_for

from .conftest import settled

WINDOWS_S = 180  # its writer is the last to get the processor
BUSY_S = 3  # so late feedback may be behind its answer where each must count: on a busy machine a commit takes its time
TOPICS_USED = (*windows.READ, LOOPS, FAIRNESS, "recommendation-quality")
USERS = 30
GROUPS = ("M", "F", None)


class Windows:
    """Topics of one's own, a home, traffic, and the writers of windows."""

    def __init__(self, servers, prefix, folder, **of_topics):
        self.home, self._servers = Home(folder), servers
        self.topics = {name: prefix + name for name in TOPICS_USED}
        folder.mkdir(exist_ok=True)
        self.configure()
        self.applied = self.home.load()
        self.cluster = self.home.cluster(servers)
        self.admin = self.cluster.admin()
        made = [
            NewTopic(self.topics[n], min(2, TOPICS[n].partitions), config=TOPICS[n].settings() | of_topics)
            for n in TOPICS_USED
        ]
        for future in self.admin.create_topics(made).values():
            future.result(30)
        self.writers, self.answers, self.said = [], [], []
        self.ignored = Counter()
        mine = set(self.topics.values())
        self.wait(lambda: mine <= self.admin.list_topics(timeout=10).topics.keys(), "the topics")
        reader = self.cluster.consumer()
        whole(reader, mine)  # waits until each partition has its leader
        reader.close()
        self.producer = self.cluster.producer(linger_ms=1)
        self.answering = self.cluster.producer(transactional_id=prefix, linger_ms=1)
        self.answering.init_transactions(30)

    def configure(self, **metrics):
        metrics = {"windows_s": [1, 3], "horizon_s": 1, "lateness_s": 0.5, "group_users_min": 5, **metrics}
        prefix = self.topics["provenance"].removesuffix("provenance")
        settings = {"topics": self.topics, "group_prefix": prefix + "c", "metrics": metrics}
        self.home.config.write_text(json.dumps(settings))

    def publish(self, name, value, key=None):
        self.producer.produce(self.topics[name], None if value is None else json.dumps(value), key)

    def publish_world(self, *, popularity=None):
        for number in range(12):
            movie = {"movie_id": f"m{number}", "title": "T", "genres": ["Even" if number % 2 else "Odd"]}
            self.publish(
                "movie-catalog", movie | ({} if popularity is None else {"popularity": popularity}), f"m{number}"
            )
        for user in range(USERS):
            if GROUPS[user % 3]:
                self.publish("user-profiles", {"user_id": f"u{user}", "gender": GROUPS[user % 3]}, f"u{user}")
        assert self.producer.flush(30) == 0

    def answer(self, count, rng, *, commit=True):
        """So many answers in one transaction; some are followed by feedback and watches."""
        self.answering.begin_transaction()
        told = []
        for _ in range(count):
            number = len(self.answers) + len(told)
            user, movies = f"u{rng.randrange(USERS)}", rng.sample([f"m{n}" for n in range(12)], 4)
            variant = rng.choice(["stable", "stable", "canary"])
            told.append((f"r{number}" if commit else f"aborted{number}", user, movies, variant))
            version = "v1" if variant == "stable" else f"v{2 + number // 50 % 2}"  # one candidate gives way to another
            record = {
                "request_id": told[-1][0], "user_id": user, "status": "ok", "recommendations": movies, "scores": [1] * 4,
                "model_version": version, "variant": variant, "latency_ms": 3,
            }  # fmt: skip
            self.answering.produce(self.topics["provenance"], json.dumps(record), user)
        # what the broker has not been told of yet cannot be taken back: its refusal would be fatal
        if not commit:
            assert self.answering.flush(30) == 0
        (self.answering.commit_transaction if commit else self.answering.abort_transaction)(30)
        if not commit:
            return
        self.answers += told
        for request_id, user, movies, _ in told:
            if rng.random() < 0.5:
                self.said.append(request_id)
                satisfaction = round(rng.random(), 3)
                selected = rng.choice([movies[0], movies[0], movies[0], None, "m-of-another-list"])
                self.ignored["not_in_list"] += selected not in (movies[0], None)
                self.publish(
                    "recommendation-feedback",
                    {"request_id": request_id, "selected": selected, "satisfaction": satisfaction}
                    | rng.choice([{}, {"user_id": user}]),
                )
            if rng.random() < 0.2:  # not theirs to say
                self.ignored["other_user"] += 1
                said = {"request_id": request_id, "user_id": "somebody", "selected": movies[1], "satisfaction": 1}
                self.publish("recommendation-feedback", said)
            if rng.random() < 0.3:
                watch = {"user_id": user, "movie_id": movies[1], "minute": 5, "timestamp": time.time()}
                self.publish("watch-events", watch, user)
        self.producer.flush(30)

    def begin(self, number=0):
        """A home's writer, as its supervisor keeps it; `number`: another machine's."""
        home = Home(self.home.path / f"other-{number}") if number else self.home
        home.path.mkdir(exist_ok=True)
        home.config.write_bytes(self.home.config.read_bytes())
        command = child_command("worker", home, self._servers)
        self.writers.append(
            scribe.Scribe(home.windows, command, option="--windows", what="windows", backoff_s=0, grace_s=3)
        )
        return self.writers[-1]

    def look(self):
        for writer in self.writers:
            writer.look()

    def records(self, name):
        reader = self.cluster.consumer()
        try:
            ranges = whole(reader, [self.topics[name]])
        finally:
            reader.close()
        return [json.loads(m.value()) for some in messages(self.cluster, ranges) for m in some]

    def wait(self, condition, what, seconds=PATIENCE_S):
        return wait_for(condition, what, seconds, between=self.look, every_s=0.1)

    def wait_for_all(self):
        """Until every answer is in a window of each length."""
        total = 2 * len(self.answers)
        self.wait(lambda: sum(r["requests"] for r in self.records(LOOPS)) >= total, f"windows with {total} requests")
        self.wait(lambda: settled(self.cluster, self.topics.values()), "the other topics of those transactions")
        return self.records(LOOPS)

    def stop_writers(self):
        while self.writers:
            self.writers.pop().stop()

    def stop(self):
        self.stop_writers()
        with suppress(Exception):
            for future in self.admin.delete_topics(list(self.topics.values())).values():
                future.result(30)


@pytest.fixture
def made(kafka, unique, tmp_path):
    made = Windows(kafka, unique, tmp_path / "home")
    yield made
    made.stop()


def check(made):
    """Each record once, equal to its recomputation; all answers in the windows of each length; quality once for each feedback."""
    loops, fairness = made.records(LOOPS), made.records(FAIRNESS)
    levels = Levels()
    for record in loops:
        levels.add(msgspec.convert(record, FeedbackLoop))
    for records in (loops, fairness):
        times = Counter((r["window_s"], r["window_start"], r["variant"]) for r in records)
        assert set(times.values()) == {1}
        for record in records:
            assert again(made, record, windows.Before(levels, 0)) == record
    assert any(r["reference"] for r in loops)
    for length in (1, 3):
        mine = [r for r in loops if r["window_s"] == length]
        assert sum(r["requests"] for r in mine) == len(made.answers)
        for variant in ("stable", "canary"):
            assert sum(r["requests"] for r in mine if r["variant"] == variant) == sum(
                a[3] == variant for a in made.answers
            )
    quality = made.records("recommendation-quality")
    assert Counter(q["request_id"] for q in quality) == Counter(made.said)
    shortest = [r for r in loops if r["window_s"] == 1]
    assert sum(r["selections"] for r in shortest) == sum(q["selected"] is not None for q in quality)
    assert all(q["selected"] in (q["recommendations"][0], None) for q in quality)
    for why, count in made.ignored.items():
        assert sum(r["ignored"][why] for r in shortest) == count
    return loops


def again(made, record, before=None):
    told = msgspec.convert(record, FeedbackLoop if "requests" in record else Fairness)
    return json.loads(msgspec.json.encode(windows.recompute(made.cluster, made.applied, told, before)))


@contextmanager
def traffic(made, rng):
    """Answers and what follows them, until the end of the block."""
    stopped = threading.Event()

    def answer():
        while not stopped.is_set():
            made.answer(rng.randrange(1, 12), rng, commit=rng.random() < 0.9)
            stopped.wait(rng.random() * 0.15)

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def test_each_window_is_written_once_and_can_be_computed_again_through_kills(made):
    rng = random.Random(8)
    made.configure(lateness_s=BUSY_S)
    made.publish_world()
    made.begin()
    made.begin(1)  # which stands by
    with traffic(made, rng):
        made.wait(lambda: made.records(LOOPS), "the first window")
        for _ in range(4):
            until = time.monotonic() + rng.uniform(0.3, 2.5)
            while time.monotonic() < until:
                made.look()
                time.sleep(0.02)
            for writer in made.writers:
                if writer.process is not None and rng.random() < 0.8:
                    with suppress(ProcessLookupError):
                        os.kill(writer.process.pid, signal.SIGKILL)
    made.wait_for_all()
    loops = check(made)
    assert any(r["hits"] for r in loops)
    assert {"v1", None} <= {r["level"]["model_version"] for r in loops if r["level"]}
    assert {r["popularity_source"] for r in loops} == {"interactions"}


def test_a_writer_that_wakes_up_after_its_turn_writes_nothing_twice(made):
    rng = random.Random(9)
    made.configure(lateness_s=BUSY_S)
    made.publish_world(popularity=3.0)
    first = made.begin()
    with traffic(made, rng):
        made.wait(lambda: made.records(LOOPS), "the first window")
        made.begin(1)
        os.kill(first.process.pid, signal.SIGSTOP)
        try:
            written = len(made.records(LOOPS))
            made.wait(lambda: len(made.records(LOOPS)) > written + 1, "windows of the other one")
        finally:
            os.kill(first.process.pid, signal.SIGCONT)
        time.sleep(1)
    made.wait_for_all()
    loops = check(made)
    assert {(r["popularity_source"], r["mean_popularity"]) for r in loops if r["shown"]} == {("catalogue", 3.0)}


def test_a_worker_alone_writes_windows_and_an_alert_rises_and_falls(installations):
    metrics = {"windows_s": [2], "horizon_s": 1, "lateness_s": 1, "group_users_min": 5}
    with installations(metrics=metrics, canary={"stable": "v1", "candidate": None, "percentage": 0}) as canarec:
        canarec.publish_world()
        for user in range(20):
            canarec.publish("user-profiles", {"user_id": f"u{user}", "gender": "MF"[user % 2]}, f"u{user}")
        canarec.flush()
        canarec.start_worker()
        canarec.ask("u1")

        def satisfied(men, women):
            """A window's worth of requests and what was said of their answers."""
            asked = {user: canarec.request(f"u{user}") for user in range(20)}
            canarec.flush()
            canarec.records_of(asked.values())
            for user, request_id in asked.items():
                value = (men, women)[user % 2]
                canarec.publish("recommendation-feedback", {"request_id": request_id, "satisfaction": value})
            canarec.flush()

        def alert_is(value, men, women):
            def condition():
                satisfied(men, women)
                time.sleep(0.2)  # people, not a flood: the writer needs the processor, too
                return canarec.metric("canarec_fairness_alert", variant="stable") == value

            return condition

        canarec.wait(alert_is(1, men=0.3, women=0.9), "an alert", WINDOWS_S)
        canarec.wait(alert_is(0, men=0.8, women=0.8), "its end", WINDOWS_S)
        told = canarec.everything("fairness-metrics")
        assert {"alert", "ok"} <= {record["status"] for record in told}
        # the writer logs behind its commit
        canarec.wait(lambda: re.search(r"fairness alert\b(?! is over)", canarec.logs()), "the alert's line")
        canarec.wait(lambda: "fairness alert is over" in canarec.logs(), "the line of its end")
        for record in [*told, *canarec.everything("feedback-loop-metrics")]:
            assert again(canarec, record) == record


def test_a_worker_counts_the_feedback_that_does_not_count_by_why(shop):
    answers = "canarec_requests_total"
    answered = shop.metric(answers)
    asked = shop.ask("u1")
    # only then are feedbacks on it its own: they are counted behind the commit
    shop.wait(lambda: shop.metric(answers) > answered, "an answer that is counted")
    request, listed = asked["request_id"], asked["recommendations"][0]

    def ignored(reason):
        return shop.metric("canarec_feedback_ignored_total", reason=reason)

    before = {reason: ignored(reason) for reason in ("other_user", "not_in_list", "unknown_request")}
    said = {"request_id": request, "selected": listed, "satisfaction": 0.5}
    for other in (
        {"user_id": "u1"},
        {"user_id": "u2"},
        {"selected": "m-of-another-list"},
        {"request_id": "nobody-asked-so"},
        {"request_id": "nobody-asked-so", "user_id": "u2"},
    ):
        shop.publish("recommendation-feedback", said | other)
    shop.flush()
    shop.wait(lambda: ignored("unknown_request") - before["unknown_request"] >= 2, "feedback on no answer", 60)
    shop.wait(lambda: ignored("not_in_list") > before["not_in_list"], "a selection of another list", 60)
    grown = {reason: ignored(reason) - count for reason, count in before.items()}
    assert grown == {"other_user": 1, "not_in_list": 1, "unknown_request": 2}


def writers_of(process):
    """The processes that write windows for a worker."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has just ended
            parent = int((path.parent / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == process.pid and b"--windows" in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def test_a_worker_shows_that_windows_are_not_written_any_more_and_that_they_are_again(installations):
    metrics = {"windows_s": [1, 3], "horizon_s": 1, "lateness_s": 0.5}
    with installations(metrics=metrics) as canarec:
        canarec.publish_world()
        canarec.start_worker()

        def late():
            canarec.ask("u1")
            return [canarec.metric("canarec_windows_late_seconds", window=window) for window in ("1", "3")]

        def ended():
            return canarec.metric("canarec_window_end_timestamp_seconds", window="1")

        canarec.ask("u1")
        canarec.wait(lambda: ended() > 1, "a window", WINDOWS_S)
        (writer,) = writers_of(canarec.workers[0])
        os.kill(writer, signal.SIGSTOP)
        try:
            canarec.wait(lambda: min(late()) > 5, "late windows of both lengths", WINDOWS_S)
            stood = ended()
        finally:
            os.kill(writer, signal.SIGCONT)
        canarec.wait(lambda: ended() > stood, "another window", WINDOWS_S)
        # nobody asks: nothing is late for ever
        canarec.wait(
            lambda: canarec.metric("canarec_windows_late_seconds") == 0 and ended() > stood, "none late", WINDOWS_S
        )


def test_the_command_says_that_windows_with_answers_are_not_written(stamped, capsys):
    begun_ms = round(1_000 * time.time()) - 3_600_000

    def answer(at_ms, **fields):
        record = {
            "request_id": str(at_ms), "user_id": "u1", "status": "ok", "recommendations": ["m1"], "scores": [1],
            "model_version": "v1", "variant": "stable", "latency_ms": 3, **fields,
        }  # fmt: skip
        # not in a transaction: its marker would be stamped now, and what comes behind it counts as of then
        stamped.producer.produce(stamped.topics["provenance"], json.dumps(record), partition=0, timestamp=at_ms)
        assert stamped.producer.flush(30) == 0

    def said():
        assert verify(stamped, "--json") == 0
        return capsys.readouterr().err.splitlines()

    answer(begun_ms, status="rejected", variant=None, model_version=None)
    assert said() == []  # a rejected request is in no window
    answer(begun_ms + 1_000)
    told = said()
    assert [line.split(":")[0] for line in told] == [
        f"windows of {length} s are not written any more" for length in (1, 3)
    ]
    assert all("in the last day none was" in line for line in told)
    stamped.begin()
    stamped.wait(lambda: sum(r["past_horizon"] for r in stamped.records(LOOPS)) == 2, "both windows of its horizon")
    stamped.stop_writers()
    assert said() == []
    answer(begun_ms + 10_000)
    ended = max(r["window_end"] for r in stamped.records(LOOPS) if r["window_s"] == 3)
    assert len(told := said()) == 2
    assert f"the last one ended at {ended}" in told[1]


def verify(made, *options):
    """`canarec windows --verify`, with its exit status."""
    home, servers = str(made.home.path), made.cluster.bootstrap_servers
    try:
        main(["windows", "--verify", *options, "--home", home, "--bootstrap-servers", servers])
    except SystemExit as ended:
        return ended.code
    return 0


def test_the_command_computes_each_window_again_and_tells_of_one_that_differs(made, capsys):
    made.publish_world()
    made.begin()
    with traffic(made, random.Random(9)):
        made.wait(lambda: len(made.records(FAIRNESS)) >= 4, "four windows")
    assert verify(made) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" equal")
    newest = made.records(LOOPS)[-1]
    made.publish(LOOPS, newest | {"requests": newest["requests"] + 1})
    made.publish(LOOPS, {name: value for name, value in newest.items() if name != "ignored"})  # an earlier version's
    made.producer.flush(30)
    assert verify(made, "--json") == 1
    said = capsys.readouterr()
    told = [json.loads(line) for line in said.out.splitlines()]
    (earlier,) = [t["computed_again"] for t in told if t["ignored"] is None]
    assert earlier.startswith("gone: ")
    assert earlier.endswith("written by an earlier version, which counted otherwise")
    assert [t["differing"] for t in told if t["computed_again"] == "differs"] == [
        {"requests": [newest["requests"] + 1, newest["requests"]]}
    ]
    assert "1 of " in said.err


def test_a_reference_is_computed_again_from_the_windows_before_and_not_believed(made, capsys):
    made.publish_world()
    made.begin()
    with traffic(made, random.Random(10)):
        made.wait(lambda: [r for r in made.records(LOOPS) if r["reference"]], "a reference")
    made.wait_for_all()
    record = next(r for r in made.records(LOOPS) if r["reference"])
    forged = record["reference"] | {"ctr": record["reference"]["ctr"] + 0.25}
    made.publish(LOOPS, record | {"reference": forged})
    made.producer.flush(30)
    assert verify(made, "--json", "--last", "100") == 1
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    differing = [t["differing"] for t in told if t["computed_again"] == "differs"]
    assert [one["reference"] for one in differing] == [[forged, record["reference"]]]


def test_watches_of_an_old_log_that_is_imported_follow_no_answer_of_now(made):
    """Each user watches a movie of their list after the answer: by the event's own time now, a clock's error ago, or long ago."""
    made.publish_world()
    ago_s = {"u0": 0, "u1": CLOCKS_MS / 1_000 - 20, "u2": 86_400, "u3": 5 * 365 * 86_400}
    begun_ms = round(1_000 * time.time())
    made.answering.begin_transaction()
    for user in ago_s:
        record = {
            "request_id": f"r-{user}", "user_id": user, "status": "ok", "recommendations": ["m1", "m2"], "scores": [1, 1],
            "model_version": "v1", "variant": "stable", "latency_ms": 3,
        }  # fmt: skip
        made.answering.produce(made.topics["provenance"], json.dumps(record), user)
    made.answering.commit_transaction(30)
    for user, seconds in ago_s.items():
        made.publish(
            "watch-events", {"user_id": user, "movie_id": "m2", "minute": 5, "timestamp": time.time() - seconds}
        )
    made.producer.flush(30)
    loop = follow(made, Span(3_600, begun_ms, 600_000, 0))
    assert (loop.past_horizon, loop.hits) == (4, 2)


def test_a_worker_counts_watches_that_are_older_than_the_answers_that_they_come_after_and_warns_once(shop):
    """As of a log in the local time of a place seven hours west of UTC. u2 is answered twice, u39 never."""
    watches, answers = "canarec_watches_old_total", "canarec_requests_total"
    old, answered = shop.metric(watches), shop.metric(answers)
    listed = [shop.ask("u2") for _ in range(2)][1]["recommendations"]
    shop.wait(lambda: shop.metric(answers) >= answered + 2, "answers that are counted")
    for user, count, ago_s in (("u2", 250, 7 * 3_600), ("u2", 10, 30), ("u39", 10, 7 * 3_600)):
        for number in range(count):
            shop.see(user, listed[number % len(listed)], at=time.time() - ago_s)
    shop.flush()
    shop.ask("u1")  # behind all of these
    assert shop.metric(watches) == old + 250
    warnings = [line for line in shop.logs().splitlines() if "older by their own time" in line]
    assert [round(json.loads(line)["behind_s"] / 60) for line in warnings] == [7 * 60]


def follow(made, span):
    """The loop record of a window with answers of stable only, which may not have ended."""
    closing = windows.Closing(made.cluster, made.applied)
    made_of = made.wait(lambda: closing.made_of(span), "no open transaction")
    (report,) = closing.reports(span, made_of, {})
    return report.loop


def test_what_the_worker_refuses_stops_no_window_and_makes_no_movie_popular(made):
    """Of the three watches of m1 one is an event; and each topic holds what no parser may be undone by."""
    made.publish_world()
    nested = b'{"user_id": ' * 20_000
    for name in windows.READ:
        if not TOPICS[name].compacted:
            made.producer.produce(made.topics[name], nested)
    begun_ms = round(1_000 * time.time())
    for minute, number in ((5, 1), (-1, 1), (-1, 1)):
        watch = {"user_id": "u1", "movie_id": f"m{number}", "minute": minute, "timestamp": time.time()}
        made.publish("watch-events", watch)
    made.publish("rating-events", {"user_id": "u1", "movie_id": "m2", "rating": 99, "timestamp": time.time()})
    made.producer.flush(30)
    record = {
        "request_id": "r", "user_id": "u1", "status": "ok", "recommendations": ["m1", "m2"], "scores": [1, 1],
        "model_version": "v1", "variant": "stable", "latency_ms": 3,
    }  # fmt: skip
    made.answering.begin_transaction()
    made.answering.produce(made.topics["provenance"], json.dumps(record))
    made.answering.commit_transaction(30)
    loop = follow(made, Span(3_600, begun_ms, 600_000, 0))
    assert (loop.requests, loop.mean_popularity) == (1, 0.5)


@pytest.fixture
def stamped(kafka, unique, tmp_path):
    """Topics whose messages bear the times that they are given."""
    made = Windows(kafka, unique, tmp_path / "home", **{"message.timestamp.type": "CreateTime"})
    yield made
    made.stop()


def test_answers_whose_stamps_go_back_are_in_one_window_each(stamped):
    """As of a leader whose clock is behind the one before it. By its stamp alone r2 would be in no window: by offset it is in the second.

    The same holds for the feedback on r2 and r5, in the levels, too: by its stamp it comes before the windows in which their horizons pass.
    """
    begun_ms = round(time.time()) // 10 * 10_000 - 3_600_000
    seconds = {"r0": 4, "r1": 11, "r2": 9, "r3": 19, "r4": 21, "r5": 12}
    times = {request_id: begun_ms + 1_000 * second for request_id, second in seconds.items()}
    stamped.answering.begin_transaction()
    for number, (request_id, stamp_ms) in enumerate(times.items()):
        record = {
            "request_id": request_id, "user_id": f"u{number % 2}", "status": "ok", "recommendations": ["m1"], "scores": [1],
            "model_version": "v1", "variant": "stable", "latency_ms": 3,
        }  # fmt: skip
        stamped.answering.produce(stamped.topics["provenance"], json.dumps(record), partition=0, timestamp=stamp_ms)
    stamped.answering.commit_transaction(30)
    for request_id, stamp_ms in times.items():
        said = json.dumps(
            {"request_id": request_id, "selected": None if request_id == "r3" else "m1", "satisfaction": 0.5}
        )
        stamped.producer.produce(stamped.topics["recommendation-feedback"], said, partition=0, timestamp=stamp_ms + 1)
    stamped.producer.flush(30)
    loops = [follow(stamped, Span(10, begun_ms + 10_000 * number, 10_000, 5_000)) for number in range(4)]
    assert [loop.requests for loop in loops] == [1, 3, 2, 0]
    assert [loop.selections for loop in loops] == [1, 2, 2, 0]
    assert [loop.past_horizon for loop in loops] == [0, 1, 3, 2]
    levels = [loop.level for loop in loops]
    assert [level and level.ctr for level in levels] == [None, None, 2 / 3, 1]  # of one user there is none: no error


def test_what_a_stranger_writes_into_the_records_stops_nobody(made, capsys):
    """A window that ends in a hundred years, an alert that does not say why, what is no record at all: before and beside the true ones."""
    made.configure(group_users_min=1_000)  # so that no true window is an alert: of so few users some are, by chance
    made.publish_world()
    made.begin()
    with traffic(made, random.Random(11)):
        made.wait(lambda: len(made.records(LOOPS)) >= 2 and made.records(FAIRNESS), "a window")
        loop, fairness = made.records(LOOPS)[-1], made.records(FAIRNESS)[-1]
        for name, record in ((LOOPS, loop), (FAIRNESS, fairness)):
            made.publish(name, record | {"window_end": "2126-01-01T00:00:00.000Z"})
            made.publish(
                name,
                record
                | {"status": "alert", "level": None, "reference": None, "groups": {}, "satisfaction_ratio": None},
            )
            made.publish(name, {})
        made.producer.flush(30)
        made.stop_writers()
        made.begin()
        written = len(made.records(LOOPS))
        made.wait(lambda: len(made.records(LOOPS)) >= written + 4, "windows of the next writer")
    assert windows.StandingAlerts(made.cluster).at(made.applied, round(1_000 * time.time())) == []
    assert verify(made, "--last", "1000") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" equal")


def test_windows_that_were_open_are_written_though_the_brokers_forgot_how_far_they_are(stamped):
    """Eight days without a worker: nothing is committed any more, and nothing was written since yesterday. The last records say it."""
    begun_ms = round(time.time() - 8 * 86_400) // 3 * 3_000
    stamped.answering.begin_transaction()
    for number, stamp_ms in enumerate((begun_ms + 500, begun_ms + 3_500)):
        stamped.answers.append(f"r{number}")
        record = {
            "request_id": f"r{number}", "user_id": "u1", "status": "ok", "recommendations": ["m1"], "scores": [1],
            "model_version": "v1", "variant": "stable", "latency_ms": 3,
        }  # fmt: skip
        stamped.answering.produce(stamped.topics["provenance"], json.dumps(record), timestamp=stamp_ms)
    stamped.answering.commit_transaction(30)
    for length in (1, 3):
        written = msgspec.json.encode(follow(stamped, Span(length, begun_ms, 1_000, 500)))
        stamped.producer.produce(stamped.topics[LOOPS], written, timestamp=begun_ms + 3_600)
    stamped.producer.flush(30)
    stamped.begin()
    loops = stamped.wait_for_all()
    assert sorted((r["window_s"], at_ms(r["window_start"]) - begun_ms) for r in loops if r["requests"]) == [
        (1, 0), (1, 3_000), (3, 0), (3, 3_000),
    ]  # fmt: skip


def test_an_alert_of_the_long_windows_is_found_behind_any_number_of_short_ones(made):
    made.configure(windows_s=[1, 600], lateness_s=0.5)
    applied, now_ms = made.home.load(), round(1_000 * time.time())
    fields = {
        "model_version": "v1", "variant": "stable", "groups": {}, "satisfaction_ratio": 0.7, "ci_low": 0.6, "ci_high": 0.8,
        "thresholds": {}, "horizon_s": 1, "lateness_s": 0.5, "offsets": {}, "hit_offsets": {},
    }  # fmt: skip

    def publish(window_s, ended_ms, status):
        start, end = (rfc3339(moment_ms) for moment_ms in (ended_ms - 1_000 * window_s, ended_ms))
        record = {**fields, "window_s": window_s, "window_start": start, "window_end": end, "status": status}
        msgspec.convert(record, Fairness)
        made.publish(FAIRNESS, record)

    publish(600, now_ms - 120_000, "alert")
    for second in range(120):
        publish(1, now_ms - 120_000 + 1_000 * second, "ok")
    made.producer.flush(30)
    standing = windows.StandingAlerts(made.cluster)
    assert [alert.window_s for alert in standing.at(applied, now_ms)] == [600]
    publish(600, now_ms - 1_000, "ok")
    made.producer.flush(30)
    assert standing.at(applied, now_ms) == []
    publish(1, now_ms, "alert")
    made.producer.flush(30)
    assert [alert.window_s for alert in standing.at(applied, now_ms)] == [1]
    assert standing.at(applied, now_ms + 3_600_000) == []
    followed = {made.topics[name]: Followed(lambda found: found, lambda found: None) for name in (LOOPS, FAIRNESS)}
    tail = Tail(made.cluster, followed, name="test", on_fatal=lambda: None)
    try:
        assert alerts.starts(tail, applied) == {(made.topics[LOOPS], 0): 0, (made.topics[FAIRNESS], 0): 0}
    finally:
        tail.stop()


def test_a_record_that_is_written_while_a_worker_asks_where_to_begin_is_not_passed_over(made):
    """Both topics are empty, and each gets a record as soon as the broker has answered the first question."""

    class Overtaken(Tail):
        def _ask(self, *question):
            asked = super()._ask(*question)
            asked.get(30)
            for name in (LOOPS, FAIRNESS):
                made.publish(name, {})
            assert made.producer.flush(30) == 0
            return asked

    def there():
        with suppress(CanarecError, KafkaException):  # what was made a moment ago has no leader yet
            return [made.records(name) for name in (LOOPS, FAIRNESS)] == [[], []]

    made.wait(there, "the topics")
    followed = {made.topics[name]: Followed(lambda found: found, lambda found: None) for name in (LOOPS, FAIRNESS)}
    tail = Overtaken(made.cluster, followed, name="test", on_fatal=lambda: None)
    try:
        assert alerts.starts(tail, made.applied) == {(made.topics[LOOPS], 0): 0, (made.topics[FAIRNESS], 0): 0}
    finally:
        tail.stop()
