"""Peer: Quix Streams, the same job in its dataframe style. Runs in the environment of `peers.lock`."""

from typing import Any

from quixstreams import Application

from tests.bench import workload

seen, model = workload.interactions(), workload.peers_model()
app = Application(
    broker_address=workload.BROKER,
    consumer_group="bench-quix",
    auto_offset_reset="latest",
    producer_extra_config={"linger.ms": 2},
    consumer_extra_config={"fetch.wait.max.ms": 5},
    state_dir=workload.FOLDER / "quix",
    loglevel="WARNING",
)
requests = app.topic("quix-requests", value_deserializer="json")
answers = app.topic("quix-answers", value_serializer="json")


def answer(request: dict[str, str]) -> dict[str, Any]:
    user = int(request["user_id"])
    movies, scores = model.recommend(user, seen[user], N=workload.TOP)
    return workload.fields(request, movies.tolist(), scores.tolist())


app.dataframe(requests).apply(answer).to_topic(answers)

if __name__ == "__main__":
    app.run()
