"""The provenance CSV as it is read back, also while a worker writes it. What its files are: `models.provenance`, `streams.ledger`."""

import csv
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from models import provenance
from models.errors import BadArtifact, UsageError

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)


def files(folder: Path, date: str | None = None) -> list[Path]:
    """The files that count, of one day or of all, by day and part. Of a file and its compressed form, the compressed one.

    `date` is YYYY-MM-DD. Errors: UsageError for another text.
    """
    if date is not None and not _DATE.fullmatch(date):
        raise UsageError(f"{date!r} is not a day: YYYY-MM-DD")
    found: dict[provenance.Part, Path] = {}
    for path in folder.glob("*.csv*"):
        part = provenance.part(path.name)
        if part is not None and date in (None, part.date) and (part not in found or path.suffix == ".gz"):
            found[part] = path
    return [found[part] for part in sorted(found)]


def lines(path: Path) -> Iterator[str]:
    """A file's lines, its header first; what is being written at its end is none yet. BadArtifact for a damaged one."""
    try:
        file: IO[bytes] = _opened(path)
    except FileNotFoundError:  # compressed since it was listed
        file = _opened(path.with_name(path.name + ".gz"))
    with file:
        try:
            for line in file:
                if line.endswith(b"\n"):
                    yield line.decode()
        except (EOFError, OSError, zlib.error, UnicodeDecodeError) as error:
            raise BadArtifact(f"{path}: is damaged: {error}") from None


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix == ".gz" else path.open("rb")


def rows(folder: Path, date: str | None = None) -> Iterator[dict[str, Any]]:
    """Every row, of one day or of all: text as it was, numbers, lists and objects. A column that a file does not have yet is missing.

    Within a partition of the topic, by offset in each file; between partitions in no order that means anything.
    Errors: UsageError for a `date` that is none; BadArtifact for a damaged file.
    """
    for path in files(folder, date):
        found = lines(path)
        names: list[str] = next(csv.reader([next(found, "")]), [])
        if not set(provenance.PLACE) <= set(names):
            continue  # not one of ours
        for cells in csv.reader(found):
            try:
                yield provenance.record(names, cells)
            except ValueError as error:
                raise BadArtifact(f"{path}: a row is damaged: {error}") from None
