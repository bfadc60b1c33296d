"""What became of answers, live: click-through, hit rate and satisfaction, over the newest answers.

    ctr = answers with a selection / answers shown
    hit_rate = answers followed within the horizon by a watch of a listed movie / answers whose horizon has passed
    satisfaction_ratio = mean satisfaction of M / mean of F        (below 1: men are less satisfied)

Counts; never sends, knows no clock. A watch follows an answer made at t if its time is in [t, t + horizon), and the horizon has
passed at t + horizon. An answer without movies shows nothing and is not counted. Each answer counts once, whatever is said about
it twice: of several feedbacks a selection stands, and the newest satisfaction (at a tie the larger). What of a feedback counts says
`heard`, the same for windows and verdicts.

Answers come in the order of their times, as one clock stamps them. Else the order of the calls does not matter, as long as news
of an answer come at most `EARLY` calls before it.
"""

from collections import Counter, OrderedDict, deque
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, get_args

import msgspec

from models.events import Feedback, Variant

EARLY = 10_000  # feedbacks, and watches, kept for answers that are not known yet; the oldest are dropped
CLOCKS_MS = 60_000  # that the clock of whoever publishes watches may be behind the brokers', its delay included
_UNIT = 1_000_000_000  # sums are whole numbers of these parts: adding and taking away leaves no rounding behind


def watched_ms(own_ms: int, arrived_ms: int) -> int:
    """When somebody watched: at the event's own time, but when Kafka got it where the two are within CLOCKS_MS, or its own is ahead.

    Clocks differ, and logs have whole seconds: within CLOCKS_MS the order of answer and watch is the broker's. What comes later than that
    is an old event, as of a log that is imported, and follows nothing that was shown after it.

    >>> watched_ms(95_000, 100_000), watched_ms(160_000, 100_000), watched_ms(30_000, 100_000)
    (100000, 100000, 30000)
    """
    return own_ms if own_ms < arrived_ms - CLOCKS_MS else arrived_ms


def group_of(gender: str | None) -> str:
    """The group that a gender counts in: M, F, other or unknown. A bounded label, whatever a profile says.

    >>> group_of("F"), group_of("x"), group_of(None)
    ('F', 'other', 'unknown')
    """
    if gender is None:
        return "unknown"
    return gender if gender in ("M", "F") else "other"


Ignored = Literal["other_user", "not_in_list"]
IGNORED: tuple[Ignored, ...] = get_args(Ignored)


class Heard(NamedTuple):
    """What a feedback says of an answer, and why something of it does not count."""

    selected: str | None
    satisfaction: float | None
    ignored: Ignored | None


def heard(feedback: Feedback, user_id: str, movies: Container[str]) -> Heard:
    """What counts of a feedback on the answer that this user got, with this list.

    Nothing where it names another user: nobody speaks for somebody else. A selection only of a movie that was in the list.

    >>> heard(Feedback("r1", "u", "heat+1995", 0.5, None), "u", ["alien+1979"])
    Heard(selected=None, satisfaction=0.5, ignored='not_in_list')
    >>> heard(Feedback("r1", "v", "alien+1979", 0.5, None), "u", ["alien+1979"])
    Heard(selected=None, satisfaction=None, ignored='other_user')
    """
    if feedback.user_id is not None and feedback.user_id != user_id:
        return Heard(None, None, "other_user")
    if feedback.selected is not None and feedback.selected not in movies:
        return Heard(None, feedback.satisfaction, "not_in_list")
    return Heard(feedback.selected, feedback.satisfaction, None)


@dataclass(slots=True)
class Satisfaction:
    """The satisfaction that a group reported."""

    count: int = 0
    billionths: int = 0
    users: int = 0  # who reported it

    @property
    def mean(self) -> float:
        """In 0 to 1. ZeroDivisionError for nobody: a group without reports is not in a summary."""
        return self.billionths / _UNIT / self.count


@dataclass(slots=True)
class Figures:
    """Counts of one variant's answers; the ratios are None where nothing stands below the line."""

    shown: int = 0
    selections: int = 0
    past_horizon: int = 0
    hits: int = 0  # of those past the horizon
    satisfaction: dict[str, Satisfaction] = field(default_factory=dict)

    @property
    def ctr(self) -> float | None:
        return self.selections / self.shown if self.shown else None

    @property
    def hit_rate(self) -> float | None:
        return self.hits / self.past_horizon if self.past_horizon else None

    @property
    def satisfaction_ratio(self) -> float | None:
        men, women = self.satisfaction.get("M"), self.satisfaction.get("F")
        if men is None or women is None or not women.billionths:
            return None
        return men.mean / women.mean

    def few(self, group_users_min: int) -> bool:
        """Whether so few men or women reported that `satisfaction_ratio` says nothing yet (`metrics.group_users_min`)."""
        return any(self.satisfaction.get(group, Satisfaction()).users < group_users_min for group in ("M", "F"))


@dataclass(slots=True)
class _Told:
    """What feedback said of one answer: a join, so the order does not matter."""

    selected: bool = False
    at_ms: int = -1  # of the satisfaction
    billionths: int = -1  # -1: nothing said

    def join(self, said: Heard, at_ms: int) -> None:
        self.selected = self.selected or said.selected is not None
        if said.satisfaction is not None:
            newest = max((self.at_ms, self.billionths), (at_ms, round(said.satisfaction * _UNIT)))
            self.at_ms, self.billionths = newest


class _Shown(msgspec.Struct, eq=False, gc=False):
    """One answer. The garbage collector passes it by: for 100,000 of them it would stand still for a tenth of a second.

    So it refers to no other one: nothing would end their cycles, and the end of a long chain would overflow the stack.
    """

    number: int  # of answers so far
    request_id: str
    user_id: str
    movies: tuple[str, ...]
    at_ms: int
    variant: Variant
    group: str
    figures: Figures  # of its variant
    before: str | None  # the request of its user's answer before it
    told: _Told | None = None
    hit: bool = False
    past: bool = False


class Outcomes:
    """The newest `capacity` answers and what became of them; an older one leaves the figures.

    >>> outcomes = Outcomes(horizon_ms=1_000, capacity=100)
    >>> outcomes.answered("r1", "u", "stable", ["heat+1995", "alien+1979"], "F", at_ms=0)
    >>> outcomes.selected(Feedback("r1", "u", "heat+1995", 0.5, None), at_ms=10)
    >>> outcomes.watched("u", "alien+1979", at_ms=900)
    >>> outcomes.expire(now_ms=1_000)
    >>> figures = outcomes.summary()["stable"]
    >>> figures.ctr, figures.hit_rate, figures.satisfaction["F"].mean, figures.satisfaction_ratio
    (1.0, 1.0, 0.5, None)
    """

    def __init__(self, horizon_ms: int, capacity: int) -> None:
        if horizon_ms <= 0 or capacity <= 0:
            raise ValueError(f"horizon_ms {horizon_ms} and capacity {capacity} must be above 0")
        self.horizon_ms, self._capacity = horizon_ms, capacity
        self._now_ms = -1
        self._figures: dict[str, Figures] = {}
        self._reports: Counter[tuple[str, str, str]] = Counter()  # of satisfaction, by variant, group and user
        # Ordered ones: a plain dict looks through all that have left before it finds its first.
        self._shown: OrderedDict[str, _Shown] = OrderedDict()  # by request, oldest first
        self._newest_of: dict[str, _Shown] = {}  # by user
        self._n_answered = 0
        self._waiting: deque[_Shown] = deque()  # horizon not passed, in the order of `_shown`
        self._early_told: OrderedDict[str, list[tuple[Feedback, int]]] = OrderedDict()
        self._n_early_told = 0
        self._early_watches: OrderedDict[str, list[tuple[str, int]]] = OrderedDict()
        self._n_early_watches = 0
        self.ignored: Counter[Ignored] = Counter()  # feedbacks on these answers, by why something of them did not count

    def __len__(self) -> int:
        return len(self._shown)

    def answered(
        self, request_id: str, user_id: str, variant: Variant, movies: Sequence[str], group: str | None, at_ms: int
    ) -> None:
        """An answer was given. `group` is the user's gender. A second answer to a request is not counted."""
        if not movies or request_id in self._shown:
            return
        figures = self._figures.get(variant)
        if figures is None:
            figures = self._figures[variant] = Figures()
        last = self._newest_of.get(user_id)
        before = last.request_id if last else None
        self._n_answered += 1
        shown = _Shown(
            self._n_answered, request_id, user_id, tuple(movies), at_ms, variant, group_of(group), figures, before
        )
        self._shown[request_id] = self._newest_of[user_id] = shown
        self._waiting.append(shown)
        figures.shown += 1
        if self._early_told:
            told = self._early_told.pop(request_id, [])
            self._n_early_told -= len(told)
            for feedback, said_ms in told:
                self._hear(shown, feedback, said_ms)
        if self._early_watches and user_id in self._early_watches:
            for movie_id, watched_ms in self._early_watches[user_id]:
                self._follow(shown, movie_id, watched_ms)
        if len(self._shown) > self._capacity:
            self._leave(self._shown.popitem(last=False)[1])

    def selected(self, feedback: Feedback, at_ms: int) -> None:
        """What a user did with a list; `at_ms` says which of two satisfactions is the newer."""
        shown = self._shown.get(feedback.request_id)
        if shown is not None:
            self._hear(shown, feedback, at_ms)
            return
        self._early_told.setdefault(feedback.request_id, []).append((feedback, at_ms))
        self._n_early_told += 1
        if self._n_early_told > EARLY:
            self._n_early_told -= len(self._early_told.popitem(last=False)[1])

    def watched(self, user_id: str, movie_id: str, at_ms: int) -> None:
        """A user watched a movie: a hit for each answer that listed it not longer ago than the horizon."""
        shown = self._newest_of.get(user_id)
        while shown is not None and at_ms - shown.at_ms < self.horizon_ms:
            self._follow(shown, movie_id, at_ms)
            shown = self._before(shown)  # older still
        self._early_watches.setdefault(user_id, []).append((movie_id, at_ms))
        self._n_early_watches += 1
        if self._n_early_watches > EARLY:
            self._n_early_watches -= len(self._early_watches.popitem(last=False)[1])

    def came_before(self, user_id: str, at_ms: int, arrived_ms: int) -> bool | None:
        """Whether a watch of `at_ms` that came within the horizon of its user's newest answer was before it, and so does not follow it.

        None: it came after no such answer.
        """
        newest = self._newest_of.get(user_id)
        if newest is None or not 0 <= arrived_ms - newest.at_ms < self.horizon_ms:
            return None
        return at_ms < newest.at_ms

    def expire(self, now_ms: int) -> None:
        """The horizon of answers has passed, as far as `now_ms` goes. Time never goes back."""
        self._now_ms = max(self._now_ms, now_ms)
        while self._waiting and self._waiting[0].at_ms + self.horizon_ms <= self._now_ms:
            shown = self._waiting.popleft()
            shown.past = True
            shown.figures.past_horizon += 1
            shown.figures.hits += shown.hit

    def summary(self) -> dict[str, Figures]:
        """The figures of each variant that has answered: a copy."""
        return {
            variant: Figures(
                figures.shown,
                figures.selections,
                figures.past_horizon,
                figures.hits,
                {
                    group: Satisfaction(said.count, said.billionths, said.users)
                    for group, said in figures.satisfaction.items()
                    if said.count
                },
            )
            for variant, figures in self._figures.items()
        }

    def _before(self, shown: _Shown) -> _Shown | None:
        """The user's answer before this one; None where it has left."""
        before = self._shown.get(shown.before) if shown.before is not None else None
        # a request that has left may have been answered again since
        return before if before is not None and before.number < shown.number else None

    def _hear(self, shown: _Shown, feedback: Feedback, at_ms: int) -> None:
        said = heard(feedback, shown.user_id, shown.movies)
        if said.ignored is not None:
            self.ignored[said.ignored] += 1
        self._count(shown, -1)
        shown.told = shown.told or _Told()
        shown.told.join(said, at_ms)
        self._count(shown, +1)

    def _follow(self, shown: _Shown, movie_id: str, at_ms: int) -> None:
        if shown.hit or not 0 <= at_ms - shown.at_ms < self.horizon_ms or movie_id not in shown.movies:
            return
        shown.hit = True
        shown.figures.hits += shown.past  # a watch that was reported late

    def _leave(self, shown: _Shown) -> None:
        if self._newest_of[shown.user_id] is shown:
            del self._newest_of[shown.user_id]
        shown.figures.shown -= 1
        self._count(shown, -1)
        if shown.past:
            shown.figures.past_horizon -= 1
            shown.figures.hits -= shown.hit
        else:  # the oldest of all is the oldest of those that wait
            self._waiting.popleft()

    def _count(self, shown: _Shown, sign: int) -> None:
        """Adds what feedback said of an answer to the figures, or takes it away."""
        told, figures = shown.told, shown.figures
        if told is None:
            return
        figures.selections += sign * told.selected
        if told.billionths < 0:
            return
        said = figures.satisfaction.setdefault(shown.group, Satisfaction())
        said.count += sign
        said.billionths += sign * told.billionths
        whose = (shown.variant, shown.group, shown.user_id)
        before = self._reports[whose]
        self._reports[whose] += sign
        said.users += (before + sign > 0) - (before > 0)
        if not self._reports[whose]:
            del self._reports[whose]
