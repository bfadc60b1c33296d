"""The records that travel: what users publish, what canarec answers. Frozen, checked when they were made (`models.wire`).

Times are whole milliseconds since 1970 UTC, ids are text, ratings are on the configured scale.
"""

from typing import Literal

import msgspec

Status = Literal["ok", "fallback", "rejected"]
Variant = Literal["stable", "canary"]
AnswerReason = Literal[
    "unknown_user",  # neither events nor a profile
    "no_history",  # nothing watched or rated that the model knows
    "model_failed",
    "history_behind",  # the events before the request could not be read in time
    "deadline_passed",
    "overloaded",  # older than shed_after_ms: popular movies now rather than its own list later
    "filled_from_popular",  # status ok: the model had fewer than n movies to give
]


class Watch(msgspec.Struct, frozen=True, gc=False):
    user_id: str
    movie_id: str
    minute: int
    timestamp_ms: int


class Rating(msgspec.Struct, frozen=True, gc=False):
    user_id: str
    movie_id: str
    rating: float
    timestamp_ms: int


class Profile(msgspec.Struct, frozen=True):
    user_id: str
    gender: str | None
    age: int | None = None
    occupation: str | None = None


class Movie(msgspec.Struct, frozen=True):
    movie_id: str
    title: str
    genres: tuple[str, ...]
    year: int | None = None
    popularity: float | None = None


class Request(msgspec.Struct, frozen=True, gc=False):
    request_id: str
    user_id: str
    n: int = 20
    genres: tuple[str, ...] | None = None
    exclude_seen: bool = True
    timestamp_ms: int | None = None


class Feedback(msgspec.Struct, frozen=True):
    request_id: str
    user_id: str | None
    selected: str | None
    satisfaction: float | None
    timestamp_ms: int | None


class Source(msgspec.Struct, frozen=True, gc=False):
    """Where a message stands: the place that no other message has."""

    topic: str
    partition: int
    offset: int


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One answer, as `recommendations` carries it."""

    request_id: str
    user_id: str | None
    status: Status
    recommendations: list[str]
    scores: list[float]
    model_id: str | None
    model_version: str | None
    variant: Variant | None
    source: Source
    served_at: str
    latency_ms: int
    reason: str | None = None
    explored: bool = False  # a place of the list was drawn, and not the model's choice


class Asked(msgspec.Struct, frozen=True):
    """What of a request shapes its list: kept in the record, since the request's topic forgets."""

    n: int
    genres: tuple[str, ...] | None
    exclude_seen: bool


class Reranked(msgspec.Struct, frozen=True):
    """What the least share of protected movies (`exposure`) made of a model's list, before any place of it was drawn."""

    least: int  # places that it asks for
    protected: int  # places that protected movies have
    added: list[str]  # movies that the model's own list does not have
    removed: list[str]  # and those that made room for them


class Proof(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a provenance record holds beside every field of its answer."""

    asked: Asked | None
    canary_percentage: float
    bucket: int | None
    config_sha256: str
    model_sha256: str | None
    data_version: str | None
    catalog_sha256: str
    history_offsets: msgspec.Raw
    variant_probability: float | None  # that this user met this variant; None without a variant
    scoring_ms: float | None  # this request's part of the time in which its model scored; None where none did
    scored_together: int | None  # requests that shared that time
    forced: bool = False  # the variant was set for this user, whatever the bucket
    reranked: Reranked | None = None  # None while `exposure` asks for nothing, and where no model answered
    propensities: list[float] | None = None  # of each movie, to stand in its place; None while nobody explores: all 1


CanaryChange = Literal[
    "configuration_applied",  # a worker answers by this configuration from now on
    "configuration_refused",  # a worker does not take what config.json says
    "offered",  # a new version is the candidate
    "set",  # another percentage
    "promoted",
    "rolled_back",
    "paused",
    "resumed",
    "shadow",  # what a worker has found so far by scoring with the candidate beside stable
]


class Split(msgspec.Struct, frozen=True):
    """The split of a configuration, as an event names it."""

    config_sha256: str
    stable: str
    candidate: str | None
    percentage: float
    previous: str | None = None
    rolled_back: str | None = None
    paused: bool = False


class Timing(msgspec.Struct, frozen=True):
    """Scoring times in milliseconds a request."""

    mean: float
    p99: float  # of the newest ones


class ShadowFigures(msgspec.Struct, frozen=True):
    """What a worker has found since it began to compare these two models: of several, the last one counts."""

    since: str
    requests: int  # that both models scored
    errors: int  # the candidate failed
    empty: int  # it gave no movie where stable did
    dropped: int  # chosen for a comparison, and left out since answers came first
    overlap: float | None  # mean of |stable's list ∩ candidate's| / the longer one's length
    scoring_ms: dict[Variant, Timing]  # both scored the same requests together; empty before the first


class CanaryEvent(msgspec.Struct, frozen=True, omit_defaults=True, rename={"from_": "from"}):
    """A change of the split, or what its shadow shows, as `canary-events` carries it."""

    event: CanaryChange
    timestamp: str
    who: str  # user@host for a person, the worker's or scheduler's name
    from_: Split | None
    to: Split | None  # None of what was refused: it stays as it was
    why: str | None = None
    path: str | None = None  # of the key that was refused
    shadow: ShadowFigures | None = None


class DeadLetter(msgspec.Struct, frozen=True, omit_defaults=True):
    source: Source
    reason: str
    error: str
    payload: str | None
    timestamp: str
    payload_encoding: str | None = None
