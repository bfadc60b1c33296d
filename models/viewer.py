"""The synthetic user: who they are, what they like, what they choose from a list and how content they are with it.

Decides; never sends. All chance comes from a seed or from the generator that is handed in: the same people like, choose and
say the same. Every probability and every satisfaction is in 0 to 1.

    fit        a user's liking of a movie: the mean of their weights of its genres, about N(0, 1) / √genres over the catalogue,
               and up to ± ERA for how near its year is to the years that they like
    look       the chance that place k = 1, 2, … of a list is looked at: k^−patience (position bias as in Craswell et al.,
               An experimental comparison of click position-bias models, WSDM 2008, with the decay of a power law)
    attract    the chance that a movie that is looked at is chosen: σ(sharpness · (fit + fame · renown − choosiness)),
               σ the logistic function, renown from −1 to 1 for the least to the most popular movie; AGAIN of it if seen before

A user goes down the list and takes the first movie that was looked at and attracts.
"""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from math import exp, log2
from typing import Literal, NamedTuple

import numpy as np
from scipy.special import ndtri

from models.config import Simulator
from models.events import Movie, Profile
from models.recommenders.base import F64, I64, Bools

Gender = Literal["M", "F"]

# Genre, by MovieLens' names: (weight among movies, how much more men like it than women, as a multiple of `Habits.tilt`).
# Round numbers of MovieLens' rough shape (Harper & Konstan, The MovieLens Datasets, TiiS 2015), not a calibration.
GENRES: Mapping[str, tuple[float, float]] = {
    "Drama": (0.23, -0.3),
    "Comedy": (0.18, -0.2),
    "Thriller": (0.10, 0.3),
    "Romance": (0.09, -1.0),
    "Action": (0.09, 0.8),
    "Crime": (0.06, 0.4),
    "Adventure": (0.06, 0.4),
    "Horror": (0.05, 0.3),
    "Sci-Fi": (0.05, 0.9),
    "Documentary": (0.04, 0.1),
    "Children": (0.04, -0.6),
    "Fantasy": (0.04, -0.1),
    "Mystery": (0.03, 0.1),
    "Animation": (0.03, -0.2),
    "War": (0.02, 0.7),
    "Musical": (0.02, -0.7),
    "Western": (0.02, 0.6),
    "Film-Noir": (0.01, 0.2),
}
WOMEN_SHARE = 0.168  # the women's share of the interactions in docs/simulator.md: as active as men, but fewer
FEWEST_WATCHED = 5  # below, a taste is not read from what was watched
ERA, ERA_YEARS = 1.5, 10  # the fit of a year that is liked; so many years away it is 0, twice as many −ERA
AGAIN = 0.1  # a movie that was seen before attracts so much less
NEWEST_YEAR = 2024
BOTS = 20
_NAMES = tuple(GENRES)
_SIDES = np.array([side for _, side in GENRES.values()])
_DRAWS = 5 + len(GENRES)  # of a person: gender, age, age, year, year, weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How users behave."""

    patience: float = 0.8  # η: 0 looks at every place alike
    sharpness: float = 1.3
    choosiness: float = 3.2  # the fit at which half of those who look choose
    fame: float = 0.3  # how much more the most popular movie attracts than one of middling popularity, as a fit
    tilt: float = 0.6  # how far the tastes of men and women lie apart; 0: not at all
    gap: float = 0.0  # mean satisfaction of women less that of men, with the same list and taste

    @classmethod
    def of(cls, chosen: Simulator) -> "Habits":
        """As config.json has them."""
        return cls(patience=chosen.patience, fame=chosen.fame, tilt=chosen.tilt, gap=chosen.gap)


USUAL = Habits()


@dataclass(frozen=True, slots=True)
class Person:
    """A user: `weights` of genres, 0 for any that is not named; the year in the middle of those that they like."""

    user_id: str
    gender: Gender | None
    weights: Mapping[str, float]
    age: int | None = None
    year: int | None = None

    def fit(self, movie: Movie | None) -> float:
        """How much this user likes a movie; 0 for one that nobody knows, or with neither genres nor a year."""
        if movie is None:
            return 0.0
        genres = movie.genres
        liked = sum(self.weights.get(genre, 0.0) for genre in genres) / len(genres) if genres else 0.0
        if self.year is None or movie.year is None:
            return liked
        return liked + ERA * (1 - min(abs(movie.year - self.year) / ERA_YEARS, 2))

    def profile(self) -> Profile:
        return Profile(self.user_id, self.gender, self.age)


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """Many users at once. Each is the one that `person` makes, whoever else there is."""

    user_ids: Sequence[str]
    women: Bools  # (users,)
    weights: F64  # (users, genres)
    ages: I64
    years: I64

    @classmethod
    def of(cls, seed: int, user_ids: Sequence[str], habits: Habits = USUAL) -> "People":
        """The users of these names that a seed makes."""
        drawn = chances(seed, user_ids, _DRAWS)
        women = drawn[:, 0] < WOMEN_SHARE
        # The sum of two exponentials is Gamma(2): 34 years on average.
        ages = np.minimum(18 - 8 * np.log(drawn[:, 1:3]).sum(axis=1), 90).astype(np.int64)
        years = np.maximum(NEWEST_YEAR + 9 * np.log(drawn[:, 3:5]).sum(axis=1), 1930).astype(np.int64)
        weights = ndtri(drawn[:, 5:]) + habits.tilt * _SIDES * np.where(women, -1, 1)[:, None]
        return cls(user_ids, women, weights, ages, years)

    def person(self, place: int) -> Person:
        weights = dict(zip(_NAMES, self.weights[place].tolist(), strict=True))
        gender: Gender = "F" if self.women[place] else "M"
        return Person(self.user_ids[place], gender, weights, int(self.ages[place]), int(self.years[place]))


class Choice(NamedTuple):
    """What a user did with a list."""

    place: int | None  # of the chosen movie, 0 the first; None: nothing was chosen
    satisfaction: float  # 0 to 1
    minute: int  # up to which the chosen movie was watched; 0: not at all
    stars: float | None  # 0.5 to 5 in halves, where the movie was rated


def person(seed: int, user_id: str, habits: Habits = USUAL) -> Person:
    """A user that a seed makes: the same for ever.

    >>> person(7, "42").gender, person(7, "42") == person(7, "42"), person(7, "42") == person(8, "42")
    ('M', True, False)
    """
    return People.of(seed, [user_id], habits).person(0)


def fan(
    user_id: str,
    gender: str | None,
    watched: Iterable[Movie],
    shares: Mapping[str, float],
    *,
    seed: int,
    habits: Habits = USUAL,
) -> Person:
    """A user whose taste is read from what they watched; the seed's where that is too little.

    A genre's weight is log₂ of its share in what was watched over its share in the catalogue (`shares`), each with one hundredth
    added; the weights are then brought to mean 0 and deviation 1, as a seed's are. The year is the median of what was watched.
    """
    seen = list(watched)
    known: Gender | None = "M" if gender == "M" else "F" if gender == "F" else None
    if len(seen) < FEWEST_WATCHED or not shares:
        made = person(seed, user_id, habits)
        return replace(made, gender=known or (made.gender if gender is None else None))
    mine = genre_shares(seen)
    ratios = np.array([log2((mine.get(genre, 0.0) + 0.01) / (share + 0.01)) for genre, share in shares.items()])
    ratios = (ratios - ratios.mean()) / max(float(ratios.std()), 1e-9)
    years = [movie.year for movie in seen if movie.year is not None]
    year = int(np.median(years)) if years else None
    return Person(user_id, known, dict(zip(shares, ratios.tolist(), strict=True)), year=year)


def drifted(who: Person, fashion: Mapping[str, float], amount: float) -> Person:
    """A user whose weights have moved by `amount` the way that the fashion goes.

    >>> drifted(Person("1", "M", {"War": 1.0}), {"War": -1.0, "Drama": 1.0}, 0.5).weights
    {'War': 0.5, 'Drama': 0.5}
    """
    if not amount:
        return who
    moved = {genre: who.weights.get(genre, 0.0) + amount * way for genre, way in fashion.items()}
    return replace(who, weights={**who.weights, **moved})


def fashion(seed: int) -> Mapping[str, float]:
    """Which way a seed's fashion goes: of mean 0 and deviation 1 over the genres."""
    ways = ndtri(chances(seed, ["fashion"], len(_NAMES))[0])
    return dict(zip(_NAMES, ((ways - ways.mean()) / ways.std()).tolist(), strict=True))


def genre_shares(movies: Iterable[Movie]) -> dict[str, float]:
    """Each genre's share of all mentions of genres.

    >>> genre_shares([Movie("a", "A", ("War", "Drama")), Movie("b", "B", ("War",)), Movie("c", "C", ("War",))])
    {'War': 0.75, 'Drama': 0.25}
    """
    counts: dict[str, int] = {}
    for movie in movies:
        for genre in movie.genres:
            counts[genre] = counts.get(genre, 0) + 1
    total = sum(counts.values())
    return {genre: count / total for genre, count in counts.items()}


def renown(popularity: Mapping[str, float]) -> dict[str, float]:
    """How popular each movie is among all, by rank: −1 for the least popular, 1 for the most; equals share the mean.

    >>> renown({"a": 7.5, "b": 0.1, "c": 0.1})
    {'a': 1.0, 'b': -0.5, 'c': -0.5}
    """
    values, place, number = np.unique(list(popularity.values()), return_inverse=True, return_counts=True)
    if len(values) < 2:
        return dict.fromkeys(popularity, 0.0)
    rank = np.cumsum(number) - (number + 1) / 2
    return dict(zip(popularity, (2 * rank[place] / (len(popularity) - 1) - 1).tolist(), strict=True))


def who_asks(
    seed: int, number: int, n_known: int, *, newcomers: float = 0.05, bots: float = 0.0, numeric: bool = False
) -> int | str:
    """Whose request number `number` is: the place of a known user, or the id of a new one, who may come again, or of a bot.

    `newcomers` and `bots` are shares of the requests (all but the bots' are new users' where nobody is known); there are the
    more new users the longer it goes on. Bots take requests over, they move nobody else's. `numeric` ids are whole numbers,
    as lines of a log have them.
    """
    if bots and (robot := np.random.default_rng([seed, number, 2])).random() < bots:
        return _visitor(seed, int(robot.integers(BOTS)) + 1, "bot", numeric)
    rng = np.random.default_rng([seed, number])
    if n_known and not (newcomers and rng.random() < newcomers):
        return int(rng.integers(n_known))
    crowd = 10 + number // 100 if n_known else 500
    return _visitor(seed, int(rng.integers(crowd)) + 1, "sim", numeric)


def is_newcomer(seed: int, user_id: str) -> bool:
    """Whether `who_asks` made this id for somebody new."""
    return user_id.startswith(_prefixes(seed, "sim"))


def is_bot(seed: int, user_id: str) -> bool:
    """Whether `who_asks` made this id for a bot.

    >>> is_bot(7, "bot-7-3"), is_bot(7, "9000000000700000003"), is_bot(7, "sim-7-3")
    (True, True, False)
    """
    return user_id.startswith(_prefixes(seed, "bot"))


def _prefixes(seed: int, kind: Literal["sim", "bot"]) -> tuple[str, str]:
    return f"{kind}-{seed}-", f"{8 if kind == 'sim' else 9}{seed:010}"


def _visitor(seed: int, number: int, kind: Literal["sim", "bot"], numeric: bool) -> str:
    words, digits = _prefixes(seed, kind)
    return f"{digits}{number:08}" if numeric else f"{words}{number}"


def choose(
    slate: Sequence[Movie | None],
    who: Person,
    rng: np.random.Generator,
    habits: Habits = USUAL,
    *,
    seen: Container[str] = (),
    renowned: Mapping[str, float] | None = None,
) -> Choice:
    """What a user does with a list, best first; None stands for a movie that the catalogue does not have.

    `seen` are movies that the user has watched before, `renowned` is `renown`'s; a movie that it does not name counts as 0.
    An empty list pleases nobody: nothing chosen, satisfaction 0.
    """
    draws = rng.random(len(slate)).tolist()
    length, stays, rates = rng.random(3).tolist()
    mood, grain = (rng.standard_normal(2) * (0.08, 0.5)).tolist()
    if not slate:
        return Choice(None, 0.0, 0, None)
    fits = [who.fit(movie) for movie in slate]
    look = _look(len(slate), habits.patience)
    known = renowned or {}
    place = None
    for k, (movie, fit) in enumerate(zip(slate, fits, strict=True)):
        name = movie.movie_id if movie is not None else ""
        attract = _logistic(habits.sharpness * (fit + habits.fame * known.get(name, 0.0) - habits.choosiness))
        if draws[k] < look[k] * attract * (AGAIN if name in seen else 1.0):
            place = k
            break
    shown = sum(weight * fit for weight, fit in zip(look, fits, strict=True)) / sum(look)
    pleased = shown if place is None else (shown + fits[place]) / 2 + 0.5
    side = {"M": -0.5, "F": 0.5}.get(who.gender or "", 0.0)
    satisfaction = min(1.0, max(0.0, _logistic(1.2 * pleased) + mood + side * habits.gap))
    if place is None:
        return Choice(None, satisfaction, 0, None)
    minute = minutes(fits[place], length, stays)
    stars = stars_for(fits[place], grain) if rates < 0.3 else None
    return Choice(place, satisfaction, int(minute), None if stars is None else float(stars))


def bot_choice(slate: Sequence[Movie | None]) -> Choice:
    """What a bot does with a list, whatever is on it: takes the first movie, praises it, does not watch it."""
    return Choice(0, 1.0, 0, 5.0) if slate else Choice(None, 1.0, 0, None)


def stars_for(fit: F64 | float, noise: F64 | float, level: float = 3.5) -> F64:
    """Ratings of 0.5 to 5 in halves: `level` for a middling fit, a star more for each unit of it.

    >>> stars_for(np.array([0.0, 1.2, -9.0]), 0.0).tolist()
    [3.5, 4.5, 0.5]
    """
    stars: F64 = np.clip(np.rint(2 * (level + np.asarray(fit) + noise)) / 2, 0.5, 5.0)
    return stars


def minutes(fit: F64 | float, length: F64 | float, stays: F64 | float) -> I64:
    """How far a movie of 85 to 125 minutes is watched: to its end the likelier, the better it fits. `length`, `stays` in 0 to 1."""
    shares = np.where(stays < 1 / (1 + np.exp(-np.clip(np.asarray(fit) + 0.5, -50, 50))), 1.0, stays)
    watched: I64 = np.maximum(1, np.rint((85 + 40 * np.asarray(length)) * shares)).astype(np.int64)
    return watched


def chances(seed: int, names: Sequence[str], n: int) -> F64:
    """(names, n) numbers between 0 and 1: the same for a seed and a name, whoever else there is.

    Counter-based: the k-th is SplitMix64's output for the k-th step from 64 bits of the name's SHA-256 (Steele, Lea and Flood,
    Fast splittable pseudorandom number generators, OOPSLA 2014).
    """
    starts = [int.from_bytes(sha256(f"{seed}:{name}".encode()).digest()[:8], "big") for name in names]
    steps = np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = np.array(starts, np.uint64)[:, None] + steps
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    x ^= x >> np.uint64(31)
    drawn: F64 = ((x >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return drawn


def _logistic(x: float) -> float:
    return 1 / (1 + exp(-min(50.0, max(-50.0, x))))


@cache
def _look(n: int, patience: float) -> tuple[float, ...]:
    return tuple((k + 1) ** -patience for k in range(n))
