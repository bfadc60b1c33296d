"""`canarec analyze`: how time and memory grow with the interactions of the archive.

    python -m tests.bench.analysis                             10⁶ and 10⁷; 6 minutes on 2 cores, 1 GB of disk
    python -m tests.bench.analysis --interactions 1000000      half a minute

The archive is that of `tests.bench.training` (users evenly, movies by a power law, everybody has a profile) with genres, and with a
list of 20 movies for every second user. The command is a process of its own, imports and the page included; no broker answers.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from pipelines import columns
from pipelines.parquet import Writing
from tests.bench import machine, report, training, workload
from tests.bench.report import Goal

INTERACTIONS = (1_000_000, 10_000_000)
MOST_S, MOST_MB = 20, 4_000  # for a million; for ten million
GENRES = [*("Action", "Comedy", "Crime", "Drama", "Family", "Horror", "Music", "Mystery", "War", "Western")]
NOBODY = "127.0.0.1:1"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, nargs="*", default=INTERACTIONS)
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    rows = [of_size(n) for n in asked.interactions]
    report.publish("analysis", {"canarec analyze": table(rows)}, goals(rows), quiet=quiet, sizes=rows)


def of_size(n: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="canarec-bench-") as name:
        home = Path(name)
        make_archive(home / "artifacts", n)
        command = [sys.executable, "-c", _COMMAND, "analyze", "--home", name, "--bootstrap-servers", NOBODY]
        watch, begun = machine.Watch(), time.perf_counter()
        told = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        seconds = time.perf_counter() - begun
        found = json.loads((home / "artifacts" / "analysis" / "latest.json").read_text())
        peak_mb, cpu_seconds = told.stdout.splitlines()[-1].split()
        row = {
            "interactions": n,
            "pairs": found["window"]["interactions"],
            "users": found["window"]["users"],
            "lists": found["recommended"]["lists"],
            "seconds": round(seconds, 2),
            "cpu_seconds": round(float(cpu_seconds), 2),
            "peak_mb": int(peak_mb),
            "machine": watch.figures(),
        }
        print(row, flush=True)
        return row


# VmHWM, as `tests.bench.training` has it: of this program alone
_COMMAND = """
import sys, time
from pathlib import Path
from streams.cli import main
main(sys.argv[1:])
status = Path("/proc/self/status").read_text()
print(int(status.partition("VmHWM:")[2].split()[0]) // 1_000, time.process_time())
"""


def make_archive(artifacts: Path, n: int) -> None:
    training.write_archive(artifacts, "", n)
    rng = np.random.default_rng(1)
    movies = pa.array([f"movie+number+{number}+2001" for number in range(workload.MOVIES)])
    genres = pa.array([rng.choice(GENRES, rng.integers(1, 4), replace=False).tolist() for _ in range(workload.MOVIES)])
    (artifacts / "archive" / "movie-catalog" / "0" / f"0-{workload.MOVIES - 1}.parquet").unlink()
    training._write(
        artifacts, "movie-catalog", 0, 0,
        movie_id=movies, title=movies, genres=genres, deleted=pa.repeat(False, len(movies)),
    )  # fmt: skip
    n_lists = n // training.EACH // 2
    shown = movies.take(pa.array(workload.drawn_movies(rng, 20 * n_lists, workload.MOVIES)))
    _write_answers(
        artifacts, n_lists, pa.ListArray.from_arrays(pa.array(np.arange(0, 20 * n_lists + 1, 20), pa.int32()), shown)
    )


def _write_answers(artifacts: Path, n: int, lists: pa.Array) -> None:
    schema = columns.layout("recommendations").schema
    given = {
        "partition": pa.repeat(pa.scalar(0, pa.int32()), n),
        "offset": pa.array(np.arange(n)),
        "logged_at": pa.repeat(pa.scalar(training.NOW_MS, columns.TIME), n),
        "served_at": pa.repeat(pa.scalar(training.NOW_MS, columns.TIME), n),
        "user_id": pa.array([str(2 * number) for number in range(n)]),
        "model_version": pa.repeat("v1", n),
        "recommendations": lists,
    }
    arrays = [given.get(field.name, pa.nulls(n, field.type)) for field in schema]
    with Writing(artifacts / "archive" / "recommendations" / "0", "recommendations", 0, 0) as file:
        file.add(pa.record_batch(arrays, schema=schema), {})
        file.finish(n - 1, n)


def goals(rows: list[dict[str, Any]]) -> list[Goal]:
    wanted = []
    for row in rows:
        if row["interactions"] == 1_000_000:
            wanted.append(Goal(name="analysis of a million", found=row["seconds"], most=MOST_S, unit=" s"))
        if row["interactions"] == 10_000_000:
            wanted.append(Goal(name="memory, ten million", found=row["peak_mb"], most=MOST_MB, unit=" MB"))
    return wanted


def table(rows: list[dict[str, Any]]) -> str:
    head = ("interactions", "different pairs", "users", "lists", "seconds", "CPU s", "memory at most, MB")
    names = ("interactions", "pairs", "users", "lists")
    return report.table(
        head,
        [
            [
                *(f"{row[name]:,}" for name in names),
                report.number(row["seconds"]),
                report.number(row["cpu_seconds"]),
                f"{row['peak_mb']:,}",
            ]
            for row in rows
        ],
    )


if __name__ == "__main__":
    main()
