"""Fold-ins remembered are the fold-ins computed, and there are never too many of them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.folded import FoldIns

MOVIES = 12
HISTORIES = st.lists(
    st.sets(st.integers(0, MOVIES - 1), min_size=0, max_size=MOVIES).map(sorted), min_size=1, max_size=8
)


@pytest.fixture(scope="module")
def als() -> Als:
    rng = np.random.default_rng(3)
    rows = Rows.of([np.flatnonzero(rng.random(MOVIES) < 0.4).astype(np.int32) for _ in range(40)])
    return Als.fit(rows, MOVIES, {"factors": 4, "regularization": 0.1, "alpha": 2.0, "iterations": 3}, 0, None)


@given(batches=st.lists(HISTORIES, min_size=1, max_size=6))
def test_a_remembered_vector_is_the_computed_one_to_the_bit(als: Als, batches: list[list[list[int]]]) -> None:
    folded = FoldIns(als, capacity=2_000)
    for batch in batches:
        rows = Rows.of(batch)
        np.testing.assert_array_equal(folded.users(rows), als.users(rows))


def test_a_known_history_is_not_computed_again(als: Als) -> None:
    class Counting(Als):
        calls = 0

        def users(self, histories):  # type: ignore[no-untyped-def]
            Counting.calls += len(histories.indptr) - 1
            return super().users(histories)

    counting = Counting.from_arrays(als.arrays())
    folded = FoldIns(counting)
    for _ in range(3):
        folded.users(Rows.of([[1, 2], [3]]))
    assert Counting.calls == 2


def test_memory_stays_bounded(als: Als) -> None:
    folded = FoldIns(als, capacity=10_000)
    for start in range(2_000):
        folded.users(Rows.of([sorted({start % 12, start // 12 % 12, start // 144 % 12})]))
    assert len(folded._young) + len(folded._old) < 2 * 10_000 / 300 + 2
