"""Which versions a worker holds in memory: the split's, the way back, and the next."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Canary
from models.release.hot import leaves, roles, split

STORED = ["v1", "v2", "v3", "v4"]
VERSIONS = st.sampled_from(STORED)
CANARIES = st.builds(Canary, stable=VERSIONS, candidate=st.none() | VERSIONS, previous=st.none() | VERSIONS)


@pytest.mark.parametrize(
    ("canary", "left", "expected"),
    [
        (Canary(stable="v1", candidate="v2"), None, {"stable": "v1", "canary": "v2", "newest": "v4"}),
        (Canary(stable="v4", candidate=None), None, {"stable": "v4"}),
        (Canary(stable="v3", candidate=None), "v2", {"stable": "v3", "previous": "v2", "newest": "v4"}),
        (Canary(stable="v3", candidate=None, previous="v1"), "v2", {"stable": "v3", "previous": "v1", "newest": "v4"}),
        (Canary(stable="v1", candidate="v1"), None, {"stable": "v1", "canary": "v1", "newest": "v4"}),
        # a rollback made the previous version the stable one again
        (Canary(stable="v1", candidate=None, previous="v1"), "v2", {"stable": "v1", "previous": "v2", "newest": "v4"}),
        # rolled back, it does not wait for its turn; it is the way back to it all the same
        (Canary(stable="v1", candidate=None, rolled_back="v4"), "v4", {"stable": "v1", "previous": "v4"}),
        (Canary(stable="v4", candidate=None, previous="v0"), None, {"stable": "v4"}),  # v0 is not stored any more
    ],
)
def test_each_version_in_memory_has_its_reason(canary, left, expected):
    assert dict(roles(canary, left, STORED)) == expected


@given(canary=CANARIES, left=st.none() | VERSIONS, stored=st.lists(VERSIONS, unique=True))
def test_four_versions_at_most_and_always_those_of_the_split_first(canary, left, stored):
    versions = list(dict.fromkeys(version for _, version in roles(canary, left, stored)))
    assert len(versions) <= 4
    assert versions[: len(split(canary))] == split(canary)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (Canary(stable="v1", candidate="v2"), Canary(stable="v2", candidate=None), "v1"),
        (Canary(stable="v1", candidate="v2"), Canary(stable="v1", candidate=None), "v2"),
        (Canary(stable="v1", candidate="v2"), Canary(stable="v3", candidate="v4"), "v1"),
        (Canary(stable="v1", candidate=None), Canary(stable="v1", candidate="v2"), None),
        (Canary(stable="v1", candidate="v2"), Canary(stable="v2", candidate="v1"), None),
    ],
)
def test_what_leaves_the_split_is_the_way_back_and_of_two_the_stable_one(before, after, expected):
    assert leaves(before, after) == expected
