"""The shadow: what of the candidate's lists is compared, and what the counts say."""

import pytest

from models.answer import Decision
from models.config import Canary
from models.release.shadow import Compared, Comparison, compare, in_shadow, is_compared, overlap
from models.release.split import arm

SHADOW = Canary(percentage=0)
OK = Compared("ok", 0.5, {"stable": 1.0, "canary": 2.0})


@pytest.fixture
def decision(small):
    """A decision with these movies."""

    def make(*movies, failure=None, ms=1.0):
        return Decision(
            small.question(),
            bucket=1,
            variant="stable",
            version="v1",
            status="ok",
            reason=None,
            movies=list(movies),
            scores=[1.0] * len(movies),
            failure=failure,
            scoring_ms=ms,
        )

    return make


@pytest.mark.parametrize(
    ("canary", "expected"),
    [
        (SHADOW, True),
        (Canary(percentage=0, paused=True), True),
        (Canary(percentage=1), False),
        (Canary(candidate=None, percentage=0), False),
    ],
)
def test_a_candidate_on_its_step_of_0_percent_is_in_the_shadow(canary, expected):
    assert in_shadow(canary) is expected


@pytest.mark.parametrize("share", [0, 0.1, 1])
def test_the_share_of_the_requests_is_compared(share):
    found = sum(is_compared(f"r{number}", SHADOW, share) for number in range(4_000)) / 4_000
    assert abs(found - share) <= 4 * (share * (1 - share) / 4_000) ** 0.5


def test_which_requests_are_compared_does_not_follow_the_split():
    canary = Canary(percentage=50, unit="request")
    arms = [is_compared(f"r{number}", canary, 0.5) for number in range(2_000)]
    both = sum(a and arm("u", f"r{n}", canary)[1] == "canary" for n, a in enumerate(arms))
    assert 400 < both < 600


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [("abcd", "abcd", 1), ("abcd", "dcba", 1), ("abcd", "wxyz", 0), ("abcd", "ab", 0.5), ("", "ab", 0), ("", "", None)],
)
def test_overlap_is_the_share_of_the_longer_list_that_both_name(one, other, expected):
    assert overlap(one, other) == overlap(other, one) == expected


def test_a_candidate_that_fails_is_an_error_and_says_nothing_of_overlap(decision):
    found = compare(decision("a", "b"), decision(failure="ValueError: ill"))
    assert (found.outcome, found.overlap) == ("error", None)


def test_a_candidate_without_a_movie_is_empty_only_where_stable_has_one(decision):
    assert (compare(decision("a"), decision()).outcome, compare(decision("a"), decision()).overlap) == ("empty", 0)
    assert (compare(decision(), decision()).outcome, compare(decision(), decision()).overlap) == ("ok", None)


def test_what_stable_fails_at_is_not_the_candidates_error(decision):
    found = compare(decision(failure="ValueError: ill"), decision("a"))
    assert (found.outcome, found.overlap) == ("ok", None)


def test_figures_are_counts_and_means():
    comparison = Comparison("2026-11-27T08:00:00.000Z")
    comparison.add([OK, OK, Compared("error", None, {"stable": 3.0, "canary": None})])
    comparison.add([Compared("empty", 0.0, {"stable": 1.0, "canary": 5.0})])
    comparison.dropped += 2
    found = comparison.figures()
    assert (found.requests, found.errors, found.empty, found.dropped) == (4, 1, 1, 2)
    assert found.overlap == pytest.approx(1 / 3, abs=1e-6)
    assert found.scoring_ms["stable"].mean == 1.5
    assert found.scoring_ms["canary"].mean == 3.0
    assert (found.scoring_ms["stable"].p99, found.scoring_ms["canary"].p99) == (3.0, 5.0)


def test_no_data_has_no_means():
    found = Comparison("2026-11-27T08:00:00.000Z").figures()
    assert (found.requests, found.overlap, found.scoring_ms) == (0, None, {})


def test_a_p99_is_the_nearest_rank_of_the_newest_times():
    comparison = Comparison("2026-11-27T08:00:00.000Z")
    comparison.add(Compared("ok", 1.0, {"stable": 900.0, "canary": None}) for _ in range(50))
    comparison.add(Compared("ok", 1.0, {"stable": float(ms), "canary": None}) for ms in range(10_000))
    assert comparison.figures().scoring_ms["stable"].p99 == 9_899.0
