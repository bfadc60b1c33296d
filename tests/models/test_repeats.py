"""The memory of answered ids: who asks again is known, a message read again is not a repetition, memory is bounded."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import repeats
from models.events import Request
from models.repeats import Repeats

WINDOW = 1_000
RUN = repeats._RUN
NOW = 1_700_000_000_000


@pytest.fixture
def memory():
    return Repeats(100_000, WINDOW)


def test_a_new_id_is_new_and_the_same_place_is_no_repeat(memory):
    pending = {}
    assert memory.judge(1, 10, 0, 5, NOW, pending) == "new"
    assert memory.judge(1, 10, 0, 5, NOW, pending) == "new"  # read again after a rewind


def test_a_message_whose_answer_is_committed_is_answered_also_where_offsets_went_back(memory):
    memory.remember(1, 10, 0, 5, NOW)
    assert memory.judge(1, 10, 0, 5, NOW, {}) == "answered"


def test_what_is_being_answered_is_known_within_the_window_only(memory):
    pending = {}
    memory.judge(1, 10, 0, 5, NOW, pending)
    assert memory.judge(1, 10, 0, 6, NOW + WINDOW, pending) == "repeated"
    assert memory.judge(1, 10, 0, 7, NOW + WINDOW + 1, pending) == "new"


def test_what_is_committed_does_not_stay_among_what_is_being_answered(memory):
    pending = {}
    for first in range(0, 5_000, 50):
        batch = [repeats.Asked(id_, 10, 0, id_, NOW) for id_ in range(first, first + 50)]
        assert memory.judge_all(batch, pending) == ["new"] * 50
        if first >= 500:  # those of ten batches ago come by as committed
            memory.remember_all([(id_, 10, 0, id_) for id_ in range(first - 500, first - 450)], NOW)
    assert len(pending) <= 1_100  # twice what is in flight
    assert memory.judge_all([repeats.Asked(4_999, 10, 0, 4_999, NOW)], pending) == ["new"]  # not committed
    assert memory.judge_all([repeats.Asked(7, 10, 0, 7, NOW)], pending) == ["answered"]


def test_an_id_that_left_the_memory_before_it_was_looked_at_keeps_no_other(memory):
    pending = {}
    memory.judge_all([repeats.Asked(0, 10, 0, 0, NOW)], pending)  # nobody will know that it was committed
    for first in range(1, 2_001, 50):
        memory.judge_all([repeats.Asked(id_, 10, 0, id_, NOW) for id_ in range(first, first + 50)], pending)
        memory.remember_all([(id_, 10, 0, id_) for id_ in range(first, first + 50)], NOW)
    assert len(pending) <= 101
    assert 0 in pending


@pytest.mark.parametrize("far_ms", [-10 * WINDOW, 10 * WINDOW])
def test_a_message_with_another_clock_does_not_make_what_is_being_answered_forgotten(memory, far_ms):
    pending = {}
    memory.judge_all([repeats.Asked(1, 10, 0, 1, NOW)], pending)
    memory.judge_all([repeats.Asked(2, 10, 0, 2, NOW + far_ms)], pending)
    assert memory.judge_all([repeats.Asked(1, 10, 0, 3, NOW)], pending) == ["repeated"]
    memory.remember_all([(1, 10, 0, 1), (2, 10, 0, 2)], NOW)
    memory.judge_all([repeats.Asked(3, 10, 0, 4, NOW)], pending)
    assert list(pending) == [3]


def test_an_id_that_was_answered_long_ago_and_is_being_answered_again_is_not_done(memory):
    memory.remember(1, 10, 0, 1, NOW - 2 * WINDOW)
    pending = {}
    assert memory.judge_all([repeats.Asked(1, 10, 0, 5, NOW)], pending) == ["new"]
    assert memory.judge_all([repeats.Asked(1, 10, 0, 6, NOW)], pending) == ["repeated"]


@pytest.mark.parametrize("place", [(0, 6), (1, 5)], ids=["the same partition", "another partition"])
def test_another_place_is_a_repeat(memory, place):
    memory.judge(1, 10, 0, 5, NOW)
    assert memory.judge(1, 10, *place, NOW + 1) == "repeated"


def test_another_content_conflicts_and_does_not_replace_the_first(memory):
    memory.judge(1, 10, 0, 5, NOW)
    assert memory.judge(1, 11, 0, 6, NOW) == "conflicting"
    assert memory.judge(1, 10, 0, 7, NOW) == "repeated"


def test_an_id_is_forgotten_when_the_window_is_over(memory):
    memory.judge(1, 10, 0, 5, NOW)
    assert memory.judge(1, 10, 0, 6, NOW + WINDOW) == "repeated"
    assert memory.judge(1, 10, 0, 7, NOW + WINDOW + 1) == "new"
    assert memory.judge(1, 10, 0, 8, NOW + WINDOW + 2) == "repeated"  # of the newer one


def test_ids_answered_elsewhere_are_known_too(memory):
    _, entries = repeats.unpacked(repeats.packed(1, {3: 8}, [(1, 10, 3, 5), (2, 20, 3, 7)]), 1)
    memory.remember_all(entries, NOW)
    assert memory.judge(1, 10, 3, 5, NOW) == "answered"
    assert memory.judge(1, 10, 4, 5, NOW) == "repeated"
    assert memory.judge(2, 21, 3, 9, NOW) == "conflicting"


def test_of_two_places_that_were_answered_at_once_the_first_counts(memory):
    memory.remember(1, 10, 0, 5, NOW)
    memory.remember(1, 10, 1, 9, NOW + 1)
    assert memory.judge(1, 10, 0, 5, NOW) == "answered"
    assert memory.judge(1, 10, 1, 9, NOW) == "repeated"


@pytest.mark.parametrize("age", [1, RUN + 1, 3 * RUN], ids=["recent", "in the newest run", "in an old run"])
def test_an_id_is_known_wherever_it_stands(age):
    memory = Repeats(10 * RUN, WINDOW)
    memory.judge(7, 70, 2, 1_000_000, NOW)
    for number in range(age - 1):
        memory.remember(100 + number, 0, 0, number, NOW)
    assert memory.judge(7, 70, 2, 1_000_000, NOW) == "answered"
    assert memory.judge(7, 70, 2, 1_000_001, NOW) == "repeated"
    assert memory.judge(7, 71, 2, 1_000_001, NOW) == "conflicting"
    assert memory.judge(7, 70, 2, 1_000_001, NOW + WINDOW + 1) == "new"


def test_memory_is_bounded_by_count_and_the_newest_are_kept():
    capacity = 2 * RUN
    memory = Repeats(capacity, WINDOW)
    for number in range(6 * RUN + 10):
        memory.remember(number, 0, 0, number, NOW)
        assert number % RUN or len(memory) <= capacity + 2 * RUN
    newest = range(6 * RUN + 10 - capacity, 6 * RUN + 10, 997)
    assert all(memory.judge(number, 0, 1, 0, NOW) == "repeated" for number in newest)
    assert memory.judge(0, 0, 1, 0, NOW) == "new"


def test_memory_is_bounded_by_time():
    memory = Repeats(20 * RUN, WINDOW)
    for number in range(4 * RUN):
        memory.remember(number, 0, 0, number, NOW + number // RUN * 10 * WINDOW)
    assert len(memory) <= RUN


hashes, partitions, offsets = st.integers(0, 2**64 - 1), st.integers(0, 2**16 - 1), st.integers(0, 2**62)
entries = st.lists(st.tuples(hashes, hashes, partitions, offsets), max_size=5)


@given(topic=hashes, positions=st.dictionaries(partitions, offsets, max_size=9), found=entries)
def test_what_is_packed_comes_back(topic, positions, found):
    assert repeats.unpacked(repeats.packed(topic, positions, found), topic) == (positions, found)


def test_what_was_told_of_another_topic_is_left_out():
    assert (
        repeats.unpacked(repeats.packed(repeats.topic_number("old"), {0: 9}, []), repeats.topic_number("new")) is None
    )


@given(st.binary(max_size=80))
def test_whatever_another_hand_wrote_is_left_out_or_read(value):
    told = repeats.unpacked(value, 0)
    assert told is None or isinstance(told[0], dict)


def test_the_format_of_before_is_left_out():
    before = (70_000).to_bytes(8, "little") + bytes(24)
    assert repeats.unpacked(before, 0) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 1), st.integers(0, 400)), max_size=30))
def test_the_memory_agrees_with_a_plain_dictionary(steps):
    """Any order of messages, none older than the one before, each at a place of its own."""
    memory, plain, now = Repeats(1_000, WINDOW), {}, NOW
    for offset, (id_, content, partition, later) in enumerate(steps):
        now += later
        known = plain.get(id_)
        if known is None or now - known[1] > WINDOW:
            expected, plain[id_] = "new", (content, now)
        else:
            expected = "repeated" if known[0] == content else "conflicting"
        assert memory.judge(id_, content, partition, offset, now) == expected


ASKED = Request("r", "u", 20, ("Crime",), True, 5)


def test_the_time_of_asking_is_no_content_everything_else_is():
    import msgspec

    replace, same = msgspec.structs.replace, repeats.digest(ASKED)
    assert repeats.digest(replace(ASKED, timestamp_ms=6)) == same
    others = [{"user_id": "v"}, {"n": 21}, {"genres": None}, {"genres": ("Drama",)}, {"exclude_seen": False}]
    for other in others:
        changed = repeats.digest(replace(ASKED, **other))
        assert changed[0] == same[0]
        assert changed[1] != same[1]
    assert repeats.digest(replace(ASKED, request_id="s"))[0] != same[0]


def test_a_rejected_requests_bytes_are_its_content():
    one, other = repeats.digest_unreadable("r", b'{"request_id":"r"}'), repeats.digest_unreadable("r", b"{}")
    assert one[0] == other[0] == repeats.digest(ASKED)[0]
    assert one[1] != other[1]
