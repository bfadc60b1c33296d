"""The load: an outside client that knows only topics. Requests in, committed answers out, times between."""

import threading
import time
import uuid
from collections import Counter
from typing import Any

import numpy as np
import orjson
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.bench.workload import USERS


class Answers(threading.Thread):
    """Collects the arrival of the first answer to each request, by id; from now on."""

    def __init__(self, brokers: str, topic: str) -> None:
        super().__init__(daemon=True)
        self.arrived: dict[str, float] = {}
        self.twice = 0
        self.statuses: Counter[str] = Counter()  # peers have none
        self.ending = False
        self.consumer = Consumer(
            {
                "bootstrap.servers": brokers,
                "group.id": f"bench-{uuid.uuid4()}",
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 5,
                "enable.auto.commit": False,
            }
        )
        found = self.consumer.list_topics(topic, timeout=20).topics[topic].partitions
        places = [TopicPartition(topic, p) for p in found]
        for place in places:
            place.offset = self.consumer.get_watermark_offsets(place, timeout=20)[1]
        self.consumer.assign(places)

    def run(self) -> None:
        while not self.ending:
            first = self.consumer.poll(0.05)
            now = time.perf_counter()
            for message in [first, *self.consumer.consume(1999, 0)] if first else []:
                if message.error() is None:
                    self._take(orjson.loads(message.value()), now)
        self.consumer.close()

    def _take(self, answer: dict[str, Any], now: float) -> None:
        if answer["request_id"] in self.arrived:
            self.twice += 1
        else:
            self.arrived[answer["request_id"]] = now
        self.statuses[answer.get("status", "ok")] += 1

    def wait(self, ids: list[str], seconds: float) -> None:
        """Until all of them are there; ends the collecting."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(i not in self.arrived for i in ids):
            time.sleep(0.1)
        self.end()

    def end(self) -> None:
        self.ending = True
        self.join()


class Asking:
    """Publishes requests of users drawn evenly from `users`."""

    def __init__(self, brokers: str, topic: str, users: int, *, linger_ms: int, seed: int) -> None:
        self._topic, self._users = topic, users
        self._rng = np.random.default_rng(seed)
        self._drawn: list[int] = []
        self.producer = Producer(
            {
                "bootstrap.servers": brokers,
                "linger.ms": linger_ms,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        # Finding partitions and getting a producer's id are the client's time, not a contestant's.
        self.first = self.ask()
        self.producer.flush()

    def ask(self) -> str:
        """One request; its id."""
        if not self._drawn:
            self._drawn = self._rng.integers(0, self._users, 10_000).tolist()
        user, request_id = self._drawn.pop(), uuid.uuid4().hex
        self.producer.produce(
            self._topic, b'{"request_id":"%b","user_id":"%d"}' % (request_id.encode(), user), str(user)
        )
        self.producer.poll(0)
        return request_id


class Stream(threading.Thread):
    """An open loop: requests at a rate, whatever becomes of them. Latency counts from when a request was due."""

    def __init__(self, asking: Asking, answers: Answers, rate: float) -> None:
        super().__init__(daemon=True)
        self._asking, self.answers, self._rate = asking, answers, rate
        self._ending = False
        self.due: dict[str, float] = {}

    def run(self) -> None:
        begun, number = time.perf_counter(), 0
        while not self._ending:
            at = begun + number / self._rate
            # librdkafka polls for whole milliseconds: to wait for less in `poll` is to spin, on a core that others need
            while (now := time.perf_counter()) < at:
                time.sleep(at - now)
            self.due[self._asking.ask()] = at
            number += 1
        self._asking.producer.flush()

    def end(self, patience_s: float = 30) -> None:
        """No more requests; waits for the answers to those that were asked."""
        self._ending = True
        self.join()
        self.answers.wait(list(self.due), patience_s)

    def latency(self, since: float = -np.inf, until: float = np.inf) -> dict[str, float | None]:
        """Of the requests that were due in [since, until) by `time.perf_counter`, in ms."""
        asked = [(i, at) for i, at in self.due.items() if since <= at < until]
        arrived = self.answers.arrived
        found = np.array([(arrived[i] - at) * 1e3 for i, at in asked if i in arrived])
        return {
            "asked": len(asked),
            "answered": len(found) / len(asked) if asked else None,
            **{name: float(np.percentile(found, q)) if len(found) else None for name, q in _QUANTILES.items()},
        }


_FIRST_SEED = 1_000
_QUANTILES = {"p50_ms": 50, "p99_ms": 99, "max_ms": 100}


class Load:
    """Requests for one contestant. The same users in the same order for each."""

    def __init__(self, brokers: str, requests: str, answers: str, users: int = USERS) -> None:
        self.brokers, self.requests, self.answers, self._users = brokers, requests, answers, users
        self._seed = 0
        self.statuses: Counter[str] = Counter()

    def burst(self, n: int) -> dict[str, float]:
        """Answers a second over a backlog of n requests.

        `per_s`: between the first and the last tenth. Answers become visible a transaction at a time, so it is counted from
        one such step to another: else a part of a step would be a rate. `whole_per_s`: from the first request on.
        """
        collected, asking = self._clients(linger_ms=20)
        begun = time.perf_counter()
        ids = [asking.ask() for _ in range(n)]
        asking.producer.flush()
        collected.wait(ids, 300)
        self.statuses += collected.statuses
        times = np.sort([collected.arrived[i] - begun for i in ids if i in collected.arrived])
        if len(times) < n:
            raise RuntimeError(f"{self.requests}: {n - len(times)} of {n} requests unanswered")
        low, high = times[[int(n * 0.1), int(n * 0.9) - 1]]
        between = np.count_nonzero((times > low) & (times <= high))
        whole = n / times[-1]
        return {"per_s": float(between / (high - low) if between else whole), "whole_per_s": float(whole)}

    def stream(self, rate: float) -> Stream:
        """An open loop that has begun."""
        collected, asking = self._clients(linger_ms=2)
        stream = Stream(asking, collected, rate)
        stream.start()
        return stream

    def steady(self, rate: float, seconds: float) -> dict[str, float | None]:
        """Latency of an open loop."""
        stream = self.stream(rate)
        time.sleep(seconds)
        stream.end()
        self.statuses += stream.answers.statuses
        return stream.latency()

    def warm_up(self, burst: int = 3_000, patience_s: float = 60) -> None:
        """Until it answers, and then a little: a cold broker and cold caches are nobody's speed."""
        until = time.monotonic() + patience_s
        while self.steady(20, 1)["answered"] != 1:
            if time.monotonic() > until:
                raise RuntimeError(f"{self.requests}: no answers")
        self.burst(burst)
        self.statuses.clear()
        self._seed = _FIRST_SEED  # however long it took: what is measured is the same for each

    def _clients(self, linger_ms: int) -> tuple[Answers, Asking]:
        self._seed += 1
        collected = Answers(self.brokers, self.answers)
        collected.start()
        return collected, Asking(self.brokers, self.requests, self._users, linger_ms=linger_ms, seed=self._seed)
