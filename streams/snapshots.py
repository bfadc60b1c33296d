"""Snapshots of the histories on the worker's own disk, so that a start reads the tail of the topics, not all of them.

A folder holds `histories.json`, the manifest, and the data file that it names: columns of whole numbers laid end to
end, little-endian, no pickle. The manifest is what counts: the data is complete on the disk before the manifest that
names it takes the old one's place, and only then is the old data deleted. Killed anywhere, a save leaves the old
snapshot or the new one. One process saves to a folder at a time (the worker's name is locked).

A snapshot is a convenience: one that is missing, damaged or of another format is not used, and the reader starts from
the topics. Whether it still belongs to the topics is for the caller to ask (`mismatch`).
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import structlog

from models.errors import BadArtifact

FORMAT = "histories-1"  # another one as soon as models.history packs otherwise
MANIFEST = "histories.json"
SEED = ".archive"  # a snapshot that was made of the archive, for workers that have none of their own
ALIGNMENT = 64
TYPES = ("|u1", "<u2", "<i4", "<i8")

log = structlog.get_logger()


class PartitionCut(msgspec.Struct, frozen=True):
    """Every event below `next_offset` is in, no other one. `low_watermark` was the partition's first offset then."""

    next_offset: int
    low_watermark: int = 0


class TopicCut(msgspec.Struct, frozen=True):
    """What of a topic is in. `topic_id` is Kafka's own, None where it is not known."""

    partitions: dict[int, PartitionCut]
    topic_id: str | None = None


class _Column(msgspec.Struct, frozen=True):
    type: str
    length: int
    offset: int


class _Manifest(msgspec.Struct, frozen=True):
    format: str
    file: str
    sha256: str  # of the data file and then of columns and topics as JSON
    columns: dict[str, _Column]
    topics: dict[str, TopicCut]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Arrays for `Histories.from_arrays`, mapped from the file and read-only; the events that are in them, by topic."""

    arrays: dict[str, npt.NDArray[Any]]
    topics: dict[str, TopicCut]


def save(folder: Path, columns: Mapping[str, Sequence[npt.NDArray[Any]]], topics: Mapping[str, TopicCut]) -> Path:
    """Writes a snapshot (of `Frozen.columns()`) in the place of the last one; returns its data file.

    OSError where the disk does not take it: the last one stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    aside = folder / "histories.part"
    try:
        written, hashed = _write(aside, columns)
        hashed.update(msgspec.json.encode((written, topics)))
        digest = hashed.hexdigest()
        data = folder / f"histories-{digest[:16]}.bin"
        aside.replace(data)
        _sync(folder)  # the name too, before anything points to it
        manifest = _Manifest(FORMAT, data.name, digest, written, dict(topics))
        with aside.open("wb") as out:
            out.write(msgspec.json.format(msgspec.json.encode(manifest)))
            _flush(out)
        aside.replace(folder / MANIFEST)
        _sync(folder)
    finally:
        aside.unlink(missing_ok=True)
    _drop_others(folder, data)
    return data


def load(folder: Path) -> Snapshot | None:
    """The snapshot of a folder, checked against its hash; None, with the reason in the log, where none can be used."""
    try:
        return _load(folder)
    except FileNotFoundError as error:
        log.info("snapshot_missing", folder=str(folder), file=Path(error.filename).name)
    except (BadArtifact, msgspec.DecodeError, OSError) as error:
        log.warning("snapshot_refused", folder=str(folder), reason=str(error))
    return None


def made_by(topic_id: str, limits: object) -> str:
    """What a cut is called after: the topic, and the limits by which its events were taken or refused."""
    return f"{topic_id} {limits}"


def drop(folder: Path) -> None:
    """Deletes the snapshot of a folder: the next start reads the topics from their beginning."""
    (folder / MANIFEST).unlink(missing_ok=True)
    _drop_others(folder, None)


def mismatch(cut: TopicCut, topic_id: str | None, lows: Mapping[int, int], ends: Mapping[int, int]) -> str | None:
    """Why a topic, as it is now, is not the one that a cut was made of, or None if the tail can be read on from there.

    `lows` and `ends` are the low and the high watermark of each partition.

    >>> cut = TopicCut({0: PartitionCut(next_offset=10)}, "AbC")
    >>> mismatch(cut, "AbC", {0: 0}, {0: 12}) is None, mismatch(cut, "AbC", {0: 0}, {0: 9})
    (True, 'partition 0 ends at 9, before 10')
    """
    if cut.topic_id is not None and topic_id is not None and cut.topic_id != topic_id:
        return f"the topic was made anew: its id is {topic_id}, not {cut.topic_id}"
    for partition, was in cut.partitions.items():
        if partition not in ends:
            return f"partition {partition} is gone"
        if ends[partition] < was.next_offset:
            return f"partition {partition} ends at {ends[partition]}, before {was.next_offset}"
        if lows[partition] > was.next_offset:
            return f"partition {partition} begins at {lows[partition]}, behind {was.next_offset}"
        if lows[partition] < was.low_watermark:
            return f"partition {partition} begins at {lows[partition]}, before {was.low_watermark}: it was made anew"
    return None


def _write(path: Path, columns: Mapping[str, Sequence[npt.NDArray[Any]]]) -> tuple[dict[str, _Column], Any]:
    hashed, offset, written = hashlib.sha256(), 0, {}
    with path.open("wb") as out:
        for name, pieces in columns.items():
            kind = pieces[0].dtype.newbyteorder("<")
            if kind.str not in TYPES:
                raise TypeError(f"{name}: {kind} is no type of a snapshot")
            length = sum(len(piece) for piece in pieces)
            written[name] = _Column(kind.str, length, offset)
            for piece in pieces:
                raw = np.ascontiguousarray(piece, kind).view(np.uint8)
                out.write(raw.data)
                hashed.update(raw.data)
            offset += length * kind.itemsize
            padding = bytes(-offset % ALIGNMENT)
            out.write(padding)
            hashed.update(padding)
            offset += len(padding)
        _flush(out)
    return written, hashed


def _load(folder: Path) -> Snapshot:
    text = (folder / MANIFEST).read_bytes()
    found = msgspec.json.decode(text, type=dict[str, msgspec.Raw]).get("format", msgspec.Raw(b"null"))
    if bytes(found) != msgspec.json.encode(FORMAT):
        raise BadArtifact(f"format {bytes(found)!r}, expected {FORMAT}")
    manifest = msgspec.json.decode(text, type=_Manifest)
    path = folder / Path(manifest.file).name
    with path.open("rb") as data:
        size = os.fstat(data.fileno()).st_size
        hashed = hashlib.file_digest(data, "sha256")
    hashed.update(msgspec.json.encode((manifest.columns, manifest.topics)))
    if hashed.hexdigest() != manifest.sha256:
        raise BadArtifact(f"{path.name} and {MANIFEST} are not what their checksum says")
    arrays: dict[str, npt.NDArray[Any]] = {}
    for name, column in manifest.columns.items():
        if column.type not in TYPES:
            raise BadArtifact(f"column {name} of type {column.type}")
        kind = np.dtype(column.type)
        if column.offset < 0 or column.length < 0 or column.offset + column.length * kind.itemsize > size:
            raise BadArtifact(f"column {name} reaches beyond the end of {path.name}")
        arrays[name] = (
            np.memmap(path, kind, "r", column.offset, (column.length,)).view(np.ndarray)
            if column.length
            else np.empty(0, kind)  # nothing cannot be mapped
        )
    return Snapshot(arrays, manifest.topics)


def _drop_others(folder: Path, kept: Path | None) -> None:
    for path in folder.glob("histories-*.bin"):
        if path != kept:
            path.unlink(missing_ok=True)


def _flush(out: Any) -> None:
    out.flush()
    os.fsync(out.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
