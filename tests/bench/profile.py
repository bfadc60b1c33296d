"""Where a worker's time goes under a backlog, or at a steady rate: CPU time of each thread, and which of our functions holds the interpreter, by py-spy.

    python -m tests.bench.profile [--seconds 20] [--rate 200]        about 2 minutes

The stacks are kept in artifacts/bench/, to be opened by speedscope or any flame graph. What runs without the interpreter (matrix
products, librdkafka) shows in the threads only. Linux; may need root, since py-spy looks into a process that is not its child.
"""

import argparse
import re
import statistics
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from tests.bench import machine, peers, report, workload
from tests.bench.installation import installation, worker_argument

ROOTS = ("streams/", "models/")
SHOWN, HERTZ, BURST = 25, 250, 20_000
NEGLIGIBLE = 0.002  # of a core


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rate", type=float, help="requests/s, instead of a backlog")
    worker_argument(parser)
    asked = parser.parse_args()
    if (spy := peers.program("py-spy", what="a profile")) is None:
        raise SystemExit(1)
    quiet = machine.look_whether_quiet()
    report.OUT.mkdir(parents=True, exist_ok=True)
    stacks = report.OUT / f"{time.strftime('%Y-%m-%dT%H%M%S')}-profile.txt"
    with installation(asked.worker) as canarec:
        drawn = workload.interactions()
        canarec.train(drawn)
        canarec.publish(drawn)
        worker = canarec.start_worker()
        worker.wait_until_settled()
        load = canarec.load()
        load.warm_up()
        pid = worker.answering().pid
        command = (
            f"{spy} record --pid {pid} --duration {asked.seconds} --rate {HERTZ} --gil --threads --format raw --output"
        )
        names, before, begun = _kernel_names(pid), _cpu_of_threads(pid), time.perf_counter()
        spying = subprocess.Popen([*command.split(), str(stacks)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        rates = []
        stream = load.stream(asked.rate) if asked.rate else None
        while spying.poll() is None:
            if stream is None:
                rates.append(load.burst(BURST)["per_s"])
            time.sleep(0.05)
        after, seconds = _cpu_of_threads(pid), time.perf_counter() - begun
        if stream is not None:
            stream.end()
            rates.append(asked.rate)
        names |= _kernel_names(pid)
    if spying.returncode:
        raise SystemExit(f"py-spy: {spying.stderr.read().decode().strip() if spying.stderr else spying.returncode}")
    busy = threads(before, after, names | _python_names(stacks))
    how = f"At {asked.rate:g} requests/s" if asked.rate else f"Under bursts of {BURST:,}"
    answers = round(asked.rate * seconds) if asked.rate else BURST * len(rates)
    tables = {
        f"{how}, {statistics.median(rates):,.0f} answers/s while it was looked at": shares(busy, seconds, answers),
        "Functions, with all that they call": functions(stacks, asked.seconds * HERTZ),
    }
    report.publish("profile", tables, [], quiet=quiet, asked=vars(asked), rates=rates, stacks=str(stacks))


def threads(before: Mapping[int, float], after: Mapping[int, float], names: Mapping[int, str]) -> Counter[str]:
    """CPU seconds of threads; those of one name together."""
    busy = Counter[str]()
    for thread, cpu in after.items():
        busy[names.get(thread, "others")] += cpu - before.get(thread, 0.0)
    return busy


def shares(busy: Counter[str], seconds: float, answers: int) -> str:
    rows: list[tuple[str, float]] = [
        ("all threads", busy.total()),
        *((name, cpu) for name, cpu in busy.most_common() if cpu / seconds > NEGLIGIBLE),
    ]
    return report.table(
        ("CPU time", "% of a core", "µs an answer"),
        [(name, f"{100 * cpu / seconds:.1f}", report.number(1e6 * cpu / answers)) for name, cpu in rows],
    )


def functions(stacks: Path, looked: int) -> str:
    """Our functions, with all that they call, by how often they held the interpreter when it was looked at."""
    found, held = Counter[str](), 0
    for frames, count in _stacks(stacks):
        held += count
        for function in {name for frame in frames if (name := _ours(frame)) is not None}:
            found[function] += count
    counts = [("all", held), *found.most_common(SHOWN)]
    return report.table(
        ("holds the interpreter", "% of the time"), [(name, f"{100 * count / looked:.1f}") for name, count in counts]
    )


def _cpu_of_threads(pid: int) -> dict[int, float]:
    return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process(pid).threads()}


def _kernel_names(pid: int) -> dict[int, str]:
    """Of librdkafka's threads; Python gives its own none that the kernel knows."""
    names = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        name = (task / "comm").read_text().strip()
        names[int(task.name)] = f"librdkafka, {name}" if name.startswith("rdk:") else "others"
    return names


def _python_names(stacks: Path) -> dict[int, str]:
    """Of the threads that were seen holding the interpreter: "thread (123): score_0"."""
    found = (re.fullmatch(r"thread \((\d+)\): (.*)", frames[0]) for frames, _ in _stacks(stacks))
    return {int(match[1]): match[2] for match in found if match is not None}


def _stacks(path: Path) -> Iterator[tuple[list[str], int]]:
    """Frames from the outermost on, and how often they were seen."""
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        yield stack.split(";"), int(count)


def _ours(frame: str) -> str | None:
    """`function (path/file.py:12)` as `path/file.py function`; None for others' code."""
    function, _, place = frame.rpartition(" (")
    for root in ROOTS:
        if root in place:
            return f"{root}{place.partition(root)[2].partition(':')[0]} {function}"
    return None


if __name__ == "__main__":
    main()
