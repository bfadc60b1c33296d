"""A small world that all parts of the analysis look at: 60 users, 40 movies; men like the first half, women the second."""

import numpy as np
import pytest

from models.config import Events
from pipelines.analysis.observed import Window, from_archive

BEGIN_MS = 1_600_000_000_000
HOUR_MS = 3_600_000


def answer(number, user, movies, version="v1", at_ms=BEGIN_MS):
    """A record of `recommendations`, as (key, value)."""
    moment = np.datetime_as_string(np.datetime64(at_ms, "ms"), unit="ms") + "Z"
    return user, {
        "request_id": f"r{number}",
        "user_id": user,
        "status": "ok",
        "recommendations": movies,
        "scores": [1.0] * len(movies),
        "model_id": "als-4",
        "model_version": version,
        "variant": "stable",
        "source": {"topic": "recommendation-requests", "partition": 0, "offset": number},
        "served_at": moment,
        "latency_ms": 5,
    }


class World:
    """An archive that is filled step by step."""

    def __init__(self, archive):
        self.archive, self.folder = archive, archive.folder
        self.offsets = {}

    def add(self, topic, messages):
        first = self.offsets.get(topic, 0)
        self.archive.add(topic, messages, first=first)
        self.offsets[topic] = first + len(messages)

    def fill(self, seed=0):
        self.add("movie-catalog", [self.movie(m) for m in range(40)])
        self.add("user-profiles", [self.archive.profile(f"u{u}", "MF"[u % 2]) for u in range(55)])
        self.rate(range(60), seed=seed)
        return self

    def movie(self, m, **more):
        fields = {
            "movie_id": f"m{m}",
            "title": f"Movie {m}",
            "year": 1990 + m,
            "genres": ["War", "Drama", "Crime"][: m % 4],
        }
        return f"m{m}", {**fields, **more}

    def rate(self, users, seed=0, begin_ms=BEGIN_MS):
        rng = np.random.default_rng(seed)
        events = []
        for user in users:
            liked = 20 * (user % 2) + rng.choice(20, 8, replace=False)
            for place, movie in enumerate(liked.tolist()):
                stars = float(1 + (user + movie) % 5)
                events.append(self.archive.rate(f"u{user}", f"m{movie}", stars, begin_ms + place * HOUR_MS))
        self.add("rating-events", events)

    def observed(self, since_ms=None, until_ms=None, trained=()):
        return from_archive(self.folder, Events(), Window(since_ms, until_ms), trained=trained)


@pytest.fixture
def empty(tmp_path, small_archive):
    return World(small_archive(tmp_path / "artifacts" / "archive"))


@pytest.fixture
def world(empty):
    return empty.fill()
