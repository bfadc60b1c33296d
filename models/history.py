"""The fold of a user's events: what each user watched and rated, all users in compact arrays.

Folds; never reads Kafka, never decides. For each user and movie two numbers are kept, of which an event takes the
larger:

    standing   a rating stands above every watch; of two ratings, or two watches, the newer; at a tie the better one
    minute     the furthest minute of all watches

"The larger of two" is commutative, associative and idempotent (a join semilattice), so events may come in any order,
from any partition, more than once and in any batches: the histories are the same.

Users are numbered as they appear. Each block of 1024 users keeps its interactions sorted by user and movie, 14 bytes
each. While loading, events gather in a log that is sorted and merged into all blocks at once. Live, they gather in
dictionaries that are read together with the arrays; past a limit, the block with most of them is merged, in place, in
a few milliseconds. A block's arrays are never written to once made, so whoever holds them has a consistent copy.

Nothing here locks: the caller holds one lock round `apply`, `forget`, `freeze` and every read, and round whatever else
numbers movies. A `Frozen` needs none.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from models.errors import BadArtifact
from models.events import Rating, Watch
from models.ids import Ids

__all__ = ["Frozen", "Histories", "Ids", "Interactions", "join", "packed"]

Array = npt.NDArray[Any]

# A standing, from its highest bit: rated (1 bit), ms since 1970 (48, beyond the year 9999), thousandths of a star (14).
RATING_BITS = 14
TIME_BITS = 48
RATED = 1 << (RATING_BITS + TIME_BITS)
MAX_TIME_MS = (1 << TIME_BITS) - 1
MAX_THOUSANDTHS = (1 << RATING_BITS) - 1
MINUTE_BITS = 16
MINUTE_MASK = (1 << MINUTE_BITS) - 1
MAX_MINUTE = MINUTE_MASK - 1  # kept plus one; 0 is "never watched"

BLOCK_BITS = 10
BLOCK = 1 << BLOCK_BITS  # users
_MOVIE_BITS = 32

# What may wait to be merged: so many, and one for each so many that are merged. About 50 bytes an event in the log, 300
# in the dictionaries; smaller limits cost more merges.
LOG_LIMIT, LOG_SHARE = 131_072, 64
LIVE_LIMIT, LIVE_SHARE = 50_000, 200


class Interactions(NamedTuple):
    """Columns of interactions, sorted by movie within a user.

    `time_ms` is the newest rating's if there is one, else the newest watch's. `thousandths` of a star, 0: not rated.
    `minute`, -1: not watched.
    """

    movie: npt.NDArray[np.int32]
    time_ms: npt.NDArray[np.int64]
    thousandths: npt.NDArray[np.int32]
    minute: npt.NDArray[np.int32]


class _Log(NamedTuple):
    """Interactions in any order, any number of each; `minute` plus one, 0 for none."""

    user: Array  # int32
    movie: Array  # int32
    standing: Array  # int64
    minute: Array  # uint16

    def part(self, first: int, last: int) -> "_Log":
        return _Log(*(column[first:last] for column in self))


class _Rows(NamedTuple):
    """A block's interactions, each once, by user and movie; those of its i-th user are bounds[i]:bounds[i + 1]."""

    bounds: Array  # int32, one more than users
    movie: Array  # int32
    standing: Array  # int64
    minute: Array  # uint16


_NOTHING = (np.empty(0, np.int32), np.empty(0, np.int64), np.empty(0, np.uint16))
_NO_ROWS = _Rows(np.zeros(BLOCK + 1, np.int32), *_NOTHING)


class _Block:
    """1024 users: their merged rows, and what came since, {user: {movie: packed}}."""

    __slots__ = ("fresh", "n_fresh", "rows")

    def __init__(self, rows: _Rows = _NO_ROWS) -> None:
        self.rows = rows
        self.fresh: dict[int, dict[int, int]] = {}
        self.n_fresh = 0


def packed(time_ms: int, *, thousandths: int = 0, minute: int = -1) -> int:
    """A rating (`thousandths` of a star), or without one a watch, as one number: standing, 16 bits of minute plus one.

    ValueError for what does not fit.
    """
    if not (0 <= time_ms <= MAX_TIME_MS and 0 <= thousandths <= MAX_THOUSANDTHS and -1 <= minute <= MAX_MINUTE):
        raise ValueError(f"{time_ms} ms, rating {thousandths} / 1000 or minute {minute} does not fit an interaction")
    return ((RATED if thousandths else 0) | time_ms << RATING_BITS | thousandths) << MINUTE_BITS | minute + 1


def join(one: int, other: int) -> int:
    """The fold itself, of two packed interactions: the larger of each part. Merges do the same to whole columns.

    >>> watched, rated = packed(2_000, minute=30), packed(1_000, thousandths=4_500)
    >>> join(watched, rated) == packed(1_000, thousandths=4_500, minute=30) == join(rated, watched)
    True
    """
    standing = max(one >> MINUTE_BITS, other >> MINUTE_BITS)
    return standing << MINUTE_BITS | max(one & MINUTE_MASK, other & MINUTE_MASK)


class Histories:
    """Every user's history. `movies` numbers the movies; catalogue and models share it.

    >>> histories = Histories(Ids())
    >>> histories.apply([Watch("u", "heat+1995", 12, 1_000), Rating("u", "alien+1979", 4.5, 2_000)])
    >>> [histories.movie_ids.text(movie) for movie in histories.movies("u")], "u" in histories, "v" in histories
    (['heat+1995', 'alien+1979'], True, False)
    """

    def __init__(self, movies: Ids, *, log_limit: int = LOG_LIMIT, live_limit: int = LIVE_LIMIT) -> None:
        self._log_limit, self._live_limit = log_limit, live_limit
        self.movie_ids = movies
        self.user_ids = Ids()
        self._blocks: list[_Block] = []
        self._log: list[_Log] = []
        self._n_log = 0
        self._n_rows = 0
        self._n_fresh = 0
        self._loading = True

    # -- events in ----------------------------------------------------------------------------

    def apply(self, events: Sequence[Watch | Rating]) -> None:
        """Folds events in, in any order. ValueError (a time, rating or minute that does not fit) changes nothing."""
        if not events:
            return
        log = self._numbered(events)
        if self._loading:
            self._log.append(log)
            self._n_log += len(events)
            if self._n_log > self._log_limit + self._n_rows // LOG_SHARE:
                self._settle()
            return
        before = self._n_fresh
        for user, movie, standing, minute in zip(*(column.tolist() for column in log), strict=True):
            block = self._blocks[user >> BLOCK_BITS]
            row = block.fresh.get(user)
            if row is None:
                row = block.fresh[user] = {}
            new = standing << MINUTE_BITS | minute  # a number, not a pair: the garbage collector passes it by
            old = row.get(movie)
            if old is None:
                row[movie] = new
                block.n_fresh += 1
                self._n_fresh += 1
            elif old != new:
                row[movie] = join(old, new)
        if self._n_fresh > before:
            limit = self._live_limit + self._n_rows // LIVE_SHARE
            while self._n_fresh > limit:
                self._merge_fresh(max(self._blocks, key=lambda block: block.n_fresh))

    def finish_loading(self) -> None:
        """From here on events may be read back at once. Until then a read first merges all that was applied."""
        self._settle()
        self._loading = False

    def forget(self, user_id: str) -> None:
        """Drops a user's interactions and id. Events that come later are a new user's."""
        self._settle()
        user = self.user_ids.get(user_id)
        if user is None:
            return
        block = self._blocks[user >> BLOCK_BITS]
        gone = len(block.fresh.pop(user, ()))
        block.n_fresh -= gone
        self._n_fresh -= gone
        first, last = _bounds(block, user)
        bounds = block.rows.bounds.copy()
        bounds[(user & (BLOCK - 1)) + 1 :] -= last - first
        block.rows = _Rows(bounds, *(np.concatenate((column[:first], column[last:])) for column in block.rows[1:]))
        self._n_rows -= last - first
        self.user_ids.erase(user_id)

    # -- reads --------------------------------------------------------------------------------

    def __contains__(self, user_id: str) -> bool:
        """Whether there is any event of this user."""
        self._settle()
        user = self.user_ids.get(user_id)
        if user is None:
            return False
        block = self._blocks[user >> BLOCK_BITS]
        first, last = _bounds(block, user)
        return first < last or user in block.fresh

    def movies(self, user_id: str) -> npt.NDArray[np.int32]:
        """The movies of a user, ascending; none for a user nobody knows. Not to be written to."""
        return self.batch([user_id])[1]

    def batch(self, user_ids: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """(indptr, movies) as a CSR matrix has them: the i-th user's are movies[indptr[i]:indptr[i + 1]], ascending.

        A user nobody knows has none; one asked for twice is answered twice.
        """
        self._settle()
        parts: list[npt.NDArray[np.int32]] = []
        sizes: list[int] = []
        fresh: list[int] = []
        n_fresh: list[int] = []
        get, blocks = self.user_ids.get, self._blocks
        for user_id in user_ids:
            user = get(user_id)
            if user is None:
                sizes.append(0)
                n_fresh.append(0)
                continue
            block = blocks[user >> BLOCK_BITS]
            first, last = _bounds(block, user)
            sizes.append(last - first)
            parts.append(block.rows.movie[first:last])
            row = block.fresh.get(user)
            if row is None:
                n_fresh.append(0)
            else:
                n_fresh.append(len(row))
                fresh.extend(row)
        movies = np.concatenate(parts) if parts else np.empty(0, np.int32)
        counts = np.array(sizes, np.int64)
        if fresh:
            place = np.arange(len(sizes), dtype=np.int64) << _MOVIE_BITS
            keys = np.concatenate((np.repeat(place, counts) | movies, np.repeat(place, n_fresh) | np.array(fresh)))
            keys.sort(kind="stable")  # nearly sorted already
            new = np.ones(len(keys), np.bool_)
            np.not_equal(keys[1:], keys[:-1], out=new[1:])
            keys = keys[new]
            movies = keys.astype(np.int32)  # the low half
            counts = np.bincount(keys >> _MOVIE_BITS, minlength=len(sizes))
        indptr = np.zeros(len(sizes) + 1, np.int64)
        np.cumsum(counts, out=indptr[1:])
        return indptr, movies

    def interactions(self, user_id: str) -> Interactions:
        """All that is kept of a user's events, by movie."""
        self._settle()
        user = self.user_ids.get(user_id)
        if user is None:
            return _decoded(*_NOTHING)
        block = self._blocks[user >> BLOCK_BITS]
        first, last = _bounds(block, user)
        own = [column[first:last] for column in block.rows[1:]]
        if user in block.fresh:
            local = np.array([user & (BLOCK - 1)])
            bounds = np.where(np.arange(BLOCK + 1) > local, last - first, 0).astype(np.int32)
            own = list(_merged(_Rows(bounds, *own), _once(_fresh_log({user: block.fresh[user]})))[1:])
        return _decoded(*own)

    @property
    def users(self) -> int:
        """Users ever numbered, those forgotten since too."""
        return len(self.user_ids)

    @property
    def n_interactions(self) -> int:
        """Pairs of user and movie. Looks at all that is not merged yet: milliseconds."""
        self._settle()
        known = 0
        for block in self._blocks:
            if block.fresh:
                keys = _keys(_fresh_log(block.fresh))
                known += int(np.isin(keys, _row_keys(block.rows), assume_unique=True).sum())
        return self._n_rows + self._n_fresh - known

    @property
    def nbytes(self) -> int:
        """Bytes of the merged interactions, without ids and what is not merged yet."""
        return sum(sum(column.nbytes for column in block.rows) for block in self._blocks)

    # -- copies -------------------------------------------------------------------------------

    def freeze(self) -> "Frozen":
        """A consistent copy of this moment, for a snapshot or for training. Copies only what is not merged yet."""
        self._settle()
        return Frozen(
            self.user_ids,
            len(self.user_ids),
            self.movie_ids,
            len(self.movie_ids),
            tuple(block.rows for block in self._blocks),
            tuple({user: row.copy() for user, row in block.fresh.items()} for block in self._blocks if block.fresh),
        )

    def to_arrays(self) -> dict[str, Array]:
        """`freeze().to_arrays()`."""
        return self.freeze().to_arrays()

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Array], movies: Ids) -> "Histories":
        """Histories that were frozen, still loading. Movies are numbered by `movies`, whatever their numbers were.

        BadArtifact for arrays that do not fit together.
        """
        try:
            counts, columns = arrays["count"], [arrays[name] for name in ("movie", "standing", "minute")]
            tail = _Log(*(np.array(arrays[f"tail_{name}"]) for name in _Log._fields))
            users = Ids.of_table(arrays["user_text"], arrays["user_ends"])
            known = Ids.of_table(arrays["movie_text"], arrays["movie_ends"])
        except KeyError as missing:
            raise BadArtifact(f"histories without {missing}") from None
        ends = np.cumsum(counts, dtype=np.int64)
        n_rows = int(ends[-1]) if len(ends) else 0
        if (
            len(counts) != -(-len(users) // BLOCK) * BLOCK
            or any(len(column) != n_rows for column in columns)
            or len({len(column) for column in tail}) != 1
            or not _below(columns[0], len(known))
            or not _below(tail.movie, len(known))
            or not _below(tail.user, len(users))
        ):
            raise BadArtifact("histories whose arrays do not fit together")
        renumbered = np.array(movies.indices(map(known.text, range(len(known)))), np.int32)
        same = bool((renumbered == np.arange(len(known))).all())
        histories = cls(movies)
        histories.user_ids = users
        for first in range(0, len(counts), BLOCK):
            bounds = np.zeros(BLOCK + 1, np.int32)
            np.cumsum(counts[first : first + BLOCK], out=bounds[1:])
            end = int(ends[first + BLOCK - 1])
            # Copies, or one block would keep all of a mapped file's pages.
            movie, standing, minute = (np.array(column[end - int(bounds[-1]) : end]) for column in columns)
            rows = _Rows(bounds, movie, standing, minute)
            if not same:
                user = np.repeat(np.arange(first, first + BLOCK, dtype=np.int32), np.diff(bounds))
                rows = _merged(_NO_ROWS, _once(_Log(user, renumbered[movie], standing, minute)))
            histories._blocks.append(_Block(rows))
            histories._n_rows += len(rows.movie)
        histories._log = [tail if same else tail._replace(movie=renumbered[tail.movie])]
        histories._n_log = len(tail.user)
        histories._settle()
        return histories

    # -- inside -------------------------------------------------------------------------------

    def _numbered(self, events: Sequence[Watch | Rating]) -> _Log:
        """Events as columns; numbers users and movies that are new."""
        watches = [event for event in events if type(event) is Watch]
        ratings = [event for event in events if type(event) is Rating]
        both: list[Watch | Rating] = [*watches, *ratings]
        n = len(both)
        standing = np.fromiter([event.timestamp_ms for event in both], np.int64, n)
        minute = np.zeros(n, np.uint16)
        if standing.min() < 0 or standing.max() > MAX_TIME_MS:
            raise ValueError("a time that does not fit an interaction")
        standing <<= RATING_BITS
        if watches:
            minutes = np.array([watch.minute for watch in watches], np.int64)
            if minutes.min() < 0 or minutes.max() > MAX_MINUTE:
                raise ValueError("a minute that does not fit an interaction")
            minute[: len(watches)] = minutes + 1
        if ratings:
            thousandths = np.array([rating.rating for rating in ratings]) * 1_000
            if not (thousandths.min() > 0 and thousandths.max() <= MAX_THOUSANDTHS):
                raise ValueError("a rating that does not fit an interaction")
            # At least 1: a rating that rounds to 0 would count as none.
            standing[len(watches) :] |= RATED | np.maximum(np.rint(thousandths), 1).astype(np.int64)
        user = np.array(self.user_ids.indices([event.user_id for event in both]), np.int32)
        movie = np.array(self.movie_ids.indices([event.movie_id for event in both]), np.int32)
        while len(self._blocks) << BLOCK_BITS < len(self.user_ids):
            self._blocks.append(_Block())
        return _Log(user, movie, standing, minute)

    def _settle(self) -> None:
        """Merges the log into the blocks."""
        if not self._n_log:
            return
        log = _once(_joined(self._log))
        self._log, self._n_log = [], 0
        touched = np.flatnonzero(np.diff(log.user >> BLOCK_BITS, prepend=-1))
        for first, last in zip(touched.tolist(), [*touched[1:].tolist(), len(log.user)], strict=True):
            self._merge(self._blocks[log.user[first] >> BLOCK_BITS], log.part(first, last))

    def _merge_fresh(self, block: _Block) -> None:
        log = _once(_fresh_log(block.fresh))
        self._n_fresh -= block.n_fresh
        block.fresh, block.n_fresh = {}, 0
        self._merge(block, log)

    def _merge(self, block: _Block, log: _Log) -> None:
        self._n_rows -= len(block.rows.movie)
        block.rows = _merged(block.rows, log)
        self._n_rows += len(block.rows.movie)


@dataclass(frozen=True, slots=True)
class Frozen:
    """Histories of one moment, in use by nobody else: the live ones replace arrays and never write to them."""

    user_ids: Ids
    n_users: int
    movie_ids: Ids
    n_movies: int
    rows: tuple[_Rows, ...]
    fresh: tuple[dict[int, dict[int, int]], ...]

    def columns(self) -> dict[str, list[Array]]:
        """What `Histories.from_arrays` takes, each array in pieces to be laid end to end: a copy of nothing large."""
        user_text, user_ends = self.user_ids.table(self.n_users)
        movie_text, movie_ends = self.movie_ids.table(self.n_movies)
        return {
            "user_text": [user_text],
            "user_ends": [user_ends],
            "movie_text": [movie_text],
            "movie_ends": [movie_ends],
            "count": [np.empty(0, np.int32), *(np.diff(rows.bounds) for rows in self.rows)],
            "movie": [_NO_ROWS.movie, *(rows.movie for rows in self.rows)],
            "standing": [_NO_ROWS.standing, *(rows.standing for rows in self.rows)],
            "minute": [_NO_ROWS.minute, *(rows.minute for rows in self.rows)],
            **{f"tail_{name}": [column] for name, column in self._tail()._asdict().items()},
        }

    def to_arrays(self) -> dict[str, Array]:
        """`columns`, each in one piece."""
        return {name: np.concatenate(pieces) for name, pieces in self.columns().items()}

    def interactions(self) -> tuple[npt.NDArray[np.int64], Interactions]:
        """(indptr, interactions) of all users by number: those of user u are at indptr[u]:indptr[u + 1]."""
        tail = _once(self._tail())
        cuts = np.searchsorted(tail.user, np.arange(len(self.rows) + 1) << BLOCK_BITS)
        merged = [
            _merged(rows, tail.part(first, last)) if first < last else rows
            for rows, first, last in zip(self.rows, cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
        ]
        indptr = np.zeros(self.n_users + 1, np.int64)
        counts = np.concatenate([indptr[:0], *(np.diff(rows.bounds) for rows in merged)])
        np.cumsum(counts[: self.n_users], out=indptr[1:])
        movie, standing, minute = (
            np.concatenate([empty, *(rows[column] for rows in merged)])
            for column, empty in enumerate(_NOTHING, start=1)
        )
        return indptr, _decoded(movie, standing, minute)

    def _tail(self) -> _Log:
        return _joined([_fresh_log(fresh) for fresh in self.fresh])


def _bounds(block: _Block, user: int) -> tuple[int, int]:
    bounds, local = block.rows.bounds, user & (BLOCK - 1)
    return bounds.item(local), bounds.item(local + 1)


def _below(numbers: Array, count: int) -> bool:
    return not len(numbers) or 0 <= int(numbers.min()) <= int(numbers.max()) < count


def _decoded(movie: Array, standing: Array, minute: Array) -> Interactions:
    return Interactions(
        movie,
        (standing >> RATING_BITS) & MAX_TIME_MS,
        (standing & MAX_THOUSANDTHS).astype(np.int32),
        minute.astype(np.int32) - 1,
    )


def _keys(log: _Log) -> npt.NDArray[np.int64]:
    """(user within the block, movie) as one number."""
    return (log.user.astype(np.int64) & (BLOCK - 1)) << _MOVIE_BITS | log.movie


def _row_keys(rows: _Rows) -> npt.NDArray[np.int64]:
    users: npt.NDArray[np.int64] = np.arange(BLOCK, dtype=np.int64) << _MOVIE_BITS
    return np.repeat(users, np.diff(rows.bounds)) | rows.movie.astype(np.int64)


def _joined(logs: Sequence[_Log]) -> _Log:
    if len(logs) == 1:
        return logs[0]
    empty = _Log(np.empty(0, np.int32), *_NOTHING)
    return _Log(*(np.concatenate(columns) for columns in zip(empty, *logs, strict=True)))


def _fresh_log(fresh: Mapping[int, Mapping[int, int]]) -> _Log:
    """The dictionaries of a block as columns."""
    sizes = np.fromiter(map(len, fresh.values()), np.int64, len(fresh))
    values = list(chain.from_iterable(row.values() for row in fresh.values()))
    return _Log(
        np.repeat(np.fromiter(fresh, np.int32, len(fresh)), sizes),
        np.fromiter(chain.from_iterable(fresh.values()), np.int32, len(values)),
        np.fromiter([value >> MINUTE_BITS for value in values], np.int64, len(values)),
        np.fromiter([value & MINUTE_MASK for value in values], np.uint16, len(values)),
    )


def _once(log: _Log) -> _Log:
    """Sorted by (user, movie), each pair once: `join` over columns."""
    keys = log.user.astype(np.int64) << _MOVIE_BITS | log.movie
    order = np.argsort(keys)
    keys = keys[order]
    new = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=new[1:])
    if new.all():
        return _Log(*(column[order] for column in log))
    first = np.flatnonzero(new)
    keys = keys[first]
    return _Log(
        (keys >> _MOVIE_BITS).astype(np.int32),
        keys.astype(np.int32),
        np.maximum.reduceat(log.standing[order], first),
        np.maximum.reduceat(log.minute[order], first),
    )


def _merged(rows: _Rows, log: _Log) -> _Rows:
    """`join` of a block's rows and of a log of the same block that has each pair once, sorted. New arrays."""
    old, new = _row_keys(rows), _keys(log)
    at = np.searchsorted(old, new)
    seen = np.zeros(len(new), np.bool_)
    inside = at < len(old)
    seen[inside] = old[at[inside]] == new[inside]
    standing, minute = rows.standing.copy(), rows.minute.copy()
    both = at[seen]
    standing[both] = np.maximum(standing[both], log.standing[seen])
    minute[both] = np.maximum(minute[both], log.minute[seen])
    unseen = ~seen
    if not unseen.any():
        return _Rows(rows.bounds, rows.movie, standing, minute)
    place = at[unseen]
    place += np.arange(len(place))
    is_old = np.ones(len(old) + len(place), np.bool_)
    is_old[place] = False
    columns = []
    for mine, theirs in ((rows.movie, log.movie), (standing, log.standing), (minute, log.minute)):
        column = np.empty(len(is_old), mine.dtype)
        column[is_old] = mine
        column[place] = theirs[unseen]
        columns.append(column)
    bounds = rows.bounds.copy()
    bounds[1:] += np.cumsum(np.bincount(log.user[unseen] & (BLOCK - 1), minlength=BLOCK)).astype(np.int32)
    return _Rows(bounds, *columns)
