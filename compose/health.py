"""Whether the part of canarec in this container does its work: whichever of its ports listens says so. Exit 0 or 1, one line."""

import sys
import urllib.error
import urllib.request

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


if __name__ == "__main__":
    well = [name for name, (url, wanted) in PARTS.items() if (found := said(url)) is not None and wanted in found]
    print(f"{', '.join(well)}: well" if well else "nothing answers")
    sys.exit(not well)
