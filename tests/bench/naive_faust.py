"""Peer: the straightforward Faust worker. One request, one `recommend`, one `send`."""

import sys

import faust

from tests.bench import workload

app = faust.App(
    "bench-naive-faust",
    broker=f"kafka://{workload.BROKER}",
    topic_partitions=4,
    store="memory://",
    datadir=workload.FOLDER / "naive-faust",
    web_enabled=False,
)
requests = app.topic("naive-faust-requests", value_serializer="json", key_serializer="raw")
answers = app.topic("naive-faust-answers", value_serializer="raw", key_serializer="raw")
seen, model = workload.interactions(), workload.peers_model()


@app.agent(requests)
async def answer(stream):  # type: ignore[no-untyped-def]
    async for request in stream:
        user = int(request["user_id"])
        movies, scores = model.recommend(user, seen[user], N=workload.TOP)
        value = workload.answer(request, movies.tolist(), scores.tolist())
        await answers.send(key=request["user_id"].encode(), value=value)


if __name__ == "__main__":
    sys.argv[1:] = ["worker", "-l", "warn"]
    app.main()
