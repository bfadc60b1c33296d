"""THE table of topics: what each is for, who its key is, how many partitions it has and how long it keeps what.

Answers, their records and the memory of answered ids have as many partitions as the requests: an answer goes to the
partition with its request's number, records and memory of a transaction to one that it consumed from (`streams.transactions`).
"""

from dataclasses import dataclass
from typing import Literal

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
FOR_EVER = -1

PARTITIONS = 4  # each one more that a transaction writes to costs it a millisecond or two (docs/performance.md)


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic of the contract. `retention_ms` is FOR_EVER or milliseconds; a compacted topic keeps its last values."""

    name: str
    direction: Literal["in", "out", "internal"]
    key: str
    about: str
    partitions: int = PARTITIONS
    retention_ms: int = FOR_EVER
    compacted: bool = False
    max_message_bytes: int = 1_048_588  # Kafka's own default

    def settings(self) -> dict[str, str]:
        """The topic's Kafka configuration. The broker's clock stamps messages: deadlines and 'ahead' are judged by it."""
        policy = "compact" if self.compacted else "delete"
        settings = {
            "cleanup.policy": policy,
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(self.max_message_bytes),
        }
        if not self.compacted:
            settings["retention.ms"] = str(self.retention_ms)
        return settings


# A refused megabyte comes back as text with escapes, or as base64, and with its error beside it.
_DEAD_LETTER_BYTES = 8 * 1_048_576

TOPICS: dict[str, Topic] = {
    topic.name: topic
    for topic in (
        Topic("movielog", "in", "none", "raw text lines of a movie service", retention_ms=7 * DAY_MS),
        Topic("watch-events", "in", "user id", "a user watched a movie up to a minute"),
        Topic("rating-events", "in", "user id", "a user rated a movie"),
        Topic("user-profiles", "in", "user id", "gender, age and occupation of users", compacted=True),
        Topic("movie-catalog", "in", "movie id", "titles, genres and years of movies", 1, compacted=True),
        Topic("recommendation-requests", "in", "user id", "questions", retention_ms=7 * DAY_MS),
        Topic("recommendation-feedback", "in", "user id", "what users did with their lists", retention_ms=90 * DAY_MS),
        Topic("recommendations", "out", "user id", "exactly one answer for each request", retention_ms=7 * DAY_MS),
        Topic("provenance", "out", "user id", "one record for each answer: what made it", retention_ms=90 * DAY_MS),
        Topic(
            "recommendation-quality",
            "out",
            "user id",
            "what became of each answer",
            retention_ms=90 * DAY_MS,
        ),
        Topic(
            "feedback-loop-metrics", "out", "variant", "exposure by window and variant", 1, retention_ms=365 * DAY_MS
        ),
        Topic("fairness-metrics", "out", "variant", "groups by window and variant", 1, retention_ms=365 * DAY_MS),
        Topic("canary-events", "out", "none", "configurations applied, verdicts, steps", 1),
        Topic("retraining-events", "out", "none", "trainings begun, skipped, finished, failed", 1),
        Topic(
            "dead-letters",
            "out",
            "the message's own key",
            "what was refused, and why",
            retention_ms=30 * DAY_MS,
            max_message_bytes=_DEAD_LETTER_BYTES,
        ),
        Topic(
            "canarec-answered",
            "internal",
            "none",
            "the ids that were answered, for recognising a repeated one",
            retention_ms=8 * DAY_MS,  # longer than requests and answers: it bears witness to how far they got
        ),
    )
}
