"""The World: all that an answer depends on beside the request and the user's history. Frozen; a change makes a new one.

A request meets exactly one World, and version, variant and digests are read from it: no change in the middle can label an
answer with a model that did not make it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.catalog import Catalog
from models.config import Applied, Exposure
from models.events import Variant
from models.history import Ids
from models.recommenders.base import I32
from models.recommenders.folded import FoldIns
from models.recommenders.popular import order
from models.recommenders.protected import Protected
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
    def of(cls, model: Model, catalog: Catalog, ids: Ids, ranked: Sequence[int]) -> "Servable":
        """`ranked`: the catalogue's movies, most popular first, as indices."""
        index_of = np.array(ids.indices(model.movie_ids), np.int32)
        column_of = np.full(len(ids), -1, np.int32)
        column_of[index_of] = np.arange(len(index_of), dtype=np.int32)
        allowed = None
        if len(catalog):  # a movie that was taken from the catalogue is recommended no more; without one, all may be
            allowed = np.isin(index_of, catalog.index)
            allowed = None if allowed.all() else allowed
        by_count = order(model.popularity)
        known = index_of[by_count if allowed is None else by_count[allowed[by_count]]]
        movies = np.array(ranked, np.int32)
        newer = movies[column_of[movies] < 0]
        return cls(
            model,
            column_of,
            index_of,
            allowed,
            tuple(_interleaved(known, newer).tolist()),
            tuple(newer.tolist()),
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
    protected: Mapping[str, Protected]  # of each version; empty while `exposure` asks for nothing

    @classmethod
    def of(
        cls,
        applied: Applied,
        models: Mapping[str, Model],
        catalog: Catalog,
        ids: Ids,
        *,
        before: "World | None" = None,
    ) -> "World":
        """`before`: its tables, and the users that it has folded in, are taken over where model and catalogue are the same.

        Where every movie has its number already, nothing is changed, and no lock is needed.
        """
        same = before if before is not None and before.catalog is catalog else None
        ranked = same.fallback if same else tuple(ids.indices(catalog.most_popular_first()))
        servables = {}
        for version, model in models.items():
            made = same.models.get(version) if same else None
            servables[version] = made if made and made.model is model else Servable.of(model, catalog, ids, ranked)
        protected: dict[str, Protected] = {}
        exposure = applied.config.exposure
        for version, servable in servables.items() if exposure.share > 0 else ():
            old = same.protected.get(version) if same and same.models.get(version) is servable else None
            protected[version] = old if old and old.exposure == exposure else _protected(servable, exposure, catalog)
        return cls(applied, servables, catalog, ids, ranked, protected)

    def version(self, variant: Variant) -> str:
        canary = self.applied.config.canary
        return canary.candidate if variant == "canary" and canary.candidate else canary.stable


def _protected(servable: Servable, exposure: Exposure, catalog: Catalog) -> Protected:
    tags = np.zeros((len(catalog.by_genre), len(servable.index_of)), np.bool_)
    for row, movies in enumerate(catalog.by_genre.values()):
        columns = servable.columns(movies)
        tags[row, columns[columns >= 0]] = True
    return Protected.of(exposure, servable.model.popularity, tuple(catalog.by_genre), tags)


def _interleaved(known: I32, newer: I32) -> I32:
    """Popular movies with a newer one in every tenth place, so that what nobody could watch yet is met at all.

    >>> _interleaved(np.arange(12), np.array([77, 88])).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 77, 9, 10, 11, 88]
    """
    before = (NEW_EVERY - 1) * np.arange(1, len(newer) + 1)  # of the known ones, so many stand before each newer one
    return np.insert(known, np.minimum(before, len(known)), newer)
