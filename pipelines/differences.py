"""Why two answers differ: what each part that an answer depends on was for the one and for the other. Says; changes nothing.

The parts are those of a record: what was asked, the split, the model, the configuration, the catalogue and the user's history.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from models.events import Movie
from models.ids import Ids
from pipelines.below import Seen
from pipelines.kept import Kept, Record
from pipelines.places import Places
from pipelines.replay import events_of
from streams.clients import Cluster

PARTS = ("asked", "split", "model", "configuration", "catalog", "history")


@dataclass(frozen=True, slots=True)
class Change:
    """Something that is another, as it was for the first answer and for the second; None: it was not there."""

    what: str
    one: Any
    other: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Two answers beside each other. A part without changes is the same for both."""

    changes: Mapping[str, Sequence[Change]]  # of each part but the history
    came: Sequence[Seen]  # events of the user that only the second answer knew
    gone: Sequence[Seen]  # and only the first
    only_one: Sequence[str]  # movies of the first list, in its order
    only_other: Sequence[str]
    moved: int  # movies that both have, in another place
    movies: Mapping[str, Movie] = field(default_factory=dict)  # of the second's catalogue, then the first's

    @property
    def parts(self) -> list[str]:
        """The parts that differ."""
        return [part for part in PARTS if self.changes.get(part) or (part == "history" and (self.came or self.gone))]


def between(cluster: Cluster, places: Places, one: Record, other: Record) -> Difference:
    """Why the second answer is another than the first. Errors: BadArtifact (what a digest names is not kept)."""
    kept = Kept(places, Ids())
    changes = {
        "asked": _fields(_asked(one), _asked(other)),
        "split": _fields(_split(kept, one), _split(kept, other)),
        "model": _fields(_model(kept, one), _model(kept, other)),
        "configuration": _configuration(kept, one, other),
        "catalog": _catalog(kept, one, other),
    }
    came: list[Seen] = []
    gone: list[Seen] = []
    if one["user_id"] == other["user_id"] is not None and one["history_offsets"] != other["history_offsets"]:
        events = events_of(cluster, kept, [one, other])
        limits = kept.configuration(other["config_sha256"]).config.events.limits()
        came = events.between(other["user_id"], one["history_offsets"], other["history_offsets"], limits)
        gone = events.between(other["user_id"], other["history_offsets"], one["history_offsets"], limits)
    first, second = one["recommendations"], other["recommendations"]
    return Difference(
        changes=changes,
        came=came,
        gone=gone,
        only_one=[movie for movie in first if movie not in second],
        only_other=[movie for movie in second if movie not in first],
        moved=sum(movie in second and second.index(movie) != place for place, movie in enumerate(first)),
        movies={
            **kept.catalog(one["catalog_sha256"]).movies,
            **kept.catalog(other["catalog_sha256"]).movies,
        },
    )


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Every leaf of nested objects by its path.

    >>> flat({"canary": {"percentage": 10}, "topics": {}})
    {'canary.percentage': 10, 'topics': {}}
    """
    if not isinstance(value, dict) or not value:
        return {path: value}
    return {
        where: leaf
        for name, inner in value.items()
        for where, leaf in flat(inner, f"{path}.{name}" if path else name).items()
    }


def _fields(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Change]:
    names = list(dict.fromkeys([*one, *other]))
    return [Change(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def _asked(record: Record) -> dict[str, Any]:
    return {"user": record["user_id"], **(record["asked"] or {})}


def _split(kept: Kept, record: Record) -> dict[str, Any]:
    canary = kept.configuration(record["config_sha256"]).config.canary
    return {
        "variant": record["variant"],
        "bucket": record["bucket"],
        "forced": record.get("forced", False),
        "percentage": record["canary_percentage"],
        "unit": canary.unit,
        "salt": canary.salt,
    }


def _model(kept: Kept, record: Record) -> dict[str, Any]:
    said = {
        "version": record["model_version"],
        "checksum": record["model_sha256"],
        "data version": record["data_version"],
        "status": record["status"],
        "reason": record.get("reason"),
    }
    if record["model_sha256"] is None:
        return said
    metadata = kept.metadata(record["model_version"], record["model_sha256"])
    return said | (flat(dict(metadata.training_method), "training_method") if metadata else {})


def _configuration(kept: Kept, one: Record, other: Record) -> list[Change]:
    if one["config_sha256"] == other["config_sha256"]:
        return []
    return _fields(*(flat(json.loads(kept.configuration(record["config_sha256"]).text)) for record in (one, other)))


def _catalog(kept: Kept, one: Record, other: Record) -> list[Change]:
    if one["catalog_sha256"] == other["catalog_sha256"]:
        return []
    before, after = (kept.catalog(record["catalog_sha256"]).movies for record in (one, other))
    ids = list(dict.fromkeys([*before, *after]))
    return [
        Change(movie_id, _described(before.get(movie_id)), _described(after.get(movie_id)))
        for movie_id in ids
        if before.get(movie_id) != after.get(movie_id)
    ]


def _described(movie: Movie | None) -> str | None:
    """All of a movie in one line."""
    if movie is None:
        return None
    facts = [
        ", ".join(movie.genres) or "no genres",
        *([f"popularity {movie.popularity:g}"] if movie.popularity is not None else []),
    ]
    return f"{movie.title} ({movie.year or 'no year'}; {'; '.join(facts)})"


def as_json(found: Difference) -> dict[str, Any]:
    """The same for programs."""
    return {
        "differ": found.parts,
        **{
            part: {change.what: {"one": change.one, "other": change.other} for change in changes}
            for part, changes in found.changes.items()
        },
        "history": {"came": [_event(seen) for seen in found.came], "gone": [_event(seen) for seen in found.gone]},
        "recommendations": {
            "only_one": list(found.only_one),
            "only_other": list(found.only_other),
            "moved": found.moved,
        },
    }


def _event(seen: Seen) -> dict[str, Any]:
    return {
        "topic": seen.place[0],
        "partition": seen.place[1],
        **{name: value for name, value in seen._asdict().items() if name != "place" and value is not None},
    }
