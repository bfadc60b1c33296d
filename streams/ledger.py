"""The folder of the provenance CSV: rows are appended once, torn ends are cut off, full and old files are compressed. Knows no Kafka.

    <date>.csv  <date>.2.csv  …      open, or waiting to be compressed; appended by one process at a time
    <date>.csv.gz                    compressed: whole from the moment it has its name; its CSV counts no more, if it is still there
    .<date>.csv.gz.ids               where in it the row of a request is (models.row_index); only saves searching
    gaps.jsonl                       offsets that will never be rows, and why
    .checkpoint.json                 how far the rows reach, and the size of each file then: a start reads only what came after

**The rows themselves say what is written.** Of each partition they are the records up to some offset, without a hole: a partition's
rows are written in the order of their offsets, and a file is synced before the next one gets a row. So the largest offset in any
file is where to go on, after any kill. The checkpoint only saves reading; it is believed where no file is gone or shorter than
it says, else all files are read.
"""

import csv
import gzip
import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import structlog

from models import provenance
from models.errors import BadArtifact, CanarecError
from models.provenance import HEADER, Part, Place, Row, part
from models.row_index import RowIndex, RowIndexWriter, index_name
from streams.home import write_whole

log = structlog.get_logger()

PART_BYTES = 512 << 20  # some 350,000 rows: a spreadsheet takes a million
REST_S = 3_600.0  # a file of a day that has ended is compressed when nothing has come for so long
SLICE_BYTES = 4 << 20  # compressed at once: rows do not wait longer than for that
MODE = 0o640  # who watched what is not everybody's business

Positions = dict[str, dict[int, int]]  # topic id → partition → the offset after the last row


@dataclass(frozen=True, slots=True)
class Gap:
    """Offsets, `last` inclusive, that the topic had dropped before they were rows. Markers of transactions are counted in."""

    topic: str
    topic_id: str
    partition: int
    first: int
    last: int
    found_at: str


class Changed(CanarecError):
    """Somebody else has written to a file, or has taken it away: what the rows say must be read again."""


class Ledger:
    """The rows of a home. One process at a time has it (`streams.scribe`)."""

    def __init__(self, folder: Path, *, part_bytes: int = PART_BYTES, sync: Callable[[int], None] = os.fsync) -> None:
        self.folder = folder
        self._part_bytes, self._sync = part_bytes, sync
        self._positions: Positions = {}
        self._sizes: dict[str, int] = {}  # of every file that counts
        self._closed: set[str] = set()  # files with another header
        self._saved: dict[str, Any] = {}
        self._torn = True  # nothing is known yet, or an append has failed half-way
        self._compressing: tuple[Part, Generator[None]] | None = None
        self.lost = 0  # offsets in gaps

    # -- how far the rows reach -------------------------------------------------------------------

    def recover(self) -> None:
        """Finds out what the rows are, and cuts off what is none at the end of a file. OSError."""
        self._stop_compressing()
        self.folder.mkdir(parents=True, exist_ok=True)
        for path in self.folder.glob(".*.partial"):
            path.unlink()
        for path in self.folder.glob(".*.csv.gz.ids"):
            if not path.with_name(path.name.removeprefix(".").removesuffix(".ids")).exists():
                path.unlink()  # its file was taken away, or a kill came before it had its name
        for path in [path for path in self.folder.glob("*.csv") if part(path.name)]:
            if path.with_name(path.name + ".gz").exists():
                path.unlink()  # the compressed one has its rows
        positions, known = self._checkpoint()
        sizes: dict[str, int] = {}
        self._closed.clear()
        for path in sorted(path for path in self.folder.iterdir() if part(path.name)):
            if path.suffix == ".gz":
                if known.get(path.name) != path.stat().st_size and not _is_of(path, known.get(path.stem)):
                    _reach(positions, _rows_of(path))
                sizes[path.name] = path.stat().st_size
            else:
                sizes[path.name] = self._read(path, known.get(path.name), positions)
                if sizes[path.name] and _first_line(path) != HEADER:
                    self._closed.add(path.name)
        gaps = self.gaps()
        for gap in gaps:
            _reach(positions, [Place(gap.topic_id, gap.partition, gap.last)])
        self.lost = sum(gap.last - gap.first + 1 for gap in gaps)
        self._positions, self._sizes, self._torn = positions, sizes, False

    def position(self, topic_id: str, partition: int) -> int:
        """The first offset that is neither a row nor in a gap; 0 where nothing of the partition is."""
        return self._positions.get(topic_id, {}).get(partition, 0)

    def gaps(self) -> list[Gap]:
        """All that were recorded. A line that a kill has torn is none."""
        try:
            lines = (self.folder / "gaps.jsonl").read_bytes().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            with suppress(ValueError, TypeError):
                found.append(Gap(**json.loads(line)))
        return found

    def _checkpoint(self) -> tuple[Positions, dict[str, int]]:
        """Positions and sizes of the checkpoint; nothing where there is none to believe."""
        self._saved = {}
        try:
            kept = json.loads((self.folder / ".checkpoint.json").read_bytes())
            sizes = {str(name): int(size) for name, size in kept["sizes"].items()}
            positions = {
                str(topic_id): {int(number): int(after) for number, after in reached.items()}
                for topic_id, reached in kept["positions"].items()
            }
        except FileNotFoundError:
            return {}, {}
        except (ValueError, KeyError, TypeError, AttributeError):
            log.warning("checkpoint is damaged: all rows are read", folder=str(self.folder))
            return {}, {}
        for name, size in sizes.items():
            path = self.folder / name
            if path.suffix == ".gz" or path.with_name(name + ".gz").exists():
                continue  # old days may be taken away
            if not path.exists() or path.stat().st_size < size:
                log.warning("a file is gone or shorter than it was: all rows are read", file=str(path))
                return {}, {}
        self._saved = kept
        return positions, sizes

    def _read(self, path: Path, known: int | None, positions: Positions) -> int:
        """Adds a file's rows from a known size on, cuts off what is none at its end; its size then."""
        with path.open("r+b") as file:
            header = file.readline()
            if not header.endswith(b"\n") and HEADER.startswith(header):
                good = 0  # a file that was being begun
            else:
                names, good = provenance.columns(header), file.tell()
                if not names:
                    return path.stat().st_size  # not ours: neither read nor changed
                good = max(good, known or 0)
                file.seek(good)
                after = good
                for line in file:
                    after += len(line)
                    place = provenance.place(names, line)
                    if place is not None:
                        _reach(positions, [place])
                        good = after
                    elif known is not None:
                        break  # since the checkpoint nobody but a writer that was killed has been here
            end = file.seek(0, os.SEEK_END)
            if end > good:
                log.warning("the end of a file is torn: cut off, to be written again", file=str(path), bytes=end - good)
                file.truncate(good)
                self._sync(file.fileno())
        return good

    # -- writing ----------------------------------------------------------------------------------

    def append(self, rows: Sequence[Row]) -> None:
        """Writes what is not written yet, and syncs it. Of each partition of one topic, in the order of the offsets.

        Errors: OSError, a full disk: some of the rows may be there, none is there in part, none will be there twice: call
        again with the same rows. Changed: begin again at `position`.
        """
        if self._torn:
            before = {row.place[:2]: self.position(*row.place[:2]) for row in rows}
            self.recover()
            if any(self.position(*place) < reached for place, reached in before.items()):
                raise Changed(f"{self.folder}: rows are gone that were there")
        new = [row for row in rows if row.place.offset >= self.position(*row.place[:2])]
        for date, some in _stretches(new):
            self._write(date, some)

    def _write(self, date: str, rows: Sequence[Row]) -> None:
        name = self._open_part(date).name()
        path, size = self.folder / name, self._sizes.get(name, 0)
        content = b"".join(row.line for row in rows)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, MODE)
        try:
            if os.fstat(descriptor).st_size != size:
                self._torn = True
                raise Changed(f"{path}: was changed by somebody else")
            self._torn = True
            try:
                _write_all(descriptor, content if size else HEADER + content)
                self._sync(descriptor)
            except OSError:
                with suppress(OSError):  # `recover` sees what is left
                    os.ftruncate(descriptor, size)
                raise
            self._sizes[name] = os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)
        if not size:
            sync_folder(self.folder)
        _reach(self._positions, (row.place for row in rows))
        self._torn = False

    def _open_part(self, date: str) -> Part:
        """The day's newest file, or the next one: where that is full, compressed or being so, or has another header."""
        newest = max((found for name in self._sizes if (found := part(name)) and found.date == date), default=None)
        if newest is None:
            return Part(date, 1)
        busy = self._compressing is not None and self._compressing[0] == newest
        size = self._sizes.get(newest.name())
        if busy or size is None or size >= self._part_bytes or newest.name() in self._closed:
            return Part(date, newest.number + 1)
        return newest

    def passed(self, place: Place) -> None:
        """No row will come below this offset: it was a marker's, or of what is no record."""
        reached = self._positions.setdefault(place.topic_id, {})
        reached[place.partition] = max(place.offset, reached.get(place.partition, 0))

    def lose(self, gap: Gap) -> None:
        """Records offsets that are gone, before anything behind them is written."""
        path = self.folder / "gaps.jsonl"
        torn = path.exists() and not path.read_bytes().endswith(b"\n")
        with path.open("ab") as file:
            file.write(b"\n" * torn + json.dumps(asdict(gap)).encode() + b"\n")
            file.flush()
            self._sync(file.fileno())
        self.lost += gap.last - gap.first + 1
        self.passed(Place(gap.topic_id, gap.partition, gap.last + 1))

    def save(self) -> None:
        """Writes the checkpoint, if anything has changed. OSError: then the next start reads more."""
        if self._torn:
            return
        now = {
            "sizes": dict(self._sizes),
            "positions": {
                life: {str(number): after for number, after in reached.items()}
                for life, reached in self._positions.items()
            },
        }
        if now != self._saved:
            write_whole(self.folder / ".checkpoint.json", json.dumps(now).encode())
            self._saved = now

    # -- erasure ----------------------------------------------------------------------------------

    def erase(self, user_id: str) -> list[str]:
        """Rewrites every file that has rows of this user, without them; the ids of the requests. OSError (a full disk): call again.

        How far the rows reach stays as it was.
        """
        self._stop_compressing()
        if self._torn:
            self.recover()
        gone: list[str] = []
        for name in sorted(self._sizes):
            path = self.folder / name
            if path.exists() and (found := _without(path, user_id, self._sync)):
                gone += found
                self._sizes[name] = path.stat().st_size
        if gone:
            sync_folder(self.folder)
            self.save()
        return gone

    # -- old files --------------------------------------------------------------------------------

    def compress(self, now_s: float, today: str) -> bool:
        """Compresses a slice of a full file or of one of a day before `today`; False where there is nothing to do. OSError."""
        if self._torn:
            return False
        if self._compressing is None:
            for found in sorted(found for name in self._sizes if not name.endswith(".gz") and (found := part(name))):
                path = self.folder / found.name()
                ended = found.date < today or self._sizes[found.name()] >= self._part_bytes
                if (
                    ended
                    and path.exists()
                    and now_s - path.stat().st_mtime > REST_S
                    and provenance.columns(_first_line(path))
                ):
                    self._compressing = found, self._compressed(path)
                    break
            else:
                return False
        try:
            next(self._compressing[1])
        except StopIteration:
            self._compressing = None
        except OSError:
            self._stop_compressing()
            raise
        return True

    def _compressed(self, path: Path) -> Generator[None]:
        aside, whole = path.with_name(f".{path.name}.gz.partial"), path.with_name(path.name + ".gz")
        try:
            with path.open("rb") as file, aside.open("wb") as packed:
                os.fchmod(packed.fileno(), os.fstat(file.fileno()).st_mode & 0o777)  # before a row is in it
                index = RowIndexWriter()
                while some := file.read(SLICE_BYTES) + file.readline():
                    start = packed.tell()
                    packed.write(gzip.compress(some, 6, mtime=0))
                    index.add(start, some.splitlines(keepends=True))
                    yield
                size = packed.tell()
                packed.flush()
                self._sync(packed.fileno())
            write_whole(whole.with_name(index_name(whole.name)), index.dump(size))
            aside.replace(whole)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
        sync_folder(self.folder)
        self._sizes[whole.name] = whole.stat().st_size
        del self._sizes[path.name]
        path.unlink(missing_ok=True)
        self.save()

    def _stop_compressing(self) -> None:
        if self._compressing is not None:
            self._compressing[1].close()
            self._compressing = None


def _without(path: Path, user_id: str, sync: Callable[[int], None]) -> list[str]:
    """Replaces a file by one without the user's rows; their requests' ids, none where nothing had to be changed."""
    packed = path.suffix == ".gz"
    aside, gone = path.with_name(f".{path.name}.partial"), list[str]()
    with gzip.open(path, "rb") if packed else path.open("rb") as file:
        header = file.readline()
        names = provenance.columns(header)
        if not names:
            return []  # not ours
        whose, which = names.index("user_id"), names.index("request_id")
        mark = provenance.cell(user_id).replace('"', '""').encode()  # as it stands in a row, quoted or not

        def is_other(line: bytes) -> bool:
            if mark not in line:
                return True
            cells = next(csv.reader([line.decode()]))
            if provenance.text(cells[whose]) != user_id:
                return True
            gone.append(provenance.text(cells[which]) or "")
            return False

        try:
            with aside.open("wb") as out:
                os.fchmod(out.fileno(), path.stat().st_mode & 0o777)  # before a row is in it
                index, some = RowIndexWriter(), header
                while True:
                    lines = some.splitlines(keepends=True)
                    kept = [line for line in lines if is_other(line)]
                    if packed and kept:
                        start = out.tell()
                        out.write(gzip.compress(b"".join(kept), 6, mtime=0))
                        index.add(start, kept)
                    elif kept:
                        out.write(b"".join(kept))
                    if not (some := file.read(SLICE_BYTES) + file.readline()):
                        break
                size = out.tell()
                out.flush()
                sync(out.fileno())
            if gone:
                if packed:
                    write_whole(path.with_name(index_name(path.name)), index.dump(size))
                aside.replace(path)
        finally:
            aside.unlink(missing_ok=True)
    return gone


def sync_folder(folder: Path) -> None:
    """What was created, renamed or removed in it survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _stretches(rows: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Rows by day, as few stretches as the order within each partition allows."""
    waiting: dict[tuple[str, int], deque[Row]] = {}
    for row in rows:
        waiting.setdefault(row.place[:2], deque()).append(row)
    while any(waiting.values()):
        date = min(queue[0].date for queue in waiting.values() if queue)
        taken = []
        for queue in waiting.values():
            while queue and queue[0].date == date:
                taken.append(queue.popleft())
        yield date, taken


def _reach(positions: Positions, places: Iterable[Place]) -> None:
    for topic_id, partition, offset in places:
        reached = positions.setdefault(topic_id, {})
        if offset >= reached.get(partition, 0):
            reached[partition] = offset + 1


def _write_all(descriptor: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        left = left[os.write(descriptor, left) :]


def _rows_of(path: Path) -> Iterator[Place]:
    """Of a compressed file."""
    try:
        with gzip.open(path, "rb") as file:
            names = provenance.columns(file.readline())
            for line in file if names else ():
                if (place := provenance.place(names, line)) is not None:
                    yield place
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        log.error("a compressed file is damaged: rows of it may be written again", file=str(path), error=str(error))


def _is_of(path: Path, size: int | None) -> bool:
    """Whether a compressed file is of a CSV of this size."""
    try:
        index = RowIndex.load(path.with_name(index_name(path.name)).read_bytes(), path.stat().st_size)
    except (FileNotFoundError, BadArtifact):
        return False
    return index is not None and index.unpacked == size


def _first_line(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.readline()
