"""MovieLens folders: reads every layout that GroupLens publishes, and publishes one as catalogue, profiles and ratings.

    layout   files                              fields of a rating                 text
    csv      movies.csv ratings.csv             userId,movieId,rating,timestamp    UTF-8 (ml-latest*, 20m, 25m, 32m)
    dat      movies.dat ratings.dat users.dat?  user::movie::rating::timestamp     Latin-1 or UTF-8 (ml-1m, ml-10m)
    u        u.item u.data u.user? u.genre?     user movie rating timestamp, tabs  Latin-1 (ml-100k)

Told apart by the files and what stands in them, never by the folder's name. Whether a .dat or u. file is Latin-1 or
UTF-8 is decided by its own bytes. Ids stay the data set's own numbers. No layout has a popularity of its own, so none
is made up.

A line that is not as expected is left out and reported: `ratings.csv:17: expected …, found …`. A rating of a movie that
the catalogue lacks is published all the same: it is what a user did.
"""

import csv
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

import msgspec

from models.config import Applied
from models.errors import CanarecError
from models.events import Movie, Profile, Rating
from models.titles import plain_title
from models.wire import MAX_TITLE, Limits
from pipelines.once import Once, Outgoing
from streams.clients import Cluster

Layout = Literal["csv", "dat", "u"]
Report = Callable[[str], None]
"""Told of each bad line."""

Progress = Callable[[str, int, float], None]
"""Told what is being done ("ratings"), how many lines that makes so far, and the share of the file, 0 to 1."""

T = TypeVar("T")

_FILES: dict[Layout, tuple[str, str, str | None, str | None]] = {  # movies, ratings, users, genres
    "csv": ("movies.csv", "ratings.csv", None, None),
    "dat": ("movies.dat", "ratings.dat", "users.dat", None),
    "u": ("u.item", "u.data", "u.user", "u.genre"),
}
_RATING_FORM: dict[Layout, tuple[str, bytes]] = {
    "csv": ("userId,movieId,rating,timestamp", rb","),
    "dat": ("UserID::MovieID::Rating::Timestamp", rb"::"),
    "u": ("user, movie, rating and timestamp with tabs between", rb"\t"),
}
_RATING = {
    layout: re.compile(separator.join((rb"(\d{1,19})", rb"(\d{1,19})", rb"(\d{1,2}(?:\.\d{1,2})?)", rb"(\d{1,10})")))
    for layout, (_, separator) in _RATING_FORM.items()
}
_LOOK_AT = 20  # lines that may show what a file is
_REPORT_EVERY = 5_000

# ml-100k's u.genre, ml-1m's README
_GENRES = [
    *(
        "unknown",
        "Action",
        "Adventure",
        "Animation",
        "Children's",
        "Comedy",
        "Crime",
        "Documentary",
        "Drama",
        "Fantasy",
    ),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
]
_NO_GENRE = frozenset({"unknown", "(no genres listed)", ""})
_OCCUPATIONS = (
    *("other", "academic/educator", "artist", "clerical/admin", "college/grad student", "customer service"),
    *("doctor/health care", "executive/managerial", "farmer", "homemaker", "K-12 student", "lawyer", "programmer"),
    *("retired", "sales/marketing", "scientist", "self-employed", "technician/engineer", "tradesman/craftsman"),
    *("unemployed", "writer"),
)
_UNDER_18 = 1  # ml-1m codes ages by the lower end of a range, and this one by 1


@dataclass(slots=True)
class Imported:
    """What an import did. `published` and `present` (there already) by what they are: movies, profiles, ratings."""

    published: dict[str, int] = field(default_factory=dict)
    present: dict[str, int] = field(default_factory=dict)
    bad_lines: int = 0

    @property
    def changed(self) -> bool:
        return any(self.published.values())


class NotMovieLens(CanarecError):
    """A folder that is no MovieLens data set, or one without a single usable line."""


# -- reading --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class DataSet:
    """A folder that was recognised. Each method reads its file anew and yields (line number, record)."""

    folder: Path
    layout: Layout
    limits: Limits

    def movies(
        self, report: Report = lambda line: None, progress: Progress = lambda *_: None
    ) -> Iterator[tuple[int, Movie]]:
        """The catalogue. Of two lines with one id the first counts."""
        file = self.folder / _FILES[self.layout][0]
        expected, parse = _movie_parser(self, report)
        return _rows(file, "movies", expected, parse, lambda movie: movie.movie_id, report, progress)

    def profiles(
        self, report: Report = lambda line: None, progress: Progress = lambda *_: None
    ) -> Iterator[tuple[int, Profile]]:
        """Users with a gender; none in a data set that does not tell."""
        file = self._users
        if file is None:
            return iter(())
        expected, parse = _USER[self.layout]
        return _rows(file, "profiles", expected, parse, lambda profile: profile.user_id, report, progress)

    def ratings(
        self, report: Report = lambda line: None, progress: Progress = lambda *_: None
    ) -> Iterator[tuple[int, Rating]]:
        """Every rating, in the order of the file."""
        file = self.folder / _FILES[self.layout][1]
        fullmatch, low, high = _RATING[self.layout].fullmatch, self.limits.rating_min, self.limits.rating_max
        for number, line in _lines(file, "ratings", progress, _RATING_FORM["csv"][0]):
            found = fullmatch(line) or (fullmatch(_unquoted(line)) if self.layout == "csv" else None)
            if found is None:
                report(_expected(file, number, _RATING_FORM[self.layout][0], line))
                continue
            user, movie, stars, seconds = found.groups()
            rating = float(stars)
            if not low <= rating <= high:
                report(_expected(file, number, f"a rating from {low:g} to {high:g}", line))
                continue
            yield number, Rating(_number(user), _number(movie), rating, 1000 * int(seconds))

    def origin(self) -> str:
        """A digest of the content: of the files that are read, whatever the folder is called and wherever it is."""
        digest = hashlib.sha256()
        for file in self._files():
            with file.open("rb") as content:
                digest.update(f"{file.name}:{hashlib.file_digest(content, 'sha256').hexdigest()}\n".encode())
        return digest.hexdigest()[:16]

    @property
    def _users(self) -> Path | None:
        name = _FILES[self.layout][2]
        return self.folder / name if name is not None and (self.folder / name).is_file() else None

    def _files(self) -> list[Path]:
        files = [self.folder / name for name in _FILES[self.layout] if name is not None]
        return [file for file in files if file.is_file()]


def read(folder: Path, limits: Limits) -> DataSet:
    """The MovieLens data set of a folder, whichever layout. NotMovieLens says what was looked for and what there is."""
    if not folder.is_dir():
        raise NotMovieLens(f"{folder}: {'not a folder: unpack it first' if folder.exists() else 'no such folder'}")
    for layout, names in _FILES.items():
        movies, ratings = folder / names[0], folder / names[1]
        if not movies.is_file() or not ratings.is_file():
            continue
        if not any(_RATING[layout].fullmatch(_unquoted(line)) for line in _first_lines(ratings)):
            first = next(iter(_first_lines(ratings)), b"")
            raise NotMovieLens(_expected(ratings, 1, f"a MovieLens file of lines {_RATING_FORM[layout][0]}", first))
        return DataSet(folder, layout, limits)
    looked_for = ", or ".join(f"{names[0]} and {names[1]}" for names in _FILES.values())
    inside = sorted(entry.name for entry in folder.iterdir())
    found = ", ".join(inside[:8]) + (" …" if len(inside) > 8 else "") if inside else "nothing"
    for name in inside:
        if any((folder / name / movies).is_file() for movies, *_ in _FILES.values()):
            found += f"; did you mean {folder / name}?"
            break
    raise NotMovieLens(f"{folder}: no MovieLens data set: looked for {looked_for}; found {found}")


def _movie_parser(data: DataSet, report: Report) -> tuple[str, Callable[[str], Movie]]:
    """What a line of the catalogue looks like, and its reader."""
    if data.layout == "csv":
        return "movieId,title,genres", _movie_of_csv
    if data.layout == "dat":
        return "MovieID::Title::Genres", lambda line: _movie(*_split(line, "::", 3))
    names = _genre_names(data.folder / "u.genre", report)
    form = f"movie|title|release date|video date|URL|{len(names)} flags of 0 or 1"
    return form, lambda line: _movie_of_u(line, names)


def _genre_names(file: Path, report: Report) -> list[str]:
    """The genres that the flags of ml-100k stand for, in their order."""
    if not file.is_file():
        return _GENRES
    listed: dict[int, str] = {}
    for number, line in _lines(file, "genres", lambda *_: None, ""):
        found = re.fullmatch(r"(.+)\|(\d\d?)", line.decode("latin-1"))
        if found:
            listed[int(found[2])] = found[1]
        else:
            report(_expected(file, number, "genre|number", line))
    return [listed.get(place, "unknown") for place in range(max(listed, default=-1) + 1)]


def _movie_of_csv(line: str) -> Movie:
    (row,) = csv.reader([line], strict=True)
    movie_id, title, genres = row
    return _movie(movie_id, title, genres)


def _movie_of_u(line: str, names: list[str]) -> Movie:
    movie_id, title, released, _, _, *flags = line.split("|")
    if len(flags) != len(names) or not set(flags) <= {"0", "1"}:
        raise ValueError("flags")
    genres = "|".join(name for name, flag in zip(names, flags, strict=True) if flag == "1")
    movie = _movie(movie_id, title, genres)
    if movie.year is None and re.fullmatch(r"\d\d-\w{3}-\d{4}", released):
        return msgspec.structs.replace(movie, year=int(released[-4:]))
    return movie


def _movie(movie_id: str, title: str, genres: str) -> Movie:
    name, year = plain_title(title)
    if not 0 < len(name) <= MAX_TITLE:
        raise ValueError("title")
    listed = tuple(dict.fromkeys(genre for genre in genres.split("|") if genre not in _NO_GENRE))
    return Movie(_number(movie_id), name, listed, year)


def _user_of_dat(line: str) -> Profile:
    user_id, gender, age, occupation, _ = _split(line, "::", 5)
    code = int(occupation)
    return Profile(
        _number(user_id),
        _gender(gender),
        _age(age) if int(age) != _UNDER_18 else None,
        _OCCUPATIONS[code] if 0 <= code < len(_OCCUPATIONS) else str(code),
    )


def _user_of_u(line: str) -> Profile:
    user_id, age, gender, occupation, _ = _split(line, "|", 5)
    return Profile(_number(user_id), _gender(gender), _age(age), occupation)


_USER: dict[Layout, tuple[str, Callable[[str], Profile]]] = {
    "dat": ("UserID::Gender::Age::Occupation::Zip-code", _user_of_dat),
    "u": ("user|age|gender|occupation|zip code", _user_of_u),
}


def _gender(text: str) -> str:
    if text not in ("M", "F"):
        raise ValueError("gender")
    return text


def _age(text: str) -> int:
    if not 0 <= int(text) <= 150:
        raise ValueError("age")
    return int(text)


def _split(line: str, separator: str, n: int) -> list[str]:
    fields = line.split(separator)
    if len(fields) != n:
        raise ValueError(f"{n} fields")
    return fields


def _number(text: str | bytes) -> str:
    """The decimal text of a whole number: 007 is user 7."""
    if not text.isdigit() or len(text) > 19:
        raise ValueError("number")
    return str(int(text))


def _unquoted(line: bytes) -> bytes:
    """A line as a spreadsheet may have saved it: every field in quotes."""
    return line.replace(b'"', b"") if line.startswith(b'"') else line


def _rows(
    file: Path,
    what: str,
    expected: str,
    parse: Callable[[str], T],
    key: Callable[[T], str],
    report: Report,
    progress: Progress,
) -> Iterator[tuple[int, T]]:
    encoding = "utf-8" if file.suffix == ".csv" else _encoding(file)
    seen: set[str] = set()
    for number, line in _lines(file, what, progress, expected):
        try:
            row = parse(line.decode(encoding))
        except (ValueError, csv.Error):  # UnicodeDecodeError is one
            report(_expected(file, number, expected, line))
            continue
        if key(row) in seen:
            report(_expected(file, number, "an id that no line before has", line))
            continue
        seen.add(key(row))
        yield number, row


def _lines(file: Path, what: str, progress: Progress, header: str) -> Iterator[tuple[int, bytes]]:
    """(number in the file, line without its end). Blank ones and the header are left out, and not counted as progress."""
    size, read_bytes, count = max(1, file.stat().st_size), 0, 0
    with file.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            read_bytes += len(line)
            text = line.rstrip(b"\r\n")
            if number == 1:
                text = text.removeprefix(b"\xef\xbb\xbf")
                if _unquoted(text) == header.encode():
                    continue
            if not text:
                continue
            count += 1
            if count % _REPORT_EVERY == 0:
                progress(what, count, read_bytes / size)
            yield number, text
    progress(what, count, 1.0)


def _first_lines(file: Path) -> list[bytes]:
    with file.open("rb") as content:
        return [line.rstrip(b"\r\n") for line, _ in zip(content, range(_LOOK_AT), strict=False)]


def _encoding(file: Path) -> str:
    """UTF-8 or Latin-1: whichever most of the lines beyond ASCII can be. A single damaged line decides nothing."""
    utf_8 = 0
    with file.open("rb") as lines:
        for line in lines:
            if not line.isascii():
                try:
                    line.decode()
                    utf_8 += 1
                except UnicodeDecodeError:
                    utf_8 -= 1
    return "utf-8" if utf_8 >= 0 else "latin-1"


def _expected(file: Path, number: int, expected: str, line: bytes) -> str:
    found = repr(line.decode("utf-8", "replace"))
    return f"{file.name}:{number}: expected {expected}, found {found if len(found) <= 100 else found[:97] + '...'}"


# -- publishing -----------------------------------------------------------------------------------


class _Part(NamedTuple):
    """One topic's share of a data set."""

    what: str
    topic: str
    messages: Iterable[Outgoing]


def publish(
    folder: Path,
    cluster: Cluster,
    applied: Applied,
    progress: Progress = lambda what, lines, share: None,
    *,
    report: Report = lambda line: None,
) -> Imported:
    """Publishes a folder as catalogue, profiles and rating events: once, as `pipelines.once` has it.

    The events are keyed by user id, the catalogue by movie id, and carry the times of the data. `report` is told of
    each bad line. The topics must exist. NotMovieLens where there is nothing to publish, CanarecError where Kafka
    refuses.
    """
    cluster.check()
    data = read(folder, applied.config.events.limits())
    once, imported, bad = Once(cluster, applied, data.origin()), Imported(), 0

    def report_counted(line: str) -> None:
        nonlocal bad
        bad += 1
        report(line)

    def looking(done: int, total: int) -> None:
        progress("looking at what is there", done, done / total)

    for part in (
        _Part("movies", applied.topic("movie-catalog"), _catalogue(data.movies(report_counted, progress))),
        _Part("profiles", applied.topic("user-profiles"), _profiles(data.profiles(report_counted, progress))),
        _Part("ratings", applied.topic("rating-events"), _ratings(data.ratings(report_counted, progress))),
    ):
        known = once.finished(part.topic)
        if known is not None:
            imported.published[part.what], imported.present[part.what] = 0, known["messages"]
            imported.bad_lines += known["bad_lines"]
            continue
        bad = 0
        sent = once.send(part.topic, part.messages, looking=looking)
        imported.published[part.what], imported.present[part.what] = sent
        imported.bad_lines += bad
        if part.what == "ratings" and sum(sent) == 0:
            raise NotMovieLens(f"{folder}: not one usable rating in {bad} lines of {_FILES[data.layout][1]}")
        once.finish(part.topic, {"messages": sum(sent), "bad_lines": bad})
    return imported


def _catalogue(movies: Iterable[tuple[int, Movie]]) -> Iterator[Outgoing]:
    for line, movie in movies:
        fields = {name: value for name, value in msgspec.structs.asdict(movie).items() if value is not None}
        yield Outgoing(line, movie.movie_id.encode(), msgspec.json.encode(fields))


def _profiles(profiles: Iterable[tuple[int, Profile]]) -> Iterator[Outgoing]:
    for line, profile in profiles:
        fields = {name: value for name, value in msgspec.structs.asdict(profile).items() if value is not None}
        yield Outgoing(line, profile.user_id.encode(), msgspec.json.encode(fields))


def _ratings(ratings: Iterable[tuple[int, Rating]]) -> Iterator[Outgoing]:
    # By hand: these are millions, and numbers need no escaping. The time in seconds: milliseconds of the early
    # seventies would be taken for seconds.
    for line, rating in ratings:
        user, at = rating.user_id, rating.timestamp_ms // 1000
        value = f'{{"user_id":"{user}","movie_id":"{rating.movie_id}","rating":{rating.rating},"timestamp":{at}}}'
        yield Outgoing(line, user.encode(), value.encode())
