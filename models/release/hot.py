"""Which versions a worker holds in memory, and why each of them: four at most. Names them; loads nothing.

    stable, canary   the split's: they answer
    previous         where a rollback goes, at once: `canary.previous`, else what left the split last while this worker ran
    newest           published and waiting for its turn: it is warm before it may become the candidate

Every other version leaves memory. A previous version that is no longer stored (`canarec models fetch`) is none.
"""

from collections.abc import Sequence
from typing import Literal

from models.config import Canary
from models.release.rollout import waiting

Role = Literal["stable", "canary", "previous", "newest"]


def split(canary: Canary) -> list[str]:
    """The versions that answer; one where both arms have the same.

    >>> split(Canary(stable="v1", candidate="v2")), split(Canary(stable="v1", candidate="v1"))
    (['v1', 'v2'], ['v1'])
    """
    return list(dict.fromkeys(version for version in (canary.stable, canary.candidate) if version is not None))


def roles(canary: Canary, left: str | None, published: Sequence[str]) -> list[tuple[Role, str]]:
    """Versions with their roles, the most urgent first. `left`: what left the split last (`leaves`).

    >>> roles(Canary(stable="v2", candidate=None), "v1", ["v1", "v2", "v3"])
    [('stable', 'v2'), ('previous', 'v1'), ('newest', 'v3')]
    """
    found: list[tuple[Role, str]] = [("stable", canary.stable)]
    if canary.candidate is not None:
        found.append(("canary", canary.candidate))
    before = (v for v in (canary.previous, left) if v in published and v not in split(canary))
    previous = next(before, None)
    if previous is not None:
        found.append(("previous", previous))
    newest = waiting(canary, published)
    if newest is not None and newest != previous:
        found.append(("newest", newest))
    return found


def leaves(before: Canary, after: Canary) -> str | None:
    """The version that a change of the split puts out of work; of two the stable one.

    >>> leaves(Canary(stable="v1", candidate="v2"), Canary(stable="v2", candidate=None))
    'v1'
    """
    return next((version for version in split(before) if version not in split(after)), None)
