"""From answers, feedback and watches to one observation a user: what verdicts count. Counts; decides nothing, knows no clock.

A user's time begins with the first answer they get and lasts one horizon. What happened within it makes one value in [0, 1] for
each metric, entered once, when the horizon has closed:

    success        answers with status ok / answers
    ctr            answers with a selection of a listed movie / answers with movies
    hit_rate       answers followed by a watch of a listed movie / answers with movies
    satisfaction   mean of what was reported; a user who reported nothing has none

Two answers to one user are not independent; two users are. Whoever meets the other arm within the horizon is left out of both. Who
has been entered is not entered again, in whichever arm: a grown percentage moves users, and what they did before is not undone.
Feedback counts as everywhere (`models.measures.feedback.heard`): none that names another user, no selection of a movie that was not listed.
The order of the calls between two calls of `close` does not matter.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import get_args

from models.events import Feedback, Variant
from models.measures.feedback import Heard, group_of, heard
from models.release.evidence import GROUPS, Group, Metric, Moments

VARIANTS: tuple[Variant, ...] = get_args(Variant)


@dataclass(frozen=True, slots=True)
class _Answer:
    request_id: str
    variant: Variant
    ok: bool
    movies: Sequence[str]
    at_ms: int


@dataclass(slots=True)
class _Said:
    """The feedbacks on an answer, with their times."""

    feedback: list[tuple[int, Feedback]] = field(default_factory=list)
    newest_ms: int = 0


class Observations:
    """Users of one trial. `horizon_ms` as under `metrics` in config.json.

    >>> observed = Observations(horizon_ms=1_000)
    >>> observed.answered("r1", "u", "canary", ["heat+1995"], ok=True, group="F", at_ms=5)
    >>> observed.said(Feedback("r1", "u", "heat+1995", 0.75, None), at_ms=20)
    >>> observed.close(now_ms=1_005)
    >>> observed.users("canary")["satisfaction"]["F"]
    Moments(n=1, total=7500, squares=56250000)
    """

    def __init__(self, horizon_ms: int) -> None:
        if horizon_ms <= 0:
            raise ValueError(f"horizon_ms {horizon_ms} must be above 0")
        self._horizon_ms = horizon_ms
        self._open: dict[str, dict[str, _Answer]] = {}  # user → request → answer
        self._group: dict[str, Group] = {}
        self._said: dict[str, _Said] = {}  # by request
        self._watches: dict[str, list[tuple[int, str]]] = {}  # by user
        self._entered: set[str] = set()
        self._sums: dict[Variant, dict[Metric, dict[Group, Moments]]] = {variant: {} for variant in VARIANTS}
        self.changed_arm = 0  # users who were left out

    def answered(
        self,
        request_id: str,
        user_id: str,
        variant: Variant,
        movies: Sequence[str],
        *,
        ok: bool,
        group: str | None,
        at_ms: int,
    ) -> None:
        """An answer was given; `ok` where the model made it, `group` is the user's gender. ValueError for no variant.

        Told twice it counts once, so that whoever reads a topic again after a crash may do so.
        """
        if variant not in VARIANTS:
            raise ValueError(f"{variant!r} is no variant")
        if user_id in self._entered:
            return
        self._open.setdefault(user_id, {}).setdefault(request_id, _Answer(request_id, variant, ok, movies, at_ms))
        # the smaller of two names where the profile changed: whichever came first
        self._group[user_id] = min(self._group.get(user_id, "unknown"), _group(group))

    def said(self, feedback: Feedback, at_ms: int) -> None:
        """Feedback on an answer, also before the answer is known. ValueError for a satisfaction outside [0, 1]."""
        if feedback.satisfaction is not None and not 0 <= feedback.satisfaction <= 1:
            raise ValueError(f"a satisfaction of {feedback.satisfaction} is not in [0, 1]")
        said = self._said.setdefault(feedback.request_id, _Said())
        said.newest_ms = max(said.newest_ms, at_ms)
        said.feedback.append((at_ms, feedback))

    def watched(self, user_id: str, movie_id: str, at_ms: int) -> None:
        if user_id not in self._entered:
            self._watches.setdefault(user_id, []).append((at_ms, movie_id))

    def waits_for(self, user_id: str) -> bool:
        """Whether a watch of this user may count."""
        return user_id in self._open

    def close(self, now_ms: int) -> None:
        """Enters the users whose horizon has closed, and forgets what can belong to nobody any more."""
        for user_id, by_request in list(self._open.items()):
            answers = list(by_request.values())
            begun_ms = min(answer.at_ms for answer in answers)
            if begun_ms + self._horizon_ms <= now_ms:
                self._enter(user_id, [a for a in answers if a.at_ms < begun_ms + self._horizon_ms], begun_ms)
                for answer in answers:
                    self._said.pop(answer.request_id, None)
                del self._open[user_id], self._group[user_id]
                self._watches.pop(user_id, None)
        open_requests = {request_id for by_request in self._open.values() for request_id in by_request}
        old_ms = now_ms - 2 * self._horizon_ms
        for request_id in [r for r, said in self._said.items() if said.newest_ms < old_ms and r not in open_requests]:
            del self._said[request_id]
        for user_id in [u for u, seen in self._watches.items() if max(seen)[0] < old_ms and u not in self._open]:
            del self._watches[user_id]

    def users(self, variant: Variant) -> dict[Metric, dict[Group, Moments]]:
        """The sums of an arm's users: what `ArmEvidence.users` takes. A copy."""
        return {metric: dict(groups) for metric, groups in self._sums[variant].items()}

    def _enter(self, user_id: str, answers: list[_Answer], begun_ms: int) -> None:
        self._entered.add(user_id)
        if len({answer.variant for answer in answers}) > 1:
            self.changed_arm += 1
            return
        group, sums = self._group[user_id], self._sums[answers[0].variant]
        for metric, value in self._values(user_id, answers, begun_ms + self._horizon_ms):
            groups = sums.setdefault(metric, {})
            groups[group] = groups.get(group, Moments()).with_value(value)

    def _values(self, user_id: str, answers: list[_Answer], until_ms: int) -> Iterator[tuple[Metric, float]]:
        yield "success", sum(answer.ok for answer in answers) / len(answers)
        said = {answer.request_id: self._heard(user_id, answer, until_ms) for answer in answers}
        shown = [answer for answer in answers if answer.movies]
        if shown:
            selections = sum(any(one.selected is not None for _, one in said[a.request_id]) for a in shown)
            yield "ctr", selections / len(shown)
            watches = self._watches.get(user_id, [])
            hits = sum(any(a.at_ms <= at < until_ms and movie in a.movies for at, movie in watches) for a in shown)
            yield "hit_rate", hits / len(shown)
        told = [
            [(at_ms, one.satisfaction) for at_ms, one in some if one.satisfaction is not None] for some in said.values()
        ]
        reported = [max(some)[1] for some in told if some]  # the newest, at a tie the larger
        if reported:
            yield "satisfaction", min(1.0, sum(sorted(reported)) / len(reported))

    def _heard(self, user_id: str, answer: _Answer, until_ms: int) -> list[tuple[int, Heard]]:
        found = self._said.get(answer.request_id, _Said()).feedback
        return [(at_ms, heard(one, user_id, answer.movies)) for at_ms, one in found if at_ms < until_ms]


def _group(gender: str | None) -> Group:
    found = group_of(gender)
    return next(group for group in GROUPS if group == found)
