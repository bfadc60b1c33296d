"""canarec and its peers on one broker in one run, in turn, three times; medians, ratios, goals. Then scoring alone.

    python -m tests.bench.run                                   about 10 minutes on 2 cores
    python -m tests.bench.run --burst 2000 --rounds 1 --seconds 3 --warm 3 --asked 640   about 2

Everything of canarec is on: histories from the topics, the barrier, split, fold-in, records, transactions. Its peers score the same
requests and do none of that. The whole run is kept as JSON in artifacts/bench/.
"""

import argparse
import os
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from confluent_kafka.admin import NewTopic

from streams import processes
from tests.bench import machine, peers, report, scoring, workload
from tests.bench.installation import Installation, installation, worker_argument
from tests.bench.load import Load
from tests.bench.report import Goal

RATES = (200, 1000)
PEERS = ("bare-loop", "quix", "naive-faust")
BURST_GOALS = {"bare-loop": 1.5, "quix": 2.0, "naive-faust": 8.0}
LATER_MS = {"p50_ms": 15.0, "p99_ms": 40.0}  # than the bare loop, at most
TOO_FAST_FOR = {"naive-faust": 200}  # beyond this rate it cannot keep up: its latency would be the length of the run

Figures = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--burst", type=int, default=20_000, help="requests of the backlog (default: 20000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10, help="of each steady rate (default: 10)")
    parser.add_argument(
        "--warm",
        type=float,
        default=45,
        help="seconds at each rate, not counted, in which the broker's compilers are at work",
    )
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="default: all of them")
    parser.add_argument(
        "--asked", type=int, default=scoring.ASKED, help="users that scoring alone is timed with; 0: leave it out"
    )
    worker_argument(parser)
    asked = parser.parse_args()
    quiet = machine.look_whether_quiet()
    with installation(asked.worker) as canarec:
        rounds = contest(canarec, asked)
    medians = {name: _medians(found) for name, found in rounds.items()}
    goals = goals_of(rounds, medians)
    tables = {
        f"Medians of {asked.rounds}, burst of {asked.burst:,}, {asked.seconds:g} s at each rate": report.table(
            ("", *medians), _rows(medians)
        )
    }
    alone: dict[str, Any] | None = None
    if asked.asked:
        alone = scoring.measured(asked.asked, asked.rounds)
        tables |= {scoring.TITLE: scoring.table(alone)}
        goals += scoring.goals_of(alone)
    report.publish("run", tables, goals, quiet=quiet, asked=vars(asked), rounds=rounds, medians=medians, scoring=alone)


def contest(canarec: Installation, asked: argparse.Namespace) -> dict[str, list[Figures]]:
    """Each contestant's figures in each round. Who begins changes from round to round."""
    folder = canarec.home.path.parent
    os.environ |= {"BENCH_BROKER": canarec.brokers, "BENCH_FOLDER": str(folder)}
    workload.FOLDER = folder
    drawn = workload.interactions()
    workload.peers_model()
    canarec.train(drawn)
    canarec.publish(drawn)
    contestants = _contestants(canarec, asked.peers)
    found: dict[str, list[Figures]] = {name: [] for name in contestants}
    _canarec(canarec, asked.burst, asked.warm)
    for number in range(asked.rounds):
        names = list(contestants)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            figures = contestants[name](asked.burst, asked.seconds)
            found[name].append(figures)
            print(f"round {number + 1}, {name}: {_line(figures)}", flush=True)
    return found


def _contestants(canarec: Installation, wanted: list[str]) -> dict[str, Callable[[int, float], Figures]]:
    pythons = dict.fromkeys(wanted, sys.executable)
    if "quix" in pythons:
        if (python := peers.program("python", what="Quix Streams")) is None:
            del pythons["quix"]
        else:
            pythons["quix"] = python
    admin = canarec.cluster.admin()  # kept: its futures end with it
    topics = [NewTopic(f"{name}-{kind}", 4) for name in pythons for kind in ("requests", "answers")]
    for future in admin.create_topics(topics).values() if topics else ():
        future.result(30)

    def one(name: str, python: str) -> Callable[[int, float], Figures]:
        return lambda burst, seconds: _peer(canarec, name, python, burst, seconds)

    return {
        "canarec": lambda burst, seconds: _canarec(canarec, burst, seconds),
        **{name: one(name, python) for name, python in pythons.items()},
    }


def _canarec(canarec: Installation, burst: int, seconds: float) -> Figures:
    worker = canarec.start_worker()
    try:
        worker.wait_until_settled()
        return _measured("canarec", canarec, canarec.load(), worker.process, burst, seconds)
    finally:
        worker.stop()


def _peer(canarec: Installation, name: str, python: str, burst: int, seconds: float) -> Figures:
    with (canarec.home.path / f"{name}.log").open("ab") as log:
        process = processes.start([python, "-m", f"tests.bench.{name.replace('-', '_')}"], stdout=log, stderr=log)
    try:
        load = Load(canarec.brokers, f"{name}-requests", f"{name}-answers")
        return _measured(name, canarec, load, process, burst, seconds)
    except RuntimeError as error:
        raise RuntimeError(f"{error}\n{Path(log.name).read_text(errors='replace')[-2_000:]}") from error
    finally:
        processes.stop(process, 10)


def _measured(
    name: str, canarec: Installation, load: Load, process: processes.Process, burst: int, seconds: float
) -> Figures:
    assert canarec.broker.pid is not None
    pids = {"cpu": process.pid, "broker": canarec.broker.pid}
    load.warm_up()
    watch = machine.Watch()
    before = {whose: machine.cpu_seconds(pid) for whose, pid in pids.items()}
    figures: Figures = {"burst": load.burst(burst)}
    for whose, pid in pids.items():
        figures["burst"][f"{whose}_us"] = 1e6 * (machine.cpu_seconds(pid) - before[whose]) / burst
    for rate in RATES:
        if rate <= TOO_FAST_FOR.get(name, rate):
            figures[f"steady_{rate}"] = load.steady(rate, seconds)
    return {**figures, "statuses": dict(load.statuses), "machine": watch.figures()}


def goals_of(rounds: dict[str, list[Figures]], medians: dict[str, dict[str, float]]) -> list[Goal]:
    """The ratios are of medians; `in the rounds` compares neighbours."""
    goals = []
    for peer, least in BURST_GOALS.items():
        key, name = "burst.per_s", f"burst, canarec ÷ {peer}"
        if peer not in medians:
            goals.append(Goal(name=name, found=None, least=least))
            continue
        each = [
            ours["burst"]["per_s"] / theirs["burst"]["per_s"]
            for ours, theirs in zip(rounds["canarec"], rounds[peer], strict=True)
        ]
        goals.append(Goal(name=name, found=medians["canarec"][key] / medians[peer][key], least=least, rounds=each))
    for rate in RATES:
        for quantile, most in LATER_MS.items():
            key, name = f"steady_{rate}.{quantile}", f"{rate:,}/s {quantile[:3]}, canarec − bare loop"
            if "bare-loop" not in medians:
                goals.append(Goal(name=name, found=None, most=most, unit=" ms"))
                continue
            each = [
                ours[f"steady_{rate}"][quantile] - theirs[f"steady_{rate}"][quantile]
                for ours, theirs in zip(rounds["canarec"], rounds["bare-loop"], strict=True)
            ]
            difference = medians["canarec"][key] - medians["bare-loop"][key]
            goals.append(Goal(name=name, found=difference, most=most, unit=" ms", rounds=each))
    statuses = [figures["statuses"] for figures in rounds["canarec"]]
    personal = [found.get("ok", 0) / sum(found.values()) for found in statuses]
    goals.append(Goal(name="canarec's answers that are no fallback", found=min(personal), least=1.0, rounds=personal))
    return goals


def _medians(rounds: list[Figures]) -> dict[str, float]:
    """Of each figure over the rounds; nested ones as `steady_200.p50_ms`."""
    flat: dict[str, list[float]] = {}
    for figures in rounds:
        for key, found in figures.items():
            for name, one in found.items() if key.startswith(("burst", "steady", "machine")) else ():
                if one is not None:
                    flat.setdefault(f"{key}.{name}", []).append(one)
    return {key: statistics.median(values) for key, values in flat.items()}


def _rows(medians: dict[str, dict[str, float]]) -> list[list[str]]:
    rows = [
        ("burst, answers/s", "burst.per_s"),
        ("from the first request on, answers/s", "burst.whole_per_s"),
        ("CPU of an answer, µs", "burst.cpu_us"),
        ("the broker's CPU of an answer, µs", "burst.broker_us"),
    ]
    for rate in RATES:
        rows += [(f"{rate:,}/s, {name}", f"steady_{rate}.{name}_ms") for name in ("p50", "p99", "max")]
    rows.append(("cores that the hypervisor took meanwhile", "machine.stolen_cores"))
    return [
        [
            f"{title}{' ms' if key.endswith('_ms') else ''}",
            *(report.number(found.get(key)) for found in medians.values()),
        ]
        for title, key in rows
    ]


def _line(figures: Figures) -> str:
    parts = [f"{figures['burst']['per_s']:,.0f} answers/s"]
    for rate in RATES:
        if (found := figures.get(f"steady_{rate}")) is not None:
            parts.append(f"at {rate:,}/s p50 {report.number(found['p50_ms'])} p99 {report.number(found['p99_ms'])} ms")
    if others := figures["machine"]["others_cores"]:
        parts.append(f"others used {others:.2f} cores")
    if stolen := figures["machine"]["stolen_cores"]:
        parts.append(f"the hypervisor took {stolen:.2f} cores")
    if set(figures["statuses"]) != {"ok"}:
        parts.append(f"answers: {figures['statuses']}")
    return ", ".join(parts)


if __name__ == "__main__":
    main()
