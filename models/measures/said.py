"""What was said of answers, as recommendation-quality tells it. Joins; reads no topic.

Of several feedbacks on an answer the newest selection and the newest satisfaction stand, at a tie the larger; the order does not matter.
What of each counts: `models.measures.feedback.heard`.
"""

from models.events import Feedback, Source
from models.measures.feedback import heard
from models.measures.reports import Quality
from models.measures.windows import Shown, Span, counts
from models.wire import rfc3339


class Said:
    """Feedback on one window's answers, up to the moment when it closes."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._said: dict[str, list[tuple[int, Feedback]]] = {}

    def add(self, at_ms: int, one: Feedback) -> None:
        """What came before the window or after it closed does not count."""
        if self._span.start_ms <= at_ms < self._span.closes_ms:
            self._said.setdefault(one.request_id, []).append((at_ms, one))

    def quality(self, shown: Shown, topic: str) -> Quality | None:
        """The record of an answer of this window; None where its user said nothing of it. `topic`: where its provenance record stands."""
        served = shown.served
        if not counts(served) or not self._span.start_ms <= shown.at_ms < self._span.end_ms:
            return None
        assert served.user_id is not None
        assert served.variant is not None  # `counts`
        told = [
            (at_ms, heard(one, served.user_id, served.recommendations))
            for at_ms, one in self._said.get(served.request_id, ())
        ]
        mine = [(at_ms, one) for at_ms, one in told if one.ignored != "other_user"]
        if not mine:
            return None
        selected = max(((at_ms, one.selected) for at_ms, one in mine if one.selected is not None), default=None)
        satisfied = max(
            ((at_ms, one.satisfaction) for at_ms, one in mine if one.satisfaction is not None), default=None
        )
        return Quality(
            timestamp=rfc3339(shown.at_ms),
            request_id=served.request_id,
            user_id=served.user_id,
            recommendations=served.recommendations,
            selected=None if selected is None else selected[1],
            satisfaction=None if satisfied is None else satisfied[1],
            model_version=served.model_version,
            variant=served.variant,
            source=Source(topic, shown.partition, shown.offset),
        )
