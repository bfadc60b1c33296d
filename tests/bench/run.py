"""canarec and its peers on one broker in one run, in turn, three times; medians and their ratios.

    python -m tests.bench.run [--burst 20000] [--rounds 3]

Everything of canarec is on: histories from the topics, the barrier, split, fold-in, records, transactions. What it writes to
artifacts/bench/ is the whole run as JSON. Absolute figures are the machine's; compare the ratios.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

from confluent_kafka.admin import NewTopic

from models.config import parse
from models.recommenders import popular, store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from streams import processes, summary, topics
from streams.broker import Broker
from streams.clients import Cluster
from streams.home import Home
from streams.worker import child_command, free_port
from tests.bench import workload
from tests.bench.load import Load

RATES = (200, 1000)
RECIPE = {"algorithm": "als", "factors": workload.FACTORS, "regularization": 0.01, "alpha": 1.0, "iterations": 5}
OUT = Path("artifacts/bench")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--burst", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10)
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="canarec-bench-") as folder,
        Broker(Path(folder) / "kafka", port=0) as broker,
    ):
        os.environ |= {"BENCH_BROKER": broker.bootstrap_servers, "BENCH_FOLDER": folder}
        workload.FOLDER = Path(folder)
        workload.peers_model()
        home = Home(Path(folder))
        _prepare(home, broker.bootstrap_servers)
        contestants = {
            "canarec": (_canarec, "recommendation-requests", "recommendations"),
            "bare-loop": (_peer, "bare-loop-requests", "bare-loop-answers"),
            "naive-faust": (_peer, "naive-faust-requests", "naive-faust-answers"),
        }
        found: dict[str, list[dict[str, object]]] = {name: [] for name in contestants}
        for round_ in range(asked.rounds):
            for name, (start, requests, answers) in contestants.items():
                process = start(name, home, broker.bootstrap_servers)
                try:
                    load = Load(broker.bootstrap_servers, requests, answers)
                    _warm_up(load)
                    figures: dict[str, object] = {"burst_per_s": load.burst(asked.burst)}
                    for rate in RATES:
                        if name == "naive-faust" and rate > 200:
                            continue  # it cannot keep up: its latency would be the length of the run
                        figures[f"steady_{rate}"] = load.steady(rate, asked.seconds)
                finally:
                    processes.stop(process, 10)
                found[name].append(figures)
                print(f"round {round_ + 1} {name}: {json.dumps(figures)}", flush=True)
    _report(found)


def _prepare(home: Home, brokers: str) -> None:
    """Topics, histories as watch events, and one ALS with the peers' factors as both v1 and v2."""
    home.prepare()
    cluster, applied = Cluster(brokers), parse(home.config.read_bytes())
    topics.ensure(cluster, applied)
    admin = cluster.admin()  # kept: its futures end with it
    names = [f"{peer}-{kind}" for peer in ("bare-loop", "naive-faust") for kind in ("requests", "answers")]
    for future in admin.create_topics([NewTopic(name, 4) for name in names]).values():
        future.result(30)
    drawn = workload.interactions()
    rows = Rows(drawn.indptr, drawn.indices, drawn.data)
    movies = tuple(map(str, range(workload.MOVIES)))
    for version, seed in (("v1", 0), ("v2", 1)):
        model = Als.fit(rows, workload.MOVIES, RECIPE, seed)
        counts = popular.counts(rows, workload.MOVIES)
        described = store.Metadata(
            model_id="als-64",
            model_version=version,
            training_method={**RECIPE, "seed": seed},
            data_version={"md5": "bench", "offsets": {}},
            evaluation={},
            dvc_ref=None,
            code_version="bench",
            created_at="1970-01-01T00:00:00Z",
            files={},
        )
        store.write(home.models, model, movies, counts, described)
    producer = cluster.producer(linger_ms=20, queue_buffering_max_messages=2_000_000)
    for user in range(workload.USERS):
        for movie in drawn.indices[drawn.indptr[user] : drawn.indptr[user + 1]].tolist():
            event = b'{"user_id":"%d","movie_id":"%d","minute":90,"timestamp":1700000000}' % (user, movie)
            producer.produce("watch-events", event, str(user))
        producer.poll(0)
    if producer.flush(120):
        raise RuntimeError("the histories could not be published")


def _canarec(name: str, home: Home, brokers: str) -> processes.Process:
    port = free_port(0)
    with (home.path / "canarec.log").open("ab") as log:
        process = processes.start(
            child_command("worker", home, brokers, "--metrics-port", str(port)), stdout=log, stderr=log
        )
    until = time.monotonic() + 240
    url = f"http://127.0.0.1:{port}/metrics"
    # also the million events that are judged once, beside the histories: a backlog of the first start only
    while not ((found := summary.scrape(url)) and found.ready and found.interactions and not found.lag):
        if time.monotonic() > until or process.poll() is not None:
            raise RuntimeError(f"the worker does not answer: {home.path / 'canarec.log'}")
        time.sleep(0.2)
    return process


def _peer(name: str, home: Home, brokers: str) -> processes.Process:
    with (home.path / f"{name}.log").open("ab") as log:
        return processes.start([sys.executable, "-m", f"tests.bench.{name.replace('-', '_')}"], stdout=log, stderr=log)


def _warm_up(load: Load) -> None:
    """Until it answers, and then a little: a cold broker and cold caches are nobody's speed."""
    until = time.monotonic() + 60
    while load.steady(20, 1)["answered"] < 1:
        if time.monotonic() > until:
            raise RuntimeError(f"{load.requests}: no answers")
    load.burst(3_000)


def _report(found: dict[str, list[dict[str, object]]]) -> None:
    medians: dict[str, dict[str, float]] = {}
    for name, rounds in found.items():
        flat: dict[str, list[float]] = {}
        for figures in rounds:
            for key, value in figures.items():
                if isinstance(value, dict):
                    for inner, number in value.items():
                        flat.setdefault(f"{key}.{inner}", []).append(number)
                elif isinstance(value, float):
                    flat.setdefault(key, []).append(value)
        medians[name] = {key: statistics.median(values) for key, values in flat.items()}
    print(f"\n{'median':<22}" + "".join(f"{name:>14}" for name in medians))
    for key in medians["canarec"]:
        print(f"{key:<22}" + "".join(f"{medians[name].get(key, float('nan')):>14.1f}" for name in medians))
    ratios = {
        name: medians["canarec"]["burst_per_s"] / figures["burst_per_s"]
        for name, figures in medians.items()
        if name != "canarec"
    }
    print("burst, canarec ÷ peer: " + ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items()))
    OUT.mkdir(parents=True, exist_ok=True)
    path = OUT / f"{time.strftime('%Y-%m-%dT%H%M%S')}.json"
    path.write_text(
        json.dumps(
            {
                "machine": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "rounds": found,
                "medians": medians,
                "burst_ratios": ratios,
            },
            indent=2,
        )
    )
    print(f"kept in {path}")


if __name__ == "__main__":
    main()
