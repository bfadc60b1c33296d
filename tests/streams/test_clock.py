"""The brokers' clock: what a stamp proves of it."""

from hypothesis import given
from hypothesis import strategies as st

from streams.clock import BrokerClock

NOW = 1_700_000_000_000


class At(BrokerClock):
    """A clock whose own time stands still."""

    @staticmethod
    def local_ms():
        return float(NOW)


def test_before_any_stamp_it_is_our_own():
    assert At().now_ms() == NOW


def test_a_stamp_that_fits_our_own_clock_changes_nothing():
    clock = At()
    clock.learn(NOW - 5, NOW - 10, NOW)
    assert clock.now_ms() == NOW


def test_a_machine_that_is_an_hour_ahead_is_corrected_to_within_the_round_trip():
    clock = At()
    clock.learn(NOW - 3_600_000, NOW - 10, NOW)
    assert 0 <= clock.now_ms() - (NOW - 3_600_000) <= 11


def test_the_estimate_gets_better_with_a_shorter_round_trip():
    clock = At()
    clock.learn(NOW - 3_600_000, NOW - 500, NOW)
    clock.learn(NOW - 3_600_000, NOW - 2, NOW)
    assert abs(clock.now_ms() - (NOW - 3_600_000)) <= 3


@given(
    ahead=st.integers(-(10**9), 10**9),
    trips=st.lists(st.tuples(st.floats(0, 1_000), st.floats(0, 1_000)), min_size=1, max_size=20),
)
def test_the_true_difference_is_never_further_off_than_the_last_round_trip(ahead, trips):
    clock = At()
    for there, back in trips:
        clock.learn(int(NOW - back + ahead), NOW - back - there, NOW)
    there, back = trips[-1]
    assert abs(clock.now_ms() - (NOW + ahead)) <= there + back + 2
