"""What the lists of one model were worth, user by user: what is compared in pairs, and summed up for people.

Measures lists against what was held out; makes neither. The measures themselves are in `ranking`, how sure they are in `intervals`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from models.measures import intervals, ranking
from models.measures.intervals import Interval
from models.recommenders.base import F64, I32, Csr


@dataclass(frozen=True, slots=True, eq=False)
class Quality:
    """Of each user, NaN where nothing was held out of theirs; coverage is a figure of all users together."""

    ndcg: F64  # (users,)
    recall: F64  # (users,)
    covered: float
    covered_without: F64  # (users,): coverage if this user were missing

    @classmethod
    def of(cls, lists: I32, held_out: Csr, n_movies: int) -> Self:
        """lists: (users, k) columns, best first, −1 where a list is shorter. held_out: a row for each user."""
        relevant = np.diff(held_out.indptr)
        hit = ranking.hits(lists, held_out)
        return cls(
            ranking.ndcg(hit, relevant),
            ranking.recall(hit, relevant),
            ranking.coverage(lists, n_movies),
            ranking.coverage_without(lists, n_movies),
        )

    @property
    def coverage(self) -> Interval:
        return intervals.jackknife(self.covered, self.covered_without)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """For an .npz, from which `from_arrays` makes it again."""
        return {
            "ndcg": self.ndcg,
            "recall": self.recall,
            "covered": np.array([self.covered]),
            "covered_without": self.covered_without,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """Errors: KeyError where an array is missing."""
        return cls(arrays["ndcg"], arrays["recall"], float(arrays["covered"][0]), arrays["covered_without"])


def coverage_ratio(one: Quality, other: Quality) -> Interval:
    """one's coverage / the other's, the same users left out of both. NaN where the other's is 0."""
    with np.errstate(invalid="ignore", divide="ignore"):
        value = float(np.float64(one.covered) / other.covered)
        return intervals.jackknife(value, one.covered_without / other.covered_without)
