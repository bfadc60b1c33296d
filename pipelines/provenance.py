"""Provenance records: the one of a request, or some of all, from the CSV; what the CSV does not have yet, from the topic.

Bytes are searched, newest file first; only what was found or chosen is read as a record, which then is as the topic has it. Written
are these files elsewhere (`streams.ledger`).
"""

import csv
import gzip
import heapq
import io
import json
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec
import structlog
from confluent_kafka import TopicCollection, TopicPartition

from models.config import Applied
from models.errors import BadArtifact
from models.provenance import PLACE, cell, record, text
from models.row_index import RowIndex, index_name
from models.wire import UNREADABLE
from pipelines import provenance_csv
from streams.clients import Cluster, messages, partitions, watermarks
from streams.messages import offset, partition

log = structlog.get_logger()

TOPIC_MOST = 1_000_000  # records of the topic that a search looks at
TOPIC_FIRST, TOPIC_STEP = 2_000, 100_000
AT_ONCE = 2  # files: unpacking is what takes the time, and leaves the interpreter free
_BLOCK = 1 << 20
_LATE = timedelta(minutes=10)  # a record stands in the topic a little after the time that it says

Record = Mapping[str, Any]  # as the topic has it
Progress = Callable[[int, int], None]
Reached = Mapping[int, int]  # partition → the offset of the first record that the CSV lacks
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A record, and where it was."""

    record: Record
    where: str


@dataclass(frozen=True, slots=True)
class Sample:
    """Some records, chosen by the seed alone, of how many."""

    records: list[Record]
    of: int


# -- the CSV ---------------------------------------------------------------------------------------


def find(request_id: str, folder: Path, day: date | None = None) -> Found | None:
    """The record of a request, or None. Errors: BadArtifact (a damaged file)."""
    mark, stop = _start_of(request_id), threading.Event()
    with ThreadPoolExecutor(AT_ONCE, "search") as pool:
        try:
            for path, row in pool.map(lambda path: (path, _searched(path, mark, stop)), _files(folder, day)):
                if row is not None:
                    return Found(row, path.name)
        finally:
            stop.set()
    return None


def _files(folder: Path, day: date | None) -> list[Path]:
    """Newest first."""
    return provenance_csv.files(folder, day.isoformat() if day else None)[::-1]


def _start_of(request_id: str) -> bytes:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow([cell(request_id), None])
    return line.getvalue().rstrip("\n").encode()


def _searched(path: Path, mark: bytes, stop: threading.Event) -> Record | None:
    for header, block in _rows_where(path, mark):
        if stop.is_set():
            return None
        at = block.find(b"\n" + mark) + 1
        if at or block.startswith(mark):
            return _row(header, block[at : block.index(b"\n", at)])
    return None


def _rows_where(path: Path, mark: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows among which the one that begins so is, if the file has it: all, or those that its index names."""
    index = None
    if path.suffix == ".gz":
        beside = path.with_name(index_name(path.name))
        try:
            index = RowIndex.load(beside.read_bytes(), path.stat().st_size)
        except FileNotFoundError:
            pass  # of an earlier version, or taken away
        except BadArtifact as error:
            log.warning("the index is damaged: all is searched", file=str(beside), error=str(error))
    if index is None:
        yield from _rows(path)
        return
    with path.open("rb") as file:
        try:
            header = zlib.decompressobj(31).decompress(file.read(_BLOCK), _BLOCK).partition(b"\n")[0]
            for start, end in index.spans(mark):
                file.seek(start)
                lines = gzip.decompress(file.read(end - start))
                yield header, lines if start else lines.partition(b"\n")[2]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise BadArtifact(f"{path}: is damaged: {error}") from error


def _rows(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """A file's header, with some whole lines each time. A last line without its end is still being written."""
    header = rest = b""
    for some in _bytes(path):
        end = some.rfind(b"\n") + 1
        if not end:
            rest += some
            continue
        lines, rest = rest + some[:end], some[end:]
        if not header:
            header, _, lines = lines.partition(b"\n")
            if not all(name.encode() in header for name in PLACE):
                return  # somebody else's
        yield header, lines


def _bytes(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb", buffering=0)
    except FileNotFoundError:  # compressed just now
        path = path.with_name(path.name + ".gz")
        file = path.open("rb", buffering=0)
    with file:
        if path.suffix != ".gz":
            while some := file.read(_BLOCK):
                yield some
            return
        unpacking, whole = zlib.decompressobj(31), True
        try:
            while packed := file.read(_BLOCK):
                while packed:
                    yield unpacking.decompress(packed)
                    packed, whole = unpacking.unused_data, unpacking.eof
                    if whole:
                        unpacking = zlib.decompressobj(31)
        except zlib.error as error:
            raise BadArtifact(f"{path}: is damaged: {error}") from error
        if not whole:
            raise BadArtifact(f"{path}: is damaged: its end is missing")


def _row(header: bytes, line: bytes) -> Record:
    """A line as the record that it was made of."""
    try:
        (names,), (cells,) = csv.reader([header.decode()]), csv.reader([line.decode()], strict=True)
        row = record(names, cells)
        row["recommendations"], row["served_at"] = row.pop("predictions"), row.pop("predicted_at")
        row["source"] = {name: row.pop(f"source_{name}") for name in ("topic", "partition", "offset")}
    except (ValueError, KeyError, csv.Error, msgspec.DecodeError) as error:
        raise BadArtifact(f"the provenance CSV has a row that is none: {line[:80]!r} ({error})") from error
    return row


# -- the topic -------------------------------------------------------------------------------------


def reached(cluster: Cluster, applied: Applied, folder: Path) -> Reached:
    """How far the CSV goes, at least; nothing where it is of another topic, or there is none."""
    topic, admin = applied.topic("provenance"), cluster.admin()
    described = admin.describe_topics(TopicCollection([topic]))[topic].result(30)
    try:
        positions = json.loads((folder / ".checkpoint.json").read_bytes())["positions"]
        return {int(number): int(after) for number, after in positions.get(str(described.topic_id), {}).items()}
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def find_in_topic(
    request_id: str, cluster: Cluster, applied: Applied, known: Reached, day: date | None = None
) -> Found | None:
    """The record of a request among those that the CSV lacks, newest first, TOPIC_MOST at most; or None."""
    topic = applied.topic("provenance")
    left, mark = _ranges(cluster, topic, known, day), msgspec.json.encode(request_id)
    step, looked = TOPIC_FIRST, 0
    while left and looked < TOPIC_MOST:
        portion = {number: (max(first, after - step), after) for number, (first, after) in left.items()}
        for some in messages(cluster, {(topic, number): span for number, span in portion.items()}):
            looked += len(some)
            for message in some:
                value = message.value() or b""
                if mark in value and _named(value) == request_id:
                    return Found(json.loads(value), f"{topic}/{partition(message)}, offset {offset(message)}")
        left = {n: (left[n][0], first) for n, (first, _) in portion.items() if left[n][0] < first}
        step = min(4 * step, TOPIC_STEP)
    return None


def _ranges(cluster: Cluster, topic: str, known: Reached, day: date | None) -> dict[int, Span]:
    consumer = cluster.consumer()
    try:
        ranges = {
            number: (max(low, known.get(number, 0)), end)
            for number in partitions(consumer, topic)
            for low, end in [watermarks(consumer, topic, number)]
        }
        if day is not None:
            begin = datetime(day.year, day.month, day.day, tzinfo=UTC)
            for place, moment in enumerate((begin - _LATE, begin + timedelta(days=1) + _LATE)):
                at_ms = max(0, round(moment.timestamp() * 1000))
                asked = [TopicPartition(topic, number, at_ms) for number in ranges]
                for found in consumer.offsets_for_times(asked, timeout=30):
                    span = list(ranges[found.partition])
                    at = found.offset if found.offset >= 0 else span[1]
                    span[place] = max(span[0], at) if place == 0 else min(span[1], at)
                    ranges[found.partition] = (span[0], span[1])
        return {number: (first, after) for number, (first, after) in ranges.items() if first < after}
    finally:
        consumer.close()


class _About(msgspec.Struct):
    request_id: str | None = None


_about = msgspec.json.Decoder(_About).decode


def _named(value: bytes) -> str | None:
    try:
        return _about(value).request_id
    except UNREADABLE:
        return None  # what others write there is not ours to judge


# -- some of all -----------------------------------------------------------------------------------


def sample(
    most: int,
    seed: int,
    folder: Path,
    cluster: Cluster | None,
    applied: Applied,
    day: date | None = None,
    *,
    progress: Progress = lambda done, total: None,
) -> Sample:
    """Records chosen by the seed and their ids alone: the same ones wherever they are read from and in which order. By id.

    cluster: for what the CSV lacks; None: the CSV alone. `progress`: bytes of files and offsets of the topic.
    """
    chosen, topic = _Chosen(most, seed), applied.topic("provenance")
    ranges: dict[tuple[str, int], Span] = {}
    if cluster is not None:
        found = _ranges(cluster, topic, reached(cluster, applied, folder), day)
        ranges = {(topic, number): span for number, span in found.items()}
    sizes = {path: path.stat().st_size for path in _files(folder, day) if path.exists()}
    done, total = 0, sum(sizes.values()) + sum(after - first for first, after in ranges.values())
    fresh: set[str] = set()  # the CSV may have got some of them meanwhile
    for some in messages(cluster, ranges) if cluster is not None else ():
        for message in some:
            if (request_id := _named(value := message.value() or b"")) is not None:
                chosen.add(request_id, b"", value)
                fresh.add(request_id)
        done += len(some)
        progress(min(done, total), total)
    for path, size in sizes.items():
        for header, lines in _rows(path):
            for line in lines.split(b"\n")[:-1]:
                if (request_id := _id_in(line)) not in fresh:
                    chosen.add(request_id, header, line)
        done += size
        progress(min(done, total), total)
    return chosen.sample()


def _id_in(line: bytes) -> str:
    """The first cell of a line."""
    first = line[: line.index(b",")]
    if first[:1] not in (b'"', b"'") and b"\\" not in first:
        return first.decode()
    return text(next(csv.reader([line.decode()]))[0]) or ""


class _Chosen:
    """The records whose ids have the smallest digests: each set of that size is as likely as any other."""

    def __init__(self, most: int, seed: int) -> None:
        self._most, self._key = most, seed.to_bytes(8, "big", signed=True)
        self._heap: list[tuple[int, str, bytes, bytes]] = []
        self._of = 0

    def add(self, request_id: str, header: bytes, content: bytes) -> None:
        digest = -int.from_bytes(blake2b(request_id.encode(), digest_size=8, key=self._key).digest(), "big")
        self._of += 1
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, (digest, request_id, header, content))
        elif digest > self._heap[0][0]:
            heapq.heapreplace(self._heap, (digest, request_id, header, content))

    def sample(self) -> Sample:
        kept = sorted(self._heap, key=lambda entry: entry[1])
        records = [_row(header, content) if header else json.loads(content) for _, _, header, content in kept]
        return Sample(records, self._of)
