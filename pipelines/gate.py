"""The data gate at work: gathers the data set, has it judged, keeps the judgement, and lets only a fit one through.

What is fit is said in `models.gates.data`.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from models.config import Config
from models.errors import BadArtifact, Refused
from models.gates.data import DataFigures, Finding, judge
from pipelines import dataset as datasets
from pipelines.dataset import Dataset
from pipelines.gather import from_archive

DATASET = "dataset.npz"
GATE = "gate.json"


@dataclass(frozen=True, slots=True)
class Examined:
    """A data set, without its heavy users, and what the gate says of it."""

    dataset: Dataset
    figures: DataFigures
    findings: tuple[Finding, ...]

    @property
    def stopped(self) -> tuple[Finding, ...]:
        """What speaks against training on it."""
        return tuple(finding for finding in self.findings if finding.stops)


def examine(archive: Path, config: Config, before: DataFigures | None = None, *, now_ms: int) -> Examined:
    """Gather and judge. before: the figures of the last version's data. Errors: BadArtifact for a damaged archive."""
    gate = config.training.data_gate
    dataset, figures = from_archive(archive, config.events, gate, now_ms=now_ms)
    return Examined(dataset, figures, judge(figures, gate, before))


def settle(examined: Examined, folder: Path) -> None:
    """Writes gate.json, and dataset.npz with dataset.json unless something stops: then Refused, with every reason.

    An older data set of a run that is stopped is removed: nobody may train on what was not judged.
    """
    path = folder / DATASET
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / f".{GATE}.partial"
    aside.write_text(json.dumps(written(examined), indent=2, ensure_ascii=False, allow_nan=False) + "\n")
    aside.replace(folder / GATE)
    if examined.stopped:
        path.unlink(missing_ok=True)
        datasets.beside(path).unlink(missing_ok=True)
        raise Refused("the data gate: " + "; ".join(finding.says for finding in examined.stopped))
    datasets.write(examined.dataset, path)


def written(examined: Examined) -> dict[str, Any]:
    """gate.json: {"outcome", "md5", "figures", "findings": [{"check", "outcome", "found", "limit", "says"}]}."""
    return {
        "outcome": "stopped" if examined.stopped else "passed",
        "md5": examined.dataset.md5,
        "figures": asdict(examined.figures),
        "findings": [asdict(finding) for finding in examined.findings],
    }


def figures(path: Path) -> DataFigures:
    """The figures of a gate.json. Errors: BadArtifact."""
    try:
        return recalled(json.loads(path.read_bytes())["figures"])
    except OSError as error:
        raise BadArtifact(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadArtifact(f"{path}: is no record of the data gate: {error}") from error


def remembered(figures: DataFigures) -> dict[str, Any]:
    """Figures for a version's metadata, which outlives its users: without anybody's name."""
    return asdict(replace(figures, heavy=()))


def recalled(written: Mapping[str, Any]) -> DataFigures:
    """The figures again. Errors: BadArtifact where they are none."""
    try:
        return msgspec.convert(written, DataFigures)
    except msgspec.ValidationError as error:
        raise BadArtifact(f"figures of a data set: {error}") from error
