"""Which versions stay at hand."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Canary
from models.release.shelf import in_use, next_version, surplus

VERSIONS = st.lists(st.integers(1, 30).map(lambda number: f"v{number}"), unique=True)


@pytest.mark.parametrize(
    ("names", "expected"),
    [([], "v1"), (["mine"], "v1"), (["v0"], "v1"), (["v2", "v10", "v9"], "v11"), (["v1", "v1.5", "v007"], "v8")],
)
def test_a_new_version_has_a_larger_number_than_any(names, expected):
    assert next_version(names) == expected


@pytest.mark.parametrize(
    ("canary", "at_hand", "removed"),
    [
        (Canary(stable="v1", candidate="v2"), ["v1", "v2", "v3"], []),
        (Canary(stable="v2", candidate="v3"), ["v1", "v2", "v3", "v4"], ["v1"]),
        # v4 is the newest that waits: v3 will never have its turn
        (Canary(stable="v1", candidate="v2"), ["v1", "v2", "v3", "v4"], ["v3"]),
        (Canary(stable="v3", candidate=None, previous="v1"), ["v1", "v2", "v3", "v4"], ["v2"]),
        # all four are in use: none goes
        (Canary(stable="v2", candidate="v3", previous="v1"), ["v1", "v2", "v3", "v4"], []),
        (Canary(stable="v9", candidate="v10"), ["v2", "v9", "v10", "v11", "v3"], ["v2", "v3"]),
        # people's own versions neither go nor count
        (Canary(stable="v1", candidate=None), ["v1", "mine", "yours", "ours"], []),
    ],
)
def test_the_oldest_that_nobody_uses_goes(canary, at_hand, removed):
    assert surplus(canary, at_hand, 3) == removed


@given(VERSIONS, VERSIONS, st.integers(3, 6))
def test_what_is_in_use_never_goes_and_no_more_goes_than_must(at_hand, named, keep):
    stable, candidate, previous = ([*named, "v1", "v2", "v3"])[:3]
    canary = Canary(stable=stable, candidate=candidate, previous=previous)
    removed = surplus(canary, at_hand, keep)
    left = [version for version in at_hand if version not in removed]
    assert set(in_use(canary, at_hand)) & set(at_hand) <= set(left)
    assert not removed or len(left) >= keep
