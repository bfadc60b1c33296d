"""Every error that canarec raises on purpose, and the closed set of reasons a message can be refused for.

The slugs are public: the same word is a dead letter's `reason`, a metric's label and a row of docs/topics.md.
"""

from typing import Literal, get_args

Reason = Literal[
    "too_long",  # text longer than its field may be
    "not_utf8",
    "not_json",  # also NaN, infinities and nesting deeper than a parser goes
    "not_an_object",
    "tombstone",  # a null value where an event is expected
    "missing_field",
    "wrong_type",
    "bad_id",  # empty, longer than 256 bytes, or with control characters
    "bad_timestamp",  # neither RFC 3339 nor a number of seconds or milliseconds since 1970
    "future_event",  # more than a day ahead
    "bad_rating",  # off the configured scale
    "bad_minute",
    "bad_n",  # not from 1 to 100
    "bad_satisfaction",  # not from 0 to 1
    "bad_genres",
    "unknown_genre",
    "bad_key",  # a tombstone whose key names nothing
    "conflicting_repeat",  # a known request_id with another content
    "unknown_line",  # a movielog line of no known form
    "answer_too_large",  # its topic does not take an answer of this size
    "internal_error",  # canarec failed on this very message; the log has the traceback
]
REASONS: tuple[Reason, ...] = get_args(Reason)


class CanarecError(Exception):
    """Whatever canarec raises on purpose; its text is one line that a user can act on."""


class BadMessage(CanarecError):
    """A message that is refused: `reason` is one of REASONS, the text says what was found and what was expected."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


class BadConfig(CanarecError):
    """A configuration that is refused: `path` names the wrong key, `canary.percentage` for instance."""

    def __init__(self, path: str, detail: str) -> None:
        super().__init__(f"config.json: {path}: {detail}" if path else f"config.json: {detail}")
        self.path = path


class BadArtifact(CanarecError):
    """A stored file that is missing, damaged or not what its checksum says."""


class NoModel(CanarecError):
    """A model version that is not at hand."""


class Refused(CanarecError):
    """A data set or a model that a gate refused; the text is the reason, with both numbers."""


class UsageError(CanarecError):
    """A command that was called wrongly: exit code 2."""
