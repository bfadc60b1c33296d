"""Windows: how many answers a second one core folds, of one length and of both, and what memory the process takes.

    python -m tests.bench.windows                        about 60 s on 2 cores

A broker with so many answers of 20 movies, feedback on each third and a watch after each third, and the functions that the writer calls when a
window closes: quality and figures of the shortest, figures of the other. Answers are read for their figures and again as their horizon passes.
"""

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from models import wire
from models.config import Applied
from models.measures.windows import Span
from pipelines.windows import Closing
from streams.broker import Broker
from streams.clients import Cluster
from streams.home import Home
from tests.bench import machine, report
from tests.bench.provenance import publish
from tests.bench.report import Goal

ANSWERS, ROUNDS = 120_000, 3
LEAST_PER_S = 2_000
HORIZON_MS, LATENESS_MS = 1_000, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--answers", type=int, default=ANSWERS, help=f"(default: {ANSWERS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka", port=0) as broker:
        home = Home(Path(folder) / "home")
        home.prepare()
        begun_ms = int(time.time() * 1_000)
        publish(home, broker.bootstrap_servers, asked.answers)
        cluster, applied = home.cluster(broker.bootstrap_servers), home.load()
        follow(cluster, applied, asked.answers)
        length_s = int(time.time()) + 2 - begun_ms // 1_000
        span = Span(length_s, begun_ms, HORIZON_MS, LATENESS_MS)
        time.sleep(2)
        rounds = []
        for _ in range(asked.rounds):
            with ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn")
            ) as one:  # for its memory and its processor time
                rounds.append(one.submit(measured, home.path, broker.bootstrap_servers, span, asked.answers).result())
    speeds = [asked.answers / found["cpu_s"] for found in rounds]
    goals = [
        Goal(
            name="answers/s on one core, both lengths",
            found=statistics.median(speeds),
            least=LEAST_PER_S,
            rounds=speeds,
        )
    ]
    told = f"{asked.answers:,} answers; medians of {asked.rounds}"
    report.publish(
        "windows", {told: table(rounds, asked.answers)}, goals, quiet=quiet, asked=vars(asked), rounds=rounds
    )


def follow(cluster: Cluster, applied: Applied, count: int) -> None:
    """What users did with the lists, a catalogue and their profiles."""
    producer = cluster.producer(linger_ms=20, queue_buffering_max_messages=count + 1)
    for number in range(20_000):
        movie = {"movie_id": str(50_000 + number), "title": "T", "genres": ["Drama", "War"], "popularity": number}
        producer.produce(applied.topic("movie-catalog"), wire.encode(movie), str(50_000 + number))
    for number in range(10_000):
        profile = {"user_id": str(number), "gender": "MF"[number % 2]}
        producer.produce(applied.topic("user-profiles"), wire.encode(profile), str(number))
    producer.flush(60)
    now = time.time()
    for number in range(0, count, 3):
        movie_id = str(50_000 + number * 7 % 20_000)
        said = {"request_id": f"{number:032x}", "selected": movie_id, "satisfaction": number % 11 / 10}
        producer.produce(applied.topic("recommendation-feedback"), wire.encode(said))
        watch = {"user_id": str(number % 10_000), "movie_id": movie_id, "minute": 1, "timestamp": now}
        producer.produce(applied.topic("watch-events"), wire.encode(watch))
    if producer.flush(120):
        raise RuntimeError("what followed was not published")


def measured(folder: Path, brokers: str, span: Span, count: int) -> dict[str, Any]:
    """One window as the shortest, and once more as another length; the processor time of this process, which does nothing else."""
    home = Home(folder)
    closing = Closing(home.cluster(brokers), home.load())
    watch, begun, cpu = machine.Watch(), time.perf_counter(), time.process_time()
    made_of = closing.made_of(span)
    if made_of is None:
        raise RuntimeError("a transaction is open")
    told = sum(len(found) for _, _, found in closing.quality(span, made_of, {}))
    (shortest,) = closing.reports(span, made_of, {})
    after_one = time.process_time() - cpu
    closing.reports(span, made_of, {})
    if shortest.loop.requests != count or told != len(range(0, count, 3)):
        raise RuntimeError(f"{shortest.loop.requests} answers of {count}, {told} records of quality")
    return {
        "seconds": time.perf_counter() - begun,
        "cpu_s": time.process_time() - cpu,
        "cpu_one_s": after_one,
        "memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000,
        "machine": watch.figures(),
    }


def table(rounds: list[dict[str, Any]], count: int) -> str:
    def median(name: str) -> float:
        return statistics.median(found[name] for found in rounds)

    rows = [
        ("CPU of an answer, one length with its quality, µs", report.number(1e6 * median("cpu_one_s") / count)),
        ("CPU of an answer, both lengths, µs", report.number(1e6 * median("cpu_s") / count)),
        ("time of both, s", report.number(median("seconds"))),
        ("memory, MB", report.number(median("memory_mb"))),
    ]
    return report.table(("", "found"), rows)


if __name__ == "__main__":
    main()
