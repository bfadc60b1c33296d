"""Live outcomes: numbers known by construction, and laws over any order of the calls."""

import random
import timeit
from collections.abc import Callable
from functools import partial
from operator import itemgetter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.events import Feedback, Variant
from models.measures.feedback import EARLY, Outcomes, group_of

HORIZON = 1_000


def told(
    request_id: str, selected: str | None = None, satisfaction: float | None = None, user_id: str | None = None
) -> Feedback:
    return Feedback(request_id, user_id, selected, satisfaction, None)


def outcomes(capacity: int = 1_000) -> Outcomes:
    return Outcomes(HORIZON, capacity)


def test_ctr_is_answers_with_a_selection_over_answers_shown() -> None:
    found = outcomes()
    for number in range(10):
        found.answered(f"r{number}", f"u{number}", "stable", ["a", "b"], None, number)
    for number in range(3):
        found.selected(told(f"r{number}", "a"), 50)
    found.selected(told("r9", None), 50)
    figures = found.summary()["stable"]
    assert (figures.shown, figures.selections, figures.ctr) == (10, 3, 0.3)


def test_an_answer_without_movies_shows_nothing() -> None:
    found = outcomes()
    found.answered("r", "u", "stable", [], None, 0)
    found.selected(told("r", "a", 1.0), 1)
    assert found.summary() == {}


def test_variants_are_counted_apart() -> None:
    found = outcomes()
    found.answered("r1", "u", "stable", ["a"], "M", 0)
    found.answered("r2", "u", "canary", ["a"], "M", 0)
    found.selected(told("r2", "a"), 1)
    assert {variant: figures.ctr for variant, figures in found.summary().items()} == {"stable": 0.0, "canary": 1.0}


def test_nothing_below_the_line_gives_no_ratio() -> None:
    found = outcomes()
    found.answered("r1", "u", "stable", ["a"], "M", 0)
    figures = found.summary()["stable"]
    assert (figures.hit_rate, figures.satisfaction_ratio, figures.satisfaction) == (None, None, {})


@pytest.mark.parametrize(
    ("movie", "at_ms", "hit"),
    [
        ("a", 0, True),
        ("a", HORIZON - 1, True),
        ("a", HORIZON, False),  # the horizon has passed
        ("a", -1, False),  # watched before it was recommended
        ("x", 10, False),  # not in the list
    ],
)
def test_a_hit_is_a_watch_of_a_listed_movie_within_the_horizon(movie: str, at_ms: int, hit: bool) -> None:
    found = outcomes()
    found.answered("r", "u", "stable", ["b", "a"], None, 0)
    found.watched("u", movie, at_ms)
    found.watched("somebody else", "a", 10)
    assert found.summary()["stable"].past_horizon == 0
    found.expire(HORIZON - 1)
    assert found.summary()["stable"].hit_rate is None
    found.expire(HORIZON)
    figures = found.summary()["stable"]
    assert (figures.past_horizon, figures.hits) == (1, int(hit))


def test_hits_before_the_horizon_has_passed_are_not_yet_counted() -> None:
    found = outcomes()
    found.answered("old", "u", "stable", ["a"], None, 0)
    found.answered("new", "u", "stable", ["a"], None, 900)
    found.watched("u", "a", 950)
    found.expire(1_500)
    figures = found.summary()["stable"]
    assert (figures.past_horizon, figures.hits, figures.hit_rate) == (1, 1, 1.0)


def test_satisfaction_ratio_is_the_mean_of_men_over_the_mean_of_women() -> None:
    found = outcomes()
    for number, (gender, satisfaction) in enumerate(
        [("M", 0.4), ("M", 0.6), ("F", 0.9), ("F", 0.7), ("F", 0.8), (None, 0.1), ("x", 0.2), ("M", None)]
    ):
        found.answered(f"r{number}", f"u{number}", "stable", ["a"], gender, 0)
        found.selected(told(f"r{number}", None, satisfaction), 1)
    figures = found.summary()["stable"]
    assert {group: (said.count, round(said.mean, 9)) for group, said in figures.satisfaction.items()} == {
        "M": (2, 0.5),
        "F": (3, 0.8),
        "unknown": (1, 0.1),
        "other": (1, 0.2),
    }
    assert figures.satisfaction_ratio == pytest.approx(0.5 / 0.8)


def test_reporters_are_users_and_not_reports_and_leave_with_their_last_answer() -> None:
    found = outcomes(capacity=3)
    for number, (user, gender) in enumerate([("a", "M"), ("a", "M"), ("b", "F")]):
        found.answered(f"r{number}", user, "stable", ["x"], gender, number)
        found.selected(told(f"r{number}", None, 0.5), number)
        found.selected(told(f"r{number}", None, 0.75), number + 1)
    figures = found.summary()["stable"]
    assert [figures.satisfaction[group].users for group in "MF"] == [1, 1]
    assert (figures.few(1), figures.few(2)) == (False, True)
    users = []
    for number in range(3, 5):
        found.answered(f"r{number}", "c", "stable", ["x"], "F", number)
        men = found.summary()["stable"].satisfaction.get("M")
        users.append(men.users if men else 0)
    assert users == [1, 0]
    assert found.summary()["stable"].few(1)


def test_no_ratio_over_women_who_report_nothing_but_zero() -> None:
    found = outcomes()
    for gender in "MF":
        found.answered(gender, gender, "stable", ["a"], gender, 0)
        found.selected(told(gender, None, 0.0), 1)
    assert found.summary()["stable"].satisfaction_ratio is None


def test_a_second_feedback_updates_and_does_not_count_twice() -> None:
    found = outcomes()
    found.answered("r", "u", "stable", ["a"], "F", 0)
    found.selected(told("r", "a", 0.2), 10)
    found.selected(told("r", "a", 0.9), 20)
    found.selected(told("r", None, 0.5), 15)  # older than what is known
    found.selected(told("r"), 30)  # says nothing
    figures = found.summary()["stable"]
    assert (figures.selections, figures.satisfaction["F"].count, figures.satisfaction["F"].mean) == (1, 1, 0.9)


def test_feedback_of_another_user_counts_nowhere_and_is_counted() -> None:
    found = outcomes()
    found.selected(told("r", "a", 1.0, "v"), 1)  # also before the answer is known
    found.answered("r", "u", "stable", ["a"], "F", 0)
    found.selected(told("r", "a", 1.0, "v"), 2)
    figures = found.summary()["stable"]
    assert (figures.shown, figures.selections, figures.satisfaction) == (1, 0, {})
    assert found.ignored == {"other_user": 2}


def test_a_selection_of_a_movie_that_was_not_listed_is_no_click_and_is_counted() -> None:
    found = outcomes()
    found.answered("r", "u", "stable", ["a"], "F", 0)
    found.selected(told("r", "b", 0.25, "u"), 1)
    figures = found.summary()["stable"]
    assert (figures.selections, figures.satisfaction["F"].mean) == (0, 0.25)
    assert found.ignored == {"not_in_list": 1}


def test_a_second_answer_to_a_request_is_not_counted() -> None:
    found = outcomes()
    found.answered("r", "u", "stable", ["a"], None, 0)
    found.answered("r", "u", "canary", ["a"], None, 5)
    assert {variant: figures.shown for variant, figures in found.summary().items()} == {"stable": 1}


def test_the_oldest_answer_leaves_with_all_that_was_said_of_it() -> None:
    found = outcomes(capacity=2)
    for number in range(4):
        found.answered(f"r{number}", "u", "stable", ["a"], "M", number * HORIZON)
        found.selected(told(f"r{number}", "a", 1 / (number + 1)), number)
        found.watched("u", "a", number * HORIZON)
        found.expire(number * HORIZON)
    figures = found.summary()["stable"]
    assert len(found) == 2
    assert (figures.shown, figures.selections, figures.past_horizon, figures.hits) == (2, 2, 1, 1)
    assert figures.satisfaction["M"].mean == pytest.approx((1 / 3 + 1 / 4) / 2)


def test_what_is_said_of_answers_nobody_knows_is_bounded() -> None:
    found = outcomes(capacity=10)
    for number in range(2 * EARLY):
        found.selected(told(f"r{number // 2}", "a"), 0)
        found.watched(f"u{number}", "a", 0)
    assert sum(map(len, found._early_told.values())) == found._n_early_told == EARLY
    assert sum(map(len, found._early_watches.values())) == found._n_early_watches == EARLY


def test_a_summary_is_a_copy() -> None:
    found = outcomes()
    found.answered("r", "u", "stable", ["a"], "M", 0)
    before = found.summary()
    found.selected(told("r", "a", 1.0), 1)
    assert before["stable"].selections == 0
    assert before["stable"].satisfaction == {}


@pytest.mark.parametrize("bounds", [(0, 1), (1, 0), (-1, 1)])
def test_bounds_must_be_above_zero(bounds: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Outcomes(*bounds)


@pytest.mark.parametrize(
    ("gender", "group"), [("M", "M"), ("F", "F"), (None, "unknown"), ("m", "other"), ("", "other")]
)
def test_groups_are_a_bounded_set(gender: str | None, group: str) -> None:
    assert group_of(gender) == group


Call = Callable[[], None]
users, movies = st.sampled_from("uvw"), st.sampled_from("abc")
variants: st.SearchStrategy[Variant] = st.sampled_from(["stable", "canary"])
answers = st.lists(
    st.tuples(users, variants, st.lists(movies, max_size=2), st.sampled_from(["M", "F", None])),
    max_size=6,
)
feedbacks = st.lists(
    st.tuples(
        st.integers(0, 7),
        st.none() | movies,
        st.none() | st.sampled_from([0.0, 0.25, 1.0]),
        st.integers(0, 3),
        st.none() | users,
    ),
    max_size=12,
)
watches = st.lists(st.tuples(users, movies, st.integers(-500, 3_500)), max_size=12)


@given(answers, feedbacks, watches, st.integers(0, 4_000), st.randoms(use_true_random=False))
def test_each_counts_once_in_any_order(
    answers: list[tuple[str, Variant, list[str], str | None]],
    feedbacks: list[tuple[int, str | None, float | None, int, str | None]],
    watches: list[tuple[str, str, int]],
    now_ms: int,
    order: random.Random,
) -> None:
    found = outcomes()
    said_and_done: list[Call] = [
        partial(found.selected, told(f"r{n}", movie, value, user), at) for n, movie, value, at, user in feedbacks
    ]
    said_and_done += [partial(found.watched, *watch) for watch in watches]
    said_and_done.append(partial(found.expire, now_ms))
    said_and_done += order.sample(said_and_done, min(3, len(said_and_done)))  # some come twice
    calls = [(order.uniform(0, 8), call) for call in said_and_done]
    for n, (user, variant, slate, gender) in enumerate(answers):
        calls.append((n + 0.5, partial(found.answered, f"r{n}", user, variant, slate, gender, n * 500)))
    for _, call in sorted(calls, key=itemgetter(0)):
        call()
    found.expire(now_ms)
    figures = found.summary()
    for variant in {answer[1] for answer in answers}:
        mine = [(f"r{n}", n * 500, *a) for n, a in enumerate(answers) if a[1] == variant and a[2]]
        if not mine:
            assert variant not in figures
            continue
        own = {a[0]: [f for f in feedbacks if f"r{f[0]}" == a[0] and f[4] in (None, a[2])] for a in mine}
        clicked = [a for a in mine if any(f[1] in a[4] for f in own[a[0]])]
        past = [a for a in mine if a[1] + HORIZON <= now_ms]
        hits = [a for a in past if any(w[0] == a[2] and w[1] in a[4] and 0 <= w[2] - a[1] < HORIZON for w in watches)]
        said: dict[str, list[float]] = {}
        for answer in mine:
            reports = [(f[3], f[2]) for f in own[answer[0]] if f[2] is not None]
            if reports:
                said.setdefault(group_of(answer[5]), []).append(max(reports)[1])
        assert figures[variant].shown == len(mine)
        assert figures[variant].selections == len(clicked)
        assert (figures[variant].past_horizon, figures[variant].hits) == (len(past), len(hits))
        reported = figures[variant].satisfaction
        assert {group: s.count for group, s in reported.items()} == {g: len(values) for g, values in said.items()}
        for group, values in said.items():
            assert reported[group].mean == pytest.approx(sum(values) / len(values))


def test_an_answer_takes_microseconds() -> None:
    found = outcomes(capacity=10_000)
    slate = [f"m{number}" for number in range(20)]
    numbers = iter(range(30_000))

    def answer() -> None:
        number = next(numbers)
        found.answered(f"r{number}", f"u{number % 600}", "stable", slate, "M", number)

    # 5 µs are wanted; six times that is let pass, since other work may share the machine
    assert min(timeit.repeat(answer, number=10_000, repeat=3)) / 10_000 < 30e-6


@pytest.mark.parametrize(
    ("user", "at_ms", "arrived_ms", "before"),
    [
        ("u", 5_499, 5_600, True),
        ("u", 5_500, 5_600, False),
        ("u", 100, 6_499, True),
        ("u", 100, 6_500, None),  # the horizon has passed
        ("u", 100, 5_499, None),  # it came before the answer
        ("v", 100, 5_600, None),
    ],
)
def test_a_watch_that_came_after_the_newest_answer_and_was_before_it(
    user: str, at_ms: int, arrived_ms: int, before: bool | None
) -> None:
    found = outcomes()
    found.answered("r1", "u", "stable", ["a"], None, 5_000)
    found.answered("r2", "u", "stable", ["a"], None, 5_500)
    assert found.came_before(user, at_ms, arrived_ms) is before


def test_answers_that_have_left_are_none_to_come_after() -> None:
    found = outcomes(capacity=1)
    found.answered("r1", "u", "stable", ["a"], None, 5_000)
    found.answered("r2", "v", "stable", ["a"], None, 5_001)
    assert found.came_before("u", 100, 5_100) is None


def test_a_watch_is_no_hit_of_an_answer_that_has_left() -> None:
    found = outcomes(capacity=2)
    found.answered("r1", "u", "stable", ["a"], None, 0)
    found.answered("r2", "u", "stable", ["b"], None, 500)
    found.expire(1_000)
    found.answered("r3", "v", "stable", ["b"], None, 1_100)  # r1 leaves
    found.watched("u", "a", 900)
    found.expire(3_000)
    assert (found.summary()["stable"].past_horizon, found.summary()["stable"].hits) == (2, 0)


@pytest.mark.parametrize("again", ["v", "u"])
def test_a_request_that_left_and_was_answered_again_is_none_before_what_came_between(again: str) -> None:
    found = outcomes(capacity=3)
    for request_id, user_id in (("r1", "u"), ("x", "v"), ("r2", "u"), ("y", "v"), ("r1", again)):  # r1 leaves, then x
        found.answered(request_id, user_id, "stable", [f"of {user_id}", request_id], None, len(found))
    found.watched("u", "of v", 10)
    found.expire(5_000)
    assert found.summary()["stable"].hits == 0


def test_any_number_of_answers_of_one_user_are_let_go_at_once() -> None:
    """A chain of objects would be let go one inside the other, and overflow the stack."""
    found = outcomes(capacity=300_000)
    for number in range(300_000):
        found.answered(f"r{number}", "u", "stable", ["a"], None, number)
    del found
