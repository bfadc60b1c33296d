"""The environment of peers whose packages do not go together with canarec's, made once from `peers.lock` with hashes.

The lock: uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header -o peers.lock peers.in
"""

import hashlib
import subprocess
import sys
from pathlib import Path

from tests.bench.report import OUT

LOCK = Path(__file__).with_name("peers.lock")
FOLDER = OUT / "venv"


def program(name: str, *, what: str) -> str | None:
    """A program of that environment (`python`, `py-spy`); None, after one line that says why, where it cannot be made. `what` needs it."""
    made, wanted = FOLDER / ".made", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    try:
        if not made.exists() or made.read_text() != wanted:
            print(f"setting up {FOLDER} for the peers (once; half a minute) …", flush=True)
            _call(sys.executable, "-m", "venv", "--clear", str(FOLDER))
            pip = (str(FOLDER / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet")
            _call(*pip, "install", "--require-hashes", "-r", str(LOCK))
            made.write_text(wanted)
    except (subprocess.CalledProcessError, OSError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        print(f"{LOCK.name} cannot be installed, going on without {what}: {said[-1]}", flush=True)
        return None
    return str(FOLDER / "bin" / name)


def _call(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True)
