"""Small archives, from messages as Kafka has them."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from models.wire import Limits
from pipelines import columns
from pipelines.parquet import Writing

NOW_MS = 1_700_000_000_000


@dataclass(frozen=True)
class SmallArchive:
    """Writes files; makes messages, each (key, value)."""

    folder: Path
    now_ms = NOW_MS

    def add(self, topic, messages, *, partition=0, first=0, logged_ms=NOW_MS):
        """One file of messages from offset `first` on; a value of None is a tombstone, bytes go as they are."""
        raw = [
            (offset, logged_ms, key.encode(), json.dumps(value).encode() if isinstance(value, dict) else value)
            for offset, (key, value) in enumerate(messages, first)
        ]
        rows, refused = columns.batch(topic, partition, raw, Limits())
        with Writing(self.folder / topic / str(partition), topic, partition, first) as file:
            file.add(rows, refused)
            return file.finish(first + len(raw) - 1, first + len(raw))

    @staticmethod
    def watch(user, movie, at_ms=NOW_MS, minute=5):
        return user, {"user_id": user, "movie_id": movie, "minute": minute, "timestamp": at_ms}

    @staticmethod
    def rate(user, movie, rating, at_ms=NOW_MS):
        return user, {"user_id": user, "movie_id": movie, "rating": rating, "timestamp": at_ms}

    @staticmethod
    def profile(user, gender):
        return user, {"user_id": user, "gender": gender}

    @staticmethod
    def movie(movie_id):
        return movie_id, {"movie_id": movie_id, "title": movie_id.upper(), "genres": []}


@pytest.fixture(scope="session")
def small_archive():
    """The class: a test that hypothesis repeats makes one for each example."""
    return SmallArchive


@pytest.fixture
def small(tmp_path):
    return SmallArchive(tmp_path)
