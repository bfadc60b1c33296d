"""An answer made again: from its provenance record, the events below the recorded offsets and what the record's digests name.

Decides with the very function that answered (`models.answer.decide`). Status and reason of a fallback are taken as recorded,
its list is recomputed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from models import catalog, config
from models.answer import Cut, Decision, Question, decide
from models.config import Applied
from models.errors import BadArtifact
from models.events import Request, Source
from models.history import Histories
from models.recommenders import store
from models.world import World
from pipelines.explain import history_of
from streams.clients import Cluster

SAME_SCORE = 1e-4  # a score alone and in a batch are the same but for its last bits
SWAPPED = 1e-6  # neighbours whose scores differ by less, relatively, may change places


@dataclass(frozen=True, slots=True)
class Replayed:
    """A list made again beside the one that was served."""

    movies: list[str]
    scores: list[float]
    differences: list[str]  # empty: the same


def replay(cluster: Cluster, artifacts: Path, record: Mapping[str, Any]) -> Replayed:
    """The list of a provenance record, recomputed and compared.

    Errors: BadArtifact where something that a digest names is missing or another, NoModel, ValueError for a rejected request.
    """
    if record["status"] == "rejected":
        raise ValueError("a rejected request has no list")
    applied = _configuration(artifacts, record["config_sha256"])
    histories = history_of(cluster, applied, record["user_id"], record["history_offsets"])
    world = _world(artifacts, applied, record, histories)
    decision = _decided(record, histories, world)
    return Replayed(decision.movies, decision.scores, _differences(record, decision))


def _decided(record: Mapping[str, Any], histories: Histories, world: World) -> Decision:
    asked = record["asked"]
    genres = tuple(asked["genres"]) if asked["genres"] else None
    request = Request(record["request_id"], record["user_id"], asked["n"], genres, asked["exclude_seen"])
    recorded = record["reason"] if record["status"] == "fallback" else None
    question = Question(request, Source(**record["source"]), kafka_ms=0, recorded=recorded)
    indptr, movies = histories.batch([request.user_id])
    return decide([question], Cut(indptr, movies, [True], msgspec.Raw(b"{}")), world, now_ms=0)[0]


def _configuration(artifacts: Path, sha256: str) -> Applied:
    applied = config.parse(_named(artifacts / "configs" / f"{sha256}.json", sha256))
    if applied.sha256 != sha256:
        raise BadArtifact(f"configuration {sha256}: reads as {applied.sha256}")
    return applied


def _world(artifacts: Path, applied: Applied, record: Mapping[str, Any], histories: Histories) -> World:
    ids, sha256 = histories.movie_ids, record["catalog_sha256"]
    movies = catalog.parse(_named(artifacts / "catalogs" / f"{sha256}.jsonl", sha256), sha256, ids)
    models = {}
    if record["model_sha256"] is not None:
        model = store.read(artifacts / "models", record["model_version"])
        if model.sha256 != record["model_sha256"]:
            raise BadArtifact(f"model {model.version} is not the one that answered: its checksum is another")
        models[model.version] = model
    return World.of(applied, models, movies, ids)


def _named(path: Path, sha256: str) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadArtifact(f"{path}: {error.strerror}") from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise BadArtifact(f"{path}: its content has another checksum than its name")
    return content.decode()


def _differences(record: Mapping[str, Any], decision: Decision) -> list[str]:
    served, scores = record["recommendations"], record["scores"]
    found = []
    if (record["bucket"], record["variant"]) != (decision.bucket, decision.variant):
        found.append(f"arm: was {record['variant']}, is {decision.variant}")
    if sorted(served) != sorted(decision.movies):
        found.append(f"movies: was {served}, is {decision.movies}")
        return found
    rank = {movie: place for place, movie in enumerate(decision.movies)}
    for place, movie in enumerate(served):
        was, now = scores[place], decision.scores[rank[movie]]
        if abs(was - now) > SAME_SCORE * max(1.0, abs(was)):
            found.append(f"score of {movie}: was {was}, is {now}")
        # only the model's own scores come out with other last bits; counts and zeros order a list exactly
        swapped = record["status"] == "ok" and was != 0 and abs(was - decision.scores[place]) <= SWAPPED * abs(was)
        if rank[movie] != place and not swapped:
            found.append(f"place of {movie}: was {place + 1}, is {rank[movie] + 1}")
    return found
