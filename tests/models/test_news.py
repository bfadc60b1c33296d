"""What is new: each pair once, in any order and portions, and the first and newest of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models import news as module
from models.news import Digests, New, News, among

EVENTS = st.lists(
    st.builds(New, st.integers(0, 30), st.sampled_from(["u", "v", "w"]), st.sampled_from(["a", "b", "c", "d"])),
    max_size=60,
    unique_by=lambda event: event.at_ms,
)


def in_portions(events, size, sample=2):
    news = News(sample)
    for start in range(0, len(events), size):
        news.add(events[start : start + size])
    return news


@given(events=EVENTS, size=st.integers(1, 60))
def test_portions_change_nothing(events, size):
    one, other = in_portions(events, 60), in_portions(events, size)
    assert (one.interactions, one.events, one.users.tolist()) == (
        other.interactions,
        other.events,
        other.users.tolist(),
    )
    assert (one.earliest, one.latest) == (other.earliest, other.latest)


@given(events=EVENTS)
def test_an_interaction_is_a_user_and_a_movie_however_often(events):
    news = in_portions(events, 7)
    assert news.interactions == len({(event.user_id, event.movie_id) for event in events})
    assert len(news.users) == len({event.user_id for event in events})
    assert news.events == len(events)


def test_the_sample_holds_the_first_and_the_newest_of_many():
    events = [New(at, f"u{at}", "m") for at in np.random.default_rng(1).permutation(500).tolist()]
    news = in_portions(events, 9, sample=5)
    assert [event.at_ms for event in news.earliest] == [0, 1, 2, 3, 4]
    assert [event.at_ms for event in news.latest] == [495, 496, 497, 498, 499]
    assert len(news._kept) <= 8 * 5


@given(portions=st.lists(st.lists(st.integers(-5, 5)), max_size=8), fresh=st.integers(0, 6))
def test_digests_are_a_set(portions, fresh):
    before, module._FRESH = module._FRESH, fresh  # so that a few already settle
    try:
        found, told = Digests(), []
        for portion in portions:
            new = found.add(np.array(portion, np.int64))
            told += [value for value, is_new in zip(portion, new.tolist(), strict=True) if is_new]
    finally:
        module._FRESH = before
    wanted = {value for portion in portions for value in portion}
    assert sorted(told) == found.all().tolist() == sorted(wanted)
    assert len(found) == len(wanted)


def test_among_nothing_is_nobody():
    assert not among(np.array([1, 2]), np.empty(0, np.int64)).any()
