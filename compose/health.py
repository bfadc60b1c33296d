"""Whether the part of canarec in this container does its work: whichever of its ports listens says so. Exit 0 or 1, one line.

A broker is asked as a client asks it first, where its command line says that it listens. What has no port, as the simulator or an import, is
well while it runs.
"""

import argparse
import socket
import struct
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

PARTS = {  # what is asked, and what a good answer contains
    "api": ("http://127.0.0.1:8082/health", ""),
    "worker": ("http://127.0.0.1:8000/metrics", "\ncanarec_worker_ready 1.0\n"),
    "scheduler": ("http://127.0.0.1:8001/metrics", "\ncanarec_retraining_total{"),
}
PATIENCE_S = 3
API_VERSIONS = struct.pack(
    ">ihhih", 10, 18, 0, 1, -1
)  # size, key, version, number, no client's name: docs of Kafka's protocol


def said(url: str) -> str | None:
    """What it answers; None where nobody listens, or it is not well."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return str(answer.read().decode(errors="replace"))
    except (OSError, urllib.error.URLError):
        return None


def kafka_answers(host: str, port: int) -> bool:
    """Whether a Kafka there takes requests: it listens before it does."""
    try:
        with socket.create_connection((host, port), PATIENCE_S) as connection:
            connection.sendall(API_VERSIONS)
            return connection.recv(10, socket.MSG_WAITALL)[4:] == struct.pack(">ih", 1, 0)  # number, no error
    except OSError:
        return False


def address(words: Sequence[str]) -> tuple[str, int]:
    """Where `canarec broker` listens, by the words of its command line.

    >>> address(["broker", "--data-dir", "/data"]), address(["broker", "--host", "0.0.0.0", "--port=9192"])
    (('127.0.0.1', 9092), ('0.0.0.0', 9192))
    """
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=9092)
    found = parser.parse_known_args(words)[0]
    return found.host, found.port


def calls() -> list[list[str]]:
    """What follows `canarec` in the command lines of the processes here."""
    lines = [
        _read(path).decode(errors="replace").partition("/canarec\0")[2] for path in Path("/proc").glob("[0-9]*/cmdline")
    ]
    return [line.removesuffix("\0").split("\0") for line in lines if line]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


def well(running: Sequence[Sequence[str]]) -> list[str]:
    """The parts that do their work, of a container in which these commands run."""
    found = [name for name, (url, wanted) in PARTS.items() if (answer := said(url)) is not None and wanted in answer]
    found += ["broker" for words in running if "broker" in words and kafka_answers(*address(words))]
    if not any(part in words for part in (*PARTS, "broker", "up") for words in running):
        found += [words[0] for words in running]
    return found


if __name__ == "__main__":
    parts = well(calls())
    print(f"{', '.join(parts)}: well" if parts else "nothing answers")
    sys.exit(not parts)
