"""An erasure as it is kept and told: what was found of a user and what became of it, without anybody's name.

A user and a request are named by a digest. It keeps the name from who reads the record, not from who knows the name: whoever can list all
ids can compute all digests.
"""

from collections.abc import Collection, Iterable, Mapping
from hashlib import sha256
from typing import Any, Literal

import msgspec

from models.topics import TOPICS

HEADER = "canarec-erased"  # of the tombstone: running workers forget the user's history, too
PROFILES = "user-profiles"
TRAINED_ON = ("watch-events", "rating-events", PROFILES)
# Topics that hold users' ids. The catalogue, windows, verdicts and hashes of ids hold nobody's.
HELD = (
    *("movielog", "watch-events", "rating-events", PROFILES, "recommendation-requests", "recommendation-feedback"),
    *("recommendations", "provenance", "recommendation-quality", "dead-letters"),
)
CUT = tuple(name for name in HELD if not TOPICS[name].compacted)
GROUPS = ("requests", "events", "movielog", "windows")  # who reads topics by committed offsets


def user_digest(user_id: str) -> str:
    """What an erased user is called."""
    return sha256(b"canarec user\0" + user_id.encode()).hexdigest()


def request_digest(request_id: str) -> str:
    """What a request of theirs is called."""
    return sha256(b"canarec request\0" + request_id.encode()).hexdigest()


class Erasure(msgspec.Struct):
    """The record of an erasure in the home, written before anything is removed, and again after each step: a later run goes on from it."""

    user_sha256: str
    started_at: str
    finished_at: str | None = None  # of the newest run that left nothing
    removed: dict[str, int] = {}  # what was found where, and is there no more; over all runs
    models: list[str] = []  # versions that were trained on the user's data: marked for retraining
    models_unknown: list[str] = []  # versions whose metadata do not say what they were trained on
    requests: list[str] = []  # digests of the answers' request ids
    left: list[str] = []  # what is still there, one line each, and until when
    told: bool = False  # in retraining-events
    retrained: bool = False  # a training has come since

    def add(self, what: str, count: int) -> None:
        if count:
            self.removed[what] = self.removed.get(what, 0) + count

    def merge(self, *, models: Iterable[str] = (), unknown: Iterable[str] = (), requests: Iterable[str] = ()) -> None:
        self.models = sorted({*self.models, *models})
        self.models_unknown = sorted({*self.models_unknown, *unknown} - {*self.models})
        self.requests = sorted({*self.requests, *map(request_digest, requests)})


class Erased(msgspec.Struct, frozen=True):
    """All erasures of a home, for whoever meets an id."""

    users: Mapping[str, str]  # digest → when
    requests: Mapping[str, str]

    @classmethod
    def of(cls, erasures: Iterable[Erasure]) -> "Erased":
        users: dict[str, str] = {}
        requests: dict[str, str] = {}
        for erasure in erasures:
            users[erasure.user_sha256] = erasure.started_at
            requests.update(dict.fromkeys(erasure.requests, erasure.started_at))
        return cls(users, requests)

    def user(self, user_id: str | None, before: str | None = None) -> str | None:
        """Since when a user is erased; None for one who is not. `before`: of something that was written later it says nothing."""
        at = self.users.get(user_digest(user_id)) if self.users and user_id is not None else None
        return at if at is not None and (before is None or before <= at) else None

    def request(self, request_id: str) -> str | None:
        """Since when the answer to a request is erased."""
        return self.requests.get(request_digest(request_id)) if self.requests else None


def trained_on(offsets: Mapping[str, Mapping[str, Any]], seen: Mapping[tuple[str, int], Collection[int]]) -> bool:
    """Whether any of these offsets, by topic and partition, is in a version's data.

    >>> trained_on({"watch-events": {"0": [0, 5]}}, {("watch-events", 0): [7, 4]}), trained_on({}, {("watch-events", 0): [4]})
    (True, False)
    """
    for (topic, partition), some in seen.items():
        span = offsets.get(topic, {}).get(str(partition))
        if span is not None and any(int(span[0]) <= offset < int(span[1]) for offset in some):
            return True
    return False


class UserErased(msgspec.Struct, frozen=True):
    """What `retraining-events` is told: nobody's name, and which versions are to be trained anew."""

    timestamp: str
    user_sha256: str
    removed: dict[str, int]  # what was found where, and is gone
    model_versions: list[str]  # trained on the user's data
    event: Literal["erased"] = "erased"


def event(erasure: Erasure, now: str) -> UserErased:
    """The audit of an erasure.

    >>> event(Erasure(user_digest("42"), "2026-11-27T08:00:00.000Z"), "2026-11-27T08:00:01.000Z").event
    'erased'
    """
    return UserErased(now, erasure.user_sha256, erasure.removed, erasure.models)
