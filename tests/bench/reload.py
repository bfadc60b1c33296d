"""Hot loading: what requests feel of it. One version after the other is published, becomes warm and then the candidate, at 200 requests/s.

    python -m tests.bench.reload                                   about 3 minutes on 2 cores
    python -m tests.bench.reload --rounds 1 --seconds 6 --movies 5000       about 1

Rounds without any change and rounds with them take turns. The versions are written beforehand: publishing one is a rename, so that the
machine does nothing else for it than its workers do, the one that answers and the one that stands by.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np

from models.recommenders import store
from models.recommenders.als import Als
from streams.home import write_whole
from tests.bench import machine, report, workload
from tests.bench.installation import ALPHA, Installation, installation, worker_argument
from tests.bench.report import Goal

MOVIES, USERS, EACH, RATE = 60_000, 5_000, 40, 200
EVERY_S = 3.0  # a version
WARM_S, WARM_GOAL_S, P99_RATIO = 60.0, 10.0, 1.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--movies", type=int, default=MOVIES, help=f"of each version (default: {MOVIES})")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=15, help="of each round (default: 15)")
    worker_argument(parser)
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    with installation(asked.worker) as canarec:
        versions = stored(canarec, asked.movies, 2 + int(asked.rounds * (asked.seconds / EVERY_S + 1)))
        split(canarec, next(versions), None)
        canarec.publish(workload.histories(USERS, asked.movies, EACH))
        canarec.start_worker().wait_until_settled()
        canarec.load(USERS).warm_up()
        still, changing, warm_s = [], [], []
        for _ in range(asked.rounds):
            still.append(canarec.load(USERS).steady(RATE, asked.seconds))
            found, seconds = changed(canarec, versions, asked.seconds)
            changing.append(found)
            warm_s += seconds
    ratios = [loud["p99_ms"] / calm["p99_ms"] for calm, loud in zip(still, changing, strict=True)]
    found = [
        Goal(name="p99 while versions load / without", found=statistics.median(ratios), most=P99_RATIO, rounds=ratios),
        Goal(name="published to warm", found=max(warm_s), most=WARM_GOAL_S, unit=" s", rounds=warm_s),
        Goal(name="answered", found=min(one["answered"] for one in changing), least=1.0),
    ]
    title = f"Medians of {asked.rounds}, {asked.seconds:g} s each at {RATE}/s, {len(warm_s)} versions of {asked.movies:,} movies"
    tables = {title: table(still, changing)}
    report.publish("reload", tables, found, quiet=quiet, asked=vars(asked), still=still, changing=changing)


def stored(canarec: Installation, movies: int, versions: int) -> Iterator[str]:
    """Writes so many versions aside; each becomes a published one when it is asked for."""
    aside = canarec.home.path / "aside"
    rank = np.arange(1, movies + 1, dtype=np.float64)
    names = [f"v{number}" for number, _ in zip(count(1), range(versions), strict=False)]
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        # a movie's norm falls with its rank, as in models of implicit feedback
        factors = (rng.normal(0, 0.1, (movies, workload.FACTORS)) / rank[:, None] ** 0.3).astype(np.float32)
        gramian = factors.T.astype(np.float64) @ factors + np.eye(workload.FACTORS)
        recommender = Als(factors, gramian, ALPHA, np.ones(movies, np.float32))
        described = store.Metadata(
            model_id=f"als-{workload.FACTORS}",
            model_version=name,
            training_method={"algorithm": "als"},
            data_version={"md5": "bench"},
            evaluation={},
            dvc_ref=None,
            code_version="bench",
            created_at="1970-01-01T00:00:00Z",
            files={},
        )
        popularity = (1e6 / rank).astype(np.int64)
        store.write(aside, recommender, tuple(map(str, range(movies))), popularity, described)
    canarec.home.models.mkdir(parents=True, exist_ok=True)
    for name in names:
        (aside / name).rename(canarec.home.models / name)
        yield name


def changed(canarec: Installation, versions: Iterator[str], seconds: float) -> tuple[dict[str, Any], list[float]]:
    """Latency while versions come, and how long each took to be warm."""
    stream, begun, warm_s = canarec.load(USERS).stream(RATE), time.perf_counter(), []
    while time.perf_counter() < begun + seconds:
        published, version = time.perf_counter(), next(versions)
        while not is_warm(canarec, version):
            if time.perf_counter() > published + WARM_S:
                raise RuntimeError(f"{version} is not warm after {WARM_S:g} s")
            time.sleep(0.05)
        warm_s.append(time.perf_counter() - published)
        split(canarec, "v1", version)
        time.sleep(max(0.0, published + EVERY_S - time.perf_counter()))
    stream.end()
    return stream.latency(), warm_s


def is_warm(canarec: Installation, version: str) -> bool:
    """Every worker of the home says so."""
    told = [json.loads(path.read_bytes()) for path in canarec.home.workers.glob("*.json")]
    return bool(told) and all(version in one["models"] for one in told)


def split(canarec: Installation, stable: str, candidate: str | None) -> None:
    canary = {"stable": stable, "candidate": candidate, "percentage": 50}
    write_whole(canarec.home.config, json.dumps({"canary": canary}).encode())


def table(still: list[dict[str, Any]], changing: list[dict[str, Any]]) -> str:
    names = ("p50_ms", "p99_ms", "max_ms")
    rows = [
        (name.removesuffix("_ms"), *(report.number(statistics.median(one[name] for one in some)) for some in both))
        for name, both in ((name, (still, changing)) for name in names)
    ]
    return report.table(("ms", "nothing changes", "versions load"), rows)


if __name__ == "__main__":
    main()
