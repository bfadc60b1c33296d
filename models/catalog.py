"""The catalogue of one moment: which movies there are, their titles, genres and popularity. Frozen, named by its digest."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.config import canonical
from models.errors import BadArtifact
from models.events import Movie
from models.history import Ids


@dataclass(frozen=True, slots=True)
class Catalog:
    """Movies by id, and by the dense index that histories use (`Ids`)."""

    movies: Mapping[str, Movie]
    index: NDArray[np.int32]  # of each movie, in the order of `movies`
    by_genre: Mapping[str, NDArray[np.int32]]  # casefolded genre → indices
    sha256: str

    @classmethod
    def of(cls, movies: Iterable[Movie], ids: Ids) -> "Catalog":
        """Workers that read the same topic get the same digest: movies are sorted by id."""
        ordered = {movie.movie_id: movie for movie in sorted(movies, key=lambda m: m.movie_id)}
        index = np.fromiter((ids.index(movie_id) for movie_id in ordered), np.int32, len(ordered))
        rows: dict[str, list[int]] = {}
        for row, movie in enumerate(ordered.values()):
            for genre in movie.genres:
                rows.setdefault(genre.casefold(), []).append(row)
        return cls(
            ordered,
            index,
            {genre: index[found] for genre, found in rows.items()},
            hashlib.sha256(_text(ordered).encode()).hexdigest(),
        )

    def __len__(self) -> int:
        return len(self.movies)

    def with_genres(self, genres: tuple[str, ...]) -> NDArray[np.int32]:
        """Indices of the movies that have any of these genres; upper and lower case are alike."""
        found = [self.by_genre[g.casefold()] for g in genres if g.casefold() in self.by_genre]
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.int32)

    def unknown(self, genres: tuple[str, ...]) -> list[str]:
        """The genres that no movie has."""
        return [genre for genre in genres if genre.casefold() not in self.by_genre]

    def most_popular_first(self) -> list[str]:
        """Ids by the catalogue's own popularity, then by year, latest first, then by id: an order for movies without events."""
        ranked = sorted(self.movies.values(), key=lambda m: (-(m.popularity or 0.0), -(m.year or 0), m.movie_id))
        return [movie.movie_id for movie in ranked]

    def text(self) -> str:
        """The snapshot that `sha256` names: one movie a line, sorted by id."""
        return _text(self.movies)


def parse(text: str, sha256: str, ids: Ids) -> Catalog:
    """A catalogue from its snapshot; BadArtifact where the text is not what the digest names."""
    if hashlib.sha256(text.encode()).hexdigest() != sha256:
        raise BadArtifact(f"catalogue snapshot {sha256}: its text has another digest")
    lines = text.split("\n") if text else []  # not splitlines: a title may hold U+2028, which JSON leaves as it is
    return Catalog.of((msgspec.json.decode(line, type=Movie) for line in lines), ids)


def _text(movies: Mapping[str, Movie]) -> str:
    return "\n".join(canonical(msgspec.to_builtins(movie)) for movie in movies.values())
