"""Peer: a bare confluent-kafka loop. Batches of 64, at least once; no split, no record, no transaction, no fresh history."""

import json

from confluent_kafka import Consumer, Producer

from tests.bench import workload

seen, model = workload.interactions(), workload.peers_model()
consumer = Consumer(
    {
        "bootstrap.servers": workload.BROKER,
        "group.id": "bench-bare-loop",
        "auto.offset.reset": "latest",
        "enable.auto.commit": False,
        "fetch.wait.max.ms": 5,
    }
)
producer = Producer({"bootstrap.servers": workload.BROKER, "linger.ms": 2})
consumer.subscribe(["bare-loop-requests"])
while True:
    messages = [m for m in consumer.consume(64, timeout=0.01) if not m.error()]
    if not messages:
        producer.poll(0)
        continue
    requests = [json.loads(m.value()) for m in messages]
    users = [int(r["user_id"]) for r in requests]
    movies, scores = model.recommend(users, seen[users], N=workload.TOP)
    for request, one, its in zip(requests, movies.tolist(), scores.tolist(), strict=True):
        producer.produce("bare-loop-answers", workload.answer(request, one, its), key=request["user_id"])
    producer.flush()
    consumer.commit(asynchronous=True)
