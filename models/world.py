"""The World: all that an answer depends on beside the request and the user's history. Frozen; a change makes a new one.

A request meets exactly one World, and version, variant and digests are read from it: no change in the middle can label an
answer with a model that did not make it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.catalog import Catalog
from models.config import Applied
from models.events import Variant
from models.history import Ids
from models.recommenders.folded import FoldIns
from models.recommenders.popular import order
from models.recommenders.store import Model

NEW_EVERY = 10  # every tenth place of a fallback list goes to a movie that the model is too old to know


@dataclass(frozen=True, slots=True)
class Servable:
    """A model and the tables that tie its columns to histories and catalogue. Built once, before it may answer."""

    model: Model
    column_of: NDArray[np.int32]  # (movies known to `Ids`,) index → column, −1 for none
    index_of: NDArray[np.int32]  # (columns,) column → index
    allowed: NDArray[np.bool_] | None  # (columns,) may be recommended; None for all
    popular: tuple[int, ...]  # indices, the fallback's order
    newer: tuple[int, ...]  # indices of movies that the model does not know
    folded: FoldIns

    @classmethod
    def of(cls, model: Model, catalog: Catalog, ids: Ids) -> "Servable":
        index_of = np.fromiter((ids.index(m) for m in model.movie_ids), np.int32, len(model.movie_ids))
        column_of = np.full(len(ids), -1, np.int32)
        column_of[index_of] = np.arange(len(index_of), dtype=np.int32)
        allowed = None
        if len(catalog):  # a movie that was taken from the catalogue is recommended no more; without one, all may be
            allowed = np.isin(index_of, catalog.index)
            allowed = None if allowed.all() else allowed
        by_count = [int(index_of[c]) for c in order(model.popularity) if allowed is None or allowed[c]]
        newer = [i for i in map(ids.index, catalog.most_popular_first()) if column_of[i] < 0]
        return cls(
            model,
            column_of,
            index_of,
            allowed,
            tuple(_interleaved(by_count, newer)),
            tuple(newer),
            FoldIns(model.recommender),
        )

    def columns(self, movies: NDArray[np.int32]) -> NDArray[np.int32]:
        """The columns of movies, −1 for those that the model does not know (also because they are newer than this World)."""
        if len(movies) and movies.max() >= len(self.column_of):
            known = np.where(movies < len(self.column_of), movies, 0)
            return np.where(movies < len(self.column_of), self.column_of[known], np.int32(-1))
        return self.column_of[movies]


@dataclass(frozen=True, slots=True)
class World:
    """What answers. `models` holds the split's versions; a version that could not be loaded is absent."""

    applied: Applied
    models: Mapping[str, Servable]
    catalog: Catalog
    ids: Ids
    fallback: tuple[int, ...]  # the order where no model is at hand

    @classmethod
    def of(cls, applied: Applied, models: Mapping[str, Model], catalog: Catalog, ids: Ids) -> "World":
        return cls(
            applied,
            {version: Servable.of(model, catalog, ids) for version, model in models.items()},
            catalog,
            ids,
            tuple(map(ids.index, catalog.most_popular_first())),
        )

    def version(self, variant: Variant) -> str:
        canary = self.applied.config.canary
        return canary.candidate if variant == "canary" and canary.candidate else canary.stable


def _interleaved(known: list[int], newer: list[int]) -> list[int]:
    """Popular movies with a newer one in every tenth place, so that what nobody could watch yet is met at all."""
    mixed: list[int] = []
    fresh, old = iter(newer), iter(known)
    for place in range(1, len(known) + len(newer) + 1):
        first, second = (fresh, old) if place % NEW_EVERY == 0 else (old, fresh)
        movie = next(first, None)
        mixed.append(next(second) if movie is None else movie)
    return mixed
