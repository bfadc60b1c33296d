"""From archive to model: how time and memory grow with the interactions.

    python -m tests.bench.training                                   10⁵, 10⁶ and 10⁷; half an hour on 2 cores, 1 GB of disk
    python -m tests.bench.training --interactions 100000             half a minute
    python -m tests.bench.training --interactions 1000000 --algorithms ease

Synthetic events (users evenly, movies by a power law, as in `workload`), written as the archive keeps them. Each step is a process
of its own, as in the pipeline, and says itself how long it took, imports left out, and how much memory it had at most.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa

from models.config import AlsRecipe, Config, EaseRecipe
from models.recommenders import popular, store
from pipelines import columns, dataset, evaluate, gate, train
from pipelines.parquet import FILE_ROWS, Writing
from tests.bench import machine, report, workload
from tests.bench.report import Goal

INTERACTIONS = (100_000, 1_000_000, 10_000_000)
EACH = 23  # events of a user
PARTITIONS = 4
NOW_MS = 1_700_000_000_000
MONTH_MS = 30 * 86_400_000
RECIPES = {"als": AlsRecipe(), "ease": EaseRecipe()}
STEPS = ("dataset", "train", "evaluate", "publish")
MOST_S, MOST_MB = 180, 2_000  # of the steps together, and of each, for a million interactions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--interactions", type=int, nargs="*", default=INTERACTIONS)
    parser.add_argument("--algorithms", nargs="*", choices=RECIPES, default=["als"])
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=STEPS)
    parser.add_argument("--step", choices=("archive", *STEPS), help=argparse.SUPPRESS)  # one of them, in this process
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.step:
        print(json.dumps(measured(asked.step, asked.folder, asked.algorithms[0], asked.interactions[0])))
        return
    quiet = machine.look_whether_quiet()
    found = [of_size(n, asked.algorithms, asked.steps) for n in asked.interactions]
    rows = [row for one in found for row in one["rows"]]
    report.publish("training", {"From archive to model": table(rows)}, goals(rows), quiet=quiet, sizes=found)


def of_size(n: int, algorithms: Sequence[str], steps: Sequence[str]) -> dict[str, Any]:
    """Every step of one size, each in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="canarec-bench-") as name:
        watch = machine.Watch()
        _process("archive", Path(name), algorithms[0], n)
        rows = []
        for algorithm in algorithms:
            row: dict[str, Any] = {"interactions": n, "algorithm": algorithm}
            for step in steps:
                row[step] = _process(step, Path(name), algorithm, n)
                print(f"{n:,} interactions, {algorithm}, {step}: {row[step]}", flush=True)
            rows.append(row)
        return {"rows": rows, "machine": watch.figures()}


def measured(step: str, folder: Path, algorithm: str, n: int) -> dict[str, float]:
    begun, worked = time.perf_counter(), time.process_time()
    _STEPS[step](folder, algorithm, n)
    return {
        "seconds": round(time.perf_counter() - begun, 2),
        "cpu_seconds": round(time.process_time() - worked, 2),
        "peak_mb": round(_peak_mb()),
    }


def write_archive(folder: Path, _: str, n: int) -> None:
    """Half the events are watches, half ratings; everybody has a profile, every movie is in the catalogue."""
    rng = np.random.default_rng(0)
    n_users = max(20, n // EACH)
    users = pa.array([f"{number}" for number in range(n_users)])
    movies = pa.array([f"movie+number+{number}+2001" for number in range(workload.MOVIES)])
    for topic in ("watch-events", "rating-events"):
        for partition in range(PARTITIONS):
            left, first = n // 2 // PARTITIONS, 0
            while left:
                some = min(left, FILE_ROWS)
                _write(
                    folder,
                    topic,
                    partition,
                    first,
                    user_id=users.take(pa.array(rng.integers(0, n_users, some))),
                    movie_id=movies.take(pa.array(workload.drawn_movies(rng, some, workload.MOVIES))),
                    minute=pa.array(rng.integers(0, 120, some), pa.int32()),
                    rating=pa.array(rng.integers(1, 11, some) / 2),
                    timestamp=pa.array(NOW_MS - rng.integers(0, MONTH_MS, some), columns.TIME),
                )
                left, first = left - some, first + some
    genders = pa.array(["F", "M"]).take(pa.array(rng.integers(0, 2, n_users)))
    _write(folder, "user-profiles", 0, 0, user_id=users, gender=genders, deleted=pa.repeat(False, n_users))
    _write(
        folder, "movie-catalog", 0, 0, movie_id=movies, title=movies, deleted=pa.repeat(False, len(movies)),
    )  # fmt: skip


def make_dataset(folder: Path, _: str, __: int) -> None:
    gate.settle(gate.examine(folder / "archive", Config(), now_ms=NOW_MS), folder)


def train_model(folder: Path, algorithm: str, _: int) -> None:
    """On everything. What `publish` gets is a version in a folder of its own."""
    data = dataset.read(folder / gate.DATASET)
    rows, recipe = data.rows(), msgspec.to_builtins(RECIPES[algorithm])
    model = evaluate.fit(recipe, rows, len(data.movies))
    metadata = store.Metadata(
        model_id=train.model_id(recipe),
        model_version="v1",
        training_method=recipe,
        data_version=train.described(data),
        evaluation={},
        dvc_ref=None,
        code_version=train.canarec_version(),
        created_at="2026-11-23T00:00:00Z",
        files={},
    )
    store.write(folder / algorithm, model, data.movies, popular.counts(rows, len(data.movies)), metadata)


def evaluate_recipe(folder: Path, algorithm: str, _: int) -> None:
    evaluate.evaluate(dataset.read(folder / gate.DATASET), msgspec.to_builtins(RECIPES[algorithm]))


def publish_model(folder: Path, algorithm: str, _: int) -> None:
    model = store.read(folder / algorithm, "v1")
    store.write(folder / "published", model.recommender, model.movie_ids, model.popularity, _renamed(model.metadata))
    store.read(folder / "published", model.metadata.model_id)


def goals(rows: Sequence[dict[str, Any]]) -> list[Goal]:
    wanted = []
    for row in rows:
        if row["interactions"] == 1_000_000 and row["algorithm"] == "als" and all(step in row for step in STEPS):
            seconds = sum(row[step]["seconds"] for step in STEPS)
            peak = max(row[step]["peak_mb"] for step in STEPS)
            wanted += [
                Goal(name="archive to published, a million, ALS", found=seconds, most=MOST_S, unit=" s"),
                Goal(name="memory at most, a million, ALS", found=peak, most=MOST_MB, unit=" MB"),
            ]
        if row["interactions"] == 10_000_000 and "dataset" in row:
            peak = row["dataset"]["peak_mb"]
            wanted.append(Goal(name="memory of the data set, ten million", found=peak, most=MOST_MB, unit=" MB"))
    return wanted


def table(rows: Sequence[dict[str, Any]]) -> str:
    steps = [step for step in STEPS if any(step in row for row in rows)]
    head = (
        "interactions",
        "algorithm",
        *(f"{step} {unit}" for step in steps for unit in ("s", "MB")),
        "together s",
        "CPU s",
    )
    return report.table(
        head,
        [
            [
                f"{row['interactions']:,}",
                row["algorithm"],
                *(report.number(row[step][name]) for step in steps for name in ("seconds", "peak_mb")),
                *(report.number(sum(row[step][name] for step in steps)) for name in ("seconds", "cpu_seconds")),
            ]
            for row in rows
        ],
    )


def _process(step: str, folder: Path, algorithm: str, n: int) -> dict[str, float]:
    asked = ["--step", step, "--folder", str(folder), "--algorithms", algorithm, "--interactions", str(n)]
    told = subprocess.run([sys.executable, "-m", __spec__.name, *asked], stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(told.stdout.splitlines()[-1])
    return found


def _write(folder: Path, topic: str, partition: int, first: int, **given: pa.Array) -> None:
    """One file, offsets from `first` on; columns that are not given are null."""
    n = len(given["deleted"] if "deleted" in given else given["user_id"])
    given |= {
        "partition": pa.repeat(pa.scalar(partition, pa.int32()), n),
        "offset": pa.array(np.arange(first, first + n)),
        "logged_at": pa.repeat(pa.scalar(NOW_MS, columns.TIME), n),
    }
    schema = columns.layout(topic).schema
    arrays = [given.get(field.name, pa.nulls(n, field.type)) for field in schema]
    with Writing(folder / "archive" / topic / str(partition), topic, partition, first) as file:
        file.add(pa.record_batch(arrays, schema=schema), {})
        file.finish(first + n - 1, first + n)


def _renamed(metadata: store.Metadata) -> store.Metadata:
    return replace(metadata, model_version=metadata.model_id)


def _peak_mb() -> float:
    """Of this program. (`getrusage` also knows what the process was before it became this program.)"""
    status = Path("/proc/self/status").read_text()  # Linux
    return int(status.partition("VmHWM:")[2].split()[0]) / 1_000


_STEPS: dict[str, Callable[[Path, str, int], None]] = {
    "archive": write_archive,
    "dataset": make_dataset,
    "train": train_model,
    "evaluate": evaluate_recipe,
    "publish": publish_model,
}

if __name__ == "__main__":
    main()
