"""What a pipeline that waits is told, for every verdict and every split that it may meet."""

import pytest

from models.config import Canary
from models.release.evidence import Evidence
from models.release.gate import told
from models.release.story import Judgement
from models.release.verdict import Verdict

TRIAL = Canary(stable="v1", candidate="v2", percentage=10)


def judged(outcome, *, of="v2", percentage=10):
    verdict = Verdict(outcome, "hold", "held", f"{outcome}: so", {}, None, 1.0)
    return Judgement("", "", Evidence("v1", of, percentage=percentage, held_s=0), verdict)


@pytest.mark.parametrize(("outcome", "word"), [("PASS", "pass"), ("FAIL", "fail"), ("INCONCLUSIVE", "wait")])
def test_the_verdict_decides_and_gives_its_reason(outcome, word):
    assert told("v2", TRIAL, judged(outcome)) == (word, f"{outcome}: so")


@pytest.mark.parametrize("judgement", [None, judged("PASS", percentage=5), judged("PASS", of="v3")])
def test_a_verdict_of_another_step_or_version_is_none(judgement):
    assert told("v2", TRIAL, judgement).word == "wait"


@pytest.mark.parametrize(
    ("canary", "word"),
    [
        (Canary(stable="v2", candidate=None, previous="v1"), "pass"),
        (Canary(stable="v2", candidate="v3"), "pass"),
        (Canary(stable="v1", candidate=None, rolled_back="v2"), "fail"),
        (Canary(stable="v1", candidate="v3"), "fail"),
    ],
)
def test_what_people_did_meanwhile_counts(canary, word):
    assert told("v2", canary, judged("INCONCLUSIVE")).word == word
