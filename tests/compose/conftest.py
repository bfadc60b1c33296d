"""What is asked of the files in compose/: tools of Prometheus where they are installed, a Docker engine for test_stack.py."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
COMPOSE = ROOT / "compose"


def tool(name, package):
    """A tool's runner; without it the tests that need it are left out, and say so."""

    @pytest.fixture(scope="session", name=name)
    def fixture():
        path = shutil.which(name)
        if path is None:
            pytest.skip(f"{name} is not installed (Debian: {package})")
        return lambda *words: subprocess.run(
            [path, *map(str, words)], capture_output=True, text=True, check=False, timeout=60
        )

    return fixture


promtool = tool("promtool", "prometheus")
amtool = tool("amtool", "prometheus-alertmanager")


@pytest.fixture(scope="session")
def alerts():
    """Each alert of the rules, by name."""
    groups = yaml.safe_load((COMPOSE / "prometheus" / "rules" / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def pytest_collection_modifyitems(config, items):
    """The containers take minutes: only where they are asked for."""
    if "containers" not in config.getoption("markexpr"):
        left_out = [item for item in items if item.get_closest_marker("containers")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
