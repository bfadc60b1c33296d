"""The histories without Kafka: events a second, bytes an interaction, memory, reads, snapshots.

python -m tests.bench.histories                                  about half a minute, 1 GB of memory
python -m tests.bench.histories 300000                           a few seconds
"""

import argparse
import gc
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from models import wire
from models.events import Rating, Watch
from models.history import Histories, Ids
from streams import snapshots
from tests.bench import machine, report

MOVIES = 20_000
BATCH = 500
LIMITS = wire.Limits()
NOW_MS = 1_700_000_000_000
LIVE = 300_000  # events that come one batch after the other behind the loading


def resident() -> str:
    pages = int(Path("/proc/self/statm").read_text().split()[1])  # Linux
    return f"{pages * resource.getpagesize() / 1e6:.0f} MB resident"


def values(n: int, users: int, rng: np.random.Generator) -> Iterator[list[tuple[bool, bytes]]]:
    """Batches of (is it a watch, JSON), users and movies evenly drawn: the worst case for merges and caches."""
    for _ in range(-(-n // BATCH)):
        drawn = zip(
            rng.integers(0, users, BATCH).tolist(),
            rng.integers(0, MOVIES, BATCH).tolist(),
            rng.integers(NOW_MS // 2, NOW_MS, BATCH).tolist(),
            strict=True,
        )
        yield [
            (True, b'{"user_id":"%d","movie_id":"movie+%d","minute":%d,"timestamp":%d}' % (user, movie, at % 120, at))
            if at & 1
            else (False, b'{"user_id":"%d","movie_id":"movie+%d","rating":4.5,"timestamp":%d}' % (user, movie, at))
            for user, movie, at in drawn
        ]


def fill(histories: Histories, n: int, users: int, rng: np.random.Generator) -> str:
    parsing = applying = worst = 0.0
    for batch in values(n, users, rng):
        begun = time.perf_counter()
        events: list[Watch | Rating] = [
            wire.watch(value, NOW_MS, LIMITS) if watched else wire.rating(value, NOW_MS, LIMITS)
            for watched, value in batch
        ]
        parsed = time.perf_counter()
        histories.apply(events)
        done = time.perf_counter()
        parsing, applying, worst = parsing + parsed - begun, applying + done - parsed, max(worst, done - parsed)
    return (
        f"{n / applying:,.0f} events/s applied, {n / (applying + parsing):,.0f} with parsing; "
        f"longest of {BATCH}: {worst * 1e3:.0f} ms"
    )


def reads(histories: Histories, users: int, rng: np.random.Generator, size: int) -> str:
    took = []
    for _ in range(500):
        asked = [str(user) for user in rng.integers(0, users, size).tolist()]
        begun = time.perf_counter()
        histories.batch(asked)
        took.append(time.perf_counter() - begun)
    return f"{size} users: p50 {np.quantile(took, 0.5) * 1e3:.2f} ms, p99 {np.quantile(took, 0.99) * 1e3:.2f} ms"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("interactions", type=int, nargs="?", default=10_000_000, help="default: 10000000")
    parser.add_argument("users", type=int, nargs="?", help="default: a hundredth of the interactions")
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    n, users = asked.interactions, asked.users or max(1, asked.interactions // 100)
    rows = []
    for what, found in measured(n, users, np.random.default_rng(2026)):
        rows.append((what, found))
        print(f"{what}: {found}", flush=True)
    tables = {f"{n:,} events of {users:,} users and {MOVIES:,} movies, evenly drawn": report.table(("", ""), rows)}
    report.publish("histories", tables, [], quiet=quiet, asked=vars(asked))


def measured(n: int, users: int, rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """What was done, and what it took."""
    histories = Histories(Ids())
    yield "empty", resident()
    yield "loading", fill(histories, n, users, rng)
    histories.finish_loading()
    count = histories.n_interactions
    yield "loaded", f"{count:,} interactions, {histories.nbytes / count:.2f} bytes each, {resident()}"
    yield "reading", reads(histories, users, rng, 64)
    yield "live", f"{fill(histories, LIVE, users, rng)}; {resident()}"
    yield "reading with unmerged events", reads(histories, users, rng, 64)
    with tempfile.TemporaryDirectory() as name:
        begun = time.perf_counter()
        frozen = histories.freeze()
        held = time.perf_counter()
        snapshots.save(Path(name), frozen.columns(), {})
        saved = time.perf_counter()
        yield "saving", f"{held - begun:.3f} s under the lock, {saved - held:.2f} s beside it, {resident()}"
        del histories, frozen
        gc.collect()
        begun = time.perf_counter()
        snapshot = snapshots.load(Path(name))
        assert snapshot is not None
        again = Histories.from_arrays(snapshot.arrays, Ids())
        again.finish_loading()
        yield "starting", f"{time.perf_counter() - begun:.2f} s for {again.n_interactions:,} interactions"


if __name__ == "__main__":
    main()
