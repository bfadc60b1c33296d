"""What was said of answers, as recommendation-quality tells it. Joins; reads no topic.

Of several feedbacks on an answer the newest selection and the newest satisfaction stand, at a tie the larger; the order does not matter.
"""

from models.events import Feedback, Source
from models.measures.reports import Quality
from models.measures.windows import Shown, Span, counts
from models.wire import rfc3339

_Selected = tuple[int, str]
_Satisfied = tuple[int, float]


class Said:
    """Feedback on one window's answers, up to the moment when it closes."""

    def __init__(self, span: Span) -> None:
        self._span = span
        self._selected: dict[str, _Selected] = {}
        self._satisfied: dict[str, _Satisfied] = {}
        self._any: set[str] = set()

    def add(self, at_ms: int, one: Feedback) -> None:
        """What came before the window or after it closed does not count."""
        if not self._span.start_ms <= at_ms < self._span.closes_ms:
            return
        self._any.add(one.request_id)
        if one.selected is not None:
            self._selected[one.request_id] = max(self._selected.get(one.request_id, (-1, "")), (at_ms, one.selected))
        if one.satisfaction is not None:
            newest = max(self._satisfied.get(one.request_id, (-1, -1.0)), (at_ms, one.satisfaction))
            self._satisfied[one.request_id] = newest

    def quality(self, shown: Shown, topic: str) -> Quality | None:
        """The record of an answer of this window; None where nothing was said of it. `topic`: where its provenance record stands."""
        served = shown.served
        if not counts(served) or served.request_id not in self._any:
            return None
        if not self._span.start_ms <= shown.at_ms < self._span.end_ms:
            return None
        selected, satisfied = self._selected.get(served.request_id), self._satisfied.get(served.request_id)
        assert served.user_id is not None
        assert served.variant is not None  # `counts`
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
