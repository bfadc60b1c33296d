"""Events that Kafka has not taken yet, kept in the home: what was done is told later, if it cannot be told now.

One file an event, `<folder>/<topic>/<milliseconds>-<n>.json`; they go out in the order of their names. Whoever comes next sends
them: a command, the scheduler. At least once: who is killed between Kafka's word and the file's end sends an event again.
"""

import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def put(folder: Path, topic: str, event: bytes, *, now_ms: int) -> Path:
    """Keeps an event: whole and on disk when this returns."""
    of_topic = folder / topic
    of_topic.mkdir(parents=True, exist_ok=True)
    path = of_topic / f"{now_ms:015d}-{secrets.token_hex(4)}.json"
    aside = path.with_name(f".{path.name}")
    with aside.open("xb") as file:
        file.write(event)
        file.flush()
        os.fsync(file.fileno())
    aside.rename(path)
    return path


def kept(folder: Path, topic: str) -> list[Path]:
    """The events that wait, the oldest first."""
    return sorted((folder / topic).glob("[0-9]*.json"))


def send(folder: Path, topic: str, publish: Callable[[bytes], None]) -> int:
    """Publishes what waits; how many were. What `publish` raises goes on, and that event and the later ones wait still.

    Where another process is sending, it does: 0.
    """
    if not kept(folder, topic):
        return 0
    descriptor = os.open(folder / topic, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        sent = 0
        for path in kept(folder, topic):  # those that are there now that nobody else takes them
            publish(path.read_bytes())
            path.unlink()
            sent += 1
        return sent
    except BlockingIOError:
        return 0
    finally:
        os.close(descriptor)
