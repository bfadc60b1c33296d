"""The best list under a least number of protected movies: against every list that there is."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recommenders.rerank import least, prefixes, ranks, whole_list


@st.composite
def problems(draw):
    """Scores with ties and below 0, few or many protected movies, n beyond them."""
    scores = sorted(draw(st.lists(st.integers(-3, 3), min_size=1, max_size=6)), reverse=True)
    protected = draw(st.lists(st.booleans(), min_size=len(scores), max_size=len(scores)))
    return np.array(scores, np.float64), np.array(protected), draw(st.integers(1, 7)), draw(st.floats(0, 1))


def keeps(lists, protected, n, share, every_prefix):
    """Of lists (lists, places): which have the share, as far as there are protected movies, of the whole or of every prefix."""
    held = np.cumsum(protected[lists], axis=1)
    if not every_prefix:
        return held[:, -1] >= min(least(n, share), protected.sum())
    return (held >= np.minimum([least(i + 1, share) for i in range(lists.shape[1])], protected.sum())).all(axis=1)


@given(problem=problems())
def test_no_list_that_keeps_the_share_of_every_prefix_has_a_larger_sum_in_any(problem):
    scores, protected, n, share = problem
    found = ranks(protected, n, share, every_prefix=True)
    lists = np.array(list(permutations(range(len(scores)), min(n, len(scores)))))
    feasible = lists[keeps(lists, protected, n, share, True)]
    assert found.tolist() in feasible.tolist()
    assert np.cumsum(scores[found]).tolist() == np.cumsum(scores[feasible], axis=1).max(axis=0).tolist()


@given(problem=problems())
def test_no_list_that_keeps_the_share_has_a_larger_sum(problem):
    scores, protected, n, share = problem
    found = ranks(protected, n, share)
    lists = np.array(list(permutations(range(len(scores)), min(n, len(scores)))))
    feasible = lists[keeps(lists, protected, n, share, False)]
    assert found.tolist() in feasible.tolist()
    assert scores[found].sum() == scores[feasible].sum(axis=1).max()
    assert (np.diff(found) > 0).all()


@given(problem=problems(), every_prefix=st.booleans())
def test_a_list_is_never_shorter_than_without_a_share_and_has_nothing_twice(problem, every_prefix):
    scores, protected, n, share = problem
    found = ranks(protected, n, share, every_prefix=every_prefix).tolist()
    assert len(set(found)) == len(found) == min(n, len(scores))


@given(problem=problems(), every_prefix=st.booleans())
def test_a_list_that_keeps_the_share_stays_as_it_is(problem, every_prefix):
    _, protected, n, share = problem
    plain = np.arange(min(n, len(protected)))
    if keeps(plain[None], protected, n, share, every_prefix)[0]:
        assert ranks(protected, n, share, every_prefix=every_prefix).tolist() == plain.tolist()


@given(n=st.integers(0, 100), share=st.floats(0, 1))
def test_a_quota_never_falls_never_leaps_and_ends_at_the_share(n, share):
    for wanted in (prefixes(n, share), whole_list(n, least(n, share))):
        assert set(np.diff(wanted, prepend=0).tolist()) <= {0, 1}
        assert n == 0 or wanted[-1] == least(n, share) <= n


@pytest.mark.parametrize("hundredths", range(101))
def test_a_share_of_places_is_what_a_person_computes(hundredths):
    assert [least(n, hundredths / 100) for n in range(101)] == [hundredths * n // 100 for n in range(101)]
