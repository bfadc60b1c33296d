"""The archive's files: `<topic>/<partition>/<first>-<last>.parquet`, whose ranges tile the offsets of a partition. Knows no Kafka.

Several small files become one that covers the ranges of all; until they are gone, whatever lies within another's range does not
count, so nothing counts twice. What can be had no more is a tile, too: `_<first>-<last>.gap.json` says why. Names that begin with
`_` or `.` are no part of the data: pandas, Spark and a glob for `*.parquet` pass them by.
"""

import fcntl
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import BadArtifact, CanarecError
from pipelines.parquet import (
    FILE_BYTES,
    FILE_ROWS,
    GROUP_ROWS,
    Damaged,
    Writing,
    described,
    opened,
    read_json,
    reading,
    sync,
    write_json,
)

MANY = 8  # small files beside each other become one
_FILE = re.compile(r"(\d+)-(\d+)\.parquet", re.ASCII)
_GAP = re.compile(r"_(\d+)-(\d+)\.gap\.json", re.ASCII)
_DAMAGED = re.compile(r"_(\d+)-(\d+)\.parquet\.damaged", re.ASCII)
_TOPIC = "_topic.json"


@dataclass(frozen=True, slots=True, order=True)
class Tile:
    """A file and its offsets, `last` inclusive."""

    first: int
    last: int
    path: Path


@dataclass(frozen=True, slots=True, order=True)
class Gap:
    """Offsets, `last` inclusive, that the archive never got, or has lost, and that Kafka no longer has."""

    topic: str
    partition: int
    first: int
    last: int
    reason: Literal["retention", "damaged"]

    def __str__(self) -> str:
        why = {
            "retention": "the topic's retention dropped them before they were archived",
            "damaged": "their file was damaged, and the topic no longer has them",
        }[self.reason]
        return f"{self.topic}/{self.partition}: offsets {self.first} to {self.last} are missing: {why}"


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition's folder in the archive. Needs not exist."""

    archive: Path
    topic: str
    number: int

    @property
    def folder(self) -> Path:
        return self.archive / self.topic / str(self.number)

    def tiles(self) -> list[Tile]:
        """The files that count, in order. BadArtifact where two have offsets in common and neither covers the other."""
        found = sorted(
            (Tile(int(named[1]), int(named[2]), path) for path, named in _named(self.folder, _FILE)),
            key=lambda tile: (tile.first, -tile.last),
        )
        counted: list[Tile] = []
        for tile in found:
            if counted and tile.first <= counted[-1].last:
                if tile.last > counted[-1].last:
                    raise BadArtifact(f"{tile.path}: has offsets of {counted[-1].path.name}, too: one of them is wrong")
                continue
            counted.append(tile)
        return counted

    def gaps(self) -> list[Gap]:
        """The gaps that were recorded, in order."""
        found = []
        for path, _ in _named(self.folder, _GAP):
            said = read_json(path)
            try:
                found.append(Gap(**said))
            except TypeError:
                raise BadArtifact(f"{path}: is not the record of a gap") from None
        return sorted(found)

    def hole(self, end: int) -> tuple[int, int] | None:
        """The first offsets below `end` that neither a file nor a gap covers, as (first, next)."""
        return first_hole(self._ranges(), end)

    def span(self) -> tuple[int, int]:
        """(first, next) of what the files hold; (0, 0) where there is nothing. Gaps between are in `gaps`."""
        tiles = self.tiles()
        after = max((last + 1 for _, last in self._ranges()), default=0)
        return (tiles[0].first if tiles else after, after)

    def lose(self, first: int, after: int) -> Gap:
        """The gap of offsets that can be had no more: damaged where a file of any of them was, else dropped by retention."""
        aside = _named(self.folder, _DAMAGED)
        was_here = any(int(named[1]) < after and int(named[2]) >= first for _, named in aside)
        return Gap(self.topic, self.number, first, after - 1, "damaged" if was_here else "retention")

    def record(self, gap: Gap) -> None:
        """Keeps a gap, so that it is not looked for again and nobody takes the archive for complete."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"_{gap.first}-{gap.last}.gap.json", asdict(gap))

    def writing(self, first: int) -> Writing:
        """A file in the making, whose first offset this is."""
        return Writing(self.folder, self.topic, self.number, first)

    def tidy(self) -> list[Path]:
        """Removes what a killed writer left, sets damaged files aside as `_<name>.damaged`; these."""
        if not self.folder.is_dir():
            return []
        for path in self.folder.glob(".*.partial"):
            path.unlink()
        damaged = []
        for path, named in _named(self.folder, _FILE):
            if not self._is_whole(path, int(named[1]), int(named[2])):
                damaged.append(path.replace(aside(path)))
        counted = {tile.path for tile in self.tiles()}
        for path, _ in _named(self.folder, _FILE):
            if path not in counted:
                path.unlink()  # its rows are in the file that covers it
        sync(self.folder)
        return damaged

    def compact(self, most_rows: int = FILE_ROWS) -> int:
        """Makes one file of small ones that lie beside each other, as soon as there are MANY; how many were replaced.

        Errors: Damaged, and that file is set aside. OSError (a full disk).
        """
        replaced = 0
        for group in _groups(self.tiles(), most_rows):
            with self.writing(group[0].first) as writing:
                until = 0
                for tile in group:
                    try:
                        for rows in _rows(tile.path):
                            writing.add(rows, {})
                    except Damaged as error:
                        set_aside(error)
                        raise
                    with opened(tile.path) as file:
                        said = described(tile.path, file)
                    writing.add(None, said["refused"])
                    until = max(until, said["committed_until"])
                writing.finish(group[-1].last, until)
            for tile in group:  # from the rename on they count no more
                tile.path.unlink()
            sync(self.folder)
            replaced += len(group)
        return replaced

    def _ranges(self) -> list[tuple[int, int]]:
        tiles, gaps = self.tiles(), self.gaps()
        return [(tile.first, tile.last) for tile in tiles] + [(gap.first, gap.last) for gap in gaps]

    def _is_whole(self, path: Path, first: int, last: int) -> bool:
        try:
            with opened(path) as file:
                said = described(path, file)
        except Damaged:
            return False
        return (said["topic"], said["partition"], said["first"], said["last"]) == (
            self.topic,
            self.number,
            first,
            last,
        )


def aside(path: Path) -> Path:
    """What a damaged file is called: no part of the data any more."""
    return path.with_name(f"_{path.name}.damaged")


def set_aside(error: Damaged) -> BadArtifact:
    """Takes a damaged file out of the archive, so that the next run fills the hole; what to tell of it. Under `alone`."""
    with suppress(FileNotFoundError):  # somebody was quicker
        error.path.replace(aside(error.path))
        sync(error.path.parent)
    return BadArtifact(
        f"{error.path}: is damaged ({error.why}), and is set aside: the next archiving reads its offsets again, or records a gap"
    )


def first_hole(ranges: Iterable[tuple[int, int]], end: int) -> tuple[int, int] | None:
    """The first offsets below `end` that no range (first and last) has, as (first, next).

    >>> first_hole([(0, 4), (8, 9)], 12), first_hole([(0, 4)], 12), first_hole([(0, 11)], 12)
    ((5, 8), (5, 12), None)
    """
    at = 0
    for first, last in sorted(ranges):
        if at < min(first, end):
            return at, min(first, end)
        at = max(at, last + 1)
    return (at, end) if at < end else None


def partitions(archive: Path, topic: str) -> list[Partition]:
    """Every partition that the topic had when it was archived last, and that anything is kept of."""
    folder = archive / topic
    numbers = {int(path.name) for path in folder.glob("[0-9]*") if path.name.isdecimal() and path.is_dir()}
    numbers.update(range((identity(archive, topic) or {}).get("partitions", 0)))
    return [Partition(archive, topic, number) for number in sorted(numbers)]


def identity(archive: Path, topic: str) -> dict[str, Any] | None:
    """{topic_id, partitions} of the Kafka topic that the files were read from; None where nothing was archived. BadArtifact."""
    path = archive / topic / _TOPIC
    return read_json(path) if path.exists() else None


def identify(archive: Path, topic: str, topic_id: str, n_partitions: int) -> Path | None:
    """Makes the topic's files those of this Kafka topic. Where they are another one's, that is kept in `.lives`: its folder then.

    A topic that was deleted and made again begins anew at offset 0: its offsets mean other messages. The two lives never mix, and
    none is thrown away: when the other one is back (it was another cluster's), so are its files.
    """
    known = identity(archive, topic)
    kept = None
    if known is not None and known["topic_id"] != topic_id:
        kept = _life(archive, topic, known["topic_id"])
        kept.parent.mkdir(parents=True, exist_ok=True)
        (archive / topic).rename(kept)
        sync(archive)
        known = None
    if known is None and not (archive / topic).exists() and _life(archive, topic, topic_id).is_dir():
        _life(archive, topic, topic_id).rename(archive / topic)
        sync(archive)
    said = {"topic_id": topic_id, "partitions": n_partitions}
    if identity(archive, topic) != said:
        (archive / topic).mkdir(parents=True, exist_ok=True)
        write_json(archive / topic / _TOPIC, said)
    return kept


def _life(archive: Path, topic: str, topic_id: str) -> Path:
    return archive / ".lives" / topic / topic_id


@contextmanager
def alone(archive: Path) -> Iterator[None]:
    """Nobody else changes the archive meanwhile. CanarecError where somebody does; the lock ends with its process."""
    archive.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(archive / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CanarecError(f"{archive}: another process is archiving: wait until it has ended") from None
        yield
    finally:
        os.close(descriptor)


def _groups(tiles: Sequence[Tile], most_rows: int) -> list[list[Tile]]:
    """Runs of small files, each run no larger than a file may be; those of MANY, or that nothing can join any more."""
    groups: list[list[Tile]] = []
    run: list[Tile] = []
    rows = size = 0
    for tile in tiles:
        with opened(tile.path) as file:
            n, n_bytes = file.metadata.num_rows, _size(file)
        beside = not run or tile.first == run[-1].last + 1
        if run and (not beside or rows + n > most_rows or size + n_bytes > FILE_BYTES):
            groups.append(run)
            run, rows, size = [], 0, 0
        run.append(tile)
        rows, size = rows + n, size + n_bytes
    done = [group for group in groups if len(group) > 1]
    return [*done, run] if len(run) >= MANY else done


def _rows(path: Path) -> Iterator[pa.RecordBatch]:
    """A file's rows, some at a time. Errors: Damaged."""
    with opened(path) as file, reading(path):
        yield from file.iter_batches(GROUP_ROWS)


def _size(file: pq.ParquetFile) -> int:
    return sum(file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups))


def _named(folder: Path, pattern: re.Pattern[str]) -> list[tuple[Path, re.Match[str]]]:
    if not folder.is_dir():
        return []
    return [(path, named) for path in folder.iterdir() if (named := pattern.fullmatch(path.name))]
