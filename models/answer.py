"""Decides what each request is answered, and writes answer and record. Never reads, never sends, knows no clock of its own.

One batch, one World, one cut of the histories. Whatever fails inside becomes that request's fallback with a reason.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from models import wire
from models.errors import BadMessage, Reason
from models.events import Answer, AnswerReason, Asked, Proof, Request, Reranked, Source, Status, Variant
from models.exploration import draw, explores
from models.exposed import Exposed
from models.recommenders.base import Rows
from models.release.split import arm, chance, is_forced
from models.world import Servable, World

Seconds = Callable[[], float]  # a stopwatch: seconds since whenever


class Question(msgspec.Struct, frozen=True, gc=False):
    """A request, where it stands, and the broker's time of it. A replay says which fallback it was: `recorded`."""

    request: Request
    source: Source
    kafka_ms: int
    recorded: AnswerReason | None = None


@dataclass(frozen=True, slots=True)
class Cut:
    """The histories of a batch's users at one moment, and the offsets below which every event is in them."""

    indptr: NDArray[np.int64]  # (B + 1,)
    movies: NDArray[np.int32]  # indices, sorted within a user
    known: Sequence[bool]  # the user has events or a profile
    offsets: msgspec.Raw  # {topic: {partition: next offset}}
    behind: bool = False  # events published before the requests may be missing

    def movies_of(self, row: int) -> NDArray[np.int32]:
        return self.movies[self.indptr[row] : self.indptr[row + 1]]

    def some(self, rows: Sequence[int]) -> "Cut":
        """Of these users alone."""
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(self.movies_of(row)) for row in rows], out=indptr[1:])
        movies = np.concatenate([np.empty(0, np.int32), *(self.movies_of(row) for row in rows)])
        return Cut(indptr, movies, [self.known[row] for row in rows], self.offsets, self.behind)


class Decision(msgspec.Struct, gc=False):
    """What a request is answered. `failure` says what went wrong inside, for the log."""

    question: Question
    bucket: int
    variant: Variant
    version: str
    status: Status
    reason: AnswerReason | None
    movies: list[str]
    scores: list[float]
    failure: str | None = None
    reranked: Reranked | None = None  # where protected movies have a least share
    propensities: list[float] | None = None  # where a place of the list was drawn
    scoring_ms: float | None = None
    scored_together: int | None = None


def check(request: Request, world: World) -> None:
    """BadMessage for what only the catalogue can tell."""
    if request.genres and len(world.catalog) and (unknown := world.catalog.unknown(request.genres)):
        raise BadMessage("unknown_genre", f"genres: no movie of the catalogue has {', '.join(unknown)}")


def decide(
    questions: Sequence[Question], cut: Cut, world: World, now_ms: int, *, seconds: Seconds | None = None
) -> list[Decision]:
    """The decision for each question, in order; batch and single give the same lists. `seconds` times the scoring."""
    decisions: list[Decision] = []
    personal: dict[str, list[int]] = {}
    for row, question in enumerate(questions):
        request = question.request
        bucket, variant = arm(request.user_id, request.request_id, world.applied.config.canary)
        version = world.version(variant)
        reason = _why_not(question, row, cut, world, now_ms)
        decisions.append(Decision(question, bucket, variant, version, "fallback", reason, [], []))
        if reason is None:
            personal.setdefault(version, []).append(row)
    for version, rows in personal.items():
        _score(decisions, rows, cut, world, version, seconds)
    for row, decision in enumerate(decisions):
        if decision.reason == "filled_from_popular":
            _fill(decision, cut.movies_of(row), world)
        elif decision.status == "fallback":
            _fall_back(decision, cut.movies_of(row), world)
    return decisions


def scored_by(version: str, questions: Sequence[Question], cut: Cut, world: World, seconds: Seconds) -> list[Decision]:
    """The lists that this version alone would give: nothing filled, nothing explored.

    Remembers no user and uses no vector that is remembered, so that two versions do the same work.
    """
    decisions = []
    for question in questions:
        bucket, variant = arm(question.request.user_id, question.request.request_id, world.applied.config.canary)
        decisions.append(Decision(question, bucket, variant, version, "fallback", None, [], []))
    _score(decisions, list(range(len(decisions))), cut, world, version, seconds, trial=True)
    return decisions


def _why_not(question: Question, row: int, cut: Cut, world: World, now_ms: int) -> AnswerReason | None:
    if question.recorded is not None:
        return question.recorded
    serving, age_ms = world.applied.config.serving, now_ms - question.kafka_ms
    if age_ms > serving.deadline_ms:
        return "deadline_passed"
    if serving.shed_after_ms is not None and age_ms > serving.shed_after_ms:
        return "overloaded"
    if cut.behind:
        return "history_behind"
    if not cut.known[row]:
        return "unknown_user"
    if cut.indptr[row] == cut.indptr[row + 1]:
        return "no_history"
    return None


def _score(
    decisions: list[Decision],
    rows: list[int],
    cut: Cut,
    world: World,
    version: str,
    seconds: Seconds | None,
    *,
    trial: bool = False,
) -> None:
    """`trial`: by the model alone, as `scored_by` says."""
    servable = world.models.get(version)
    begun = seconds() if seconds else 0.0
    try:
        if servable is None:
            raise LookupError(f"model {version} is not at hand")
        _score_batch(decisions, rows, cut, world, servable, trial)
    except Exception as error:  # noqa: BLE001 - whatever a model raises is that request's fallback, nobody else's
        if len(rows) > 1:
            for row in rows:
                _score(decisions, [row], cut, world, version, seconds, trial=trial)
            return
        decision = decisions[rows[0]]
        decision.status, decision.reason, decision.movies, decision.scores = "fallback", "model_failed", [], []
        decision.reranked = decision.propensities = None
        decision.failure = f"{type(error).__name__}: {error}"
    if seconds and servable is not None:
        each_ms = round(1000 * (seconds() - begun) / len(rows), 4)
        for row in rows:
            decisions[row].scoring_ms, decisions[row].scored_together = each_ms, len(rows)


def _score_batch(
    decisions: list[Decision], rows: list[int], cut: Cut, world: World, servable: Servable, trial: bool
) -> None:
    recommender, exploration = servable.model.recommender, world.applied.config.exploration
    histories = _histories(rows, cut, servable)
    users = (recommender if trial else servable.folded).users(histories)
    if not np.isfinite(
        users
    ).all():  # a history that could not be folded in has no list, which must not pass for an empty one
        raise ValueError("a user's factors are not finite")
    wanted = np.array([decisions[row].question.request.n for row in rows], np.int64)
    exploring = np.zeros(len(rows), np.bool_)
    if exploration.share > 0 and not trial:
        exploring[:] = [explores(decisions[row].question.request.user_id, exploration) for row in rows]
    excluded = _seen(histories, [decisions[row].question.request.exclude_seen for row in rows])
    allowed = [_allowed(decisions[row].question.request, world, servable) for row in rows]
    lists = recommender.top(users, wanted + exploration.pool * exploring, excluded, allowed)
    protected = None if trial else world.protected.get(servable.model.version)
    exposed = None
    if protected is not None:
        exposed = Exposed.of(protected, recommender, users, wanted, histories, excluded, allowed, lists)
    useful = np.count_nonzero(users, axis=1).tolist()
    listed = np.arange(lists.scores.shape[1]) < lists.counts[:, None]
    unsound = np.count_nonzero(listed & ~np.isfinite(lists.scores), axis=1).tolist()
    all_columns, all_scores, counts = lists.columns.tolist(), lists.scores.tolist(), lists.counts.tolist()
    movie_id = servable.model.movie_ids.__getitem__
    for place, row in enumerate(rows):
        decision = decisions[row]
        if not useful[place]:
            decision.reason = "no_history"  # all that was watched is newer than the model, or says nothing to it
            continue
        if unsound[place]:
            raise ValueError("a score is not finite")
        decision.status = "ok"
        request = decision.question.request
        columns, scores = all_columns[place][: counts[place]], all_scores[place][: counts[place]]
        if exposed is not None:
            both = exposed.list(place, *lists.row(place), request.n, servable.model.movie_ids)
            columns, scores, decision.reranked = both[0].tolist(), both[1].tolist(), both[2]
        drawn = draw(request.request_id, request.n, len(columns), exploration) if exploring[place] else None
        if drawn is not None:
            columns, scores = [columns[rank] for rank in drawn.ranks], [scores[rank] for rank in drawn.ranks]
            decision.propensities = drawn.propensities
        decision.movies = list(map(movie_id, columns))
        decision.scores = scores
        if len(decision.movies) < request.n:
            decision.reason = "filled_from_popular"


def _histories(rows: list[int], cut: Cut, servable: Servable) -> Rows:
    """The columns that each user has seen; what the model does not know is left out."""
    lengths = (cut.indptr[1:] - cut.indptr[:-1])[rows]
    movies = np.concatenate([cut.movies_of(row) for row in rows]) if len(rows) < len(cut.known) else cut.movies
    columns = servable.columns(movies)
    owner = np.repeat(np.arange(len(rows)), lengths)
    keep = columns >= 0
    columns, owner = columns[keep], owner[keep]
    # Sorted by column: indices follow the order in which a worker met the movies, and sums must not.
    ordered = np.lexsort((columns, owner))
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(np.bincount(owner, minlength=len(rows)), out=indptr[1:])
    return Rows(indptr, columns[ordered], np.ones(len(columns), np.float32))


def _seen(histories: Rows, exclude: list[bool]) -> Rows:
    if all(exclude):
        return histories
    lengths = np.diff(histories.indptr)
    keep = np.repeat(exclude, lengths)
    indptr = np.concatenate([[0], np.cumsum(lengths * np.array(exclude))])
    return Rows(indptr, histories.indices[keep], histories.data[keep])


def _allowed(request: Request, world: World, servable: Servable) -> NDArray[np.bool_] | None:
    if not request.genres:
        return servable.allowed
    allowed = np.zeros(len(servable.index_of), np.bool_)
    columns = servable.columns(world.catalog.with_genres(request.genres))
    allowed[columns[columns >= 0]] = True
    return allowed if servable.allowed is None else allowed & servable.allowed


def _fill(decision: Decision, seen: NDArray[np.int32], world: World) -> None:
    """The model has ranked every movie that it can: what is left are mostly newer ones. Their score is 0, they have none."""
    found = _first(decision, seen, world, world.models[decision.version].popular)
    if not found:
        decision.reason = None
        return
    decision.movies += [world.ids.text(index) for index in found]
    decision.scores += [0.0] * len(found)


def _fall_back(decision: Decision, seen: NDArray[np.int32], world: World) -> None:
    """Popular movies that the user has not seen; the score is the number of interactions in the training data."""
    servable = world.models.get(decision.version)
    found = _first(decision, seen, world, servable.popular if servable else world.fallback)
    decision.movies = [world.ids.text(index) for index in found]
    columns = servable.columns(np.array(found, np.int32)).tolist() if servable else [-1] * len(found)
    decision.scores = [float(servable.model.popularity[c]) if servable and c >= 0 else 0.0 for c in columns]


def _first(decision: Decision, seen: NDArray[np.int32], world: World, order: Sequence[int]) -> list[int]:
    request = decision.question.request
    out = set(seen.tolist()) if request.exclude_seen else set()
    out.update(map(world.ids.index, decision.movies))
    wanted = set(world.catalog.with_genres(request.genres).tolist()) if request.genres else None
    missing = request.n - len(decision.movies)
    found: list[int] = []
    for index in order:
        if len(found) == missing:
            break
        if index not in out and (wanted is None or index in wanted):
            found.append(index)
    return found


def records(decision: Decision, cut: Cut, world: World, now_ms: int) -> tuple[bytes, bytes]:
    """An answer and its provenance record, as JSON."""
    question, canary, propensities = decision.question, world.applied.config.canary, decision.propensities
    if propensities is None and world.applied.config.exploration.share > 0:
        propensities = [1.0] * len(decision.movies)
    servable = world.models.get(decision.version)
    model = servable.model if servable else None
    answer = wire.encode(
        Answer(
            request_id=question.request.request_id,
            user_id=question.request.user_id,
            status=decision.status,
            recommendations=decision.movies,
            scores=decision.scores,
            model_id=model.model_id if model else None,
            model_version=decision.version,
            variant=decision.variant,
            source=question.source,
            served_at=wire.rfc3339(now_ms),
            latency_ms=max(0, now_ms - question.kafka_ms),
            reason=decision.reason,
            explored=decision.propensities is not None,
        )
    )
    proof = Proof(
        asked=Asked(question.request.n, question.request.genres, question.request.exclude_seen),
        canary_percentage=canary.percentage,
        bucket=decision.bucket,
        config_sha256=world.applied.sha256,
        model_sha256=model.sha256 if model else None,
        data_version=model.data_version if model else None,
        catalog_sha256=world.catalog.sha256,
        history_offsets=cut.offsets,
        variant_probability=chance(question.request.user_id, decision.variant, canary),
        scoring_ms=decision.scoring_ms,
        scored_together=decision.scored_together,
        propensities=propensities,
        reranked=decision.reranked,
        forced=is_forced(question.request.user_id, canary),
    )
    return answer, wire.provenance(answer, proof)


def rejection(
    request_id: str,
    user_id: str | None,
    source: Source,
    kafka_ms: int,
    reason: Reason,
    offsets: msgspec.Raw,
    world: World,
    now_ms: int,
) -> tuple[bytes, bytes]:
    """Answer and record of a request that is wrong itself: no split, no model, an empty list."""
    answer = wire.encode(
        Answer(
            request_id=request_id,
            user_id=user_id,
            status="rejected",
            recommendations=[],
            scores=[],
            model_id=None,
            model_version=None,
            variant=None,
            source=source,
            served_at=wire.rfc3339(now_ms),
            latency_ms=max(0, now_ms - kafka_ms),
            reason=reason,
        )
    )
    proof = Proof(
        asked=None,
        canary_percentage=world.applied.config.canary.percentage,
        bucket=None,
        config_sha256=world.applied.sha256,
        model_sha256=None,
        data_version=None,
        catalog_sha256=world.catalog.sha256,
        history_offsets=offsets,
        variant_probability=None,
        scoring_ms=None,
        scored_together=None,
    )
    return answer, wire.provenance(answer, proof)
