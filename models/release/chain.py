"""The records of verdicts in `canary-events`, walked as they stand: each recomputed, each naming the one before, and all else covered.

A verdict's record also holds `covers`: how many messages came since the ones that the record before covers, and the SHA-256 over their
SHA-256s. So a changed byte is found in whatever was said before the newest verdict, a person's rollback too. Computes; reads no topic.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from models.release.record import FIRST, problems
from models.release.story import VERDICT


def covers(digests: Iterable[str]) -> dict[str, Any]:
    """Of the SHA-256s of messages.

    >>> covers([])["messages"], covers(["ab", "cd"])["messages"]
    (0, 2)
    """
    found = list(digests)
    return {"messages": len(found), "sha256": hashlib.sha256("".join(found).encode()).hexdigest()}


@dataclass(slots=True)
class Chain:
    """The topic so far. `whole`: it is read from its first message; else the first record may name what is not kept any more."""

    whole: bool = True
    last: str = FIRST  # hash of the newest record
    records: int = 0
    uncovered: list[str] = field(default_factory=list)  # SHA-256s of the messages that no record covers yet
    _known: set[str] = field(default_factory=set)

    def add(self, value: bytes | None) -> tuple[Any, list[str]]:
        """The next message: its JSON (None where it is none), and what is wrong with it, one line each."""
        try:
            record = json.loads(value or b"")
        except (ValueError, RecursionError):
            record = None
        found: list[str] = []
        if is_sealed(record):
            found = self._walk(record)
        self.uncovered.append(hashlib.sha256(value or b"").hexdigest())
        return record, found

    def knows(self, sha256: str) -> bool:
        """Whether a record of this hash stands there."""
        return sha256 in self._known

    def _walk(self, record: Mapping[str, Any]) -> list[str]:
        sha256 = str(record.get("sha256"))
        begins = self.records == 0 and not self.whole
        found = problems([record], None if begins else self.last)
        if sha256 in self._known and sha256 == self.last and not problems([record], None):
            return []  # sent once more, by who was killed before knowing that it had come
        if not begins and "covers" in record:
            found += self._covered(record["covers"])
        self.last, self.records = sha256, self.records + 1
        self._known.add(sha256)
        return [line.removeprefix("record 1: ") for line in found]

    def _covered(self, told: Any) -> list[str]:
        messages = told.get("messages") if isinstance(told, Mapping) else None
        if not isinstance(messages, int) or not 0 <= messages <= len(self.uncovered):
            return [f"covers {messages} messages, {len(self.uncovered)} stand there"]
        found, right = self.uncovered[:messages], told
        del self.uncovered[:messages]
        again = covers(found)
        return [] if right == again else [f"the {messages} messages that it covers are not what they were"]


def is_sealed(record: Any) -> bool:
    """Whether it is, or was, a record of the chain."""
    return isinstance(record, dict) and (record.get("event") == VERDICT or {"sha256", "previous"} <= record.keys())
