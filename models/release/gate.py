"""What a pipeline that waits for a candidate is told: go on, go back, or wait. Decides; asks nobody.

pass   the verdict is PASS at this share; or somebody has promoted the version meanwhile
fail   the verdict is FAIL; or the version is not on trial any more, and not stable either
wait   everything else: no data is never success
"""

from typing import Literal, NamedTuple

from models.config import Canary
from models.release.story import Judgement

Word = Literal["pass", "fail", "wait"]


class Told(NamedTuple):
    """A word and why, in a line."""

    word: Word
    why: str


def told(version: str, canary: Canary, judgement: Judgement | None) -> Told:
    """Of a version that was the candidate when the pipeline began to wait, the split as it is now and the newest verdict.

    >>> told("v2", Canary(stable="v2", candidate=None), None)
    Told(word='pass', why='v2 was promoted meanwhile')
    >>> told("v2", Canary(stable="v1", candidate=None, rolled_back="v2"), None)
    Told(word='fail', why='v2 is not the candidate any more')
    >>> told("v2", Canary(stable="v1", candidate="v2", percentage=10), None)
    Told(word='wait', why='no verdict on v2 yet')
    """
    if canary.candidate != version:
        if canary.stable == version:
            return Told("pass", f"{version} was promoted meanwhile")
        return Told("fail", f"{version} is not the candidate any more")
    if judgement is None:
        return Told("wait", f"no verdict on {version} yet")
    if (judgement.evidence.candidate, judgement.evidence.percentage) != (version, canary.percentage):
        return Told("wait", f"no verdict on {version} at {canary.percentage:g} % yet")
    word: dict[str, Word] = {"PASS": "pass", "FAIL": "fail"}
    return Told(word.get(judgement.verdict.outcome, "wait"), judgement.verdict.message)
