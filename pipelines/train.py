"""From a data set and a recipe to a published version: evaluated on a split by time, then trained again on everything.

Writes one version folder through `models.recommenders.store`; which version serves is decided elsewhere.
"""

from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from models.errors import BadConfig
from models.recommenders import popular, store
from models.recommenders.base import Parameters, Progress
from pipelines.dataset import Dataset
from pipelines.evaluate import evaluate, learn


def train(
    dataset: Dataset,
    recipe: Parameters,
    version: str,
    models: Path,
    *,
    dvc_ref: str | None = None,
    code_version: str | None = None,
    created_at: datetime | None = None,
    progress: Progress | None = None,
) -> store.Model:
    """Evaluate the recipe, train it on the whole data set, publish it as `models / version`; gives the version as it was read back.

    recipe: {"algorithm" and the algorithm's own parameters}. progress is told of both trainings together. The same data
    set and recipe give the same factors.npz to the bit; created_at is all that differs.
    Errors: BadConfig for a recipe, NoModel for an empty data set, BadArtifact where the version is there already, OSError.
    """
    if recipe.get("algorithm") not in store.ALGORITHMS:
        raise BadConfig(
            "training.algorithm", f"{recipe.get('algorithm')!r} is not one of {', '.join(store.ALGORITHMS)}"
        )
    evaluation = evaluate(dataset, recipe, progress and _half(progress, 0))
    recommender = learn(dataset, recipe, progress=progress and _half(progress, 1))
    metadata = store.Metadata(
        model_id=model_id(recipe),
        model_version=version,
        training_method=dict(recipe),
        data_version=described(dataset),
        evaluation=evaluation,
        dvc_ref=dvc_ref,
        code_version=code_version or canarec_version(),
        created_at=(created_at or datetime.now(UTC)).isoformat(timespec="seconds").replace("+00:00", "Z"),
        files={},
    )
    store.write(models, recommender, dataset.movies, popular.counts(dataset.rows(), len(dataset.movies)), metadata)
    return store.read(models, version)


def model_id(recipe: Parameters) -> str:
    """What a model is, in a word.

    >>> model_id({"algorithm": "als", "factors": 64}), model_id({"algorithm": "ease", "movies": 10_000})
    ('als-64', 'ease-10000')
    """
    algorithm = str(recipe["algorithm"])
    return f"{algorithm}-{recipe[store.ALGORITHMS[algorithm].size]}"


def described(dataset: Dataset) -> dict[str, Any]:
    """A data set as metadata names it: its md5, the offsets that it was read from, and how large it is."""
    return {
        "md5": dataset.md5,
        "offsets": {
            topic: {str(p): list(span) for p, span in parts.items()} for topic, parts in dataset.offsets.items()
        },
        "interactions": len(dataset),
        "users": len(dataset.users),
        "movies": len(dataset.movies),
    }


def canarec_version() -> str:
    """The installed version of this code."""
    try:
        return installed("canarec")
    except PackageNotFoundError:
        return "unknown"


def _half(progress: Progress, half: int) -> Progress:
    return lambda done, steps: progress(half * steps + done, 2 * steps)
