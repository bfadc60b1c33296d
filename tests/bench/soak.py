"""Bounded: two million requests through one worker, as fast as it answers. Does its memory grow?

    python -m tests.bench.soak                                       about 5 minutes on 2 cores, 8 GB of disk
    python -m tests.bench.soak --requests 20000 --every 2000 --settled 8000       about 1

The memory is that of the process that answers, not of its supervisor. Resident memory after the first 200,000 requests is what later
samples are held against.
"""

import argparse
import time
from typing import Any

from tests.bench import machine, report, workload
from tests.bench.installation import Installation, Worker, installation, worker_argument
from tests.bench.load import Answers, Asking
from tests.bench.report import Goal

REQUESTS, EVERY, SETTLED, BACKLOG = 2_000_000, 100_000, 200_000, 10_000
GROWTH_PERCENT = 10.0
STALLED_S = 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--every", type=int, default=EVERY, help=f"requests between two samples (default: {EVERY})")
    parser.add_argument(
        "--settled", type=int, default=SETTLED, help=f"requests before memory counts (default: {SETTLED})"
    )
    parser.add_argument(
        "--backlog", type=int, default=BACKLOG, help=f"unanswered at a time, at most (default: {BACKLOG})"
    )
    worker_argument(parser)
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    with installation(asked.worker) as canarec:
        drawn = workload.interactions()
        canarec.train(drawn)
        canarec.publish(drawn)
        worker = canarec.start_worker()
        worker.wait_until_settled()
        watch = machine.Watch()
        samples, answers = soak(canarec, worker, asked.requests, every=asked.every, backlog=asked.backlog)
        meanwhile = watch.figures()
    found = [
        growth(samples, asked.settled),
        Goal(name="requests without an answer", found=asked.requests - len(answers.arrived), most=0),
        Goal(name="answered twice", found=answers.twice, most=0),
        Goal(name="answers that are no fallback", found=answers.statuses["ok"] / asked.requests, least=1.0),
    ]
    tables = {f"{asked.requests:,} requests, at most {asked.backlog:,} unanswered at a time": table(samples)}
    report.publish("soak", tables, found, quiet=quiet, asked=vars(asked), samples=samples, meanwhile=meanwhile)


def soak(
    canarec: Installation, worker: Worker, requests: int, *, every: int, backlog: int
) -> tuple[list[dict[str, Any]], Answers]:
    """The samples, the first one before any request."""
    answers = Answers(canarec.brokers, "recommendations")
    answers.start()
    asking = Asking(canarec.brokers, "recommendation-requests", workload.USERS, linger_ms=5, seed=0)
    while asking.first not in answers.arrived:
        time.sleep(0.1)
    answers.arrived.clear()
    answers.statuses.clear()
    samples = [{"answered": 0, "per_s": None, **worker.memory_mb()}]
    asked, last, last_at = 0, 0, time.perf_counter()
    moved, moved_at = 0, last_at
    while last < requests:
        if asked < requests and asked - len(answers.arrived) < backlog:
            asking.ask()
            asked += 1
        else:
            asking.producer.poll(0.002)
        answered = len(answers.arrived)
        if answered >= min(last + every, requests):
            now = time.perf_counter()
            samples.append({"answered": answered, "per_s": (answered - last) / (now - last_at), **worker.memory_mb()})
            print(
                f"{answered:,} answered, {samples[-1]['per_s']:,.0f}/s, {samples[-1]['resident']:,.0f} MB", flush=True
            )
            last, last_at = answered, now
        if answered > moved:
            moved, moved_at = answered, time.perf_counter()
        elif time.perf_counter() - moved_at > STALLED_S:
            print(f"no answer for {STALLED_S} s: {asked - answered:,} of {asked:,} requests are unanswered", flush=True)
            break
    time.sleep(1)  # an answer that comes twice would come now
    answers.end()
    return samples, answers


def growth(samples: list[dict[str, Any]], settled: int) -> Goal:
    """The largest sample after the first `settled` requests, against the one there."""
    later = [sample["resident"] for sample in samples if sample["answered"] >= settled]
    grown = [100 * (resident / later[0] - 1) for resident in later[1:]]
    name = f"resident memory, growth after {settled:,} requests"
    return Goal(name=name, found=max(grown) if grown else None, most=GROWTH_PERCENT, unit=" %")


def table(samples: list[dict[str, Any]]) -> str:
    head = ("answered", "answers/s", "resident MB", "at most", "standing by MB")
    rows = [
        (
            f"{one['answered']:,}",
            report.number(one["per_s"]),
            *(f"{one[name]:,.0f}" for name in ("resident", "peak", "standing_by")),
        )
        for one in samples
    ]
    return report.table(head, rows)


if __name__ == "__main__":
    main()
