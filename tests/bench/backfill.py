"""A worker that was away for a million events: how fast it catches up before it joins, and what its neighbour's answers take meanwhile.

    python -m tests.bench.backfill                                   about 1½ minutes on 2 cores
    python -m tests.bench.backfill --events 100000 --seconds 5       about 1

Two workers of one home on one broker. `away` reads the histories, keeps a snapshot and is stopped; a million events are published;
`stays` reads and judges them. Then requests come, and `away` is started: events/s until it has read all, and until it answers.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from streams import snapshots
from tests.bench import machine, report, workload
from tests.bench.installation import Installation, Worker, installation, worker_argument
from tests.bench.report import Goal

EVENTS, RATE, SECONDS = 1_000_000, 200.0, 10.0
LEAST_PER_S = 100_000
BEFORE, MEANWHILE, AFTER = "before its start", "while it catches up", "after it has joined"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--events", type=int, default=EVENTS, help=f"that it was away for, at least (default: {EVENTS})"
    )
    parser.add_argument("--rate", type=float, default=RATE, help=f"requests a second (default: {RATE:g})")
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, help=f"before its start, and after (default: {SECONDS:g})"
    )
    worker_argument(parser)
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    with installation(asked.worker) as canarec:
        found = measured(canarec, asked.events, rate=asked.rate, seconds=asked.seconds)
    goals = [
        Goal(name="events/s while it catches up", found=found["events_per_s"], least=LEAST_PER_S),
        Goal(name="share of requests that were answered", found=found["answered"], least=1.0),
        Goal(name="answered twice", found=found["twice"], most=0),
    ]
    told = (
        f"Away for {found['unseen']:,} events, with {found['known']:,} in its snapshot; {found['read']:,} read in "
        f"{found['reading_s']:.1f} s; it answers {found['start_s']:.1f} s after its process was started"
    )
    report.publish("backfill", {told: table(found["latency"])}, goals, quiet=quiet, asked=vars(asked), found=found)


def measured(canarec: Installation, events: int, *, rate: float, seconds: float) -> dict[str, Any]:
    drawn = workload.interactions()
    canarec.train(drawn)
    known = canarec.publish(drawn)
    stays, away = canarec.start_worker("--name", "stays"), canarec.start_worker("--name", "away")
    stays.wait_until_settled()
    away.wait_until_settled()
    _wait_for(canarec.home.snapshots / "away" / snapshots.MANIFEST, 120)
    away.stop()
    unseen = canarec.publish(_news(events), at=int(time.time()), ratings=True)
    stays.wait_until_settled()
    load = canarec.load()
    load.warm_up()
    watch, begun = machine.Watch(), time.perf_counter()
    stream = load.stream(rate)
    time.sleep(seconds)
    back = canarec.start_worker("--name", "away")
    start_s = back.wait_until_it_answers()
    joined = back.started + start_s
    time.sleep(seconds)
    ended = time.perf_counter()
    stream.end()
    read = _logged(back, "histories read")
    whole = stream.latency()
    return {
        "known": known,
        "unseen": unseen,
        "read": read["events"],
        "reading_s": read["seconds"],
        "events_per_s": read["events"] / read["seconds"],
        "start_s": start_s,
        "answered": whole["answered"],
        "twice": stream.answers.twice,
        "statuses": dict(stream.answers.statuses),
        "machine": watch.figures(),
        "latency": {
            BEFORE: stream.latency(begun, back.started),
            MEANWHILE: stream.latency(back.started, joined),
            AFTER: stream.latency(joined, ended),
        },
    }


def _news(events: int) -> Any:
    """At least so many, about twenty a user."""
    users = max(1, min(workload.USERS, events // 20))
    return workload.histories(users, workload.MOVIES, -(-events // users) + 3, seed=1)


def _logged(worker: Worker, event: str) -> dict[str, Any]:
    """The first line of its log that tells of this event."""
    for line in worker.log.read_text(errors="replace").splitlines():
        if line.startswith("{") and (told := json.loads(line)).get("event") == event:
            return dict(told)
    raise RuntimeError(f"{worker.log} does not say '{event}'")


def _wait_for(path: Path, seconds: float) -> None:
    until = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > until:
            raise RuntimeError(f"{path.name} was not written within {seconds:g} s")
        time.sleep(0.1)


def table(latency: dict[str, dict[str, float | None]]) -> str:
    rows = [
        (when, *(report.number(found[name]) for name in ("asked", "p50_ms", "p99_ms", "max_ms")))
        for when, found in latency.items()
    ]
    return report.table(("requests", "asked", "p50 ms", "p99 ms", "longest ms"), rows)


if __name__ == "__main__":
    main()
