"""Where a worker's time goes under a backlog, by py-spy: which thread, and which function of ours, is seen working how often.

    python -m tests.bench.profile [--seconds 20] [--gil]             about 2 minutes

Only threads that work count (py-spy leaves out idle ones); `--gil`: only the one that holds the interpreter. The stacks are kept in
artifacts/bench/, to be opened by speedscope or any flame graph. May need root: py-spy looks into a process that is not its child.
"""

import argparse
import subprocess
import time
from collections import Counter
from pathlib import Path

from tests.bench import machine, peers, report, workload
from tests.bench.installation import installation, worker_argument

ROOTS = ("streams/", "models/")
SHOWN = 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--gil", action="store_true")
    worker_argument(parser)
    asked = parser.parse_args()
    if (spy := peers.program("py-spy")) is None:
        raise SystemExit(1)
    machine.look_whether_quiet()
    stacks = report.OUT / f"{time.strftime('%Y-%m-%dT%H%M%S')}-profile.txt"
    report.OUT.mkdir(parents=True, exist_ok=True)
    with installation(asked.worker) as canarec:
        drawn = workload.interactions()
        canarec.train(drawn)
        canarec.publish(drawn)
        worker = canarec.start_worker()
        worker.wait_until_settled()
        load = canarec.load()
        load.warm_up()
        command = [
            spy,
            "record",
            "--pid",
            str(worker.answering().pid),
            "--duration",
            str(asked.seconds),
            "--rate",
            "200",
        ]
        command += ["--threads", "--format", "raw", "--output", str(stacks), *(["--gil"] if asked.gil else [])]
        spying = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        rates = []
        while spying.poll() is None:
            rates.append(load.burst(20_000)["per_s"])
        if spying.returncode:
            raise SystemExit(f"py-spy: {(spying.stderr.read() if spying.stderr else '').strip()}")
    print(f"bursts while it was looked at: {', '.join(f'{rate:,.0f}' for rate in rates)} answers/s\n")
    print(shares(stacks))
    print(f"\nstacks in {stacks}")


def shares(path: Path) -> str:
    """Threads by how often they were seen working, and functions of ours, with all that they call."""
    threads, functions, total = Counter[str](), Counter[str](), 0
    for line in path.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        total += int(count)
        threads[frames[0]] += int(count)
        for function in {name for frame in frames if (name := _ours(frame)) is not None}:
            functions[function] += int(count)
    percent = 100 / max(total, 1)
    rows = [(f"thread {name}", f"{count * percent:.1f}") for name, count in threads.most_common(12)]
    rows += [(name, f"{count * percent:.1f}") for name, count in functions.most_common(SHOWN)]
    return report.table((f"of {total:,} samples", "%"), rows)


def _ours(frame: str) -> str | None:
    """`function (path/file.py:12)` as `path/file.py function`."""
    function, _, place = frame.rpartition(" (")
    for root in ROOTS:
        if root in place:
            return f"{root}{place.partition(root)[2].partition(':')[0]} {function}"
    return None


if __name__ == "__main__":
    main()
