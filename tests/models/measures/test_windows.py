"""The fold of a window: figures known by construction, and laws over any order."""

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.events import Feedback, Movie
from models.measures.alerts import Level, Thresholds
from models.measures.reports import Levels, MadeOf
from models.measures.said import Said
from models.measures.windows import Shelf, Shown, Span, Window
from models.release.arms import Served

SPAN = Span(window_s=10, start_ms=100_000, horizon_ms=4_000, lateness_ms=2_000)
MOVIES = {
    "a": Movie("a", "A", ("Drama", "War"), None, 10.0),
    "b": Movie("b", "B", ("drama",), None, 20.0),
    "c": Movie("c", "C", (), None, None),
    "d": Movie("d", "D", ("Crime",), None, 30.0),
}
SHELF = Shelf(MOVIES)
NOTHING = MadeOf({}, {})


def shown(request_id, user_id, at_ms, movies=("a", "b"), variant="stable", version="v1", status="ok", offset=0):
    return Shown(at_ms, 0, offset, Served(request_id, user_id, status, list(movies), 5, variant, version))


def said(request_id, selected=None, satisfaction=None, user_id=None):
    return Feedback(request_id, user_id, selected, satisfaction, None)


def folded(answers, feedback=(), watches=(), groups=None, *, span=SPAN, shelf=SHELF, users_min=2, before=()):
    window = Window(span, shelf, groups or {})
    window.said(feedback)
    window.chosen(feedback)
    window.watched(watches)
    window.answered(answers)
    window.followed(answers)
    thresholds = Thresholds(group_users_min=users_min)
    return {
        report.loop.variant: report
        for report in window.records(NOTHING, thresholds, {"stable": before, "canary": before})
    }


def test_ctr_is_answers_with_a_selection_over_answers_shown():
    answers = [shown(f"r{n}", f"u{n}", 100_000 + n) for n in range(4)] + [shown("r9", "u9", 100_000, movies=())]
    found = folded(answers, [(101_000, said("r1", "a")), (101_500, said("r1", "b")), (101_000, said("r9", "a"))])
    loop = found["stable"].loop
    assert (loop.requests, loop.shown, loop.selections, loop.ctr) == (5, 4, 1, 0.25)


@pytest.mark.parametrize(
    ("at_ms", "counted"),
    [(99_999, 0), (100_000, 1), (109_999, 1), (110_000, 0)],
    ids=["before", "first", "last", "after"],
)
def test_an_answer_counts_in_the_window_in_which_it_was_stamped(at_ms, counted):
    found = folded([shown("r", "u", at_ms)])
    assert sum(report.loop.requests for report in found.values()) == counted


@pytest.mark.parametrize(("at_ms", "selections"), [(111_999, 1), (112_000, 0)], ids=["in time", "closed"])
def test_feedback_counts_until_the_window_closes(at_ms, selections):
    found = folded([shown("r", "u", 109_000)], [(at_ms, said("r", "a"))])
    assert found["stable"].loop.selections == selections


@pytest.mark.parametrize(
    ("answered_ms", "watched_ms", "past", "hits"),
    [
        (96_000, 96_000, 1, 1),  # its horizon passes at the window's first moment
        (95_999, 99_000, 0, 0),  # and this one's before
        (105_999, 109_998, 1, 1),
        (106_000, 107_000, 0, 0),  # in the next window
        (100_000, 104_000, 1, 0),  # the horizon is over
        (100_000, 99_999, 1, 0),  # before it was shown
    ],
)
def test_hit_rate_is_of_answers_whose_horizon_passes_in_the_window(answered_ms, watched_ms, past, hits):
    found = folded([shown("r", "u", answered_ms)], watches=[(watched_ms, "u", "b"), (watched_ms, "u", "c")])
    loops = [report.loop for report in found.values()]
    assert (sum(loop.past_horizon for loop in loops), sum(loop.hits for loop in loops)) == (past, hits)


@pytest.mark.parametrize(
    ("answered_ms", "chosen_ms", "ctr"),
    [
        (96_000, 96_000, 1.0),
        (96_000, 99_999, 1.0),
        (96_000, 100_000, 0.0),  # its horizon is over
        (105_999, 109_998, 1.0),
    ],
)
def test_a_level_is_of_answers_whose_horizon_passes_each_looked_at_for_the_whole_horizon(answered_ms, chosen_ms, ctr):
    answers = [shown(f"r{n}", f"u{n}", answered_ms) for n in range(2)]
    feedback = [(chosen_ms, said(f"r{n}", "a")) for n in range(2)]
    later = [shown("later", "u9", 108_000)]  # in the window's own CTR only
    level = folded(answers + later, [*feedback, (108_500, said("later", "a"))])["stable"].loop.level
    assert (level.ctr, level.hit_rate, level.users) == (ctr, 0.0, 2)


def test_of_several_selections_of_an_answer_the_earliest_decides_whether_it_was_in_time():
    answers = [shown(f"r{n}", f"u{n}", 97_000) for n in range(2)]
    feedback = [(at, said(f"r{n}", "a")) for n in range(2) for at in (105_000, 98_000, 106_000)]
    assert folded(answers, feedback)["stable"].loop.level.ctr == 1.0


def test_feedback_that_names_another_user_than_was_answered_changes_nobodys_figures_and_is_counted():
    past = [shown("r0", "u0", 97_000), shown("r1", "u1", 97_000)]
    answers = [*past, shown("r2", "u1", 100_000), shown("r3", "u2", 100_000, variant="canary")]
    own = [(98_000, said("r0", "a", 0.5, "u0")), (101_000, said("r2", "a", 0.5, "u1"))]
    other = [(98_500 + 2_000 * (r == "r2"), said(r, "b", 1.0, user)) for r in ("r1", "r2") for user in ("u2", "nobody")]
    before, found = folded(answers, own), folded(answers, own + other)
    assert before["stable"].loop.level.ctr == pytest.approx(2 / 3)
    assert found["canary"] == before["canary"]
    loop, fairness = found["stable"]
    assert loop.ignored == fairness.ignored == {"other_user": 2, "not_in_list": 0}
    nothing = {"other_user": 0, "not_in_list": 0}
    assert msgspec.structs.replace(loop, ignored=nothing) == before["stable"].loop
    assert msgspec.structs.replace(fairness, ignored=nothing) == before["stable"].fairness


def test_a_selection_of_a_movie_that_was_not_listed_is_no_click_and_is_counted():
    past = [shown("r0", "u0", 97_000), shown("r1", "u1", 97_000)]
    answers = [*past, shown("r2", "u1", 100_000), shown("r3", "u1", 100_000, movies=())]
    feedback = [(98_000, said("r1", "c")), (101_000, said("r2", "c", 0.5)), (101_000, said("r3", "a"))]
    loop, fairness = folded(answers, feedback)["stable"]
    assert (loop.shown, loop.selections, loop.level.ctr) == (1, 0, 0.0)
    assert fairness.groups["unknown"].satisfaction == 0.5  # what they say of the list counts
    assert loop.ignored == {"other_user": 0, "not_in_list": 2}


def test_a_selection_of_a_listed_movie_stands_whatever_else_was_selected():
    feedback = [(at, said("r", movie)) for at, movie in ((101_000, "c"), (102_000, "b"), (103_000, "x"))]
    loop = folded([shown("r", "u", 100_000)], feedback)["stable"].loop
    assert (loop.selections, loop.ignored["not_in_list"]) == (1, 2)


def test_only_the_users_own_watch_of_a_listed_movie_is_a_hit():
    answers = [shown("r1", "u1", 100_000), shown("r2", "u2", 100_000)]
    found = folded(answers, watches=[(100_500, "u1", "d"), (100_500, "u2", "a")])
    assert found["stable"].loop.hit_rate == 0.5


def test_rejected_requests_are_in_no_variant():
    assert folded([shown("r", "u", 100_000, status="rejected"), shown("s", "u", 100_000, variant=None)]) == {}


def test_exposure_is_over_the_whole_catalogue():
    answers = [shown("r1", "u", 100_000, ("a", "b")), shown("r2", "u", 100_001, ("a", "x"))]
    loop = folded(answers)["stable"].loop
    assert loop.coverage == 0.5
    assert loop.exposure_gini == pytest.approx((1 * 1 + 3 * 2) / (4 * 3))  # places 0, 0, 1, 2 of four movies
    assert loop.mean_popularity == (2 * 10 + 20) / 3
    assert loop.genres_per_list == (2 + 2) / 2  # Drama and drama are one


def test_interactions_stand_for_a_popularity_that_the_catalogue_does_not_know():
    bare = {movie_id: Movie(movie_id, movie_id, ()) for movie_id in "abc"}
    loop = folded([shown("r", "u", 100_000)], shelf=Shelf(bare, {"a": 4}))["stable"].loop
    assert (loop.mean_popularity, loop.popularity_source) == (2.0, "interactions")
    assert folded([shown("r", "u", 100_000)], shelf=Shelf(bare))["stable"].loop.mean_popularity is None


def test_variants_are_apart_and_the_newest_answer_names_the_version():
    answers = [
        shown("r1", "u", 100_000, version="v1", offset=1),
        shown("r2", "u", 100_500, version="v2", offset=2),
        shown("r3", "w", 100_200, variant="canary", version="v3", offset=3),
    ]
    found = folded(answers)
    assert (found["stable"].loop.model_version, found["stable"].loop.model_versions) == ("v2", {"v1": 1, "v2": 1})
    assert found["canary"].loop.requests == 1


def test_groups_are_counted_by_what_profiles_say_and_unknown_is_one():
    answers = [shown(f"r{n}", f"u{n}", 100_000) for n in range(4)]
    feedback = [(100_500, said("r0", "a", 0.5)), (100_500, said("r3", None, 1.0))]
    groups = folded(answers, feedback, groups={"u0": "M", "u1": "F", "u2": "other"})["stable"].fairness.groups
    assert {name: (g.users, g.requests) for name, g in groups.items()} == dict.fromkeys(
        ("M", "F", "other", "unknown"), (1, 1)
    )
    assert (groups["M"].ctr, groups["M"].satisfaction, groups["F"].satisfaction, groups["unknown"].satisfaction) == (
        1.0,
        0.5,
        None,
        1.0,
    )


def fairly(men, women, users_min=2):
    """Fairness of users who each report one of these satisfactions."""
    of = [("M", value) for value in men] + [("F", value) for value in women]
    answers = [shown(f"r{n}", f"u{n}", 100_000) for n in range(len(of))]
    feedback = [(100_500, said(f"r{n}", None, value)) for n, (_, value) in enumerate(of)]
    groups = {f"u{n}": name for n, (name, _) in enumerate(of)}
    return folded(answers, feedback, groups=groups, users_min=users_min)["stable"].fairness


def test_men_who_are_surely_less_satisfied_are_an_alert():
    found = fairly([0.5, 0.6] * 60, [0.7, 0.8] * 60, users_min=100)
    assert found.satisfaction_ratio == pytest.approx(0.55 / 0.75)
    assert found.ci_low < found.satisfaction_ratio < found.ci_high < 1
    assert found.status == "alert"


def test_women_who_are_surely_less_satisfied_are_one_too():
    assert fairly([0.9] * 120, [0.6, 0.7] * 60, users_min=100).status == "alert"


def test_a_ratio_that_chance_may_have_made_is_none():
    assert fairly([0.0, 1.0] * 3, [1.0] * 5 + [0.2]).status == "ok"


def test_fewer_than_a_hundred_users_are_no_finding():
    assert fairly([0.1] * 99, [0.9] * 200, users_min=100).status == "insufficient_data"


def test_without_women_or_with_women_at_zero_there_is_no_ratio():
    assert fairly([0.5] * 5, []).satisfaction_ratio is None
    assert fairly([0.5] * 5, [0.0] * 5).satisfaction_ratio is None


def test_men_who_all_say_zero_are_an_alert_where_women_are_surely_above_what_men_may_be():
    found = fairly([0.0] * 100, [0.4, 0.6] * 50, users_min=100)
    assert (found.satisfaction_ratio, found.ci_low, found.status) == (0.0, 0.0, "alert")
    assert 0.06 < found.ci_high < 0.08
    unsure = fairly([0.0] * 100, [0.0] * 99 + [0.5], users_min=100)
    assert (unsure.satisfaction_ratio, unsure.ci_high, unsure.status) == (0.0, None, "ok")


def test_women_who_all_say_zero_are_one_too_though_there_is_no_ratio():
    found = fairly([0.4, 0.6] * 50, [0.0] * 100, users_min=100)
    assert (found.satisfaction_ratio, found.ci_low, found.ci_high, found.status) == (None, None, None, "alert")
    assert fairly([0.4, 0.6] * 50, [0.0] * 99, users_min=100).status == "insufficient_data"


@pytest.mark.parametrize("men", [[0.0] * 100, [0.0] * 99 + [1.0]], ids=["all zero", "all but one"])
def test_women_who_all_say_zero_are_none_where_men_may_be_no_better(men):
    assert fairly(men, [0.0] * 100, users_min=100).status == "ok"


def test_a_hundred_users_of_whom_fewer_say_anything_are_no_finding():
    answers = [shown(f"r{n}", f"u{n}", 100_000) for n in range(240)]
    feedback = [(100_500, said(f"r{n}", None, 0.1 if n % 2 else 0.9)) for n in range(60)]
    groups = {f"u{n}": "FM"[n % 2] for n in range(240)}
    found = folded(answers, feedback, groups=groups, users_min=100)["stable"].fairness
    assert (found.groups["M"].users, found.groups["M"].reporting_users) == (120, 30)
    assert found.status == "insufficient_data"


def test_users_are_clusters_not_their_answers():
    """One user who answers fifty times is one observation: the interval is as wide as with one answer each."""
    once = fairly([0.2, 0.4, 0.6], [0.5, 0.7, 0.9])
    answers = [shown(f"r{n}-{k}", f"u{n}", 100_000 + k) for n in range(6) for k in range(50)]
    values = [0.2, 0.4, 0.6, 0.5, 0.7, 0.9]
    feedback = [(105_000, said(f"r{n}-{k}", None, values[n])) for n in range(6) for k in range(50)]
    often = folded(answers, feedback, groups={f"u{n}": "MMMFFF"[n] for n in range(6)})["stable"].fairness
    assert (often.ci_low, often.ci_high) == (pytest.approx(once.ci_low), pytest.approx(once.ci_high))


def test_a_fall_of_ctr_and_hit_rate_together_is_an_alert():
    answers = [shown(f"r{n}", f"u{n}", 100_000 + n) for n in range(400)]
    feedback = [(103_000, said(f"r{n}", "a")) for n in range(40)]
    watches = [(101_000, f"u{n}", "a") for n in range(20)]
    before = [Level(0.3, 0.01, 0.2, 0.01, 5_000, 12)]
    assert folded(answers, feedback, watches, before=before)["stable"].loop.status == "alert"
    more = [(101_000, f"u{n}", "a") for n in range(80)]
    assert folded(answers, feedback, more, before=before)["stable"].loop.status == "ok"
    assert folded(answers, feedback, watches)["stable"].loop.status == "insufficient_data"


def following(start_ms, window_s, horizon_ms, *, fell_ms, users=400, windows=12):
    """The loop record of each window from `start_ms` on, each compared with those before: people choose 60 % and watch 40 % of what they are
    shown, and of what is shown from `fell_ms` on half of that."""
    levels, length_ms = Levels(), 1_000 * window_s
    while True:
        span = Span(window_s, start_ms, horizon_ms, 1_000)
        shown_ms = {start_ms + length_ms // 2, span.answers_from_ms + length_ms // 2}
        answers, feedback, watches = [], [], []
        for at_ms in shown_ms:
            part = 1 if at_ms < fell_ms else 2
            answers += [shown(f"r{at_ms}-{n}", f"u{n}", at_ms) for n in range(users)]
            feedback += [(at_ms + 5, said(f"r{at_ms}-{n}", "a")) for n in range(users) if n % 10 * part < 6]
            watches += [(at_ms + 9, f"u{n}", "a") for n in range(users) if n % 10 * part < 4]
        before = levels.before(window_s, "stable", start_ms, windows)
        loop = folded(answers, feedback, watches, span=span, users_min=100, before=before)["stable"].loop
        yield loop
        levels.add(loop)
        start_ms += length_ms


@pytest.mark.parametrize("horizon_s", [30, 200], ids=["three windows", "longer than all windows of the reference"])
def test_a_sudden_fall_is_seen_one_horizon_later_however_long_the_horizon(horizon_s):
    fell_ms = 1_000_000
    found = following(800_000, 10, 1_000 * horizon_s, fell_ms=fell_ms)
    by_start = {800_000 + 10_000 * k: loop for k, loop in zip(range(45), found, strict=False)}
    alerts = [start_ms for start_ms, loop in by_start.items() if loop.status == "alert"]
    assert alerts[0] == fell_ms + 1_000 * horizon_s
    assert by_start[fell_ms].ctr == by_start[alerts[0]].level.ctr == 0.3


def test_a_candidate_is_compared_with_windows_of_its_own_version_and_stable_with_all():
    def of(variant, version, n, before=()):
        answers = [shown(f"r{k}", f"u{k}", 97_000, variant=variant, version=version) for k in range(200)]
        return folded(answers, [(98_000, said(f"r{k}", "a")) for k in range(n)], before=before)[variant].loop

    before = [of("canary", "v2", 90).level, of("canary", "v3", 40).level]
    assert of("canary", "v3", 40, before).reference == before[1]
    assert of("canary", "v4", 40, before).reference is None
    assert of("stable", "v4", 40, before).reference.windows == 2
    assert of("stable", "v4", 40, before).reference.model_version is None


def test_a_window_in_which_one_candidate_gave_way_to_the_next_is_compared_with_none_and_none_with_it():
    def of(*versions, before=()):
        answers = [
            shown(f"r{k}", f"u{k}", 97_000 + k, variant="canary", version=versions[k // 100]) for k in range(200)
        ]
        return folded(answers, [(100_000, said(f"r{k}", "a")) for k in range(90)], before=before)["canary"].loop

    mixed = of("v2", "v3").level
    assert (mixed.users, mixed.model_version) == (200, None)
    assert of("v3", "v3", before=[mixed]).reference is None
    assert of("v2", "v3", before=[mixed, of("v3", "v3").level]).reference is None
    assert of(None, None, before=[of(None, None).level]).reference is None  # records without a version


users = st.sampled_from(["u1", "u2", "u3", "u4"])
times = st.integers(94_000, 113_000)
lists = st.lists(st.sampled_from("abcdx"), max_size=4, unique=True)
variants = st.sampled_from(["stable", "canary"])
some_answers = st.lists(st.tuples(users, times, lists, variants), max_size=25)
some_feedback = st.lists(
    st.tuples(
        times, st.integers(0, 30), st.none() | st.sampled_from("abx"), st.none() | st.floats(0, 1), st.none() | users
    ),
    max_size=25,
)
some_watches = st.lists(st.tuples(times, users, st.sampled_from("abcd")), max_size=25)


@settings(deadline=None)
@given(some_answers, some_feedback, some_watches, st.randoms(use_true_random=False), st.integers(1, 7))
def test_the_order_and_the_portions_do_not_matter(answers, feedback, watches, rng, portion):
    told = [shown(f"r{n}", u, at, m, v, offset=n) for n, (u, at, m, v) in enumerate(answers)]
    heard = [(at, said(f"r{n}", selected, value, user)) for at, n, selected, value, user in feedback]
    groups = {"u1": "M", "u2": "F", "u3": "F"}
    first = folded(told, heard, watches, groups)
    for some in (told, heard, watches):
        rng.shuffle(some)
    window = Window(SPAN, SHELF, groups)
    window.said(heard)
    window.chosen(heard)
    window.watched(watches)
    for begin in range(0, len(told), portion):
        window.answered(told[begin : begin + portion])
        window.followed(told[begin : begin + portion])
    again = window.records(NOTHING, Thresholds(group_users_min=2), {})
    assert {report.loop.variant: report for report in again} == first


def by_its_user(feedback, served):
    return feedback.request_id == served.request_id and feedback.user_id in (None, served.user_id)


@settings(deadline=None)
@given(some_answers, some_feedback, some_watches)
def test_figures_are_those_of_a_plain_count(answers, feedback, watches):
    told = [shown(f"r{n}", u, at, m, v, offset=n) for n, (u, at, m, v) in enumerate(answers)]
    heard = [(at, said(f"r{n}", selected, value, user)) for at, n, selected, value, user in feedback]
    found = folded(told, heard, watches)
    for variant in ("stable", "canary"):
        mine = [
            s for s in told if s.served.variant == variant and 100_000 <= s.at_ms < 110_000 and s.served.recommendations
        ]
        chosen = sum(
            any(
                f.selected in s.served.recommendations and by_its_user(f, s.served) and 100_000 <= at < 112_000
                for at, f in heard
            )
            for s in mine
        )
        reports = [
            max(told_of)[1]
            for s in mine
            if (
                told_of := [
                    (at, f.satisfaction)
                    for at, f in heard
                    if f.satisfaction is not None and by_its_user(f, s.served) and 100_000 <= at < 112_000
                ]
            )
        ]
        past = [
            s for s in told if s.served.variant == variant and 96_000 <= s.at_ms < 106_000 and s.served.recommendations
        ]
        hits = sum(
            any(
                u == s.served.user_id and m in s.served.recommendations and 0 <= at - s.at_ms < 4_000
                for at, u, m in watches
            )
            for s in past
        )
        if variant in found:
            loop = found[variant].loop
            assert (loop.shown, loop.selections, loop.past_horizon, loop.hits) == (len(mine), chosen, len(past), hits)
            said_mean = found[variant].fairness.groups["unknown"].satisfaction
            assert said_mean == (pytest.approx(sum(reports) / len(reports), abs=1e-9) if reports else None)
        else:
            assert not mine
            assert not past


@settings(deadline=None)
@given(some_answers, some_feedback, st.randoms(use_true_random=False))
def test_quality_is_one_record_for_each_answer_with_feedback(answers, feedback, rng):
    told = [shown(f"r{n}", u, at, m, v, offset=n) for n, (u, at, m, v) in enumerate(answers)]
    heard = [(at, said(f"r{n}", selected, value, user)) for at, n, selected, value, user in feedback]
    rng.shuffle(heard)
    table = Said(SPAN)
    for at_ms, one in heard:
        table.add(at_ms, one)
    found = [quality for one in told if (quality := table.quality(one, "provenance")) is not None]
    in_time = [f for at, f in heard if 100_000 <= at < 112_000]
    wanted = [
        s.served.request_id
        for s in told
        if 100_000 <= s.at_ms < 110_000 and any(by_its_user(f, s.served) for f in in_time)
    ]
    assert [quality.request_id for quality in found] == wanted
    window = folded(told, heard)
    for variant, report in window.items():
        mine = [q for q in found if q.variant == variant and q.recommendations]
        assert report.loop.selections == sum(q.selected is not None for q in mine)


def test_millions_of_places_are_no_matter_of_bits():
    """Two ids whose keys would be equal only by chance: none of ten thousand."""
    from models.measures.joins import keys

    assert len(np.unique(keys([f"user-{n}" for n in range(10_000)]))) == 10_000
