"""THE table of who may do what: of each part of canarec, and of the programs around it, the least that a Kafka cluster must allow.

Reading and writing a topic includes describing it, as Kafka has it. Writing without transactions needs nothing of the cluster itself (KIP-679).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from models.config import Applied
from models.erasure import CUT, GROUPS, HELD
from models.errors import UsageError
from models.topics import TOPICS

Operation = Literal["describe", "read", "write", "create", "delete", "describe_configs"]
Resource = Literal["topic", "group", "transactional_id"]

ALL = tuple(TOPICS)
IN = tuple(name for name, topic in TOPICS.items() if topic.direction == "in")
OUT = tuple(name for name, topic in TOPICS.items() if topic.direction == "out")
_EVENTS = ("watch-events", "rating-events")
_KNOWN = (*_EVENTS, "user-profiles", "movie-catalog")  # what lists are made from
_ASKED = ("recommendation-requests", "recommendation-feedback")
_WINDOWS = ("recommendation-quality", "feedback-loop-metrics", "fairness-metrics")
_ANSWERS = ("recommendations", "provenance", "dead-letters", "canarec-answered")


class Grant(NamedTuple):
    """One thing that a principal may do. `prefixed`: to everything whose name begins so."""

    resource: Resource
    name: str
    prefixed: bool
    operation: Operation


@dataclass(frozen=True, slots=True)
class Part:
    """A principal of its own: a process of canarec, a person, a program of yours. Topics by the contract's names."""

    name: str
    about: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    sees: tuple[str, ...] = ()  # describe: that they are there
    makes: tuple[str, ...] = ()
    looks_at: tuple[str, ...] = ()  # their settings
    cuts: tuple[str, ...] = ()  # deletes records; Kafka has no other right for it than that of deleting the topic
    groups: tuple[str, ...] = ()  # consumer groups behind `group_prefix`; with * at the end: that begin so
    watches: tuple[str, ...] = ()  # groups behind it: how far they have read
    transactions: tuple[str, ...] = ()  # transactional ids behind it that begin so
    own_groups: bool = False  # groups that begin with the principal's name

    def operations(self) -> Iterator[tuple[str, Operation]]:
        """(topic, operation), each that no other one includes."""
        yield from ((name, "read") for name in self.reads)
        yield from ((name, "write") for name in self.writes)
        yield from ((name, "create") for name in self.makes)
        yield from ((name, "describe_configs") for name in self.looks_at)
        yield from ((name, "delete") for name in self.cuts)
        yield from ((name, "describe") for name in self.sees if name not in (*self.reads, *self.writes))


PARTS: dict[str, Part] = {
    part.name: part
    for part in (
        Part(
            "topics",
            "who makes the topics once: `canarec topics make`",
            sees=ALL,
            makes=ALL,
            looks_at=ALL,
        ),
        Part(
            "worker",
            "`canarec worker`, with its writers of the CSV and of the windows",
            reads=(
                *("movielog", *_KNOWN, *_ASKED, "provenance", "canarec-answered"),
                *_WINDOWS,
            ),
            writes=(*_EVENTS, *_ANSWERS, *_WINDOWS, "canary-events"),
            sees=ALL,
            looks_at=(*_ANSWERS, *_WINDOWS),
            groups=GROUPS,
            transactions=("requests-", "events-", "movielog-", "windows-"),
        ),
        Part(
            "api",
            "`canarec api`: questions, answers, the live page and its look-ups",
            reads=(
                *("recommendations", "provenance", "recommendation-feedback", *_KNOWN),
                *("canary-events", "retraining-events", "fairness-metrics"),
            ),
            writes=("recommendation-requests",),
        ),
        Part(
            "scheduler",
            "`canarec scheduler`, `canarec retrain` and the stages of dvc.yaml",
            reads=(
                *(*_KNOWN, *_ASKED, "recommendations", "provenance"),
                *("feedback-loop-metrics", "fairness-metrics", "canary-events"),
            ),
            writes=("canary-events", "retraining-events"),
            sees=ALL,
        ),
        Part(
            "operator",
            "a person: `canarec recommend`, `canary`, `provenance`, `windows`, `analyze`, `doctor`",
            reads=(
                *(*_KNOWN, "recommendation-feedback", "recommendations", "provenance"),
                *("feedback-loop-metrics", "fairness-metrics", "canary-events"),
            ),
            writes=("recommendation-requests", "canary-events"),
            sees=ALL,
            looks_at=ALL,
        ),
        Part(
            "dead-letters",
            "a person who publishes again what was refused: `canarec dead-letters`",
            reads=("dead-letters", *IN),
            writes=IN,
        ),
        Part(
            "eraser",
            "a person who removes a user: `canarec erase`; could delete what it cuts",
            reads=(*HELD, "movie-catalog"),
            writes=("user-profiles", "retraining-events"),
            cuts=CUT,
            watches=GROUPS,
        ),
        Part(
            "importer",
            "`canarec import`, and the first history of `canarec up`",
            reads=("movielog", "movie-catalog", "user-profiles", *_EVENTS),
            writes=("movielog", "movie-catalog", "user-profiles", *_EVENTS),
            sees=ALL,
            groups=("import-*",),
        ),
        Part(
            "simulator",
            "`canarec simulate`",
            reads=(*_KNOWN, "recommendations"),
            writes=("movielog", *_EVENTS, "user-profiles", *_ASKED),
        ),
        Part(
            "requester",
            "a service of yours that asks, tells what became of it and reads the answers",
            reads=("recommendations",),
            writes=_ASKED,
            own_groups=True,
        ),
        Part(
            "publisher",
            "a service of yours that knows what people watch: events, profiles, catalogue, raw lines",
            writes=("movielog", *_KNOWN),
        ),
        Part(
            "reader",
            "whoever only looks: notebooks, dashboards",
            reads=OUT,
            own_groups=True,
        ),
    )
}

_READERS_GROUP = "unused"  # what librdkafka asks for by a reader that belongs to none (streams.clients)


def grants(name: str, applied: Applied, principal: str) -> list[Grant]:
    """All that a part needs, by the topics' and groups' names of this configuration. UsageError where there is no such part.

    >>> from models.config import parse
    >>> for grant in grants("publisher", parse("{}"), "shop")[:2]: print(*grant)
    topic movielog False write
    topic watch-events False write
    """
    if name not in PARTS:
        raise UsageError(f"there is no part {name[:60]!r}: expected {', '.join(PARTS)}")
    part = PARTS[name]
    found = [Grant("topic", applied.topic(topic), False, operation) for topic, operation in part.operations()]
    if part.own_groups:
        found.append(Grant("group", principal, True, "read"))
    elif part.reads:
        found.append(Grant("group", applied.group(_READERS_GROUP), False, "describe"))
    found += [Grant("group", applied.group(each.rstrip("*")), each.endswith("*"), "read") for each in part.groups]
    found += [Grant("group", applied.group(each), False, "describe") for each in part.watches]
    found += [Grant("transactional_id", applied.group(each), True, "write") for each in part.transactions]
    return list(dict.fromkeys(found))
