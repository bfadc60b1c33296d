"""The machine that figures come from: what it is, and whether anybody else uses it meanwhile."""

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

import confluent_kafka
import psutil

QUIET = 0.5  # cores that others may use before a run


class _Usage(NamedTuple):
    at: float
    machine: float  # CPU seconds of everybody, and what the hypervisor gave to other machines
    ours: float
    stolen: float  # what the hypervisor gave to other machines while somebody here wanted it: a pause that no process explains


class Watch:
    """How many cores everybody else keeps busy, from the making of it until it is asked."""

    def __init__(self) -> None:
        self._begun = _usage()
        self._load_before = os.getloadavg()[0]

    def others(self) -> float:
        begun, now = self._begun, _usage()
        return max(0.0, (now.machine - begun.machine - now.ours + begun.ours) / (now.at - begun.at))

    def stolen(self) -> float:
        """How many cores the hypervisor took away."""
        now = _usage()
        return (now.stolen - self._begun.stolen) / (now.at - self._begun.at)

    def figures(self) -> dict[str, float]:
        """For a contestant's JSON. The load average knows our own processes too."""
        return {
            "load_before": round(self._load_before, 2),
            "load_after": round(os.getloadavg()[0], 2),
            "others_cores": round(self.others(), 2),
            "stolen_cores": round(self.stolen(), 3),
        }


def cpu_seconds(pid: int) -> float:
    """Of a process and all below it, those that have ended included."""
    top, total = psutil.Process(pid), 0.0
    for process in (top, *top.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue  # its parent counts it from now on
        total += times.user + times.system + times.children_user + times.children_system
    return total


def others_now(seconds: float = 2.0) -> float:
    watch = Watch()
    time.sleep(seconds)
    return watch.others()


def look_whether_quiet() -> dict[str, float]:
    """What others do before a run; a warning where that is too much."""
    load, others = os.getloadavg()[0], others_now()
    if others > QUIET:
        print(
            f"warning: other processes keep {others:.1f} of {os.cpu_count()} cores busy (load average {load:.1f}): "
            "these figures show that the benchmark works, nothing else\n",
            flush=True,
        )
    return {"load": round(load, 2), "others_cores": round(others, 2)}


def described() -> dict[str, object]:
    """What a figure must be read with."""
    names = ("numpy", "scipy", "implicit", "confluent-kafka", "faust-streaming", "msgspec")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in names},
        "librdkafka": confluent_kafka.libversion()[0],
        "blas_threads": os.environ.get("OPENBLAS_NUM_THREADS"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "-uno") else ""),
    }


def _usage() -> _Usage:
    cpu = psutil.cpu_times()
    # Without interrupts: those of our own traffic over the loopback are nobody's in particular.
    stolen = getattr(cpu, "steal", 0.0)
    return _Usage(time.monotonic(), cpu.user + cpu.nice + cpu.system + stolen, cpu_seconds(os.getpid()), stolen)


def _processor() -> str:
    info = Path("/proc/cpuinfo")  # Linux
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.machine()


def _git(*arguments: str) -> str:
    told = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return told.stdout.strip()
