"""Model versions on disk: `<models>/<version>/factors.npz` and `metadata.json`. The only place in `models` that touches the disk.

A version is written aside, synced and renamed, and never changes afterwards. The same arrays give the same bytes, so the hash
of `factors.npz` stands for everything that scores depend on. Nothing is unpickled, and nothing is used before its hash was
compared. Who decides which version serves, and what is thrown away, is not said here.
"""

import hashlib
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from models.errors import BadArtifact, NoModel
from models.recommenders.als import Als
from models.recommenders.base import I64, Recommender
from models.recommenders.ease import Ease

FACTORS = "factors.npz"
METADATA = "metadata.json"
SEAL = "metadata.json.sha256"  # metadata.json holds the others' hashes; its own stands beside it, for `sha256sum -c`
ALGORITHMS: dict[str, type[Recommender]] = {Als.algorithm: Als, Ease.algorithm: Ease}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """metadata.json, field by field as the contract has it."""

    model_id: str  # what it is: als-64
    model_version: str  # which one: v1; the folder's name
    training_method: Mapping[str, Any]  # algorithm, seed and every hyperparameter
    data_version: Mapping[str, Any]  # {"md5": …, "offsets": {topic: {partition: [first, next]}}}
    evaluation: Mapping[str, Any]
    dvc_ref: str | None
    code_version: str
    created_at: str  # RFC 3339
    files: Mapping[str, str]  # name → SHA-256; filled in by `write`


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A version that was read and found whole."""

    version: str
    model_id: str
    sha256: str  # of factors.npz
    data_version: str
    recommender: Recommender
    movie_ids: tuple[str, ...]  # column → movie id
    popularity: I64  # training interactions of each column
    metadata: Metadata


def write(
    models: Path, recommender: Recommender, movie_ids: tuple[str, ...], popularity: I64, metadata: Metadata
) -> Path:
    """Publish a version; gives its folder. Readers see it whole or not at all.

    Errors: BadArtifact where the version is there already or movies, popularity and model differ in number; OSError (a full disk).
    """
    folder = models / metadata.model_version
    if folder.exists():
        raise BadArtifact(f"{folder}: is there already, and a version never changes")
    _fit_together(folder, recommender, movie_ids, popularity)
    factors = _packed(
        {
            **{f"model.{name}": array for name, array in recommender.arrays().items()},
            "algorithm": _text(recommender.algorithm),
            "movie_ids": _text("".join(movie_ids)),
            "movie_id_ends": np.cumsum([len(movie.encode()) for movie in movie_ids], dtype=np.int64),
            "popularity": np.asarray(popularity, np.int64),
        }
    )
    described = asdict(replace(metadata, files={FACTORS: hashlib.sha256(factors).hexdigest()}))
    written = (json.dumps(described, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()
    aside = models / f".{metadata.model_version}.partial"  # what a killed writer left is overwritten by the next
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        _write_synced(aside / FACTORS, factors)
        _write_synced(aside / METADATA, written)
        _write_synced(aside / SEAL, _seal(written))
        _sync(aside)
        aside.rename(folder)
        _sync(models)
    except OSError:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return folder


def read(models: Path, version: str) -> Model:
    """A version, once every hash was found right.

    Errors: NoModel where there is no such version; BadArtifact naming the file, with what was expected and found.
    """
    folder = models / version
    if not folder.is_dir():
        raise NoModel(
            f"{version}: no such model version in {models}; there are: {', '.join(list_versions(models)) or 'none'}"
        )
    metadata = read_metadata(models, version)
    contents = {name: _checked(folder / name, expected) for name, expected in metadata.files.items()}
    if FACTORS not in contents:
        raise BadArtifact(f"{folder / METADATA}: files names no {FACTORS}")
    try:
        arrays = _unpacked(contents[FACTORS])
        algorithm = arrays.pop("algorithm").tobytes().decode()
        ends = arrays.pop("movie_id_ends").tolist()
        text = arrays.pop("movie_ids").tobytes()
        popularity = arrays.pop("popularity").astype(np.int64)
        movie_ids = tuple(text[start:stop].decode() for start, stop in zip([0, *ends], ends, strict=False))
        recommender = ALGORITHMS[algorithm].from_arrays(
            {name.removeprefix("model."): part for name, part in arrays.items()}
        )
    except BadArtifact as error:
        raise BadArtifact(f"{folder / FACTORS}: {error}") from error
    except (ValueError, KeyError, zipfile.BadZipFile) as error:  # the hash is right: it was written wrongly
        raise BadArtifact(f"{folder / FACTORS}: cannot be read: {type(error).__name__}: {error}") from error
    _fit_together(folder, recommender, movie_ids, popularity)
    return Model(
        version=version,
        model_id=metadata.model_id,
        sha256=metadata.files[FACTORS],
        data_version=str(metadata.data_version["md5"]),
        recommender=recommender,
        movie_ids=movie_ids,
        popularity=popularity,
        metadata=metadata,
    )


def read_metadata(models: Path, version: str) -> Metadata:
    """metadata.json alone, for listings. Errors: BadArtifact."""
    path = models / version / METADATA
    content = _bytes(path)
    if _bytes(path.with_name(SEAL)) != _seal(content):
        raise BadArtifact(
            f"{path}: SHA-256 is {hashlib.sha256(content).hexdigest()}, which is not what {SEAL} beside it says"
        )
    try:
        described = json.loads(content)
    except ValueError as error:
        raise BadArtifact(f"{path}: is not JSON: {error}") from error
    names = {field.name for field in fields(Metadata)}
    if not isinstance(described, dict) or set(described) != names:
        different = names.symmetric_difference(described if isinstance(described, dict) else ())
        raise BadArtifact(f"{path}: has not exactly the fields of a model's metadata: {', '.join(sorted(different))}")
    metadata = Metadata(**described)
    if metadata.model_version != version:
        raise BadArtifact(f"{path}: describes version {metadata.model_version}, expected {version}")
    if not isinstance(metadata.files, dict) or "md5" not in metadata.data_version:
        raise BadArtifact(f"{path}: files or data_version.md5 is missing")
    return metadata


def list_versions(models: Path) -> list[str]:
    """Published versions, v2 before v10. No folder: none.

    >>> list_versions(Path("/nowhere"))
    []
    """
    if not models.is_dir():
        return []
    names = [entry.name for entry in models.iterdir() if entry.is_dir() and not entry.name.startswith(".")]
    return sorted(
        names,
        key=lambda name: [
            (not part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in re.split(r"(\d+)", name)
        ],
    )


def verify(models: Path, version: str) -> list[str]:
    """What is wrong with a version, one line each; an empty list where nothing is."""
    problems = []
    try:
        model = read(models, version)
    except (BadArtifact, NoModel) as error:
        return [str(error)]
    known = {METADATA, SEAL, *model.metadata.files}
    for path in sorted((models / version).iterdir()):
        if path.name not in known:
            problems.append(f"{path}: belongs to no version")
    return problems


def _fit_together(where: Path, recommender: Recommender, movie_ids: tuple[str, ...], popularity: I64) -> None:
    if not recommender.n_movies == len(movie_ids) == len(popularity):
        raise BadArtifact(
            f"{where}: {recommender.n_movies} movies in the model, {len(movie_ids)} ids, {len(popularity)} counts of popularity"
        )
    if len(set(movie_ids)) != len(movie_ids):
        raise BadArtifact(f"{where}: a movie id stands for two columns")


def _text(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _packed(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """An .npz whose bytes depend on the arrays alone: names sorted, no times, no compression, no system's mark."""
    buffer = io.BytesIO()
    pack(buffer, arrays)
    return buffer.getvalue()


def pack(file: IO[bytes], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """The same into a file. (One that cannot seek gets other bytes than one that can.)"""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            with archive.open(entry, "w", force_zip64=True) as part:
                np.lib.format.write_array(part, np.ascontiguousarray(arrays[name]), allow_pickle=False)


def _unpacked(content: bytes) -> dict[str, npt.NDArray[Any]]:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BadArtifact(f"{path}: cannot be read: {error.strerror}") from error


def _checked(path: Path, expected: str) -> bytes:
    """The content that the hash was taken of: a file changed in between cannot slip in."""
    content = _bytes(path)
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise BadArtifact(f"{path}: SHA-256 expected {expected}, found {found}")
    return content


def _seal(metadata: bytes) -> bytes:
    return f"{hashlib.sha256(metadata).hexdigest()}  {METADATA}\n".encode()


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """A rename is only safe once the folder that holds the name is on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
