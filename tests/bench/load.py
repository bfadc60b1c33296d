"""The load: an outside client that knows only topics. Requests in, committed answers out, times between."""

import json
import threading
import time
import uuid

import numpy as np
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.bench.workload import USERS


class Answers(threading.Thread):
    """Collects the arrival of the first answer to each request, by id."""

    def __init__(self, brokers: str, topic: str) -> None:
        super().__init__(daemon=True)
        self.arrived: dict[str, float] = {}
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
                    self.arrived.setdefault(json.loads(message.value())["request_id"], now)
        self.consumer.close()

    def wait(self, ids: list[str], seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(i not in self.arrived for i in ids):
            time.sleep(0.1)
        self.ending = True
        self.join()


class Load:
    """Requests for one contestant."""

    def __init__(self, brokers: str, requests: str, answers: str) -> None:
        self.brokers, self.requests, self.answers = brokers, requests, answers
        self.rng = np.random.default_rng(7)

    def burst(self, n: int) -> float:
        """Answers a second over a backlog of n requests, the first and the last tenth left out."""
        collected, producer = self._clients(linger_ms=20)
        begun = time.perf_counter()
        ids = []
        for user in self.rng.integers(0, USERS, n).tolist():
            ids.append(self._ask(producer, user))
        producer.flush()
        collected.wait(ids, 300)
        times = np.sort([collected.arrived[i] - begun for i in ids if i in collected.arrived])
        if len(times) < n:
            raise RuntimeError(f"{self.requests}: {n - len(times)} of {n} requests unanswered")
        low, high = int(n * 0.1), int(n * 0.9) - 1
        return float((high - low) / (times[high] - times[low]))

    def steady(self, rate: float, seconds: float) -> dict[str, float]:
        """Latency in ms of an open loop, counted from when a request was due."""
        collected, producer = self._clients(linger_ms=2)
        due: dict[str, float] = {}
        begun = time.perf_counter()
        for number, user in enumerate(self.rng.integers(0, USERS, int(rate * seconds)).tolist()):
            at = begun + number / rate
            while (now := time.perf_counter()) < at:
                producer.poll(min(at - now, 0.001))
            due[self._ask(producer, user)] = at
        producer.flush()
        collected.wait(list(due), 30)
        latency = np.array([(collected.arrived[i] - at) * 1e3 for i, at in due.items() if i in collected.arrived])
        return {
            "answered": len(latency) / len(due),
            "p50_ms": float(np.percentile(latency, 50)) if len(latency) else float("inf"),
            "p99_ms": float(np.percentile(latency, 99)) if len(latency) else float("inf"),
        }

    def _clients(self, linger_ms: int) -> tuple[Answers, Producer]:
        collected = Answers(self.brokers, self.answers)
        collected.start()
        return collected, Producer(
            {
                "bootstrap.servers": self.brokers,
                "linger.ms": linger_ms,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": 1_000_000,
            }
        )

    def _ask(self, producer: Producer, user: int) -> str:
        request_id = uuid.uuid4().hex
        value = json.dumps({"request_id": request_id, "user_id": str(user)}).encode()
        producer.produce(self.requests, value, key=str(user))
        producer.poll(0)
        return request_id
