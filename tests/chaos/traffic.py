"""An outside client that asks at a steady rate, whatever dies, and judges every request that Kafka acknowledged.

It knows the contract only: it publishes, reads what was committed, and compares. Every tenth request is a newcomer's: his first
watch is acknowledged, then he asks, so an answer that does not know him was not fresh.
"""

import json
import threading
import time
import uuid
from collections import Counter, defaultdict
from itertools import zip_longest
from typing import NamedTuple

from confluent_kafka import TopicPartition

from streams.clients import high_watermarks

SILENT_S = 45  # nothing answered for so long: what is missing is lost
SECONDS_FOR_SECONDS = 1.0  # once all is answered, for second answers
NEWCOMER_EVERY = 10
STRANGER = ("unknown_user", "no_history")


class Fault(NamedTuple):
    """What happened, how long requests should wait for it at most, and when it was."""

    name: str
    aim_s: float | None
    at: float


class Traffic:
    """Requests at a steady rate, from an open loop, and all answers since this was made, as they arrive."""

    def __init__(self, installation, audit, report, *, rate, users, newcomers=True):
        self._installation, self._audit, self._report = installation, audit, report
        self._rate, self._users, self._newcomer_every = rate, users, NEWCOMER_EVERY if newcomers else 0
        self.sender = self._plainly  # another one may be set before the traffic begins
        self._cluster = installation.cluster
        self._topic = {
            name: installation.applied.topic(name)
            for name in ("recommendation-requests", "watch-events", "recommendations")
        }
        self.sent, self.acked, self.answers = {}, {}, defaultdict(list)  # by request_id
        self.newcomers = set()  # request_ids of those whose watch was acknowledged before
        self.faults = []
        self.accepted = []  # when a broker accepted connections again
        self._stop_sending, self._stop_reading = threading.Event(), threading.Event()
        self._error = None

        installation.mark()
        self._reader = self._cluster.consumer(fetch_wait_max_ms=20)
        ends = high_watermarks(self._reader, self._topic["recommendations"], 30)
        self._from = [TopicPartition(self._topic["recommendations"], number, end) for number, end in ends.items()]

    def __enter__(self):
        self._reader.assign(self._from)
        self._threads = [
            threading.Thread(target=self._guarded, args=(self.sender, self._stop_sending), daemon=True),
            threading.Thread(target=self._guarded, args=(self._read, self._reader), daemon=True),
        ]
        for thread in self._threads:
            thread.start()
        self.calm()
        return self

    def __exit__(self, *_):
        self._stop_sending.set()
        self._stop_reading.set()
        for thread in self._threads:
            thread.join(90)

    # -- what a scenario says ---------------------------------------------------------------------

    def fault(self, name, aim_s=None):
        """From now on a fault has happened. Requests should not wait for longer than the aim about it."""
        self.faults.append(Fault(name, aim_s, time.monotonic()))

    def flow(self, seconds):
        """Lets requests flow."""
        time.sleep(seconds)

    def calm(self, seconds=90):
        """Waits until something that was asked from now on is answered, and everything that Kafka has had for a second."""
        begun = time.monotonic()
        while not self._calm(begun):
            assert self._error is None, self._error
            assert time.monotonic() < begun + seconds, (
                f"not calm after {seconds} s:\n{self._installation.logs()[-12_000:]}"
            )
            time.sleep(0.05)

    def _calm(self, begun):
        before = time.monotonic() - 1
        waiting = (request_id for request_id, at in self.acked.copy().items() if at < before)
        return any(self.sent[request_id] > begun for request_id in [*self.answers] if request_id in self.sent) and all(
            request_id in self.answers for request_id in waiting
        )

    def answers_to(self, request_ids, seconds=60):
        """The answers of some requests, in their order, as soon as all are there."""
        until = time.monotonic() + seconds
        while missing := [one for one in request_ids if one not in self.answers]:
            assert time.monotonic() < until, f"{len(missing)} of {len(request_ids)} requests have no answer"
            time.sleep(0.02)
        return [self.answers[one][0][1] for one in request_ids]

    def finish(self, name):
        """Stops asking, waits for what is missing, judges."""
        self._stop_sending.set()
        self._threads[0].join(120)
        missing = self._wait_for_answers()
        time.sleep(SECONDS_FOR_SECONDS)
        self._stop_reading.set()
        self._threads[1].join()
        assert self._error is None, self._error
        waits = self._waits()
        line, bad = self._judged(name, missing, waits)
        self._report.append(line)
        assert not bad, f"{line}\n{bad[:8]}\n{self._installation.logs()[-12_000:]}"
        self._installation.sound = True
        slow = [f"{fault.name}: {wait:.1f} s" for fault, wait in waits if fault.aim_s and wait > 3 * fault.aim_s + 2]
        assert not slow, f"{line}\n{slow}\n{self._installation.logs()[-12_000:]}"

    # -- what was found ---------------------------------------------------------------------------

    def _waits(self):
        """(fault, the longest that a request waited that was sent about it, once Kafka had it)."""
        found = []
        for fault, behind in zip_longest(self.faults, self.faults[1:]):
            end = behind.at if behind else float("inf")
            waited = [
                max(0.0, self.answers[i][0][0] - self.acked[i]) if i in self.answers else float("inf")
                for i, sent in self.sent.items()
                if i in self.acked and fault.at - 1 <= sent < end - 1
            ]
            found.append((fault, max(waited, default=0.0)))
        return found

    def resumed(self):
        """Seconds from each time that the broker accepted connections again to the first answer behind it."""
        arrivals = sorted(got[0][0] for got in self.answers.values())
        return [min((a for a in arrivals if a > at), default=float("inf")) - at for at in self.accepted]

    def statuses(self):
        """How often each (status, reason) was answered."""
        return Counter((got[0][1]["status"], got[0][1].get("reason")) for got in self.answers.values())

    def _judged(self, name, missing, waits):
        """The report's line, and what is wrong."""
        twice = [i for i, got in self.answers.items() if len(got) > 1]
        conflicting = [i for i in twice if len({tuple(a["recommendations"]) for _, a in self.answers[i]}) > 1]
        stale = [i for i in self.newcomers if i in self.answers and self.answers[i][0][1].get("reason") in STRANGER]
        wrong = self._audit(self._installation)
        fallbacks = [f"{reason} {count}" for (status, reason), count in self.statuses().items() if status == "fallback"]
        parts = [
            f"chaos: {name}: {len(self.acked)} asked, {len(missing)} lost, {len(twice)} twice, {len(conflicting)} conflicting,",
            f"{len(wrong)} wrong, {len(stale)} not fresh, fallbacks: {', '.join(fallbacks) or 'none'}",
        ]
        by_name = defaultdict(list)
        for fault, wait in waits:
            by_name[fault.name, fault.aim_s].append(f"{wait:.1f}")
        for (fault, aim_s), seconds in by_name.items():
            parts.append(f"| {fault}: waited {' '.join(seconds)} s" + (f" (aim {aim_s:g})" if aim_s else ""))
        if self.accepted:
            parts.append("| first answer after the broker accepts: " + ", ".join(f"{s:.1f}" for s in self.resumed()))
        bad = [
            f"{what} {i}" for what, them in (("lost", missing), ("twice", twice), ("not fresh", stale)) for i in them
        ]
        return " ".join(parts), bad + wrong

    def _wait_for_answers(self):
        last, known = time.monotonic(), 0
        while (missing := self._missing()) and time.monotonic() < last + SILENT_S:
            if len(self.answers) != known:
                last, known = time.monotonic(), len(self.answers)
            time.sleep(0.05)
        return missing

    def _missing(self):
        return [request_id for request_id in self.acked.copy() if request_id not in self.answers]

    # -- threads ----------------------------------------------------------------------------------

    def _plainly(self, stop):
        producer = self._cluster.producer(linger_ms=2, message_timeout_ms=300_000)
        movies = self._installation.watched_movies  # a model can say something about these
        for count in self.paced(stop, lambda: producer.poll(0.001)):
            if self._newcomer_every and count % self._newcomer_every == 0:
                self._introduce(
                    producer, f"new-{uuid.uuid4().hex[:8]}", movies[count // self._newcomer_every % len(movies)]
                )
            else:
                self._ask(producer, f"u{count % self._users}", uuid.uuid4().hex)
        producer.flush(120)

    def paced(self, stop, idle):
        """Counts up at the rate, until `stop`."""
        begun, count = time.monotonic(), 0
        while not stop.is_set():
            while time.monotonic() < begun + count / self._rate:
                idle()
            yield count
            count += 1

    def _introduce(self, producer, user, movie):
        def acknowledged(error, _):
            if error is None:
                request_id = uuid.uuid4().hex
                self.newcomers.add(request_id)
                self._ask(producer, user, request_id)

        event = {"user_id": user, "movie_id": movie, "minute": 5, "timestamp": time.time()}
        producer.produce(self._topic["watch-events"], json.dumps(event), user, on_delivery=acknowledged)

    def _ask(self, producer, user, request_id):
        self.sent[request_id] = time.monotonic()
        producer.produce(
            self._topic["recommendation-requests"],
            self.question(request_id, user),
            user,
            on_delivery=lambda error, _: self.acknowledge([request_id]) if error is None else None,
        )

    def question(self, request_id, user):
        return json.dumps({"request_id": request_id, "user_id": user}).encode()

    def acknowledge(self, request_ids):
        """Kafka has these requests: from now on they must be answered."""
        now = time.monotonic()
        for request_id in request_ids:
            self.acked[request_id] = now

    def _read(self, reader):
        while not self._stop_reading.is_set():
            first = reader.poll(0.05)
            now = time.monotonic()
            for message in [first, *reader.consume(2_000, 0)] if first else []:
                if message.error() is None:
                    answer = json.loads(message.value())
                    self.answers[answer["request_id"]].append((now, answer))
        reader.close()

    def _guarded(self, work, argument):
        try:
            work(argument)
        except BaseException as error:  # noqa: BLE001 - raised again where the test waits
            self._error = error
