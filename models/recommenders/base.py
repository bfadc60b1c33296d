"""What every learned model can do, and the few shapes that travel between models and their callers.

A model knows movies as columns 0 … n−1 and users only as histories: it is handed one row of columns for each user and folds
it in. Ids, titles, requests and the choice of a version live elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Parameters = Mapping[str, Any]  # numbers and words; `group_weights` where there are some
Progress = Callable[[int, int], None]  # (steps done, steps in all)


class Csr(Protocol):
    """Rows of (column, value), compressed: row r is `indptr[r]:indptr[r + 1]`. scipy's csr_matrix and `Rows` are such."""

    @property
    def indptr(self) -> Any: ...
    @property
    def indices(self) -> Any: ...
    @property
    def data(self) -> Any: ...


class Rows(NamedTuple):
    """The plain form of `Csr`, without scipy: histories in (data: strength of each interaction, > 0), exclusions in.

    >>> Rows.of([[3, 1], []])
    Rows(indptr=array([0, 2, 2]), indices=array([3, 1], dtype=int32), data=array([1., 1.], dtype=float32))
    """

    indptr: I64
    indices: I32
    data: F32

    @classmethod
    def of(cls, lists: Sequence[Sequence[int] | npt.NDArray[np.integer[Any]]]) -> "Rows":
        """One row for each list of columns, every strength 1."""
        indptr = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(columns) for columns in lists], out=indptr[1:])
        indices = np.empty(indptr[-1], np.int32)
        for row, columns in enumerate(lists):
            indices[indptr[row] : indptr[row + 1]] = columns
        return cls(indptr, indices, np.ones(len(indices), np.float32))


class Top(NamedTuple):
    """The best movies of each user, best first: row r has `counts[r]` of them; behind stand −1 and −inf, never served."""

    columns: I32  # (users, largest n)
    scores: F32  # (users, largest n)
    counts: I64  # (users,)

    def row(self, r: int) -> tuple[I32, F32]:
        """Columns and scores of user r, without padding."""
        return self.columns[r, : self.counts[r]], self.scores[r, : self.counts[r]]


class Recommender(Protocol):
    """A learned model: made by `fit` or `from_arrays`, never changed afterwards, safe to use from several threads."""

    algorithm: ClassVar[str]  # the word in config.json's `training`
    size: ClassVar[str]  # the parameter that a model_id names: `factors` of als-64
    weight_power: ClassVar[float]  # a user of weight w has strengths times w ** weight_power (`group_weights`)

    @property
    def n_movies(self) -> int: ...

    @classmethod
    def fit(
        cls, interactions: Csr, n_movies: int, parameters: Parameters, seed: int, progress: Progress | None = None
    ) -> Self:
        """Learn from interactions (users × movies, values: strength > 0). Same input, same bits."""

    def users(self, histories: Csr) -> F32:
        """Fold users in: (users, f), each row from its own history alone, whatever else is in the batch.

        What f numbers mean is the model's business; they go to `top` of the same model. (A model without factors may let
        them be the scores of all movies.)
        """

    def top(
        self, users: F32, n: int | I64, excluded: Csr | None = None, allowed: Sequence[Bools | None] | None = None
    ) -> Top:
        """The n best movies of each user, exactly, as `topk.best` defines them."""

    def explain(self, history: I32, recommended: I32, strengths: F32 | None = None) -> F32:
        """(recommended, history): what each movie of the history adds to each recommended one's score."""

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All that scores depend on, for `store`: the hash of these arrays stands for the model."""

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> Self:
        """The model again. Errors: BadArtifact where an array is missing, misshapen or not finite."""
