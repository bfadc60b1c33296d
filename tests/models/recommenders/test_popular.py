"""The popularity order and the lists taken from it."""

import numpy as np

from models.recommenders.base import Rows
from models.recommenders.popular import Popular, counts, order


def test_equals_stand_by_column():
    assert order(np.array([2, 5, 2, 5, 9])).tolist() == [4, 1, 3, 0, 2]


def test_counts_have_a_place_for_every_movie():
    assert counts(Rows.of([[0, 3], [3], []]), 6).tolist() == [1, 0, 0, 2, 0, 0]


def test_seen_and_forbidden_movies_are_left_out():
    popular = Popular.of(np.array([5, 4, 3, 2, 1]))
    allowed = np.array([True, True, False, True, True])
    assert popular.unseen(2, np.array([0], np.int32), allowed).tolist() == [1, 3]


def test_fewer_are_left_than_asked_for_gives_fewer():
    top = Popular.of(np.array([5, 4])).top(3, Rows.of([[0], [], [0, 1]]))
    assert [top.row(r)[0].tolist() for r in range(3)] == [[1], [0, 1], []]
    assert top.row(1)[1].tolist() == [5, 4]


def test_a_batch_gives_each_user_what_it_would_get_alone():
    rng = np.random.default_rng(0)
    popular = Popular.of(rng.integers(0, 9, 50))
    seen = [np.sort(rng.choice(50, size, replace=False)) for size in (0, 1, 20, 45, 50, 3)]
    top = popular.top(10, Rows.of(seen))
    for row, columns in enumerate(seen):
        assert top.row(row)[0].tolist() == popular.unseen(10, columns).tolist()
