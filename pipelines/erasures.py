"""The records of erasures in a home: `artifacts/erasures/<digest of the user>.json`. Keeps and reads them; erases nothing."""

from pathlib import Path

import msgspec

from models.erasure import Erased, Erasure
from models.errors import BadArtifact
from models.wire import UNREADABLE
from pipelines import measured

_decode = msgspec.json.Decoder(Erasure).decode


def kept(artifacts: Path) -> list[Erasure]:
    """All of them, oldest first. BadArtifact for a damaged one."""
    found = [_read(path) for path in (artifacts / "erasures").glob("[0-9a-f]*.json")]
    return sorted(found, key=lambda erasure: (erasure.started_at, erasure.user_sha256))


def known(artifacts: Path) -> Erased:
    """The same, by digest."""
    return Erased.of(kept(artifacts))


def marked(artifacts: Path) -> dict[str, bool]:
    """The versions that were trained on the data of a user who is erased; True where nothing was trained since. BadArtifact as `kept`."""
    found: dict[str, bool] = {}
    for erasure in kept(artifacts):
        for version in erasure.models:
            found[version] = found.get(version, False) or not erasure.retrained
    return found


def of_user(artifacts: Path, digest: str) -> Erasure | None:
    """The one of a user, or None."""
    path = where(artifacts, digest)
    return _read(path) if path.exists() else None


def keep(artifacts: Path, erasure: Erasure) -> Path:
    """Whole or not at all."""
    path = where(artifacts, erasure.user_sha256)
    measured.write_json(path, msgspec.to_builtins(erasure))
    return path


def settle(artifacts: Path) -> None:
    """A training has been made of data without these users: none is due for their sake any more."""
    for erasure in kept(artifacts):
        if not erasure.retrained:
            erasure.retrained = True
            keep(artifacts, erasure)


def where(artifacts: Path, digest: str) -> Path:
    return artifacts / "erasures" / f"{digest}.json"


def _read(path: Path) -> Erasure:
    try:
        return _decode(path.read_bytes())
    except UNREADABLE as error:
        raise BadArtifact(f"{path}: is no record of an erasure: {error}") from error
