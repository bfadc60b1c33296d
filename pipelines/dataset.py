"""The data that a version is trained on: who watched or rated what, and when, as sorted arrays.

Folds events into a data set, keeps it in a file and names it by that file's bytes; reads no topic and trains nothing. Events may
come in any order, more than once: the same events give the same data set to the bit, and so the same model. From Parquet to
here: `pipelines.gather`.
"""

import csv
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import numpy as np
import numpy.typing as npt

from models.errors import BadArtifact
from models.history import MAX_THOUSANDTHS, MAX_TIME_MS, RATED, RATING_BITS
from models.recommenders import store
from models.recommenders.base import F64, I32, I64, Bools, Rows

AT_ONCE = 4_000_000  # events that wait to be folded
_MOVIE_BITS = 32
_MOVIE = (1 << _MOVIE_BITS) - 1
Offsets = Mapping[str, Mapping[str, Sequence[int]]]  # topic → partition → [first, next]


class Pairs(NamedTuple):
    """What is left of events: each (user, movie) once, sorted by user and movie, with the event that counts."""

    user: I32
    movie: I32
    thousandths: I32
    time_ms: I64


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
    md5: str  # of the file that `write` writes, which says all of the above but `offsets`: also DVC's name for it

    @classmethod
    def of(
        cls,
        users: tuple[str, ...],
        movies: tuple[str, ...],
        genders: tuple[str | None, ...],
        pairs: Pairs,
        offsets: Offsets,
    ) -> "Dataset":
        """From what is counted already; ids and pairs in order. Names it."""
        content = users, movies, genders, pairs.user, pairs.movie, pairs.thousandths, pairs.time_ms
        return cls(*content, offsets=offsets, md5=_Digesting.of(_arrays(*content)))

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
        """From watch and rating events, one place of each sequence for each event; `ratings` in stars, NaN for a watch."""
        user_table, movie_table = sorted(set(users)), sorted(set(movies))
        fold = Fold()
        fold.add(_places(users, user_table), _places(movies, movie_table), standing(ratings, timestamps_ms))
        pairs = fold.pairs(np.arange(len(user_table)), np.arange(len(movie_table)))
        known = genders or {}
        return cls.of(
            tuple(user_table), tuple(movie_table), tuple(known.get(name) for name in user_table), pairs, offsets
        )

    def without(self, users: I64) -> "Dataset":
        """The data set that it would be if these users (places in `users`) had never done anything."""
        if not len(users):
            return self
        kept = np.ones(len(self.users), np.bool_)
        kept[users] = False
        rows = kept[self.user]
        watched = np.bincount(self.movie[rows], minlength=len(self.movies)) > 0
        user_place, movie_place = np.cumsum(kept) - 1, np.cumsum(watched) - 1
        return Dataset.of(
            tuple(name for name, stays in zip(self.users, kept.tolist(), strict=True) if stays),
            tuple(name for name, stays in zip(self.movies, watched.tolist(), strict=True) if stays),
            tuple(gender for gender, stays in zip(self.genders, kept.tolist(), strict=True) if stays),
            Pairs(
                user_place[self.user[rows]].astype(np.int32),
                movie_place[self.movie[rows]].astype(np.int32),
                self.thousandths[rows],
                self.time_ms[rows],
            ),
            self.offsets,
        )

    def __len__(self) -> int:
        return len(self.user)

    def rows(self, part: Bools | None = None) -> Rows:
        """Interactions (of the part) as one row of columns for each user, strength 1, ascending."""
        user, movie = (self.user, self.movie) if part is None else (self.user[part], self.movie[part])
        indptr = np.zeros(len(self.users) + 1, np.int64)
        np.cumsum(np.bincount(user, minlength=len(self.users)), out=indptr[1:])
        return Rows(indptr, movie, np.ones(len(movie), np.float32))


class Fold:
    """Of several events of a user and a movie one counts, as in a user's history (`models.history`): a rating before every watch,
    then the newest, at a tie the larger rating.

    Events come in portions, in any order, and are folded when `at_once` of them wait: memory grows with the pairs, however often
    somebody watches the same movie.
    """

    def __init__(self, *, at_once: int = AT_ONCE) -> None:
        self._at_once = at_once
        self._parts = [(np.empty(0, np.int64), np.empty(0, np.int64))]  # (user and movie as one number, standing)
        self._n_pairs = self._n_waiting = 0

    def add(self, user: I32, movie: I32, standing: I64) -> None:
        """(events,) each; users and movies by any numbers."""
        self._parts.append((user.astype(np.int64) << _MOVIE_BITS | movie, standing))
        self._n_waiting += len(standing)
        if self._n_waiting > self._at_once + self._n_pairs // 2:
            self._settle()

    def has_movie(self, n_movies: int) -> Bools:
        """(n_movies,): whether any event was about the movie with this number."""
        self._settle()
        found = np.zeros(n_movies, np.bool_)
        found[self._parts[0][0] & _MOVIE] = True
        return found

    def pairs(self, user_place: npt.NDArray[np.integer[Any]], movie_place: npt.NDArray[np.integer[Any]]) -> Pairs:
        """All that was added; the arrays give the place that each number is to have."""
        self._settle()
        ((key, standing),) = self._parts
        user = user_place[key >> _MOVIE_BITS].astype(np.int64)
        key = user << _MOVIE_BITS | movie_place[key & _MOVIE]
        order = np.argsort(key)
        key, standing = key[order], standing[order]
        return Pairs(
            (key >> _MOVIE_BITS).astype(np.int32),
            key.astype(np.int32),
            (standing & MAX_THOUSANDTHS).astype(np.int32),
            (standing >> RATING_BITS) & MAX_TIME_MS,
        )

    def _settle(self) -> None:
        key, standing = (np.concatenate(columns) for columns in zip(*self._parts, strict=True))
        self._parts = []
        order = np.argsort(key)
        key = key[order]
        first = np.flatnonzero(np.diff(key, prepend=-1))
        if len(first):
            standing = np.maximum.reduceat(standing[order], first)
        self._parts = [(key[first], standing)]
        self._n_pairs, self._n_waiting = len(first), 0


def standing(ratings: F64, time_ms: I64) -> I64:
    """Of events, as `models.history` packs it: the larger one counts. `ratings` in stars, NaN for a watch.

    A rating is at least a thousandth of a star: one that rounds to 0 would count as none.
    """
    rated = ~np.isnan(ratings)
    thousandths = np.maximum(np.rint(np.multiply(ratings, 1_000, where=rated, out=np.zeros(len(rated)))), 1)
    packed: I64 = np.asarray(time_ms, np.int64) << RATING_BITS
    packed |= np.where(rated, thousandths.astype(np.int64) | RATED, 0)
    return packed


def write(dataset: Dataset, path: Path) -> None:
    """`path` (.npz) and beside it `.json`: its md5, and the offsets that it was read from. Each whole or not at all.

    The same content gives the same bytes, whatever topics' offsets it came by: to DVC such a data set is nothing new.
    """
    content = dataset.users, dataset.movies, dataset.genders, dataset.user, dataset.movie, dataset.thousandths
    arrays = _arrays(*content, dataset.time_ms)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    try:
        with aside.open("wb") as file:
            _Digesting.of(arrays, file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        offsets = {topic: {str(p): list(span) for p, span in parts.items()} for topic, parts in dataset.offsets.items()}
        about = {"md5": dataset.md5, "offsets": offsets}
        aside.write_text(json.dumps(about, indent=2, sort_keys=True) + "\n")
        aside.replace(beside(path))
    finally:
        aside.unlink(missing_ok=True)


def read(path: Path) -> Dataset:
    """What `write` wrote. Errors: BadArtifact for a file that is missing or damaged, or is not the one that its .json describes."""
    try:
        with path.open("rb") as file:
            md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        about = json.loads(beside(path).read_text())
        if about["md5"] != md5:
            raise BadArtifact(f"{path}: MD5 expected {about['md5']}, found {md5}")
        with np.load(path, allow_pickle=False) as found:
            users, movies = _texts(found["users"], found["user_ends"]), _texts(found["movies"], found["movie_ends"])
            genders: list[str | None] = [*_texts(found["genders"], found["gender_ends"]), None]  # −1: the last
            return Dataset(
                users,
                movies,
                tuple(map(genders.__getitem__, found["gender"].tolist())),
                found["user"],
                found["movie"],
                found["thousandths"],
                found["time_ms"],
                offsets=about["offsets"],
                md5=md5,
            )
    except OSError as error:
        raise BadArtifact(f"{error.filename or path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise BadArtifact(f"{path}: is no data set: {type(error).__name__}: {error}") from error


def beside(path: Path) -> Path:
    """The file that describes a data set's."""
    return path.with_suffix(".json")


def movielens_csv(ratings: Path) -> Dataset:
    """The ratings.csv of a MovieLens CSV release, for studies. (What `canarec` trains on comes from the topics.)"""
    with ratings.open(encoding="utf-8", newline="") as file:
        users, movies, stars, seconds = zip(*list(csv.reader(file))[1:], strict=True)
    return Dataset.from_events(
        users, movies, np.array(stars, np.float64), np.array(seconds, np.int64) * 1_000, offsets={}
    )


class _Digesting(io.RawIOBase):
    """Takes bytes and names them by their MD5; passes them on where there is a file. It never seeks, file or not."""

    def __init__(self, file: BinaryIO | None) -> None:
        self._file = file
        self._digest = hashlib.md5(usedforsecurity=False)  # DVC's choice; no protection against malice

    @classmethod
    def of(cls, arrays: Mapping[str, npt.NDArray[Any]], file: BinaryIO | None = None) -> str:
        """The MD5 of the arrays as a file, which is written unless it is None."""
        sink = cls(file)
        store.pack(cast(BinaryIO, sink), arrays)
        return sink._digest.hexdigest()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._digest.update(data)
        if self._file is not None:
            self._file.write(data)
        return len(data)


def _arrays(
    users: tuple[str, ...],
    movies: tuple[str, ...],
    genders: tuple[str | None, ...],
    user: I32,
    movie: I32,
    thousandths: I32,
    time_ms: I64,
) -> dict[str, npt.NDArray[Any]]:
    table = sorted({gender for gender in genders if gender is not None})
    place: dict[str | None, int] = {gender: index for index, gender in enumerate(table)}
    place[None] = -1
    texts = {"user": users, "movie": movies, "gender": table}
    written = {name: [text.encode() for text in some] for name, some in texts.items()}
    return {
        **{f"{name}s": np.frombuffer(b"".join(some), np.uint8) for name, some in written.items()},
        **{f"{name}_ends": np.cumsum([len(text) for text in some], dtype=np.int64) for name, some in written.items()},
        "gender": np.fromiter(map(place.__getitem__, genders), np.int32, len(genders)),
        "user": user,
        "movie": movie,
        "thousandths": thousandths,
        "time_ms": time_ms,
    }


def _texts(text: npt.NDArray[np.uint8], ends: I64) -> tuple[str, ...]:
    data, bounds = text.tobytes(), ends.tolist()
    return tuple(data[start:stop].decode() for start, stop in zip([0, *bounds], bounds, strict=False))


def _places(names: Sequence[str], table: Iterable[str]) -> I32:
    place = {name: index for index, name in enumerate(table)}
    return np.fromiter(map(place.__getitem__, names), np.int32, len(names))
