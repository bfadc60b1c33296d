"""What happened in a window of time: interactions, catalogue, profiles, answers. From the archive, a data set or a MovieLens folder.

Reads; computes no figure. A window holds events by their own time, from `since_ms` on and before `until_ms`; answers by when
they were served. Of several events of a user and a movie in the window one counts, as in a data set.
"""

from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.config import Events
from models.events import Movie
from models.ids import Ids
from models.recommenders.base import F64, I32, I64, Bools
from models.wire import Limits
from pipelines import archive, gather, movielens, parquet
from pipelines.dataset import Dataset, Fold, Offsets, Pairs, standing

ANSWERS = "recommendations"
READ = (gather.WATCHES, gather.RATINGS, gather.PROFILES, gather.CATALOGUE, ANSWERS)


class Window(NamedTuple):
    """A time from which and one before which, in ms since 1970; None: no bound."""

    since_ms: int | None = None
    until_ms: int | None = None

    def holds(self, time_ms: I64) -> Bools:
        """
        >>> Window(2, 4).holds(np.array([1, 2, 3, 4])).tolist()
        [False, True, True, False]
        """
        held = np.ones(len(time_ms), np.bool_) if self.since_ms is None else time_ms >= self.since_ms
        return held if self.until_ms is None else held & (time_ms < self.until_ms)

    def precedes(self, time_ms: I64) -> Bools:
        """Whether each time is before the window; none is before one without a beginning."""
        if self.since_ms is None:
            return np.zeros(len(time_ms), np.bool_)
        earlier: Bools = time_ms < self.since_ms
        return earlier


@dataclass(frozen=True, slots=True, eq=False)
class Catalogue:
    """What a catalogue says of its movies; NaN where it has no popularity. In the order of their ids."""

    movies: tuple[str, ...]
    titles: tuple[str, ...]
    genres: tuple[tuple[str, ...], ...]
    popularity: F64

    @classmethod
    def of(cls, movies: Sequence[Movie]) -> "Catalogue":
        movies = sorted(movies, key=lambda movie: movie.movie_id)
        return cls(
            tuple(movie.movie_id for movie in movies),
            tuple(movie.title if movie.year is None else f"{movie.title} ({movie.year})" for movie in movies),
            tuple(tuple(movie.genres) for movie in movies),
            np.array([np.nan if movie.popularity is None else movie.popularity for movie in movies], np.float64),
        )

    def or_those_of(self, movies: Sequence[str]) -> "Catalogue":
        """Where there is no catalogue, the movies that something happened to."""
        if self.movies:
            return self
        return Catalogue.of([Movie(movie_id, movie_id, ()) for movie_id in movies])

    def places(self, movies: Sequence[str] | pa.ChunkedArray) -> I32:
        """Of each movie its place here, −1 where there is none."""
        texts = movies if isinstance(movies, pa.ChunkedArray) else pa.array(movies, pa.string())
        found = pc.index_in(texts, value_set=pa.array(self.movies, pa.string()))
        return found.fill_null(-1).to_numpy().astype(np.int32)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Lists of movies and whose they are. Movies that the catalogue lacks are left out."""

    users: tuple[str, ...]
    genders: tuple[str | None, ...]  # of each of `users`
    owner: I32  # (lists,) place in `users`
    of: I32  # (entries,) place of its list, ascending
    movie: I32  # (entries,) place in the catalogue
    versions: tuple[tuple[str, int], ...] = ()  # lists of each model version, where that is known

    @classmethod
    def of_columns(cls, columns: I32, place: I32, users: tuple[str, ...], genders: tuple[str | None, ...]) -> "Lists":
        """One list for each user. columns: (users, k), −1 where a list is shorter; place: (columns,) in the catalogue."""
        entries = np.where(columns >= 0, place[columns], -1)
        of, _ = np.nonzero(entries >= 0)
        return cls(users, genders, np.arange(len(users), dtype=np.int32), of.astype(np.int32), entries[entries >= 0])

    def __len__(self) -> int:
        return len(self.owner)


class Earlier(NamedTuple):
    """Who of the window's users had watched or rated what before it: each (user, movie) once, in any order."""

    user: I32  # (interactions,) place among the window's users
    movie: I32  # (interactions,) place in `movies`
    movies: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Observed:
    """A window."""

    source: str  # in words, without a path
    window: Window
    dataset: Dataset  # the interactions in it
    catalogue: Catalogue
    idle: int  # users that are known and did nothing in it
    before: I64 | None  # (movies of the catalogue,) interactions before the window; None where it has no beginning
    answers: Lists | None  # what was recommended in it, where any is archived
    earlier: Earlier | None  # what was before the window; None where it has no beginning
    unseen: Bools | None = None  # (interactions,) those that no version in question was trained on
    learned: bool = (
        False  # whether a version in question was trained on any event of what was read, in the window or not
    )

    @property
    def movie(self) -> I32:
        """(interactions,) place in the catalogue, −1 where it lacks the movie."""
        return self.catalogue.places(self.dataset.movies)[self.dataset.movie]


# -- from the archive --------------------------------------------------------------------------------


def from_archive(folder: Path, limits: Events, window: Window, *, trained: Sequence[Offsets] = ()) -> Observed:
    """What the archive holds of a window; `unseen`, where `trained` names the offsets of versions' data. Errors: BadArtifact."""
    users, movies = Ids(), Ids()
    inside, earlier, learned = Fold(), Fold(), Fold()
    active = known = np.zeros(0, np.int64)
    for portion in gather.portions(folder, limits, users, movies, offsets=bool(trained)):
        stands = standing(portion.stars, portion.time_ms)
        held = window.holds(portion.time_ms)
        inside.add(portion.user[held], portion.movie[held], stands[held])
        active = gather.sums(active, np.bincount(portion.user[held], minlength=len(users)))
        precedes = window.precedes(portion.time_ms)
        known = gather.sums(known, np.bincount(portion.user[held | precedes], minlength=len(users)))
        for fold, part in ((earlier, precedes), (learned, _below(portion, trained))):
            if part.any():
                fold.add(portion.user[part], portion.movie[part], stands[part])
    _, user_texts, user_place = gather.in_order(users, active > 0)
    _, movie_texts, movie_place = gather.in_order(movies, inside.has_movie(len(movies)))
    pairs = inside.pairs(user_place, movie_place)
    profiles = gather.profiles(folder)
    dataset = Dataset.of(tuple(user_texts), tuple(movie_texts), gather.genders(profiles, user_texts), pairs, offsets={})
    catalogue = catalogue_of(folder).or_those_of(movie_texts)
    return Observed(
        source="the archive",
        window=window,
        dataset=dataset,
        catalogue=catalogue,
        idle=len(_texts(users, known).union(profiles["user_id"].to_pylist()).difference(user_texts)),
        before=_movies_before(earlier, users, movies, catalogue) if window.since_ms is not None else None,
        answers=_answers(folder, window, catalogue, profiles),
        earlier=_earlier(earlier, user_place, movies) if window.since_ms is not None else None,
        unseen=~_among(pairs, learned.pairs(user_place, movie_place)) if trained else None,
        learned=bool(learned.has_movie(len(movies)).any()),
    )


def of_dataset(dataset: Dataset, folder: Path) -> Observed:
    """A data set as the pipeline trains on it, with the archive's catalogue and profiles."""
    return Observed(
        source="the archive",
        window=Window(),
        dataset=dataset,
        catalogue=catalogue_of(folder).or_those_of(dataset.movies),
        idle=len(set(gather.profiles(folder)["user_id"].to_pylist()).difference(dataset.users)),
        before=None,
        answers=None,
        earlier=None,
    )


def catalogue_of(folder: Path) -> Catalogue:
    """The movies that the archive knows now."""
    names = ["movie_id", "title", "genres", "year", "popularity"]
    rows = gather.newest(archive.table(folder, gather.CATALOGUE, [*names, "deleted", *gather.PLACE]), "movie_id")
    columns = (rows[name].to_pylist() for name in names)
    return Catalogue.of(
        [
            Movie(movie, title, tuple(genres or ()), year, popularity)
            for movie, title, genres, year, popularity in zip(*columns, strict=True)
        ]
    )


def _below(portion: gather.Portion, trained: Sequence[Offsets]) -> Bools:
    """The events that any of these versions was trained on."""
    if portion.offset is None:
        return np.zeros(len(portion.user), np.bool_)
    spans = [offsets.get(portion.topic, {}).get(str(portion.partition), (0, 0)) for offsets in trained]
    below: Bools = portion.offset < max(int(after) for _, after in spans)
    return below


def _among(pairs: Pairs, others: Pairs) -> Bools:
    known = (others.user >= 0) & (others.movie >= 0)
    keys = (others.user[known].astype(np.int64) << 32) | others.movie[known]
    found: Bools = np.isin((pairs.user.astype(np.int64) << 32) | pairs.movie, keys)
    return found


def _movies_before(earlier: Fold, users: Ids, movies: Ids, catalogue: Catalogue) -> I64:
    """(movies of the catalogue,): different users of each before the window."""
    place = catalogue.places([movies.text(number) for number in range(len(movies))])
    identity = np.arange(len(movies))
    found = place[earlier.pairs(np.arange(len(users)), identity).movie]
    return np.bincount(found[found >= 0], minlength=len(catalogue.movies))


def _earlier(earlier: Fold, user_place: I64, movies: Ids) -> Earlier:
    """Of those users who have a place."""
    pairs = earlier.pairs(user_place, np.arange(len(movies)))
    placed = pairs.user >= 0
    return Earlier(pairs.user[placed], pairs.movie[placed], tuple(map(movies.text, range(len(movies)))))


def _texts(ids: Ids, counts: I64) -> set[str]:
    """Those that were counted."""
    return set(map(ids.text, np.flatnonzero(counts).tolist()))


def _answers(folder: Path, window: Window, catalogue: Catalogue, profiles: pa.Table) -> Lists | None:
    """The lists that were served in the window, a file at a time; None where no movie was."""
    users, versions = Ids(), Counter[str]()
    owners, lengths, entries = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
    for path in archive.files(folder, ANSWERS):
        with parquet.opened(path, ["user_id", "model_version"]) as file:
            try:
                rows = file.read(["user_id", "model_version", "recommendations", "served_at"])
            except (pa.ArrowException, OSError) as error:
                raise parquet.damaged(path, error) from error
        served = window.holds(rows["served_at"].cast(pa.int64()).to_numpy())
        filled = pc.greater(pc.list_value_length(rows["recommendations"]), 0)
        rows = rows.filter(pc.and_(pc.and_(pa.array(served), filled), pc.is_valid(rows["user_id"])))
        place = catalogue.places(pc.list_flatten(rows["recommendations"]))
        owners.append(np.array(users.indices(rows["user_id"].to_pylist()), np.int32))
        lengths.append(pc.list_value_length(rows["recommendations"]).to_numpy().astype(np.int64))
        entries.append(place)
        versions.update(version or "none" for version in rows["model_version"].to_pylist())
    owner, length, movie = np.concatenate(owners), np.concatenate(lengths), np.concatenate(entries)
    known = movie >= 0
    if not known.any():
        return None
    names = tuple(users.text(number) for number in range(len(users)))
    of = np.repeat(np.arange(len(owner), dtype=np.int32), length)
    return Lists(
        names, gather.genders(profiles, names), owner, of[known], movie[known], tuple(sorted(versions.items()))
    )


# -- from a MovieLens folder ---------------------------------------------------------------------------


def from_movielens(
    folder: Path,
    limits: Limits,
    window: Window,
    *,
    report: movielens.Report = lambda line: None,
    progress: movielens.Progress = lambda *_: None,
) -> Observed:
    """The ratings of a folder, whichever layout. `report` is told of each bad line. Errors: NotMovieLens."""
    data = movielens.read(folder, limits)
    catalogue = [movie for _, movie in data.movies(report)]
    genders = {profile.user_id: profile.gender for _, profile in data.profiles(report)}
    users, movies = Ids(), Ids()
    user, movie, stars, time_ms = array("i"), array("i"), array("d"), array("q")
    for _, rating in data.ratings(report, progress):
        user.append(users.index(rating.user_id))
        movie.append(movies.index(rating.movie_id))
        stars.append(rating.rating)
        time_ms.append(rating.timestamp_ms)
    at = np.frombuffer(time_ms, np.int64)
    who, what, stands = (
        np.frombuffer(user, np.int32),
        np.frombuffer(movie, np.int32),
        standing(np.frombuffer(stars, np.float64), at),
    )
    inside, earlier = Fold(), Fold()
    held, before = window.holds(at), window.precedes(at)
    inside.add(who[held], what[held], stands[held])
    earlier.add(who[before], what[before], stands[before])
    _, user_texts, user_place = gather.in_order(users, np.bincount(who[held], minlength=len(users)) > 0)
    _, movie_texts, movie_place = gather.in_order(movies, inside.has_movie(len(movies)))
    dataset = Dataset.of(
        tuple(user_texts),
        tuple(movie_texts),
        tuple(map(genders.get, user_texts)),
        inside.pairs(user_place, movie_place),
        offsets={},
    )
    found = Catalogue.of(catalogue).or_those_of(movie_texts)
    return Observed(
        source=f"the MovieLens folder {folder.resolve().name}",
        window=window,
        dataset=dataset,
        catalogue=found,
        idle=len(_texts(users, np.bincount(who[held | before])).union(genders).difference(user_texts)),
        before=_movies_before(earlier, users, movies, found) if window.since_ms is not None else None,
        answers=None,
        earlier=_earlier(earlier, user_place, movies) if window.since_ms is not None else None,
    )
