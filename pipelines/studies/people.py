"""People of a known imbalance, for studies: how many men and women, how much they watch, how far their tastes lie apart; and who serves them.

Tastes and movies are of `models.viewer`'s kind; the numbers are a study's own, not a calibration. All chance comes from a seed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from models import config
from models.answer import Cut, Question, decide
from models.catalog import Catalog
from models.events import Movie, Request, Source
from models.ids import Ids
from models.recommenders import store
from models.recommenders.base import F64, I32, I64, Recommender, Rows
from models.viewer import GENRES, Gender, Person
from models.world import World
from pipelines.dataset import Dataset, Pairs

TASTE = 2.0  # e^TASTE times as likely for a movie that fits by 1 more
_NAMES = tuple(GENRES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imbalance:
    """Men are the majority and watch more; `tilt` as in `models.viewer.Habits`."""

    men: int = 1_500
    women: int = 500
    watched_by_men: float = 60
    watched_by_women: float = 30
    tilt: float = 0.6
    movies: int = 1_000
    hidden: float = 0.5  # part of the variance of liking that no genre tells: else genres would be all there is to know


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """Movies, people, and what each likes."""

    movies: tuple[Movie, ...]  # by id: their columns
    people: tuple[Person, ...]
    likes: F64  # (people, movies), about N(0, 1/2)
    appeal: F64  # (movies,): log of how popular a movie is with everybody; a long tail


def crowd(imbalance: Imbalance, seed: int) -> Crowd:
    """The people and movies of a seed. A movie has one to three genres; a user's weights of genres are N(± tilt · side, 1)."""
    rng = np.random.default_rng([seed, 1])
    n_movies, n_people = imbalance.movies, imbalance.men + imbalance.women
    chance = np.array([weight for weight, _ in GENRES.values()])
    numbers = rng.choice([1, 2, 3], n_movies, p=[0.35, 0.4, 0.25])
    tags = np.zeros((len(_NAMES), n_movies))
    for movie, number in enumerate(numbers.tolist()):
        tags[rng.choice(len(_NAMES), number, replace=False, p=chance / chance.sum()), movie] = 1
    men: Gender = "M"
    genders: list[Gender] = [men] * imbalance.men + ["F"] * imbalance.women
    sides = np.array([side for _, side in GENRES.values()])
    signs = np.array([1 if gender == "M" else -1 for gender in genders])
    weights = rng.standard_normal((n_people, len(_NAMES))) + imbalance.tilt * sides * signs[:, None]
    hidden = rng.standard_normal((n_people, 8)) @ rng.standard_normal((8, n_movies)) / np.sqrt(16)
    likes = np.sqrt(1 - imbalance.hidden) * (weights @ (tags / tags.sum(axis=0))) + np.sqrt(imbalance.hidden) * hidden
    appeal = -np.log(rng.permutation(n_movies) + 10.0)
    movies = tuple(
        Movie(f"m{movie:05}", f"Movie {movie}", tuple(_NAMES[g] for g in np.flatnonzero(tags[:, movie])))
        for movie in range(n_movies)
    )
    people = tuple(
        Person(f"u{number:05}", gender, dict(zip(_NAMES, weights[number].tolist(), strict=True)))
        for number, gender in enumerate(genders)
    )
    return Crowd(movies, people, likes, appeal)


def watched(crowd: Crowd, imbalance: Imbalance, seed: int, *, fewest: int = 10) -> Dataset:
    """What the crowd has watched before anybody recommended anything: by appeal and liking, each movie once, in a random order of time."""
    rng = np.random.default_rng([seed, 2])
    spread = 0.7
    means = np.where([who.gender == "M" for who in crowd.people], imbalance.watched_by_men, imbalance.watched_by_women)
    counts = np.rint(rng.lognormal(np.log(means) - spread**2 / 2, spread)).astype(np.int64)
    counts = np.clip(counts, fewest, imbalance.movies // 3)
    # the best of Gumbel-shifted log weights are a draw without replacement: Efraimidis & Spirakis 2006
    keys = crowd.appeal + TASTE * crowd.likes + rng.gumbel(size=crowd.likes.shape)
    order = np.argsort(-keys, axis=1)
    return dataset_of(crowd, [rng.permutation(order[row, :count]) for row, count in enumerate(counts.tolist())])


def dataset_of(crowd: Crowd, histories: Sequence[I64]) -> Dataset:
    """Columns that each has watched, the first one first, as a data set. Every movie is in it: columns are the crowd's."""
    user = np.repeat(np.arange(len(histories), dtype=np.int32), [len(history) for history in histories])
    movie = np.concatenate(histories).astype(np.int32)
    time_ms = np.concatenate([np.arange(len(history), dtype=np.int64) for history in histories])
    order = np.lexsort((movie, user))
    return Dataset.of(
        tuple(who.user_id for who in crowd.people),
        tuple(movie.movie_id for movie in crowd.movies),
        tuple(who.gender for who in crowd.people),
        Pairs(user[order], movie[order], np.zeros(len(user), np.int32), time_ms[order]),
        {},
    )


class Service:
    """Answers a crowd as canarec does (`models.answer.decide`), by one model and any configuration, without Kafka."""

    def __init__(self, crowd: Crowd, recommender: Recommender, popularity: I64, settings: Mapping[str, Any]) -> None:
        """settings: of config.json."""
        ids = Ids([movie.movie_id for movie in crowd.movies])  # so a movie's index is its column
        named = store.Metadata(
            model_id="", model_version="v1", training_method={}, data_version={}, evaluation={}, dvc_ref=None,
            code_version="", created_at="", files={},
        )  # fmt: skip
        model = store.Model(
            version="v1",
            model_id="",
            sha256="",
            data_version="",
            recommender=recommender,
            movie_ids=tuple(movie.movie_id for movie in crowd.movies),
            popularity=popularity,
            metadata=named,
        )
        applied = config.parse(json.dumps({**settings, "canary": {"candidate": None}}))
        self._world = World.of(applied, {"v1": model}, Catalog.of(crowd.movies, ids), ids)
        self._people = crowd.people

    def lists(self, histories: Rows, n: int, asked: str) -> I32:
        """(people, n) columns, best first, −1 where a list is shorter. asked: other lists may be drawn when it is another."""
        cut = Cut(histories.indptr, histories.indices, [True] * len(self._people), msgspec.Raw(b"{}"))
        source = Source("recommendation-requests", 0, 0)
        questions = [Question(Request(f"{asked}-{who.user_id}", who.user_id, n), source, 0) for who in self._people]
        found = np.full((len(questions), n), -1, np.int32)
        for row, decision in enumerate(decide(questions, cut, self._world, 0)):
            found[row, : len(decision.movies)] = [self._world.ids.index(movie) for movie in decision.movies]
        return found
