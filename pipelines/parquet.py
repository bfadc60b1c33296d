"""One file of the archive: written whole or not at all, read back, and found damaged where it is.

A file is written aside, synced and renamed, and never changes afterwards. It says of itself, as Parquet's key-value metadata,
which offsets it covers: `topic`, `partition`, `first`, `last`, `committed_until` (where the topic ended when it was read) and
`refused` (JSON, {reason: messages}). Pages carry checksums.
"""

import errno
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from models.errors import BadArtifact
from pipelines import columns

GROUP_ROWS, GROUP_BYTES = 131_072, 32 << 20  # of a row group: what is held in memory until it is written
FILE_ROWS, FILE_BYTES = 1_000_000, 256 << 20  # of a file, from which on the next one begins; bytes before compression


class Damaged(BadArtifact):
    """A file whose content is wrong. Set aside, it is a hole: the next archiving reads its offsets again, or records a gap."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"{path}: is damaged ({why}): without it, the next archiving reads its offsets again, or records a gap"
        )
        self.path, self.why = path, why


class Writing:
    """A file in the making: readers see it under its name and whole, or not at all. Leaving the `with` early drops it."""

    def __init__(self, folder: Path, topic: str, partition: int, first: int) -> None:
        self._folder, self._topic, self._partition, self._first = folder, topic, partition, first
        self._schema = columns.layout(topic).schema
        self._aside = folder / f".{first}.partial"
        self._waiting: list[pa.RecordBatch] = []
        self._n_waiting = self._bytes_waiting = 0
        self._rows = self._bytes = 0
        self._refused: Counter[str] = Counter()

    def __enter__(self) -> "Writing":
        with _named_errors(self._aside):
            if not self._folder.is_dir():
                self._folder.mkdir(parents=True)
                sync(self._folder.parent)
            self._file = self._aside.open("wb")
            self._parquet = pq.ParquetWriter(
                self._file,
                self._schema,
                compression="zstd",
                write_page_checksum=True,
                use_dictionary=_repeats(self._schema),
            )
        return self

    def __exit__(self, *_: object) -> None:
        if not self._file.closed:
            with suppress(OSError):  # a full disk has been told of already
                self._parquet.close()
            with suppress(OSError):
                self._file.close()
            self._aside.unlink(missing_ok=True)

    @property
    def is_full(self) -> bool:
        return self._rows + self._n_waiting >= FILE_ROWS or self._bytes + self._bytes_waiting >= FILE_BYTES

    def add(self, rows: pa.RecordBatch | None, refused: Mapping[str, int]) -> None:
        """Rows in the order of their offsets, and how many messages were refused, by reason. OSError (a full disk)."""
        self._refused.update(refused)
        if rows is not None and rows.num_rows:
            self._waiting.append(rows)
            self._n_waiting += rows.num_rows
            self._bytes_waiting += rows.nbytes
        if self._n_waiting >= GROUP_ROWS or self._bytes_waiting >= GROUP_BYTES:
            self._write()

    def finish(self, last: int, committed_until: int) -> Path:
        """The file, whole and under its name: it covers every offset from `first` to `last`. OSError (a full disk)."""
        said = {
            "topic": self._topic,
            "partition": str(self._partition),
            "first": str(self._first),
            "last": str(last),
            "committed_until": str(committed_until),
            "refused": json.dumps(dict(sorted(self._refused.items()))),
        }
        path = self._folder / f"{self._first}-{last}.parquet"
        self._write()
        with _named_errors(self._aside):
            self._parquet.add_key_value_metadata(said)
            self._parquet.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._aside.replace(path)
            sync(path.parent)
        return path

    def _write(self) -> None:
        if not self._waiting:
            return
        rows = pa.Table.from_batches(self._waiting, self._schema)
        self._rows += self._n_waiting
        self._bytes += self._bytes_waiting
        self._waiting, self._n_waiting, self._bytes_waiting = [], 0, 0
        with _named_errors(self._aside):
            self._parquet.write_table(rows, row_group_size=GROUP_ROWS)


def opened(path: Path, dictionaries: Sequence[str] = ()) -> pq.ParquetFile:
    """A file whose footer was read. BadArtifact where it cannot be; FileNotFoundError."""
    try:
        return pq.ParquetFile(path, page_checksum_verification=True, read_dictionary=list(dictionaries))
    except (pa.ArrowInvalid, OSError) as error:
        if isinstance(error, FileNotFoundError):
            raise
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> BadArtifact:
    """What to tell of a file that cannot be read: Damaged, unless it is memory or a limit of the process that was too small."""
    why = str(error).splitlines()[0]
    if isinstance(error, MemoryError) or getattr(error, "errno", None) not in (None, errno.EIO):
        return BadArtifact(f"{path}: cannot be read: {why}")
    return Damaged(path, why)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever is wrong with a file's pages is told with its name. BadArtifact, see `damaged`."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


def described(path: Path, file: pq.ParquetFile) -> dict[str, Any]:
    """What a file says of itself: topic, partition, first, last, committed_until, refused {reason: n}. Damaged."""
    said = file.metadata.metadata or {}
    try:
        return {
            "topic": said[b"topic"].decode(),
            **{name: int(said[name.encode()]) for name in ("partition", "first", "last", "committed_until")},
            "refused": {str(reason): int(n) for reason, n in json.loads(said[b"refused"]).items()},
        }
    except (KeyError, ValueError, AttributeError, TypeError) as error:
        raise Damaged(path, "it does not say which offsets it holds: it is none of the archive's files") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """The file whole or not at all."""
    aside = path.with_name(f".{path.name}.partial")
    with _named_errors(aside):
        try:
            with aside.open("w", encoding="utf-8") as file:
                file.write(json.dumps(content, sort_keys=True) + "\n")
                file.flush()
                os.fsync(file.fileno())
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            raise
        sync(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """What `write_json` wrote. BadArtifact."""
    try:
        said = json.loads(path.read_bytes())
    except ValueError as error:
        raise BadArtifact(f"{path}: is not JSON: {error}") from error
    if not isinstance(said, dict):
        raise BadArtifact(f"{path}: is no JSON object")
    return said


def _repeats(schema: pa.Schema) -> list[str]:
    """Columns whose values come again and again: a dictionary saves space. (It would only be tried in vain on the others.)"""
    return [field.name for field in schema if field.type in (columns.STRING, columns.I32)]


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    """Arrow's OSErrors do not say which file it was."""
    try:
        yield
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def sync(folder: Path) -> None:
    """A rename is only safe once the folder that holds the name is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
