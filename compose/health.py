"""Whether the part of canarec in this container does its work: whichever of its ports listens says so. Exit 0 or 1, one line.

The simulator has no port: it is well while it runs.
"""

import sys
import urllib.error
import urllib.request
from pathlib import Path

PARTS = {  # what is asked, and what a good answer contains
    "api": ("http://127.0.0.1:8082/health", ""),
    "worker": ("http://127.0.0.1:8000/metrics", "\ncanarec_worker_ready 1.0\n"),
    "scheduler": ("http://127.0.0.1:8001/metrics", "\ncanarec_retraining_total{"),
}
PATIENCE_S = 3


def said(url: str) -> str | None:
    """What it answers; None where nobody listens, or it is not well."""
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            return str(answer.read().decode(errors="replace"))
    except (OSError, urllib.error.URLError):
        return None


def runs(command: str) -> bool:
    """Whether there is a process `canarec COMMAND`."""
    lines = [line for path in Path("/proc").glob("[0-9]*/cmdline") if (line := _read(path))]
    return any(f"/canarec\0{command}\0".encode() in line for line in lines)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # it has ended
        return b""


if __name__ == "__main__":
    well = [name for name, (url, wanted) in PARTS.items() if (found := said(url)) is not None and wanted in found]
    well += ["simulator"] * runs("simulate")
    print(f"{', '.join(well)}: well" if well else "nothing answers")
    sys.exit(not well)
