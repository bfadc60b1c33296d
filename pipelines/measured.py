"""The evaluation of every recipe, kept beside the data set: figures for people (.json), each user's for the model gate (.npz)."""

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import BadArtifact
from models.measures.quality import Quality
from models.recommenders import store
from models.recommenders.base import Parameters
from pipelines.dataset import Dataset
from pipelines.evaluate import Evaluation, N, measure
from pipelines.places import Places

_MEASURES = {f"ndcg_at_{N}": f"NDCG@{N}", f"recall_at_{N}": f"Recall@{N}", f"coverage_at_{N}": f"coverage@{N}"}


def keep(places: Places, evaluations: Mapping[str, tuple[Parameters, Evaluation]]) -> None:
    """Writes evaluation.json and .npz, and what `dvc metrics` and `dvc plots` show of them. Same evaluations, same bytes."""
    written = {name: {"recipe": dict(recipe), **found.figures} for name, (recipe, found) in evaluations.items()}
    write_json(places.evaluation, written)
    parts = {
        f"{name}/{part}/{array}": values
        for name, (_, found) in evaluations.items()
        for part, quality in (("model", found.model), ("popularity", found.popularity))
        for array, values in quality.arrays().items()
    }
    buffer = io.BytesIO()
    store.pack(buffer, parts)
    write_bytes(places.evaluation.with_suffix(".npz"), buffer.getvalue())
    write_json(places.metrics, {name: numbers(found) for name, found in written.items()})
    shown = {**written, "popularity": {"model": next(iter(written.values()))["popularity"]}} if written else {}
    bars = [
        {"recipe and measure": f"{title}, {name}", "value": found["model"][measure]["value"]}
        for measure, title in _MEASURES.items()
        for name, found in shown.items()
    ]
    write_json(places.plots / "quality.json", bars)


def numbers(figures: Mapping[str, Any]) -> dict[str, float | None]:
    """An evaluation in few numbers."""
    return {
        **{measure: figures["model"][measure]["value"] for measure in _MEASURES},
        "ndcg_ratio": figures["ndcg_ratio"]["value"],
        **(
            {f"validation_ndcg_at_{N}": figures["validation"][f"ndcg_at_{N}"]["value"]}
            if "validation" in figures
            else {}
        ),
    }


def of(places: Places, dataset: Dataset, recipe: Parameters) -> Evaluation:
    """The evaluation of a recipe: the kept one, or, of a recipe that was not evaluated, one that is made now. Errors: BadArtifact."""
    try:
        kept = json.loads(places.evaluation.read_bytes())
        name = next((name for name, found in kept.items() if found["recipe"] == recipe), None)
        if name is None:
            return measure(dataset, recipe)
        figures = {key: value for key, value in kept[name].items() if key != "recipe"}
        with np.load(places.evaluation.with_suffix(".npz"), allow_pickle=False) as arrays:
            model, popularity = (
                Quality.from_arrays(
                    {
                        array: arrays[f"{name}/{part}/{array}"]
                        for array in ("ndcg", "recall", "covered", "covered_without")
                    }
                )
                for part in ("model", "popularity")
            )
    except OSError as error:
        raise BadArtifact(
            f"{error.filename or places.evaluation}: cannot be read: {error.strerror or error}"
        ) from error
    except (ValueError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        raise BadArtifact(f"{places.evaluation}: is no evaluation: {type(error).__name__}: {error}") from error
    return Evaluation(figures, model, popularity)


def write_json(path: Path, value: Any) -> None:
    """Whole or not at all; people read it."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    try:
        aside.write_bytes(content)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
