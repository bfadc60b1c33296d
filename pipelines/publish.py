"""From a trained recipe to a published version, or to a refused one: name, gates, metadata, files.

A version is written aside and renamed; who answers by it is decided elsewhere. The same data and recipe are never published twice.
"""

import hashlib
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np

from models.config import Config, Training
from models.errors import BadArtifact, NoModel
from models.gates import model as model_gate
from models.recommenders import popular, store
from models.recommenders.base import Parameters, Recommender
from models.recommenders.store import Metadata
from models.release import rollout, shelf
from pipelines import dataset as datasets
from pipelines import gate, measured, versions
from pipelines.dataset import Dataset
from pipelines.evaluate import BOOTSTRAP_SEED, Evaluation, learn
from pipelines.places import Places
from pipelines.train import canarec_version, described, model_id

Outcome = Literal["published", "refused", "unchanged"]  # unchanged: there is a version of this data and recipe already


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """published.json. `says` is one line for people."""

    version: str
    outcome: Outcome
    says: str
    recipe: str
    metrics: Mapping[str, float | None]

    def written(self) -> dict[str, Any]:
        return asdict(self)


def publish(places: Places, config: Config, now: datetime) -> Published:
    """Publishes what `training.next` gave, unless the model gate refuses it. Errors: BadArtifact, BadConfig, OSError (a full disk)."""
    dataset = datasets.read(places.dataset)
    version = shelf.next_version(versions.named(places))
    name, recipe = chosen(config.training, version)
    recommender, dvc_ref = _trained(places, dataset, name, recipe)
    evaluation = measured.of(places, dataset, recipe)
    verdict, stable = _judged(places, dataset, config, evaluation)
    metadata = Metadata(
        model_id=model_id(recipe),
        model_version=version,
        training_method=recipe,
        data_version={**described(dataset), "figures": gate.remembered(gate.figures(places.gate))},
        evaluation={**evaluation.figures, "gate": {"stable": stable, **verdict.written()}},
        dvc_ref=dvc_ref,
        code_version=canarec_version(),
        created_at=now.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        files={},
    )
    folder = places.models if verdict.passed else places.rejected
    there = _put(folder, recommender, dataset, metadata)
    if not verdict.passed:
        outcome: Outcome = "refused"
        says = f"{there} was refused by the model gate: {verdict.reason.removeprefix('refused: ')}"
    elif there == version:
        compared = "ndcg" if stable is not None else "ndcg_popularity"
        reason = next(check.reason for check in verdict.checks if check.name == compared)
        outcome, says = "published", f"{version} is published: {reason}"
    else:
        outcome, says = "unchanged", f"nothing new: {there} was made of the same data by the same recipe"
    return Published(
        version=there,
        outcome=outcome,
        says=says,
        recipe=name or f"training.versions.{version}",
        metrics=measured.numbers(evaluation.figures),
    )


def chosen(training: Training, version: str) -> tuple[str | None, dict[str, Any]]:
    """The recipe of a new version and its name: the version's own, if `training.versions` has one, else `training.next`.

    None where the version's own is none of `training.recipes`.
    """
    own = training.versions.get(version)
    for name, recipe in training.recipes.items():
        if recipe == own or (own is None and name == training.next):
            return name, training.method(recipe)
    assert own is not None  # `next` is one of the recipes: models.config has checked it
    return None, training.method(own)


def load(path: Path, recipe: Parameters) -> Recommender:
    """A model as the train stage wrote it. Errors: BadArtifact."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return store.ALGORITHMS[str(recipe["algorithm"])].from_arrays({name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise BadArtifact(f"{path}: cannot be read: {error}") from error


def _trained(places: Places, dataset: Dataset, name: str | None, recipe: Parameters) -> tuple[Recommender, str | None]:
    """The model of a recipe, and what DVC knows it by; one that is none of `training.recipes` is trained now."""
    if name is None:
        return learn(dataset, recipe), None
    path = places.trained(name)
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    return load(path, recipe), f"train@{name}:{md5}"


def _judged(
    places: Places, dataset: Dataset, config: Config, evaluation: Evaluation
) -> tuple[model_gate.Verdict, str | None]:
    """The verdict, and the stable version whose recipe it was compared with; without one, only popularity speaks."""
    stable: str | None = config.canary.stable
    try:
        method = store.read_metadata(places.models, config.canary.stable).training_method
        baseline = measured.of(places, dataset, method).model
    except (BadArtifact, NoModel, KeyError):  # none yet, damaged, or of an algorithm that is no more
        stable, baseline = None, evaluation.model
    verdict = model_gate.judge(
        evaluation.model,
        baseline,
        evaluation.popularity,
        dataset.genders,
        config.training.model_gate,
        np.random.default_rng(BOOTSTRAP_SEED),
    )
    return verdict, stable


def _put(folder: Path, recommender: Recommender, dataset: Dataset, metadata: Metadata) -> str:
    """Writes the version, unless the folder has the same under another name; the name that it has there."""
    aside = folder / ".new"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        counts = popular.counts(dataset.rows(), len(dataset.movies))
        written = store.write(aside, recommender, dataset.movies, counts, metadata)
        made = store.read_metadata(aside, metadata.model_version)
        for version in sorted(store.list_versions(folder), key=rollout.number, reverse=True):
            if _same(folder, version, made):
                return version
        written.rename(folder / metadata.model_version)
        return metadata.model_version
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _same(folder: Path, version: str, made: Metadata) -> bool:
    try:
        there = store.read_metadata(folder, version)
    except BadArtifact:
        return False
    return (there.files, there.data_version["md5"], there.training_method) == (
        made.files,
        made.data_version["md5"],
        made.training_method,
    )
