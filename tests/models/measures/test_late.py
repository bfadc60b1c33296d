"""Late windows: those with answers, for as long as they could have been written, and no others."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.measures.late import MOST, NEAR_MS, Late

LENGTHS, LATENESS_S = (300, 3_600), 60


def late() -> Late:
    return Late(LENGTHS, LATENESS_S)


def test_without_answers_nothing_is_late() -> None:
    assert late().since_s(10**12) == {300: 0, 3_600: 0}


def test_a_window_is_late_from_its_closing_on_until_it_is_written() -> None:
    found = late()
    found.answered(100_000)
    assert found.since_s(360_000) == {300: 0, 3_600: 0}
    assert found.since_s(361_000) == {300: 1, 3_600: 0}
    assert found.since_s(3_660_500) == {300: 3_300.5, 3_600: 0.5}
    found.written(300, 300_000)
    assert found.since_s(3_660_500) == {300: 0, 3_600: 0.5}
    found.written(3_600, 3_600_000)
    assert found.since_s(3_660_500) == {300: 0, 3_600: 0}


def test_the_oldest_window_that_is_not_written_says_how_late_it_is() -> None:
    found = late()
    for at_ms in (0, 100_000, 400_000, 700_000):
        found.answered(at_ms)
    found.written(300, 300_000)
    assert found.since_s(1_000_000)[300] == (1_000_000 - 600_000) / 1_000 - LATENESS_S
    found.written(300, 900_000)
    assert found.since_s(10_000_000)[300] == 0


@pytest.mark.parametrize("written_ms", [300_000, 600_000], ids=["before the boundary", "behind it"])
def test_an_answer_at_a_boundary_may_be_in_either_window(written_ms: int) -> None:
    """It was stamped before it was told of: whichever of the two is written, no more will be."""
    found = late()
    found.answered(300_000 + NEAR_MS - 1)
    found.written(300, written_ms)
    assert found.since_s(10**9)[300] == 0


def test_traffic_over_a_boundary_is_waited_for_in_both_windows() -> None:
    found = late()
    for at_ms in range(0, 500_000, 1_000):
        found.answered(at_ms)
    found.written(300, 300_000)
    assert found.since_s(700_000)[300] == (700_000 - 600_000) / 1_000 - LATENESS_S


def test_a_length_that_is_not_waited_for_is_left_out() -> None:
    found = late()
    found.answered(0)
    found.written(7, 10**9)
    assert found.since_s(10**9)[300] > 0


def test_however_long_nothing_is_written_memory_is_bounded_and_the_oldest_stays() -> None:
    found = Late([1], 0)
    for second in range(3 * MOST):
        found.answered(1_000 * second + 500)
    assert len(found._waiting[1]) == MOST
    assert found.since_s(10**9)[1] == 10**6 - 1


@given(st.lists(st.integers(0, 5_000_000), min_size=1, max_size=30), st.integers(0, NEAR_MS - 1))
def test_whoever_writes_each_window_with_answers_is_not_late(times: list[int], delay_ms: int) -> None:
    """Each answer is told of some time after its stamp; by the stamp it is in a window."""
    found = late()
    for at_ms in sorted(times):
        found.answered(at_ms + delay_ms)
    for length in LENGTHS:
        for end_ms in sorted({(at_ms // (1_000 * length) + 1) * 1_000 * length for at_ms in times}):
            found.written(length, end_ms)
    assert found.since_s(10**10) == {300: 0, 3_600: 0}
