"""Records of verdicts: recomputed, chained, and whatever is changed is found."""

import copy
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Release, canonical
from models.release.evidence import ArmEvidence, Evidence, Moments
from models.release.record import FIRST, digest, problems, recompute, record, seal
from models.release.verdict import decide

counts = st.integers(0, 3_000)


@st.composite
def evidences(draw):
    def moments():
        n = draw(counts)
        hits = draw(st.integers(0, n))
        return Moments(n, hits * 10_000, hits * 100_000_000)

    arms = []
    for _ in range(2):
        requests = draw(counts)
        users = {"ctr": {"M": moments(), "F": moments()}, "success": {"unknown": moments()}}
        arms.append(
            ArmEvidence(users=users, requests=requests, scorings=requests, scoring_p99_ms=draw(st.floats(0, 99)))
        )
    return Evidence("v1", "v2", draw(st.floats(0, 100)), draw(st.floats(0, 1e6)), *arms)


def chain(*evidence):
    records, previous = [], FIRST
    for one in evidence:
        records.append(record(one, Release(), previous))
        previous = records[-1]["sha256"]
    return records


def of(n):
    return Evidence("v1", "v2", 10, 60.5, canary_arm=ArmEvidence(requests=n))


THREE = chain(of(1), of(2), of(3))


@given(evidences())
def test_a_record_that_went_over_the_wire_gives_the_same_verdict(evidence):
    again = json.loads(canonical(record(evidence, Release())))
    assert recompute(again) == decide(evidence, Release())
    assert problems([again]) == []


def test_a_whole_chain_has_no_problems():
    assert problems(THREE) == []
    assert problems(THREE[1:], previous=None) == []


@given(place=st.integers(0, 2), data=st.data())
def test_one_changed_byte_is_found(place, data):
    text = canonical(THREE[place]).encode()
    at = data.draw(st.integers(0, len(text) - 1))
    byte = data.draw(st.integers(32, 126).filter(lambda byte: byte != text[at]))
    try:
        changed = json.loads(text[:at] + bytes([byte]) + text[at + 1 :])
    except ValueError:
        return  # not even JSON any more
    if changed != json.loads(text):
        assert problems([*THREE[:place], changed, *THREE[place + 1 :]])


@pytest.mark.parametrize("order", [[1, 0, 2], [0, 2], [1, 2], [0, 0, 1, 2]])
def test_records_left_out_moved_or_put_in_twice_are_found(order):
    assert problems([THREE[place] for place in order])


def test_a_record_whose_hash_was_made_to_fit_still_does_not_recompute():
    forged = copy.deepcopy(THREE[0])
    forged["verdict"]["outcome"] = "PASS"
    forged["sha256"] = digest(forged)
    assert problems([forged]) == ["record 1: outcome is 'PASS', recomputed 'INCONCLUSIVE'"]


def test_evidence_that_cannot_be_is_a_problem_and_no_crash():
    forged = copy.deepcopy(THREE[0])
    forged["evidence"]["canary_arm"]["failures"] = 7
    forged["sha256"] = digest(forged)
    assert "cannot be read" in problems([forged])[0]


def test_a_change_of_the_split_can_stand_in_the_chain():
    change = seal({"event": "set", "who": "me"}, THREE[0]["sha256"])
    last = record(of(2), Release(), change["sha256"])
    assert problems([THREE[0], change, last]) == []


def test_a_sealed_record_is_not_sealed_again():
    with pytest.raises(ValueError, match="sha256"):
        seal(THREE[0])


def test_thresholds_are_part_of_the_record():
    lax = record(of(300), Release(requests_min=200), FIRST)
    strict = record(of(300), Release(requests_min=400), FIRST)
    assert msgspec.to_builtins(recompute(strict))["reason"] == "no_requests"
    assert lax["verdict"] != strict["verdict"]
