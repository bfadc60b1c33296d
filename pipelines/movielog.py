"""Publishes a movie service's log file to `movielog`, line by line as it is. What a line means, the agent decides.

A file is published once, as `pipelines.once` has it; a log that grew since is another content, published from its start
(histories count an event once). What comes through a pipe has no content to compare and is always published.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, cast

from models.config import Applied
from models.errors import CanarecError
from models.topics import TOPICS
from pipelines.once import Once, Outgoing, Sending
from streams.clients import Cluster

MAX_LINE_BYTES = TOPICS["movielog"].max_message_bytes - 1_024  # the rest is for Kafka's own headers and ours
_REPORT_EVERY = 5_000
_BLOCK = 1 << 20

Progress = Callable[[str, int, float], None]
"""Told what is being done, how many lines that makes, and the share of the file, 0 to 1 (0 while it is unknown)."""


@dataclass(slots=True)
class Imported:
    """Lines published, lines that were there already, lines that no message can hold. Blank lines are none."""

    published: int = 0
    present: int = 0
    bad_lines: int = 0


def publish(
    file: IO[bytes],
    cluster: Cluster,
    applied: Applied,
    progress: Progress = lambda what, lines, share: None,
    *,
    report: Callable[[str], None] = lambda line: None,
    again: bool = False,
) -> Imported:
    """Publishes the lines of an open file, plain or gzip; `report` is told of each that is too long.

    Where the file can be read twice, only what the topic does not hold yet, unless `again`. CanarecError where the
    file is damaged or Kafka does not take a line.
    """
    cluster.check()
    topic, imported = applied.topic("movielog"), Imported()

    def lines() -> Iterator[Outgoing]:
        for number, line in _lines(file, progress):
            if line is None:
                imported.bad_lines += 1
                report(f"{file.name}:{number}: expected a line of at most {MAX_LINE_BYTES:,} bytes")
            else:
                yield Outgoing(number, None, line)

    if again or not file.seekable():
        with Sending(cluster, topic) as sending:
            for outgoing in lines():
                sending.send(outgoing.key, outgoing.value, [])
                imported.published += 1
        return imported

    once = Once(cluster, applied, hashlib.file_digest(file, "sha256").hexdigest()[:16])  # type: ignore[arg-type]
    file.seek(0)
    known = once.finished(topic)
    if known is not None:
        return Imported(0, known["messages"], known["bad_lines"])

    def looking(done: int, total: int) -> None:
        progress("looking at what is there", done, done / total)

    imported.published, imported.present = once.send(topic, lines(), looking=looking)
    once.finish(topic, {"messages": imported.published + imported.present, "bad_lines": imported.bad_lines})
    return imported


def _lines(file: IO[bytes], progress: Progress) -> Iterator[tuple[int, bytes | None]]:
    """(number, line without its end), None for one that is too long. No more than one line is in memory."""
    size = os.fstat(file.fileno()).st_size if file.seekable() else 0
    number = read = 0
    head = file.peek(2)[:2] if hasattr(file, "peek") else b""
    content = cast(IO[bytes], gzip.GzipFile(fileobj=file)) if head == b"\x1f\x8b" else file
    try:
        while line := content.readline(MAX_LINE_BYTES + 2):
            number += 1
            read += len(line)
            if number % _REPORT_EVERY == 0:
                progress("lines", number, (file.tell() if content is not file else read) / size if size else 0.0)
            text = line.rstrip(b"\r\n")
            if len(text) <= MAX_LINE_BYTES:
                if text:
                    yield number, text
                continue
            while line and not line.endswith(b"\n"):
                line = content.readline(_BLOCK)
                read += len(line)
            yield number, None
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise CanarecError(f"{file.name}:{number + 1}: expected gzip up to the end: {error}") from None
    progress("lines", number, 1.0)
