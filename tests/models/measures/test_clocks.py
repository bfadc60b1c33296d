"""When watches that come after answers are nearly all older than these: told once for each hundred, with how far they are behind."""

import pytest

from models.measures.clocks import LOOKED_AT, NEARLY_ALL, Clocks


def told(befores: list[bool]) -> list[int]:
    clocks = Clocks()
    added = [clocks.add(before=before, behind_ms=1_000 * number) for number, before in enumerate(befores)]
    return [behind_ms for behind_ms in added if behind_ms is not None]


@pytest.mark.parametrize(("old", "times"), [(NEARLY_ALL - 1, 0), (NEARLY_ALL, 1), (LOOKED_AT, 1)])
def test_nearly_all_is_nine_of_ten(old: int, times: int) -> None:
    assert len(told([True] * old + [False] * (LOOKED_AT - old))) == times


def test_fewer_than_a_hundred_say_nothing() -> None:
    assert told([True] * (LOOKED_AT - 1)) == []


def test_what_was_right_for_days_does_not_hide_what_is_wrong_now() -> None:
    assert told([False] * 1_000 * LOOKED_AT + [True] * LOOKED_AT) != []


def test_a_few_that_are_years_behind_do_not_change_how_far_most_are() -> None:
    clocks = Clocks()
    found = [clocks.add(before=True, behind_ms=10**12 if n < 20 else 25_200_000) for n in range(LOOKED_AT)]
    assert found[-1] == 25_200_000
