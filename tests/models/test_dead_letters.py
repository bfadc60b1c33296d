"""Dead letters read back: the original bytes and headers, and the line of descent of what was published again."""

import json
from hashlib import sha256

import pytest

from models import dead_letters, wire
from models.dead_letters import ADDED, ORIGIN, REPLAYS, Place
from models.errors import BadMessage
from models.events import Source

SOURCE = Source("watch-events", 2, 17)
PLACE = Place(1, 5)
KIP = [(name, b"x") for name in ADDED]
SCHEMA = ("schema", b"1")


def letter(value=b"{", headers=(), place=PLACE, whole=True, error="broken"):
    text = wire.dead_letter(SOURCE, value, "not_json", error, 1_700_000_000_000)
    return dead_letters.read(place, 7, b"u1", text, [*headers, *KIP, SCHEMA] if whole else [SCHEMA])


@pytest.mark.parametrize(
    "value",
    [b"plain", b"", "naïve ☃".encode(), b"\xff\xfe\x00", b"a\x00b", b'{"a": "\\u0000"}', bytes(range(256)) * 9, None],
)
def test_a_payload_comes_back_as_the_bytes_that_were_refused(value):
    assert dead_letters.payload(wire.dead_letter(SOURCE, value, "not_json", "broken", 0)) == value


def test_what_canarec_added_is_no_header_of_the_message():
    own = [("schema", b"7"), ("trace", b"1"), ("trace", b"2"), ("__streams.errors.topic", b"theirs")]
    assert letter(headers=own).headers == tuple(own)


def test_a_message_without_headers_has_none():
    found = letter()
    assert (found.headers, found.complete) == ((), True)


def test_a_letter_without_the_headers_of_kip_1034_has_left_its_message_out():
    assert not letter(None, whole=False).complete


def test_a_tombstone_is_not_left_out():
    assert letter(None).complete


def test_of_a_payload_that_was_cut_the_original_is_known_by_its_hash():
    huge = b"\xff" * (wire.MAX_PAYLOAD_BYTES + 1)
    found = letter(huge)
    assert (found.complete, found.sha256) == (False, sha256(huge).hexdigest())
    assert dead_letters.is_original(found, huge)
    assert not dead_letters.is_original(found, huge[:-1])


@pytest.mark.parametrize(
    "value", [None, b"", b"{}", b"[]", b"\xff", json.dumps({"source": {}, "reason": "x"}).encode()], ids=repr
)
def test_what_is_no_dead_letter_is_refused(value):
    with pytest.raises(BadMessage, match="no dead letter"):
        dead_letters.read(PLACE, 0, None, value, [])


def test_a_payload_that_says_base64_and_is_not_is_refused():
    fields = json.loads(wire.dead_letter(SOURCE, b"\xff", "not_utf8", "x", 0))
    with pytest.raises(BadMessage, match="base64"):
        dead_letters.payload(json.dumps({**fields, "payload": "%%%"}).encode())


# -- published again ------------------------------------------------------------------------------


def test_a_message_that_was_never_published_again_has_no_descent():
    assert dead_letters.descent([("trace", b"1")]) == (0, None)


def test_the_count_and_the_first_letter_are_carried_on():
    headers = dead_letters.descended([("trace", b"1")], PLACE, 1)
    again = letter(headers=headers, place=Place(0, 9))
    assert (again.replays, again.root) == (1, PLACE)
    assert dead_letters.descended(again.headers, again.root, 2) == [
        ("trace", b"1"),
        (ORIGIN, b"1-5"),
        (REPLAYS, b"2"),
    ]


@pytest.mark.parametrize("count", [b"", b"-1", b"1.5", b"x", b"\xff", None, b"9" * 5_000])
def test_headers_that_say_nothing_are_no_descent(count):
    assert dead_letters.descent([(ORIGIN, b"1-5"), (REPLAYS, count)]) == (0, None)


FIRST, SECOND = letter(), letter(headers=dead_letters.descended([], PLACE, 1), place=Place(0, 9))


@pytest.mark.parametrize(
    ("which", "replays", "limit", "named", "why"),
    [
        (FIRST, 0, 3, False, None),
        (FIRST, 1, 3, False, "published again already"),  # it was refused again, or taken
        (FIRST, 1, 3, True, None),
        (SECOND, 1, 3, False, None),  # the newest of its line
        (SECOND, 2, 3, False, "published again already"),
        (SECOND, 3, 3, True, "published again 3 times already: the limit is 3"),
        (SECOND, 1, 1, False, "published again 1 times already: the limit is 1"),
    ],
)
def test_of_a_line_of_descent_the_newest_goes_on_up_to_the_limit(which, replays, limit, named, why):
    assert dead_letters.refusal(which, replays, limit, ["watch-events"], named=named) == why


def test_nothing_is_published_to_a_topic_that_users_do_not_write():
    assert "no topic" in dead_letters.refusal(FIRST, 0, 3, ["rating-events"], named=True)
