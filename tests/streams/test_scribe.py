"""When the writer of the provenance CSV rests."""

from hypothesis import given
from hypothesis import strategies as st

from streams.scribe import BEHIND_S, SHARE, Pace


def abreast_at(now):
    pace = Pace()
    pace.rest_s(0.0, now, behind=False)
    return pace


def test_in_a_burst_it_takes_a_small_share_of_a_core():
    rest = abreast_at(100.0).rest_s(0.2, 100.2, behind=True)
    assert 0.2 / (0.2 + rest) <= SHARE


def test_abreast_of_the_topic_it_does_not_rest():
    assert abreast_at(100.0).rest_s(5.0, 101.0, behind=False) == 0


def test_what_waited_at_its_start_is_written_without_a_rest():
    assert Pace().rest_s(5.0, 100.0, behind=True) == 0


def test_a_long_burst_is_written_without_a_rest_until_the_writer_is_abreast_again():
    pace = abreast_at(100.0)
    assert pace.rest_s(1.0, 100.1 + BEHIND_S, behind=True) == 0
    assert pace.rest_s(1.0, 101.0 + BEHIND_S, behind=True) == 0
    pace.rest_s(1.0, 102.0 + BEHIND_S, behind=False)
    assert pace.rest_s(1.0, 103.0 + BEHIND_S, behind=True) > 0


@given(steps=st.lists(st.tuples(st.floats(0, 50), st.booleans()), max_size=60))
def test_it_never_rests_beyond_the_time_that_it_may_be_behind(steps):
    pace, now, abreast = Pace(), 0.0, -float("inf")
    for used, behind in steps:
        now += used
        abreast = abreast if behind else now
        rest = pace.rest_s(used, now, behind=behind)
        assert rest == 0 or now + rest <= abreast + BEHIND_S + 1e-9
        now += rest
