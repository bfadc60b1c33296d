"""The gateway: lists over HTTP at 300 requests/s, beside the same through the topics; and with live pages open.

    python -m tests.bench.api                                     about 5 minutes on 2 cores
    python -m tests.bench.api --rounds 1 --seconds 5 --warm 5     half of one

An open loop: a request is sent when it is due, on a connection that is free or a new one, and its latency counts from then. Client, gateway,
worker and broker share the machine.
"""

import argparse
import asyncio
import re
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from streams import processes
from streams.worker import child_command
from tests.bench import machine, report, workload
from tests.bench.installation import Installation, installation, worker_argument
from tests.bench.report import Goal

MOVIES, USERS, EACH, RATE, PAGES = 20_000, 5_000, 40, 300, 3
P99_GOAL_MS, START_S = 150.0, 60


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=RATE, help=f"requests a second (default: {RATE})")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=15, help="of each round (default: 15)")
    parser.add_argument(
        "--warm", type=float, default=90, help="seconds, not counted, in which the broker's compilers are at work"
    )
    worker_argument(parser)
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    with installation(asked.worker) as canarec:
        histories = workload.histories(USERS, MOVIES, EACH)
        canarec.train(histories)
        canarec.publish(histories)
        canarec.start_worker().wait_until_settled()
        canarec.load(USERS).warm_up()
        rounds: dict[str, list[dict[str, Any]]] = {"topics": [], "HTTP": [], f"HTTP, {PAGES} pages": []}
        with gateway(canarec) as port:
            asyncio.run(http(port, asked.rate / 3, 3, 0))
            canarec.load(USERS).steady(asked.rate, asked.warm)
            for _ in range(asked.rounds):
                rounds["topics"].append(canarec.load(USERS).steady(asked.rate, asked.seconds))
                rounds["HTTP"].append(asyncio.run(http(port, asked.rate, asked.seconds, 0)))
                rounds[f"HTTP, {PAGES} pages"].append(asyncio.run(http(port, asked.rate, asked.seconds, PAGES)))
    p99 = [one["p99_ms"] for one in rounds["HTTP"]]
    found = [
        Goal(
            name=f"p99 over HTTP at {asked.rate:g}/s",
            found=statistics.median(p99),
            most=P99_GOAL_MS,
            unit=" ms",
            rounds=p99,
        ),
        Goal(
            name="answered", found=min(one["answered"] for name in list(rounds)[1:] for one in rounds[name]), least=1.0
        ),
    ]
    title = f"Medians of {asked.rounds}, {asked.seconds:g} s each at {asked.rate:g}/s"
    report.publish("api", {title: table(rounds)}, found, quiet=quiet, asked=vars(asked), rounds=rounds)


@contextmanager
def gateway(canarec: Installation) -> Iterator[int]:
    """`canarec api` as an operator starts it; the port that it answers at."""
    log = canarec.home.path / "api.log"
    with log.open("wb") as output:
        process = processes.start(
            child_command("api", canarec.home, canarec.brokers, "--port", "0"), stdout=output, stderr=output
        )
    try:
        until = time.monotonic() + START_S
        while "api answers" not in log.read_text():
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"the gateway does not answer: {log.read_text()}")
            time.sleep(0.05)
        found = re.search(r":(\d+)/; Ctrl-C", log.read_text())
        assert found is not None
        yield int(found[1])
    finally:
        processes.stop(process, 10)


async def http(port: int, rate: float, seconds: float, pages: int) -> dict[str, Any]:
    """Latency of an open loop, in ms, with so many pages open."""
    url, rng = f"http://127.0.0.1:{port}", np.random.default_rng(7)
    users, times, codes = rng.integers(0, USERS, int(rate * seconds)).tolist(), [], Counter[str]()

    async def ask(session: ClientSession, user: int, due: float) -> None:
        try:
            async with session.get(f"{url}/recommend/{user}") as response:
                await response.read()
                codes[str(response.status)] += 1
        except (ClientError, TimeoutError) as error:
            codes[type(error).__name__] += 1
            return
        if response.status == 200:
            times.append(1e3 * (time.perf_counter() - due))

    async def look(session: ClientSession) -> None:
        async with session.get(f"{url}/events", timeout=ClientTimeout()) as response:
            async for _ in response.content:
                pass

    async with ClientSession(connector=TCPConnector(limit=0), timeout=ClientTimeout(20)) as session:
        looking = [asyncio.create_task(look(session)) for _ in range(pages)]
        begun, asking = time.perf_counter(), []
        for number, user in enumerate(users):
            due = begun + number / rate
            if (early := due - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            asking.append(asyncio.create_task(ask(session, user, due)))
        await asyncio.gather(*asking)
        for each in looking:
            each.cancel()
        await asyncio.gather(*looking, return_exceptions=True)
    p50, p99 = np.percentile(times, [50, 99]) if times else (np.nan, np.nan)
    return {
        "asked": len(users),
        "answered": len(times) / len(users),
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "max_ms": max(times, default=float("nan")),
        "codes": dict(codes),
    }


def table(rounds: dict[str, list[dict[str, Any]]]) -> str:
    def row(name: str, found: list[dict[str, Any]]) -> list[str]:
        cells = [statistics.median(one[key] for one in found) for key in ("p50_ms", "p99_ms", "max_ms")]
        return [name, *map(report.number, cells), f"{100 * min(one['answered'] for one in found):.2f} %"]

    heads = ("through", "p50, ms", "p99, ms", "most, ms", "answered")
    return report.table(heads, (row(name, found) for name, found in rounds.items()))


if __name__ == "__main__":
    main()
