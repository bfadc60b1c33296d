"""Puts the tables of the newest run of each benchmark into docs/performance.md, so that nobody copies a figure by hand.

python -m tests.bench.document [FILE.json …]        of these runs, instead of the newest in artifacts/bench/
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from tests.bench import machine
from tests.bench.report import OUT

PAGE = Path("docs/performance.md")
# <!-- run --> … <!-- /run -->
_PLACE = re.compile(r"(<!-- (?P<name>\w+) -->\n).*?(<!-- /(?P=name) -->)", re.DOTALL)


def main() -> None:
    named = [json.loads(Path(path).read_text()) for path in sys.argv[1:]]
    found = {run["benchmark"]: run for run in named} if named else newest(OUT)
    PAGE.write_text(filled(PAGE.read_text(), found))
    print(f"{PAGE}: {', '.join(sorted(found)) or 'no run to take figures from'}")


def newest(folder: Path) -> dict[str, dict[str, Any]]:
    """The last run of each benchmark; names begin with the time."""
    runs = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return {run["benchmark"]: run for run in runs if "tables" in run}


def filled(page: str, runs: dict[str, dict[str, Any]]) -> str:
    """The page with other tables between its marks; marks of a benchmark that did not run keep what they hold."""

    def place(match: re.Match[str]) -> str:
        run = runs.get(match["name"])
        return match[0] if run is None else f"{match[1]}{section(run)}\n{match[3]}"

    return _PLACE.sub(place, page)


def section(run: dict[str, Any]) -> str:
    on, quiet = run["machine"], run["quiet"]["others_cores"]
    noise = (
        f"others kept {quiet:.2f} cores busy before it"
        if quiet <= machine.QUIET
        else f"**a busy machine (others used {quiet:.1f} cores): these figures show that the benchmark works, nothing else**"
    )
    where = (
        f"{run['ended']}, {on['processor']}, {on['cores']} cores, {on['memory_gib']:.0f} GiB, Python {on['python']}, "
        f"commit {on['commit'] or 'unknown'}; {noise}."
    )
    return "\n\n".join([where, *(f"{above}:\n\n{text}" for above, text in run["tables"].items())]) + "\n"


if __name__ == "__main__":
    main()
