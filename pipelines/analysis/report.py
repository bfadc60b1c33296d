"""An analysis as files: `latest.json`, `latest.html`, and both under the time at which they were made."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipelines.analysis.page import page
from pipelines.measured import write_bytes


def write(folder: Path, figures: dict[str, Any], now: datetime) -> Path:
    """The path of latest.html. Each file whole or not at all, the page after its numbers."""
    made = now.astimezone(UTC).replace(microsecond=0)
    dated = {"made_at": made.isoformat().replace("+00:00", "Z"), **figures}
    text = json.dumps(dated, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    for name in (f"{made:%Y-%m-%dT%H%M%SZ}", "latest"):
        write_bytes(folder / f"{name}.json", text.encode())
        write_bytes(folder / f"{name}.html", page(dated).encode())
    return folder / "latest.html"
