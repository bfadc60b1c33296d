"""The chain as it stands in the topic: whatever is changed, left out, put in or moved before the newest verdict is found."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Release, canonical
from models.release.chain import Chain, covers
from models.release.evidence import ArmEvidence, Evidence
from models.release.record import FIRST, record, seal

OTHER = b'{"event": "rolled_back", "who": "ann@desk"}'


def sealed(n, chain, home=""):
    body = record(Evidence("v1", "v2", 10, 0, canary_arm=ArmEvidence(requests=n)), Release())
    del body["previous"], body["sha256"]
    return canonical(
        seal(
            {
                "event": "verdict",
                "home": home,
                **body,
                "covers": covers(chain.uncovered(home)),
            },
            chain.last(home),
        )
    ).encode()


def topic():
    """Other events, and three verdicts between them."""
    chain, messages = Chain(), []
    for n, others in enumerate(([OTHER], [], [OTHER, b"\xff", b""])):
        for message in others:
            chain.add(message)
            messages.append(message)
        messages.append(sealed(n, chain))
        chain.add(messages[-1])
    return messages


MESSAGES = topic()  # other, verdict, verdict, other, junk, empty, verdict
NEWEST = json.loads(MESSAGES[-1])["sha256"]


def walked(messages, whole=True):
    chain = Chain(whole)
    return chain, [line for message in messages for line in chain.add(message)[1]]


def test_what_was_written_is_whole():
    chain, problems = walked([*MESSAGES, OTHER])
    assert problems == []
    assert (chain.records, chain.last(""), len(chain.uncovered(""))) == (3, NEWEST, 2)
    assert chain.knows(NEWEST)


@given(st.data())
def test_one_changed_byte_is_found(data):
    number = data.draw(st.integers(0, len(MESSAGES) - 1).filter(lambda each: MESSAGES[each]))
    place = data.draw(st.integers(0, len(MESSAGES[number]) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda each: each != MESSAGES[number][place]))
    changed = MESSAGES[number][:place] + bytes([value]) + MESSAGES[number][place + 1 :]
    chain, problems = walked([*MESSAGES[:number], changed, *MESSAGES[number + 1 :]])
    # of the newest record, bytes that say the same (white space, 1.0 for 1) are found by nobody, and need not be
    same = number == len(MESSAGES) - 1 and chain.knows(NEWEST) and json.loads(changed) == json.loads(MESSAGES[-1])
    assert problems or not chain.knows(NEWEST) or same


@pytest.mark.parametrize("number", range(len(MESSAGES) - 1))
def test_a_message_that_was_left_out_is_found(number):
    assert walked([*MESSAGES[:number], *MESSAGES[number + 1 :]])[1]


@pytest.mark.parametrize("number", range(len(MESSAGES) - 1))
def test_a_message_that_was_changed_for_another_is_found(number):
    assert walked([*MESSAGES[:number], b'{"event": "set"}', *MESSAGES[number + 1 :]])[1]


def test_the_newest_one_that_is_missing_is_known_by_its_hash_only():
    chain, problems = walked(MESSAGES[:-1])
    assert problems == []
    assert not chain.knows(NEWEST)


def test_a_record_that_was_sent_twice_is_no_fault():
    chain = Chain()
    messages = [OTHER, sealed(1, chain)]
    chain.add(OTHER)
    chain = walked(messages)[0]
    twice = [*messages, messages[-1]]
    chain, problems = walked(twice)
    assert problems == []
    after = sealed(2, chain)
    assert walked([*twice, after])[1] == []


def test_two_homes_that_write_at_the_same_time_have_a_chain_each():
    chain = Chain()
    for message in (OTHER, sealed(1, chain, "a"), sealed(1, chain, "b")):
        assert chain.add(message)[1] == []
    both = [sealed(2, chain, home) for home in ("a", "b")]  # neither has seen the other's
    assert [chain.add(message)[1] for message in [OTHER, *both]] == [[], [], []]
    assert (chain.records, chain.homes()) == (4, ["a", "b"])
    assert [chain.last(home) for home in ("a", "b")] == [json.loads(message)["sha256"] for message in both]
    assert [chain.add(sealed(3, chain, home))[1] for home in ("a", "b")] == [[], []]


def test_what_one_home_wrote_is_covered_by_the_other():
    chain = Chain()
    messages = [sealed(1, chain, "a")]
    chain.add(messages[0])
    messages.append(sealed(2, chain, "b"))
    forged = {key: value for key, value in json.loads(messages[0]).items() if key not in ("previous", "sha256")}
    again = canonical(seal({**forged, "timestamp": "later"}, FIRST)).encode()
    (wrong,) = walked([again, messages[1]])[1]
    assert wrong == "the 1 messages that it covers are not what they were"


def test_of_a_beginning_that_is_not_kept_the_rest_is_walked():
    assert walked(MESSAGES[2:], whole=False)[1] == []
    assert walked(MESSAGES[2:], whole=True)[1]


def test_a_forged_verdict_is_found():
    forged = json.loads(MESSAGES[1])
    forged["verdict"]["outcome"] = "PASS"
    del forged["previous"], forged["sha256"]
    (wrong,) = walked([OTHER, canonical(seal(forged, FIRST)).encode()])[1]
    assert wrong == "outcome is 'PASS', recomputed 'INCONCLUSIVE'"


@pytest.mark.parametrize("junk", [b'{"event": "verdict"}', b'{"event": "verdict", "covers": 7, "sha256": []}'])
def test_what_claims_to_be_a_verdict_is_judged_as_one(junk):
    assert walked([junk])[1]
