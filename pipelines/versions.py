"""Published versions and the DVC remote: each is pushed, the oldest leave this machine, and come back by their hash.

`artifacts/versions/<version>.dvc` names a version's hash as `dvc add` would: `dvc pull` brings every version back, beside that file.
Serving does not read there: `fetch` checks a version and moves it to `artifacts/models`.
"""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from models.config import Canary
from models.errors import BadArtifact, CanarecError, NoModel
from models.recommenders import store
from models.release import rollout, shelf
from pipelines import project
from pipelines.places import Places


def pushed(places: Places) -> list[str]:
    """Versions that the remote has, at hand or not, by what is known here."""
    return sorted(
        (path.stem for path in places.versions.glob("[!.]*.dvc")), key=lambda name: (rollout.number(name), name)
    )


def named(places: Places) -> set[str]:
    """Every version's name that was ever given in this home."""
    at_hand = {version for folder in (places.models, places.rejected) for version in store.list_versions(folder)}
    return at_hand | set(pushed(places))


def push(places: Places, version: str) -> str:
    """Puts a version into the remote, and its hash beside the others'; the hash. What the remote has already is read, not sent.

    Errors: CanarecError where the remote cannot be reached, BadArtifact where it does not keep what it was given.
    """
    contents = {path.name: path.read_bytes() for path in sorted((places.models / version).iterdir())}
    listing = _listing(contents)
    oid = f"{_md5(listing)}.dir"
    with _remote(places.home) as remote:
        for name, content in contents.items():
            remote.put(_md5(content), content, f"{version}/{name}")
        remote.put(oid, listing, version)
    places.versions.mkdir(parents=True, exist_ok=True)
    aside = places.versions / f".{version}.partial"
    aside.write_text(
        f"outs:\n- md5: {oid}\n  size: {sum(map(len, contents.values()))}\n  nfiles: {len(contents)}\n"
        f"  hash: md5\n  path: {version}\n"
    )
    aside.replace(_tracked(places, version))
    return oid


Split = Callable[
    [Callable[[Canary], None]], object
]  # shows the split as it is now, which stays so until it was looked at


def keep(places: Places, split: Split, most: int) -> list[str]:
    """Pushes what is at hand and not in the remote yet, then removes what is too many; the removed versions.

    Nothing is removed that is in use at that moment, or that the remote does not give back when asked. Errors: those of `push` and
    `split`; then everything stays that is not removed yet, and the next call does the rest.
    """
    for version in store.list_versions(places.models):
        if not _tracked(places, version).exists():
            push(places, version)
    spare: list[str] = []
    split(lambda canary: spare.extend(shelf.surplus(canary, store.list_versions(places.models), most)))
    removed = []
    for version in spare:
        push(places, version)
        leaving = places.models / f".{version}.leaving"
        shutil.rmtree(leaving, ignore_errors=True)
        split(partial(_leave, places, most, version, leaving))
        if leaving.exists():
            shutil.rmtree(leaving)
            removed.append(version)
    return removed


def forget_refused(places: Places, most: int) -> None:
    """Of the versions that a gate refused the newest stay, to be looked at."""
    refused = sorted(store.list_versions(places.rejected), key=rollout.number)
    for version in refused[: max(0, len(refused) - most)]:
        shutil.rmtree(places.rejected / version)


def fetch(places: Places, version: str, into: Path | None = None) -> Path:
    """Brings a version back from the remote; its folder. One that is at hand and whole stays as it is, a damaged one is replaced.

    into: another folder than that of the versions at hand, for who only wants to look at it.

    Errors: NoModel where no version of this name was ever pushed; CanarecError where the remote cannot be reached; BadArtifact where
    it does not have the version any more, or has it damaged.
    """
    there = pushed(places)
    if version not in there:
        raise NoModel(f"{version!r}: no such model version in the remote; there are: {', '.join(there) or 'none'}")
    models = into or places.models
    folder = models / version
    if folder.is_dir() and not store.verify(models, version):
        return folder
    oid = _hash_in(_tracked(places, version))
    with _remote(places.home) as remote:
        listed = json.loads(remote.get(oid, version))
        contents = {entry["relpath"]: remote.get(entry["md5"], f"{version}/{entry['relpath']}") for entry in listed}
    aside = models / ".fetched"
    shutil.rmtree(aside, ignore_errors=True)
    try:
        _write(aside / version, contents)
        if problems := store.verify(aside, version):
            raise BadArtifact(f"what the remote has of {version} is not a version: {problems[0]}")
        if folder.exists():
            folder.rename(aside / f"{version}.damaged")
        (aside / version).rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


class _Remote:
    """The remote's objects, each by its MD5 as DVC lays them out. One that was put is read back before it counts as kept."""

    def __init__(self, objects: Any) -> None:
        self._objects = objects

    def put(self, oid: str, content: bytes, what: str) -> None:
        if self._read(oid) == content:
            return
        if self._objects.exists(oid):  # half of it, left by a kill
            self._objects.delete(oid)
        self._objects.add_bytes(oid, content)
        if self._read(oid) != content:
            raise BadArtifact(f"the DVC remote has not kept {what} ({oid})")

    def get(self, oid: str, what: str) -> bytes:
        content = self._read(oid)
        if content is None:
            raise BadArtifact(f"the DVC remote does not have {what} ({oid}) any more")
        if _md5(content) != oid.removesuffix(".dir"):
            raise BadArtifact(f"the DVC remote has {what} damaged: MD5 expected {oid}, found {_md5(content)}")
        return content

    def _read(self, oid: str) -> bytes | None:
        try:
            with self._objects.fs.open(self._objects.oid_to_path(oid), "rb") as file:
                content: bytes = file.read()
                return content
        except FileNotFoundError:
            return None


@contextmanager
def _remote(home: Path) -> Iterator[_Remote]:
    with project.opened(home) as repo:
        try:
            yield _Remote(repo.cloud.get_remote_odb(project.REMOTE))
        except CanarecError:
            raise
        except Exception as error:  # each kind of remote has a library of its own, with errors of its own
            raise CanarecError(f"the DVC remote: {type(error).__name__}: {project.one_line(str(error))}") from error


def _listing(contents: dict[str, bytes]) -> bytes:
    """A folder as DVC writes it down: its hash is the folder's."""
    return json.dumps([{"md5": _md5(contents[name]), "relpath": name} for name in sorted(contents)]).encode()


def _hash_in(tracked: Path) -> str:
    found = re.search(r"md5: ([0-9a-f]{32}\.dir)", tracked.read_text())
    if found is None:
        raise BadArtifact(f"{tracked}: names no hash of a folder")
    return found[1]


def _tracked(places: Places, version: str) -> Path:
    return places.versions / f"{version}.dvc"


def _leave(places: Places, most: int, version: str, leaving: Path, canary: Canary) -> None:
    """Moves a version away, unless it is in use by now: a rollback may have come in between."""
    if version in shelf.surplus(canary, store.list_versions(places.models), most):
        (places.models / version).rename(leaving)


def _write(folder: Path, contents: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    for name, content in contents.items():
        with (folder / Path(name).name).open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()  # DVC's choice
