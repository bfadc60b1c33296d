"""A world small enough to look through: 60 movies of a checkerboard (Even and Odd), two models, a catalogue with newer ones."""

import json
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models import config
from models.answer import Cut, Question
from models.catalog import Catalog
from models.events import Movie, Request, Source
from models.ids import Ids
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.popular import counts
from models.recommenders.store import Metadata, Model
from models.world import World

MOVIES = 60
NEW = 12
OFFSETS = msgspec.Raw(b'{"watch-events":{"0":5}}')


def trained(version, factors):
    """Even users watched even movies, odd users odd ones; the lower its number, the more popular a movie."""
    rng = np.random.default_rng(factors)
    chance = np.linspace(2, 1, MOVIES // 2)
    rows = Rows.of(
        [
            np.sort(rng.choice(MOVIES // 2, 9, replace=False, p=chance / chance.sum())) * 2 + user % 2
            for user in range(300)
        ]
    )
    recipe = {"factors": factors, "regularization": 3.0, "alpha": 5.0, "iterations": 5}
    metadata = Metadata(
        model_id=f"als-{factors}",
        model_version=version,
        training_method={"algorithm": "als", **recipe},
        data_version={"md5": f"data-{version}"},
        evaluation={},
        dvc_ref=None,
        code_version="0",
        created_at="2026-11-23T00:00:00Z",
        files={},
    )
    return Model(
        version=version,
        model_id=f"als-{factors}",
        sha256=version * 32,
        data_version=f"data-{version}",
        recommender=Als.fit(rows, MOVIES, recipe, 0),
        movie_ids=tuple(f"m{number:02}" for number in range(MOVIES)),
        popularity=counts(rows, MOVIES),
        metadata=metadata,
    )


MODELS = {"v1": trained("v1", 4), "v2": trained("v2", 8)}


class SmallWorld:
    """Makes worlds, histories and questions. m00 … m59 are in both models, n00 … n11 are newer than both."""

    now = 1_700_000_000_000
    known_movies = tuple(f"m{number:02}" for number in range(MOVIES))
    new_movies = tuple(f"n{number:02}" for number in range(NEW))
    catalog = tuple(
        Movie(name, name.upper(), ("Even" if int(name[1:]) % 2 == 0 else "Odd",), 2000)
        for name in (*known_movies, *new_movies)
    )
    models = MODELS

    def __init__(self):
        self.ids = Ids(["unrelated", "m30", "n03"])  # met in another order than any model's

    def world(self, settings=None, *, models=None, catalog=None):
        found = Catalog.of(self.catalog if catalog is None else catalog, self.ids)
        return World.of(config.parse(json.dumps(settings or {})), MODELS if models is None else models, found, self.ids)

    def model(self, version, **changes):
        return replace(MODELS[version], **changes)

    def question(self, user="u", n=20, *, request_id=None, age_ms=3, offset=0, **fields):
        request = Request(request_id or f"r-{user}-{offset}", user, n, **fields)
        return Question(request, Source("requests", 0, offset), self.now - age_ms)

    def cut(self, *histories, known=None, behind=False):
        """One history of movie ids for each question."""
        lists = [sorted(self.ids.index(movie) for movie in history) for history in histories]
        indptr = np.zeros(len(lists) + 1, np.int64)
        np.cumsum([len(found) for found in lists], out=indptr[1:])
        flat = np.array([index for found in lists for index in found], np.int32)
        return Cut(indptr, flat, [bool(h) for h in histories] if known is None else known, OFFSETS, behind)


@pytest.fixture
def small():
    return SmallWorld()
