"""A worker's name: unique in the group, kept in the home, held by a lock that dies with its holder.

Transactional ids and the static membership come from it: a worker that is started again under its old name ends what its
predecessor left open and takes its place at once.
"""

import fcntl
import os
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from models.errors import CanarecError, UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Claim:
    """A name that is ours as long as the descriptor is open."""

    name: str
    descriptor: int


def claim(folder: Path, name: str | None = None) -> Claim:
    """The given name, or the first free one of this home. CanarecError where the given one is taken."""
    folder.mkdir(parents=True, exist_ok=True)
    if name is not None:
        if not _NAME.fullmatch(name):
            raise UsageError(f"--name: {name!r} is not of letters, digits, '.', '_' and '-'")
        descriptor = _lock(folder / f"{name}.lock")
        if descriptor is None:
            raise CanarecError(f"another worker of this home is called {name}: choose another --name")
        return Claim(name, descriptor)
    home = home_id(folder / "home-id")
    number = 1
    while (descriptor := _lock(folder / f"{home}-{number}.lock")) is None:
        number += 1
    return Claim(f"{home}-{number}", descriptor)


def _lock(path: Path) -> int | None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor


def home_id(path: Path) -> str:
    """Drawn once: two homes on one cluster must not use the same names."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        with os.fdopen(descriptor, "r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            found = file.read().strip()
            if not found:
                found = secrets.token_hex(3)
                file.write(found)
            return found
    except OSError as error:
        raise CanarecError(f"{path}: {error.strerror}") from None
