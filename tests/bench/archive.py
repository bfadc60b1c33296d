"""Topics to Parquet and back: messages/s that are parsed and archived, the size of the files, rows/s read back, memory.

    python -m tests.bench.archive                        about 1 minute on 2 cores
    python -m tests.bench.archive --events 10000000      about 5; the memory must not grow with the events

Half watches, half ratings, in four partitions each, archived from nothing `--rounds` times by a process of its own, then read as
one table. Everything is synced to disk.
"""

import argparse
import json
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from models.config import parse
from pipelines import archive
from streams.clients import Cluster
from tests.bench import machine, report, workload
from tests.bench.installation import Installation, installation, worker_argument
from tests.bench.report import Goal

EVENTS, ROUNDS = 1_000_000, 3
LEAST_PER_S = 100_000
MOST_MB = 600
TOPICS = ("watch-events", "rating-events")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=EVENTS, help=f"at least (default: {EVENTS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--child", nargs=2, metavar=("BROKERS", "FOLDER"), help=argparse.SUPPRESS)
    worker_argument(parser)
    asked = parser.parse_args()
    if asked.child is not None:
        print(json.dumps(_archived(*asked.child)))
        return
    quiet = machine.look_whether_quiet()
    with installation(asked.worker) as canarec:
        rounds = measured(canarec, asked.events, asked.rounds)
    speeds = [found["rows"] / found["writing_s"] for found in rounds]
    goals = [
        Goal(name="events/s archived", found=statistics.median(speeds), least=LEAST_PER_S, rounds=speeds),
        Goal(name="memory", found=max(found["peak_mb"] for found in rounds), most=MOST_MB, unit=" MB"),
    ]
    told = f"{rounds[0]['rows']:,} events of {len(TOPICS)} topics; medians of {asked.rounds}"
    report.publish("archive", {told: table(rounds)}, goals, quiet=quiet, asked=vars(asked), rounds=rounds)


def measured(canarec: Installation, events: int, n_rounds: int) -> list[dict[str, Any]]:
    users = min(workload.USERS, max(1, events // 20))
    canarec.publish(workload.histories(users, workload.MOVIES, -(-events // users) + 3, seed=1), ratings=True)
    rounds = []
    for number in range(n_rounds):
        folder = canarec.home.path / "archive"
        watch = machine.Watch()
        command = [sys.executable, "-m", "tests.bench.archive", "--child", canarec.brokers, str(folder)]
        child = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        rounds.append({**json.loads(child.stdout), "machine": watch.figures()})
        shutil.rmtree(folder)
        print(f"round {number + 1}: {rounds[-1]}", flush=True)
    return rounds


def _archived(brokers: str, folder: str) -> dict[str, Any]:
    """In a process of its own, so that its memory is that of the archiving alone."""
    begun, cpu = time.perf_counter(), time.process_time()
    made = archive.extend(Cluster(brokers), parse("{}"), Path(folder), topics=TOPICS)
    writing_s, cpu_s = time.perf_counter() - begun, time.process_time() - cpu
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux: KiB
    begun = time.perf_counter()
    read = [archive.table(Path(folder), topic, dictionaries=["user_id", "movie_id"]) for topic in TOPICS]
    reading_s = time.perf_counter() - begun
    rows = sum(len(one) for one in read)
    if rows != made.rows or made.findings:
        raise RuntimeError(f"{made.rows} rows were archived, {rows} read back: {made.findings}")
    return {
        "rows": rows,
        "files": made.files,
        "writing_s": writing_s,
        "cpu_us": 1e6 * cpu_s / rows,
        "reading_s": reading_s,
        "bytes_a_row": sum(path.stat().st_size for topic in TOPICS for path in archive.files(Path(folder), topic))
        / rows,
        "peak_mb": peak_mb,
    }


def table(rounds: list[dict[str, Any]]) -> str:
    def median(name: str) -> float:
        return statistics.median(found[name] for found in rounds)

    rows = [
        ("archived, events/s", report.number(statistics.median(r["rows"] / r["writing_s"] for r in rounds))),
        ("CPU of an event, µs", report.number(median("cpu_us"))),
        ("bytes of an event on disk", report.number(median("bytes_a_row"))),
        ("memory at most, MB", report.number(median("peak_mb"))),
        ("read back, rows/s", report.number(statistics.median(r["rows"] / r["reading_s"] for r in rounds))),
    ]
    return report.table(("", "found"), rows)


if __name__ == "__main__":
    main()
