"""From the archive's Parquet files to a data set and the figures that the data gate judges. Reads files; asks no broker.

Columns all the way: ids are numbers from the moment that Parquet is read, and no loop runs over events. A file at a time is read
and folded, so that memory grows with the different pairs of user and movie, not with the minutes that somebody watched.
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.config import DataGate, Events
from models.gates.data import DataFigures, HeavyUser, heavy
from models.history import RATING_BITS
from models.ids import Ids
from models.recommenders.base import F64, I32, I64, Bools
from models.wire import DAY_MS
from pipelines import archive, parquet
from pipelines.dataset import Dataset, Fold, Offsets, Pairs, standing

WATCHES, RATINGS, PROFILES, CATALOGUE = "watch-events", "rating-events", "user-profiles", "movie-catalog"
LOOKED_AT = 4_000_000  # events, at most about, among which repeats are looked for
_IDS = ("user_id", "movie_id")
PLACE = ("partition", "offset", "logged_at")


class _Events(NamedTuple):
    """Good events, folded, and what of each user was counted on the way."""

    users: list[str]  # sorted
    movies: list[str]
    pairs: Pairs
    counted: I64  # (users,) events
    ahead: I64
    looked_at: I64  # events among which repeats were looked for: all of a user's, or none
    repeats: I64
    refused: Counter[str]


def from_archive(folder: Path, events: Events, gate: DataGate, *, now_ms: int) -> tuple[Dataset, DataFigures]:
    """What an archive holds, without the users that are too heavy for the gate, and its figures.

    The data set is that of `Dataset.from_events` for the same events, to the bit; it depends on the archive, on `events` (a scale
    that was narrowed since the events were archived leaves out what is off it now) and on `gate.user_share_max`, and not on
    `now_ms`. A gender is that of the newest profile by offset; a deleted profile has none. No files: an empty data set.
    Errors: BadArtifact for a file that is damaged.
    """
    found = _events(folder, events, now_ms)
    everybody = Dataset.of(
        tuple(found.users), tuple(found.movies), genders(profiles(folder), found.users), found.pairs, _offsets(folder)
    )
    distinct = np.bincount(everybody.user, minlength=len(found.users))
    left_out = heavy(found.counted, distinct, gate.user_share_max)
    stays = np.ones(len(found.users), np.bool_)
    stays[[user.user for user in left_out]] = False
    dataset = everybody.without(np.flatnonzero(~stays))
    catalogue = _catalogue(folder)
    n_events, looked_at = int(found.counted[stays].sum()), int(found.looked_at[stays].sum())
    figures = DataFigures(
        events=n_events,
        interactions=len(dataset),
        users=len(dataset.users),
        movies=len(dataset.movies),
        duplicates=round(int(found.repeats[stays].sum()) * (n_events / max(looked_at, 1))),
        ahead=int(found.ahead[stays].sum()),
        refused=dict(sorted(found.refused.items())),
        catalogue=len(catalogue),
        unknown_movies=_unknown(dataset, catalogue),
        groups=_groups(dataset),
        heavy=tuple(
            HeavyUser(
                user_id=found.users[user.user],
                events=int(found.counted[user.user]),
                interactions=int(distinct[user.user]),
                events_share=user.events_share,
                interactions_share=user.interactions_share,
            )
            for user in left_out
        ),
    )
    return dataset, figures


class Portion(NamedTuple):
    """Good events of one file, by number of user and movie."""

    topic: str
    partition: int
    user: I32
    movie: I32
    stars: F64  # NaN for a watch
    time_ms: I64
    offset: I64 | None


def portions(
    folder: Path, limits: Events, users: Ids, movies: Ids, *, refused: Counter[str] | None = None, offsets: bool = False
) -> Iterator[Portion]:
    """Both topics' events that are on the scale, a file at a time; `refused` counts the others. Offsets, if they are asked for."""
    counted = Counter[str]() if refused is None else refused
    for topic, path in _files(folder):
        rows = _rows(path, topic, offsets)
        if topic == WATCHES:
            minute = _numbers(rows["minute"])
            good, stars = (minute >= 0) & (minute <= limits.minute_max), np.full(len(minute), np.nan)
            counted["bad_minute"] += int(np.count_nonzero(~good))
        else:
            stars = _numbers(rows["rating"])
            good = (stars >= limits.rating_min) & (stars <= limits.rating_max)
            counted["bad_rating"] += int(np.count_nonzero(~good))
        user, movie = _numbered(rows["user_id"], users)[good], _numbered(rows["movie_id"], movies)[good]
        offset = _numbers(rows["offset"])[good] if offsets else None
        yield Portion(topic, int(path.parent.name), user, movie, stars[good], _numbers(rows["timestamp"])[good], offset)


def _events(folder: Path, limits: Events, now_ms: int) -> _Events:
    """All events folded; what was refused before and now, by reason."""
    refused = Counter(archive.refused(folder, WATCHES)) + Counter(archive.refused(folder, RATINGS))
    users, movies, fold = Ids(), Ids(), Fold()
    repeats = Repeats(sum(_n_rows(path) for _, path in _files(folder)))
    counted = ahead = np.zeros(0, np.int64)
    for portion in portions(folder, limits, users, movies, refused=refused):
        user, time_ms = portion.user, portion.time_ms
        stands = standing(portion.stars, time_ms)
        fold.add(user, portion.movie, stands)
        repeats.add(user, portion.movie, stands, users)
        counted = sums(counted, np.bincount(user, minlength=len(users)))
        ahead = sums(ahead, np.bincount(user[time_ms > now_ms + DAY_MS], minlength=len(users)))
    at, user_texts, user_place = in_order(users, counted > 0)
    _, movie_texts, movie_place = in_order(movies, fold.has_movie(len(movies)))
    looked_at, repeated = repeats.of_users(len(users))
    return _Events(
        users=user_texts,
        movies=movie_texts,
        pairs=fold.pairs(user_place, movie_place),
        counted=counted[at],
        ahead=ahead[at],
        looked_at=looked_at[at],
        repeats=repeated[at],
        refused=+refused,
    )


class Repeats:
    """Finds events that repeat another's kind, user, movie and time. Of more than LOOKED_AT, among one user of so many.

    Whole users, chosen by a checksum of the id: neither the order nor the files matter.
    """

    def __init__(self, n_events: int) -> None:
        self._one_of = 1 + n_events // LOOKED_AT
        self._chosen = np.zeros(0, np.bool_)
        self._events = [(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.int64))]

    def add(self, user: I32, movie: I32, standing: I64, users: Ids) -> None:
        new = (users.text(number) for number in range(len(self._chosen), len(users)))
        more = [zlib.crc32(text.encode()) % self._one_of == 0 for text in new]
        self._chosen = np.concatenate([self._chosen, np.array(more, np.bool_)])
        mine = self._chosen[user]
        self._events.append((user[mine], movie[mine], standing[mine]))

    def of_users(self, n_users: int) -> tuple[I64, I64]:
        """(users,) each: the events that were looked at, and those that repeat another."""
        user, movie, standing = (np.concatenate(column) for column in zip(*self._events, strict=True))
        time = standing >> RATING_BITS  # and the kind; not the stars
        order = np.lexsort((time, movie, user))
        same = np.ones(max(len(order) - 1, 0), np.bool_)
        for column in (user, movie, time):
            same &= column[order[1:]] == column[order[:-1]]
        return np.bincount(user, minlength=n_users), np.bincount(user[order[1:]][same], minlength=n_users)


def _files(folder: Path) -> list[tuple[str, Path]]:
    return [(topic, path) for topic in (WATCHES, RATINGS) for path in archive.files(folder, topic)]


def _rows(path: Path, topic: str, offsets: bool) -> pa.Table:
    """The columns of a file of events."""
    names = [*_IDS, "timestamp", "minute" if topic == WATCHES else "rating", *(["offset"] if offsets else [])]
    with parquet.opened(path, _IDS) as file, parquet.reading(path):
        return file.read(names)


def _n_rows(path: Path) -> int:
    with parquet.opened(path) as file:
        return int(file.metadata.num_rows)


def _numbered(column: pa.ChunkedArray, ids: Ids) -> I32:
    """The number of each text; new ones for new texts. Python sees each text of a column once."""
    encoded = column.dictionary_encode().unify_dictionaries()
    if not encoded.num_chunks:
        return np.empty(0, np.int32)
    number = np.array(ids.indices(encoded.chunk(0).dictionary.to_pylist()), np.int32)
    codes: I32 = np.concatenate([chunk.indices.to_numpy() for chunk in encoded.chunks])
    return number[codes]


def in_order(ids: Ids, used: Bools) -> tuple[I64, list[str], I64]:
    """Of the numbers in use: themselves, in the order of their texts; these; and the place of each number among them."""
    at = np.array(sorted(np.flatnonzero(used).tolist(), key=ids.text), np.int64)
    place = np.full(len(ids), -1, np.int64)
    place[at] = np.arange(len(at))
    return at, [ids.text(number) for number in at.tolist()], place


def sums(one: I64, other: I64) -> I64:
    """Of arrays of different lengths; the shorter one has zeros behind it."""
    both = np.zeros(max(len(one), len(other)), np.int64)
    both[: len(one)] += one
    both[: len(other)] += other
    return both


def profiles(folder: Path) -> pa.Table:
    """user_id and gender of everybody who has a profile."""
    rows = archive.table(folder, PROFILES, ["user_id", "gender", "deleted", *PLACE])
    return newest(rows, "user_id").select(["user_id", "gender"])


def genders(profiles: pa.Table, users: Sequence[str]) -> tuple[str | None, ...]:
    """Of each user, None where unknown."""
    place = pc.index_in(pa.array(users, pa.string()), value_set=profiles["user_id"])
    found: tuple[str | None, ...] = tuple(profiles["gender"].take(place).to_pylist())
    return found


def _catalogue(folder: Path) -> pa.Array:
    """The movies that there are."""
    return newest(archive.table(folder, CATALOGUE, ["movie_id", "deleted", *PLACE]), "movie_id")["movie_id"]


def newest(rows: pa.Table, key: str) -> pa.Table:
    """Of each key the newest row, unless that deletes it.

    Within a partition the offset says which that is. A key is in two partitions where its producers use different partitioners;
    between those Kafka's time does, at a tie the higher partition.
    """
    owner = _numbered(rows[key], Ids())
    partition, offset, logged_at = (_numbers(rows[name]) for name in PLACE)
    last = _last(owner.astype(np.int64) << 32 | partition, offset)  # of each key in each partition
    last = last[_last(owner[last], logged_at[last] << 16 | partition[last])]
    present = rows.take(pa.array(last)).combine_chunks()
    return present.filter(pc.invert(present["deleted"]))


def _last(group: npt.NDArray[Any], age: I64) -> I64:
    """The place of each group's largest."""
    order = np.lexsort((age, group))
    sorted_group = group[order]
    ends = np.ones(len(order), np.bool_)
    np.not_equal(sorted_group[1:], sorted_group[:-1], out=ends[:-1])
    return order[ends]


def _numbers(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    """A column without nulls; times in milliseconds."""
    plain = column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
    return plain.to_numpy()  # type: ignore[no-any-return]


def _unknown(dataset: Dataset, catalogue: pa.Array) -> int:
    known = pc.is_in(pa.array(dataset.movies, pa.string()), value_set=catalogue).to_numpy(zero_copy_only=False)
    return int((~known)[dataset.movie].sum())


def _groups(dataset: Dataset) -> dict[str, int]:
    each = np.bincount(dataset.user, minlength=len(dataset.users)).tolist()
    counted: Counter[str] = Counter()
    for gender, n in zip(dataset.genders, each, strict=True):
        if gender is not None:
            counted[gender] += n
    return dict(sorted(counted.items()))


def _offsets(folder: Path) -> Offsets:
    """What of each topic went in: genders are content too."""
    return {
        topic: {str(partition): span for partition, span in archive.spans(folder, topic).items()}
        for topic in (WATCHES, RATINGS, PROFILES)
    }
