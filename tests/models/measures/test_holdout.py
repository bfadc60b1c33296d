"""The split by time: newest, a fifth of each user, the same whatever the order of events."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.measures.holdout import newest


@st.composite
def interactions(draw):
    """Each user and movie once, many equal times."""
    pairs = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), unique=True, max_size=80))
    times = draw(st.lists(st.integers(0, 6), min_size=len(pairs), max_size=len(pairs)))
    user, movie = (np.array([pair[i] for pair in pairs], np.int32) for i in (0, 1))
    return user, movie, np.array(times, np.int64)


@given(interactions())
def test_a_fifth_of_each_user_rounded_down_is_held_out(data):
    user, movie, time_ms = data
    held = newest(user, movie, time_ms)
    for one in np.unique(user):
        assert held[user == one].sum() == (user == one).sum() // 5


@given(interactions())
def test_nothing_kept_is_newer_than_what_is_held_out(data):
    user, movie, time_ms = data
    held = newest(user, movie, time_ms)
    for one in np.unique(user[held]):
        mine = user == one
        kept = max(zip(time_ms[mine & ~held], movie[mine & ~held], strict=True))
        assert kept < min(zip(time_ms[mine & held], movie[mine & held], strict=True))


@given(interactions(), st.integers(0, 2**32 - 1))
def test_the_order_of_events_does_not_matter(data, seed):
    user, movie, time_ms = data
    order = np.random.default_rng(seed).permutation(len(user))
    np.testing.assert_array_equal(
        newest(user[order], movie[order], time_ms[order]), newest(user, movie, time_ms)[order]
    )


def test_whole_fifths_are_not_lost_to_binary_fractions():
    for n in range(5, 500, 5):
        numbers = np.arange(n)
        assert newest(np.zeros(n, np.int32), numbers.astype(np.int32), numbers).sum() == n // 5
