"""The provenance CSV: rows/s that the writer catches up with, from its start to the last synced row; its processor time and memory.

    python -m tests.bench.provenance                     about 20 s on 2 cores

A broker, the records of so many answers with 20 movies each in four partitions, and the process that `canarec worker` starts.
Each round begins with an empty folder; the last one also compresses its day, as a finished one.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import psutil

from models import wire
from models.events import Answer, Asked, Proof, Source
from models.topics import PARTITIONS
from pipelines import provenance_csv
from streams import scribe, topics
from streams.broker import Broker
from streams.home import Home
from streams.ledger import REST_S, Ledger
from streams.worker import child_command
from tests.bench import machine, report
from tests.bench.report import Goal

RECORDS, ROUNDS = 60_000, 3
LEAST_PER_S = 5_000
OFFSETS = msgspec.Raw(
    msgspec.json.encode(
        {
            name: {str(number): 123_456 + number for number in range(PARTITIONS)}
            for name in ("watch-events", "rating-events", "user-profiles", "movie-catalog")
        }
    )
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=RECORDS, help=f"(default: {RECORDS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    with tempfile.TemporaryDirectory() as folder, Broker(Path(folder) / "kafka", port=0) as broker:
        home = Home(Path(folder) / "home")
        home.prepare()
        publish(home, broker.bootstrap_servers, asked.records)
        rounds = [measured(home, broker.bootstrap_servers, asked.records) for _ in range(asked.rounds)]
        packing = compressed(home)
    speeds = [found["rows"] / found["seconds"] for found in rounds]
    goals = [Goal(name="rows/s written", found=statistics.median(speeds), least=LEAST_PER_S, rounds=speeds)]
    told = f"{asked.records:,} records; medians of {asked.rounds}"
    report.publish(
        "provenance", {told: table(rounds, packing)}, goals, quiet=quiet, asked=vars(asked), rounds=rounds, **packing
    )


def publish(home: Home, brokers: str, count: int) -> None:
    """Records as a worker writes them."""
    cluster, applied = home.cluster(brokers), home.load()
    topics.ensure(cluster, applied)
    producer = cluster.producer(linger_ms=20, queue_buffering_max_messages=count + 1)
    asked, source, now_ms = Asked(20, None, True), applied.topic("recommendation-requests"), int(time.time() * 1000)
    for number in range(count):
        answer = Answer(
            request_id=f"{number:032x}",
            user_id=str(number % 10_000),
            status="ok",
            recommendations=[str(50_000 + (number * 7 + place) % 20_000) for place in range(20)],
            scores=[1.0 / (3 + place + number % 13) for place in range(20)],
            model_id="als-64",
            model_version="v1",
            variant="stable",
            source=Source(source, number % PARTITIONS, number),
            served_at=wire.rfc3339(now_ms),
            latency_ms=17,
        )
        proof = Proof(
            asked=asked,
            canary_percentage=10.0,
            bucket=number % 10_000,
            config_sha256="c" * 64,
            model_sha256="a" * 64,
            data_version="d" * 32,
            catalog_sha256="b" * 64,
            history_offsets=OFFSETS,
            variant_probability=0.9,
            scoring_ms=0.21,
            scored_together=16,
        )
        record = wire.provenance(wire.encode(answer), proof)
        producer.produce(applied.topic("provenance"), record, partition=number % PARTITIONS)
    if producer.flush(120):
        raise RuntimeError("the records were not published")


def measured(home: Home, brokers: str, count: int) -> dict[str, Any]:
    """One writer, from its process's first moment until every row is synced."""
    shutil.rmtree(home.provenance, ignore_errors=True)
    writer = scribe.Scribe(home.provenance, child_command("worker", home, brokers))
    watch, begun = machine.Watch(), time.perf_counter()
    writer.look()
    if writer.process is None:
        raise RuntimeError("no writer was started")
    try:
        process = psutil.Process(writer.process.pid)
        while (found := scribe.status(home.provenance)) is None or found.lag:
            time.sleep(0.05)
        seconds, used, memory = time.perf_counter() - begun, process.cpu_times(), process.memory_info()
    finally:
        writer.stop()
    rows = sum(1 for _ in provenance_csv.rows(home.provenance))
    if rows != count:
        raise RuntimeError(f"{rows} rows of {count} records")
    size = sum(path.stat().st_size for path in provenance_csv.files(home.provenance))
    return {
        "rows": rows,
        "seconds": seconds,
        "cpu_us": 1e6 * (used.user + used.system) / rows,
        "memory_mb": memory.rss / 1e6,
        "bytes_a_row": size / rows,
        "machine": watch.figures(),
    }


def compressed(home: Home) -> dict[str, float]:
    """The day's file, as if it had ended."""
    ledger = Ledger(home.provenance)
    ledger.recover()
    (path,) = provenance_csv.files(home.provenance)
    before, begun = path.stat().st_size, time.perf_counter()
    while ledger.compress(time.time() + 2 * REST_S, "9999-12-31"):
        pass
    seconds = time.perf_counter() - begun
    (path,) = provenance_csv.files(home.provenance)
    return {"compressing_mb_s": before / 1e6 / seconds, "share_when_compressed": path.stat().st_size / before}


def table(rounds: list[dict[str, Any]], packing: dict[str, float]) -> str:
    def median(name: str) -> float:
        return statistics.median(found[name] for found in rounds)

    rows = [
        (
            "rows/s, with the start of the process",
            report.number(statistics.median(r["rows"] / r["seconds"] for r in rounds)),
        ),
        ("CPU of a row, µs", report.number(median("cpu_us"))),
        ("bytes of a row", report.number(median("bytes_a_row"))),
        ("memory, MB", report.number(median("memory_mb"))),
        ("compressing, MB/s", report.number(packing["compressing_mb_s"])),
        ("size when compressed, share", report.number(packing["share_when_compressed"])),
    ]
    return report.table(("", "found"), rows)


if __name__ == "__main__":
    main()
