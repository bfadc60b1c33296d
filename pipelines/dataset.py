"""The data that a version is trained on: who watched or rated what, and when, as sorted arrays.

Folds events into a data set and names it by its content; reads no topic (`from_events` is handed what was read) and trains
nothing. Events may come in any order, more than once: the same events give the same data set to the bit, and so the same model.
"""

import csv
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.recommenders.base import F64, I32, I64, Bools, Rows

Offsets = Mapping[str, Mapping[str, Sequence[int]]]  # topic → partition → [first, next]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Interactions, each (user, movie) once, sorted by user and movie; ids are sorted, so an index says nothing about arrival."""

    users: tuple[str, ...]
    movies: tuple[str, ...]
    genders: tuple[str | None, ...]  # of each user; None where unknown
    user: I32  # (interactions,) place in `users`
    movie: I32  # (interactions,) place in `movies`: the model's column
    thousandths: I32  # (interactions,) of a star; 0 where watched and not rated
    time_ms: I64  # (interactions,)
    offsets: Offsets
    md5: str  # of all of the above but `offsets`

    @classmethod
    def from_events(
        cls,
        users: Sequence[str],
        movies: Sequence[str],
        ratings: F64,
        timestamps_ms: I64,
        *,
        offsets: Offsets,
        genders: Mapping[str, str] | None = None,
    ) -> "Dataset":
        """From watch and rating events, one place of each sequence for each event; `ratings` in stars, NaN for a watch.

        Of several events of a user and a movie one counts, as in a user's history (`models.history`): a rating before every
        watch, then the newest, at a tie the larger rating.
        """
        user_table, movie_table = sorted(set(users)), sorted(set(movies))
        user, movie = _places(users, user_table), _places(movies, movie_table)
        thousandths = np.rint(np.nan_to_num(ratings) * 1_000).astype(np.int32)
        order = np.lexsort((thousandths, timestamps_ms, thousandths > 0, movie, user))
        user, movie, thousandths = user[order], movie[order], thousandths[order]
        time_ms = np.asarray(timestamps_ms, np.int64)[order]
        last = np.ones(len(user), np.bool_)  # of each user and movie: the one that counts
        last[:-1] = (user[1:] != user[:-1]) | (movie[1:] != movie[:-1])
        known = genders or {}
        content = (
            tuple(user_table),
            tuple(movie_table),
            tuple(known.get(name) for name in user_table),
            user[last],
            movie[last],
            thousandths[last],
            time_ms[last],
        )
        return cls(*content, offsets=offsets, md5=_md5(content))

    def __len__(self) -> int:
        return len(self.user)

    def rows(self, part: Bools | None = None) -> Rows:
        """Interactions (of the part) as one row of columns for each user, strength 1, ascending."""
        user, movie = (self.user, self.movie) if part is None else (self.user[part], self.movie[part])
        indptr = np.zeros(len(self.users) + 1, np.int64)
        np.cumsum(np.bincount(user, minlength=len(self.users)), out=indptr[1:])
        return Rows(indptr, movie, np.ones(len(movie), np.float32))


def movielens_csv(ratings: Path) -> Dataset:
    """The ratings.csv of a MovieLens CSV release, for studies. (What `canarec` trains on comes from the topics.)"""
    with ratings.open(encoding="utf-8", newline="") as file:
        users, movies, stars, seconds = zip(*list(csv.reader(file))[1:], strict=True)
    return Dataset.from_events(
        users, movies, np.array(stars, np.float64), np.array(seconds, np.int64) * 1_000, offsets={}
    )


def _places(names: Sequence[str], table: Iterable[str]) -> I32:
    place = {name: index for index, name in enumerate(table)}
    return np.fromiter(map(place.__getitem__, names), np.int32, len(names))


def _md5(content: tuple[tuple[str | None, ...] | I32 | I64, ...]) -> str:
    """A name for the content, in the form that DVC uses; no protection against malice."""
    digest = hashlib.md5(usedforsecurity=False)
    for part in content:
        written = part.tobytes() if isinstance(part, np.ndarray) else json.dumps(part).encode()
        digest.update(len(written).to_bytes(8, "little") + written)
    return digest.hexdigest()
