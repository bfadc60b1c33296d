"""What versions are called, and which of them stay at hand. Names them; moves no file.

Retraining calls its versions v<number>. Others are people's: they are never removed and do not count.
"""

from collections.abc import Collection, Iterable

from models.config import Canary
from models.release.rollout import number, waiting


def next_version(names: Iterable[str]) -> str:
    """The name of a new version, larger than every one that was ever given.

    >>> next_version(["v1", "v10", "v9", "mine"]), next_version([])
    ('v11', 'v1')
    """
    return f"v{max((number(name) for name in names), default=-1) + 1 or 1}"


def in_use(canary: Canary, at_hand: Collection[str]) -> list[str]:
    """Versions that answer, that a rollback goes to, or that wait for their turn.

    >>> in_use(Canary(stable="v2", candidate="v3", previous="v1"), ["v1", "v2", "v3", "v4"])
    ['v2', 'v3', 'v1', 'v4']
    """
    named = (canary.stable, canary.candidate, canary.previous, waiting(canary, at_hand))
    return list(dict.fromkeys(version for version in named if version is not None))


def surplus(canary: Canary, at_hand: Collection[str], keep: int) -> list[str]:
    """Versions to be removed so that `keep` are left, oldest first. What is in use stays, even if that leaves more.

    >>> surplus(Canary(stable="v2", candidate="v3"), ["v1", "v2", "v3", "v4"], 3)
    ['v1']
    >>> surplus(Canary(stable="v1", candidate="v2"), ["v1", "v2", "v3", "v4"], 3)
    ['v3']
    """
    numbered = sorted((version for version in at_hand if number(version) >= 0), key=number)
    used = in_use(canary, at_hand)
    spare = [version for version in numbered if version not in used]
    return spare[: max(0, len(numbered) - keep)]
