"""Answers made again: from their provenance records, the events below the recorded offsets and what the records' digests name.

Decides with the very function that answered (`models.answer.decide`). Status and reason of a fallback are taken as recorded, its
list is recomputed. Many records are answered as many requests are: the events are read once, and each World answers in batches.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from models.answer import Cut, Decision, Question, decide
from models.errors import BadArtifact
from models.events import Request, Source
from models.ids import Ids
from models.recommenders.base import I32
from models.world import World
from pipelines import below, erasures
from pipelines.below import Below, Place
from pipelines.kept import Kept, Record
from pipelines.places import Places
from streams.clients import Cluster

SAME_SCORE = 1e-4  # a score alone and in a batch are the same but for its last bits
SWAPPED = 1e-6  # neighbours whose scores differ by less, relatively, may change places
BATCH = 64
ERASED = "erased"
BEHIND = 20  # movies behind a list that may have the last one's score

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Replayed:
    """A list made again beside the one that was served."""

    movies: list[str]
    scores: list[float]
    differences: list[str]  # empty: the same


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a record: a list made again, or why there is none."""

    record: Record
    replayed: Replayed | None
    impossible: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of many records."""

    same: int
    different: tuple[Outcome, ...]
    rejected: int  # requests that were wrong themselves have no list
    impossible: dict[str, int]  # reason → records

    @property
    def replayed(self) -> int:
        return self.same + len(self.different)


def replay(cluster: Cluster, artifacts: Path, record: Record) -> Replayed:
    """The list of a provenance record, recomputed and compared.

    Errors: BadArtifact where something that a digest names is missing or another, or events are gone; ValueError for a rejected request.
    """
    if record["status"] == "rejected":
        raise ValueError("a rejected request has no list")
    (outcome,) = outcomes(cluster, Places(artifacts.parent), [record])
    if outcome.replayed is None:
        raise BadArtifact(str(outcome.impossible))
    return outcome.replayed


def outcomes(
    cluster: Cluster,
    places: Places,
    records: Sequence[Record],
    *,
    reading: Progress = lambda done, total: None,
) -> Iterator[Outcome]:
    """Each record's list made again, in an order of its own; rejected requests are left out. `reading`: progress of the events."""
    kept, erased = Kept(places, Ids()), erasures.known(places.artifacts)
    left = []
    for record in records:
        at = erased.user(record["user_id"], record["served_at"])
        if at is None:
            left.append(record)
        elif record["status"] != "rejected":
            yield Outcome(record, None, f"{ERASED}: the user was erased at {at}")
    worlds, impossible = _by_world(kept, left)
    yield from impossible
    events = events_of(cluster, kept, [record for group in worlds for record in group], reading=reading)
    for group in worlds:
        yield from _answered(kept, events, group)


def summary(found: Iterable[Outcome], records: Sequence[Record]) -> Summary:
    """The outcomes of these records, counted."""
    same, different, impossible = 0, [], Counter[str]()
    for outcome in found:
        if outcome.replayed is None:
            impossible[str(outcome.impossible)] += 1
        elif outcome.replayed.differences:
            different.append(outcome)
        else:
            same += 1
    rejected = sum(record["status"] == "rejected" for record in records)
    return Summary(same, tuple(different), rejected, dict(impossible.most_common()))


def events_of(
    cluster: Cluster,
    kept: Kept,
    records: Sequence[Record],
    *,
    reading: Progress = lambda done, total: None,
) -> Below:
    """The events that the answers to these records may have been made of. Errors: BadArtifact (a configuration), those of `below.read`."""
    ends: dict[Place, int] = {}
    names: dict[str, str] = {}
    for sha256 in {record["config_sha256"] for record in records}:
        applied = kept.configuration(sha256)
        names |= {applied.topic(name): name for name in (below.WATCHES, below.RATINGS)}
    for record in records:
        for topic, by_partition in record["history_offsets"].items():
            for number, after in by_partition.items():
                where = (topic, int(number))
                ends[where] = max(ends.get(where, 0), after)
    users = {record["user_id"] for record in records}
    return below.read(cluster, kept.places.archive, users, ends, names, kept.ids, progress=reading)


def _by_world(kept: Kept, records: Sequence[Record]) -> tuple[list[list[Record]], list[Outcome]]:
    """Records that met the same World, neighbours with the same model; and those whose configuration is gone."""
    groups: dict[tuple[str, ...], list[Record]] = {}
    impossible = []
    for record in records:
        if record["status"] == "rejected":
            continue
        try:
            kept.configuration(record["config_sha256"])
        except BadArtifact as error:
            impossible.append(Outcome(record, None, str(error)))
            continue
        version = record["model_version"] if record["model_sha256"] else ""
        key = (record["catalog_sha256"], version, record["model_sha256"] or "", record["config_sha256"])
        groups.setdefault(key, []).append(record)
    return [groups[key] for key in sorted(groups)], impossible


def _answered(kept: Kept, events: Below, group: Sequence[Record]) -> Iterator[Outcome]:
    try:
        world = kept.world(group[0])
    except BadArtifact as error:
        yield from (Outcome(record, None, str(error)) for record in group)
        return
    limits = world.applied.config.events.limits()
    for start in range(0, len(group), BATCH):
        records, histories = [], []
        for record in group[start : start + BATCH]:
            try:
                histories.append(events.movies(record["user_id"], record["history_offsets"], limits))
            except BadArtifact as error:
                yield Outcome(record, None, str(error))
            else:
                records.append(record)
        if not records:
            continue
        indptr = np.zeros(len(records) + 1, np.int64)
        np.cumsum([len(movies) for movies in histories], out=indptr[1:])
        cut = Cut(indptr, np.concatenate(histories), [True] * len(records), msgspec.Raw(b"{}"))
        decisions = _decided(records, cut, world)
        for record, decision, movies in zip(records, decisions, histories, strict=True):
            yield Outcome(record, _compared(record, decision, movies, world))


def _decided(records: Sequence[Record], cut: Cut, world: World, more: int = 0) -> list[Decision]:
    questions = []
    for record in records:
        asked = record["asked"]
        genres = tuple(asked["genres"]) if asked["genres"] else None
        request = Request(record["request_id"], record["user_id"], asked["n"] + more, genres, asked["exclude_seen"])
        recorded = record.get("reason") if record["status"] == "fallback" else None
        questions.append(Question(request, Source(**record["source"]), kafka_ms=0, recorded=recorded))
    return decide(questions, cut, world, now_ms=0)


def _compared(record: Record, decision: Decision, movies: I32, world: World) -> Replayed:
    differences = _differences(record, decision, {})
    if (
        differences and record["status"] == "ok"
    ):  # was it but two movies with one score, the second of them behind the list?
        alone = Cut(np.array([0, len(movies)]), movies, [True], msgspec.Raw(b"{}"))
        (longer,) = _decided([record], alone, world, more=BEHIND)
        differences = _differences(record, decision, dict(zip(longer.movies, longer.scores, strict=True)))
    return Replayed(decision.movies, decision.scores, differences)


def _differences(record: Record, decision: Decision, score_of: Mapping[str, float]) -> list[str]:
    """`score_of`: the model's scores of the listed movies and some behind them: who has the same one may stand in its place."""
    served, scores = record["recommendations"], record["scores"]
    found = []
    if (record["bucket"], record["variant"]) != (decision.bucket, decision.variant):
        found.append(
            f"arm: was {record['variant']} (bucket {record['bucket']}), is {decision.variant} (bucket {decision.bucket})"
        )
    if record["model_version"] != decision.version:
        found.append(f"version: was {record['model_version']}, is {decision.version}")
    if (record["status"], record.get("reason")) != (decision.status, decision.reason):
        was = _said(record["status"], record.get("reason"))
        found.append(f"status: was {was}, is {_said(decision.status, decision.failure or decision.reason)}")
    if bool(record.get("explored")) != (decision.propensities is not None):
        found.append(f"drawn places: {'some' if record.get('explored') else 'none'} were, now it is otherwise")
    if len(served) != len(decision.movies) or len(set(served)) < len(served):
        found.append(f"movies: were {len(set(served))}, are {len(decision.movies)}")
    for place, (was, now) in enumerate(zip(served, decision.movies, strict=False)):
        score, again = scores[place], decision.scores[place]
        if was == now and abs(score - again) > SAME_SCORE * max(1.0, abs(score)):
            found.append(f"score of {was}: was {score:.6g}, is {again:.6g}")
        # counts and the zeros of filled places order a list exactly: only the model's own scores have other last bits
        if was != now and not (score != 0 and _one(score, again) and _one(score, score_of.get(was, np.inf))):
            found.append(f"place {place + 1}: was {was} ({score:.6g}), is {now} ({again:.6g})")
    return found


def _one(score: float, other: float) -> bool:
    return abs(score - other) <= SWAPPED * abs(score)


def _said(status: str, reason: str | None) -> str:
    return f"{status} ({reason})" if reason else status
