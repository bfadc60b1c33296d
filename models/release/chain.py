"""The records of verdicts in `canary-events`, walked as they stand: each recomputed, each naming the one before, and all else covered.

Each home's scheduler writes a chain of its own (`home` in the record): of two that write at the same time neither breaks the other's.
A verdict's record also holds `covers`: how many messages came since the ones that the record before covers, and the SHA-256 over their
SHA-256s. So a changed byte is found in whatever was said before the newest verdict, a person's rollback and another home's verdict too.
Computes; reads no topic.
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
class _Link:
    """How far a home's chain has come. `covered`: messages of the topic that its records cover, or that came before all of them."""

    last: str = FIRST
    records: int = 0
    covered: int = 0


@dataclass(slots=True)
class Chain:
    """The topic so far. `whole`: it is read from its first message; else the first records may name what is not kept any more."""

    whole: bool = True
    records: int = 0
    _digests: list[str] = field(default_factory=list)  # SHA-256s of all messages
    _links: dict[str, _Link] = field(default_factory=dict)
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
        self._digests.append(hashlib.sha256(value or b"").hexdigest())
        return record, found

    def homes(self) -> list[str]:
        """The homes that have a chain."""
        return sorted(self._links)

    def last(self, home: str) -> str:
        """The hash of a home's newest record."""
        return self._links.get(home, _Link()).last

    def uncovered(self, home: str) -> list[str]:
        """SHA-256s of the messages that none of its records covers yet."""
        return self._digests[self._links.get(home, _Link()).covered :]

    def knows(self, sha256: str) -> bool:
        """Whether a record of this hash stands there."""
        return sha256 in self._known

    def _walk(self, record: Mapping[str, Any]) -> list[str]:
        sha256, link = str(record.get("sha256")), self._links.setdefault(str(record.get("home", "")), _Link())
        begins = link.records == 0 and not self.whole
        found = problems([record], None if begins else link.last)
        if sha256 in self._known and sha256 == link.last and not problems([record], None):
            return []  # sent once more, by who was killed before knowing that it had come
        if not begins and "covers" in record:
            found += self._covered(link, record["covers"])
        elif begins:
            link.covered = len(self._digests)
        link.last, link.records = sha256, link.records + 1
        self.records += 1
        self._known.add(sha256)
        return [line.removeprefix("record 1: ") for line in found]

    def _covered(self, link: _Link, told: Any) -> list[str]:
        messages, there = told.get("messages") if isinstance(told, Mapping) else None, len(self._digests) - link.covered
        if not isinstance(messages, int) or not 0 <= messages <= there:
            return [f"covers {messages} messages, {there} stand there"]
        again = covers(self._digests[link.covered : link.covered + messages])
        link.covered += messages
        return [] if told == again else [f"the {messages} messages that it covers are not what they were"]


def is_sealed(record: Any) -> bool:
    """Whether it is, or was, a record of the chain."""
    return isinstance(record, dict) and (record.get("event") == VERDICT or {"sha256", "previous"} <= record.keys())
