"""How cost grows: answers a second and memory of one worker, by users and by movies.

    python -m tests.bench.growth                                     about 7 minutes on 2 cores, 2 GB of disk
    python -m tests.bench.growth --users 1000 --movies 2000 --burst 4000      about 1

Each size has a broker, topics and a home of its own. Models are trained, on at most 42,991 of the users (all are folded in when they
ask); one more row has factors that were drawn at random, since the speed of the 20 best depends on how factors are spread.
"""

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.bench import machine, report, workload
from tests.bench.installation import installation, worker_argument

USERS = (1_000, 10_000, 100_000, 1_000_000)
MOVIES = (2_000, 20_000, 100_000)
EACH, EVENTS = 23, 5_000_000  # events: of a user; of all at most


class Size(NamedTuple):
    users: int
    movies: int
    trained: bool = True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, nargs="*", default=USERS, help=f"with {workload.MOVIES:,} movies")
    parser.add_argument("--movies", type=int, nargs="*", default=MOVIES, help=f"with {workload.USERS:,} users")
    parser.add_argument("--burst", type=int, default=20_000, help="requests that are timed (default: 20000)")
    parser.add_argument("--rounds", type=int, default=3, help="bursts, of which the median counts (default: 3)")
    parser.add_argument("--each", type=int, default=EACH, help=f"events of a user (default: {EACH})")
    parser.add_argument("--events", type=int, default=EVENTS, help=f"of all users at most (default: {EVENTS})")
    worker_argument(parser)
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    sizes = [Size(users, workload.MOVIES) for users in asked.users]
    sizes += [Size(workload.USERS, movies) for movies in asked.movies]
    if asked.movies:
        sizes.append(Size(workload.USERS, workload.MOVIES, trained=False))
    found = []
    for size in sizes:
        each = max(1, min(asked.each, asked.events // size.users))
        found.append(measured(size, each=each, burst=asked.burst, rounds=asked.rounds, worker=asked.worker))
        rate, memory = found[-1]["burst_per_s"], found[-1]["memory_mb"]["resident"]
        print(f"{size.users:,} users, {size.movies:,} movies: {rate:,.0f} answers/s, {memory:,.0f} MB", flush=True)
    report.publish("growth", {"One worker": table(found)}, [], quiet=quiet, asked=vars(asked), sizes=found)


def measured(size: Size, *, each: int, burst: int, rounds: int, worker: Sequence[str]) -> dict[str, Any]:
    """One size, from nothing."""
    drawn = workload.histories(size.users, size.movies, each)
    with installation(worker) as canarec:
        if size.trained:
            canarec.train(drawn[: workload.USERS])
        else:
            canarec.draw_factors(size.movies)
        events = canarec.publish(drawn)
        one = canarec.start_worker()
        started = one.wait_until_it_answers()
        one.wait_until_settled()
        load = canarec.load(size.users)
        load.warm_up()
        watch = machine.Watch()
        rates = sorted(load.burst(burst)["per_s"] for _ in range(rounds))
        return {
            **size._asdict(),
            "events": events,
            "each": each,
            "burst_per_s": rates[len(rates) // 2],
            "memory_mb": one.memory_mb(),
            "start_s": started,
            "statuses": dict(load.statuses),
            "machine": watch.figures(),
        }


def table(found: Sequence[dict[str, Any]]) -> str:
    head = ("users", "movies", "events", "a user", "factors", "answers/s", "resident MB", "at most", "start s")
    rows = [
        (
            f"{one['users']:,}",
            f"{one['movies']:,}",
            f"{one['events']:,}",
            f"{one['each']}",
            "trained" if one["trained"] else "random",
            f"{one['burst_per_s']:,.0f}",
            f"{one['memory_mb']['resident']:,.0f}",
            f"{one['memory_mb']['peak']:,.0f}",
            f"{one['start_s']:.1f}",
        )
        for one in found
    ]
    return report.table(head, rows)


if __name__ == "__main__":
    main()
