"""The layers of docs/decisions and pyproject.toml hold: import-linter's contracts, and `models` reads no clock and draws no luck."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PURE = sorted((ROOT / "models").rglob("*.py"))
DISK = {"models/recommenders/store.py"}  # the one place in models that touches it

FORBIDDEN = {
    *(
        "aiokafka",
        "asyncio",
        "confluent_kafka",
        "faust",
        "mode",
        "prometheus_client",
        "socket",
        "structlog",
        "subprocess",
    ),
    *("random", "secrets", "threading", "time", "uuid"),
}
ON_DISK = {"os", "pathlib", "shutil", "tempfile"}
CLOCKS = {"now", "utcnow", "today"}
GENERATORS = {"Generator", "default_rng", "PCG64", "SeedSequence"}  # randomness that is handed in


def test_the_contracts_are_kept(tmp_path):
    lint = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    told = subprocess.run(
        [sys.executable, "-c", lint, "--config", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    assert "0 broken" in told.stdout


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_models_import_nothing_that_reads_a_clock_or_kafka(path):
    forbidden = FORBIDDEN | (set() if str(path.relative_to(ROOT)) in DISK else ON_DISK)
    assert not imported(ast.parse(path.read_text())) & forbidden


@pytest.mark.parametrize("path", PURE, ids=lambda path: str(path.relative_to(ROOT)))
def test_models_ask_no_clock_and_draw_no_global_luck(path):
    assert not impure(ast.parse(path.read_text()))


@pytest.mark.parametrize(
    "code",
    [
        "datetime.now(UTC)",
        "date.today()",
        "np.random.rand(3)",
        "np.random.seed(1)",
        "open('x')",
        "hash(user)",
    ],
)
def test_what_is_impure_is_noticed(code):
    assert impure(ast.parse(code))


def imported(tree):
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add((node.module or "").split(".")[0])
    return names


def impure(tree):
    """Calls of clocks, of numpy's global generator, of `open` and of Python's own `hash`."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        owner, _, last = called.rpartition(".")
        clock = last in CLOCKS and owner.rpartition(".")[2] in ("datetime", "date")
        luck = owner in ("np.random", "numpy.random") and last not in GENERATORS
        if clock or luck or called in ("open", "hash"):
            found.append(f"line {node.lineno}: {called}")
    return found
