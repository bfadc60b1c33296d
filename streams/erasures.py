"""A user removed from what workers keep in a home: the provenance CSV, by whoever may write it, and the snapshots of the histories.

While a worker's writer holds the CSV, it is asked by a file in `artifacts/provenance/.erase/` and does it between two batches; else it is
done here. The file names the user, for as long as that takes.
"""

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec
import structlog

from models.errors import CanarecError
from models.events import Rating, Watch
from models.history import Histories
from models.ids import Ids
from streams import snapshots
from streams.home import write_whole
from streams.ledger import Ledger

log = structlog.get_logger()

ASKED, DONE = ".erase", ".done"
PATIENCE_S = 60.0
LOOK_S = 0.1


class _Asked(msgspec.Struct):
    user_id: str


# -- the CSV ---------------------------------------------------------------------------------------


def serve(ledger: Ledger) -> None:
    """Does what the home's writer was asked for. OSError, as for any row."""
    for path in sorted((ledger.folder / ASKED).glob("[0-9a-f]*.json")):
        try:
            user_id = msgspec.json.decode(path.read_bytes(), type=_Asked).user_id
        except (FileNotFoundError, msgspec.DecodeError):
            continue  # taken back
        gone, done = ledger.erase(user_id), path.with_suffix(DONE)
        log.info("a user was erased from the provenance CSV", rows=len(gone))
        before = json.loads(done.read_bytes()) if done.exists() else []  # of a run that was killed
        write_whole(done, json.dumps([*before, *gone]).encode())
        path.unlink(missing_ok=True)


def from_csv(folder: Path, user_id: str, digest: str, patience_s: float = PATIENCE_S) -> list[str]:
    """The request ids of the rows that are gone. CanarecError where the writer does not answer."""
    from streams.scribe import locked

    if not folder.is_dir():
        return []
    asked = folder / ASKED / f"{digest}.json"
    until = time.monotonic() + patience_s
    write_whole(asked, msgspec.json.encode(_Asked(user_id)))
    os.chmod(asked, 0o600)
    try:
        while True:
            lock = locked(folder)
            if lock is not None:  # nobody writes
                try:
                    ledger = Ledger(folder)
                    ledger.recover()
                    serve(ledger)
                finally:
                    os.close(lock)
            if not asked.exists():
                found: list[str] = json.loads(asked.with_suffix(DONE).read_bytes())
                return found
            if time.monotonic() > until:
                raise CanarecError(
                    f"{folder}: the worker that writes the CSV has not erased the user from it in {patience_s:g} s: "
                    "stop the workers of this home, or start them again, and run it again"
                )
            time.sleep(LOOK_S)
    finally:
        asked.unlink(missing_ok=True)
        asked.with_suffix(DONE).unlink(missing_ok=True)


# -- snapshots -------------------------------------------------------------------------------------


def from_snapshots(folder: Path, user_id: str) -> int:
    """Drops every snapshot that has the user: a worker writes another one, from which it has removed them. How many."""
    gone = 0
    for each in sorted(folder.glob("*")):
        if each.is_dir() and (not whole(each) or _has(each, user_id)):
            snapshots.drop(each)
            gone += 1
    return gone


def whole(folder: Path) -> bool:
    """Nothing is there but what a snapshot is of: neither a half one nor one that nothing names."""
    data = list(folder.glob("histories-*.bin"))
    return (folder / snapshots.MANIFEST).exists() == bool(data) and len(data) < 2


def _has(folder: Path, user_id: str) -> bool:
    found = snapshots.load(folder)
    if found is None:
        return (folder / snapshots.MANIFEST).exists()  # damaged: nobody can say
    users = Ids.of_table(found.arrays["user_text"], found.arrays["user_ends"])
    return users.get(user_id) is not None


def seed(folder: Path, events: Iterable[list[Watch | Rating]], cuts: dict[str, snapshots.TopicCut]) -> Path:
    """Writes the snapshot that a worker without one starts from, where the topics do not reach back to their beginning any more."""
    histories = Histories(Ids())
    for some in events:
        histories.apply(some)
    histories.finish_loading()
    return snapshots.save(folder / snapshots.SEED, histories.freeze().columns(), cuts)
