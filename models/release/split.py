"""The canary split: which arm a key falls into. Sticky: growing the percentage moves nobody back to stable."""

import math
from hashlib import sha256

from models.config import Canary
from models.events import Variant

BUCKETS = 10_000


def bucket(key: str, salt: str) -> int:
    """The key's bucket, 0 to 9999: the first eight bytes of SHA-256 of `salt:key`, big-endian, modulo 10,000.

    Python's own `hash` differs from process to process; this is the same for ever, in any language.

    >>> bucket("42", "2026-11")
    5658
    """
    return int.from_bytes(sha256(f"{salt}:{key}".encode()).digest()[:8], "big") % BUCKETS


def arm(user_id: str, request_id: str, canary: Canary) -> tuple[int, Variant]:
    """The bucket of a request and the variant that answers it. A forced user's bucket is told, too, and does not decide."""
    drawn = bucket(user_id if canary.unit == "user" else request_id, canary.salt)
    if is_forced(user_id, canary):
        return drawn, canary.forced[user_id]
    trial = canary.candidate is not None and drawn < 100 * canary.percentage
    return drawn, "canary" if trial else "stable"


def is_forced(user_id: str, canary: Canary) -> bool:
    """Whether the user's variant was set and not drawn: nothing may be concluded from such a user about the arms.

    Without a candidate there is nothing to choose from, and nobody is forced.

    >>> trial = Canary(percentage=0, forced={"tester": "canary"})
    >>> is_forced("tester", trial), arm("tester", "r", trial)[1], is_forced("42", trial)
    (True, 'canary', False)
    """
    return canary.candidate is not None and user_id in canary.forced


def chance(user_id: str, variant: Variant, canary: Canary) -> float:
    """P(this user meets this variant), over all salts: the buckets that lead to it, of all. 1 where nothing was drawn.

    The candidate's buckets are those below 100 · percentage, so a percentage with more than two decimals is rounded up here,
    too: the number is the split's, not the file's.

    >>> trial = Canary(percentage=12.5, forced={"tester": "canary"})
    >>> chance("42", "canary", trial), chance("42", "stable", trial), chance("tester", "canary", trial)
    (0.125, 0.875, 1.0)
    """
    if canary.candidate is None or is_forced(user_id, canary):
        return 1.0
    trial = min(BUCKETS, math.ceil(100 * canary.percentage))
    return (trial if variant == "canary" else BUCKETS - trial) / BUCKETS
