"""The synthetic user: who they are, what they like, what they choose from a list and how content they are with it.

Decides; never sends. All chance comes from a seed or from the generator that is handed in: the same people like, choose and
say the same. Every probability and every satisfaction is in 0 to 1.

    fit        a user's liking of a movie: the mean of their weights of its genres, about N(0, 1) / √genres over the catalogue
    look       the chance that place k = 1, 2, … of a list is looked at: k^−patience (position bias as in Craswell et al.,
               An experimental comparison of click position-bias models, WSDM 2008, with the decay of a power law)
    attract    the chance that a movie that is looked at is chosen: σ(sharpness · (fit − choosiness)), σ the logistic function

A user goes down the list and takes the first movie that was looked at and attracts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from math import exp, log, log2
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from models.events import Movie, Profile, Rating, Watch

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
WOMEN_SHARE = 0.4
NEWCOMERS_SHARE = 0.05
FEWEST_WATCHED = 5  # below, a taste is not read from what was watched
TASTE = 2.0
END_MS = 1_735_689_600_000  # 2025-01-01: fixed, so that a seed gives the same history in any year
_DAY_MS = 86_400_000
_NAMES = tuple(GENRES)
_SIDES = np.array([side for _, side in GENRES.values()])


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """How users behave; a calibration sets these."""

    patience: float = 0.8  # η: 0 looks at every place alike
    sharpness: float = 1.3
    choosiness: float = 3.2  # the fit at which half of those who look choose
    tilt: float = 0.6  # how far the tastes of men and women lie apart; 0: not at all
    gap: float = 0.0  # mean satisfaction of women less that of men, with the same list and taste


@dataclass(frozen=True, slots=True)
class Person:
    """A user: `weights` of genres, 0 for any that is not named."""

    user_id: str
    gender: Gender | None
    weights: Mapping[str, float]
    age: int | None = None

    def fit(self, movie: Movie | None) -> float:
        """How much this user likes a movie; 0 for one that nobody knows, or without genres."""
        if movie is None or not movie.genres:
            return 0.0
        return sum(self.weights.get(genre, 0.0) for genre in movie.genres) / len(movie.genres)

    def profile(self) -> Profile:
        return Profile(self.user_id, self.gender, self.age)


class Choice(NamedTuple):
    """What a user did with a list."""

    place: int | None  # of the chosen movie, 0 the first; None: nothing was chosen
    satisfaction: float  # 0 to 1
    minute: int  # up to which the chosen movie was watched; 0: not at all
    stars: float | None  # 0.5 to 5 in halves, where the movie was rated


def person(seed: int, user_id: str, habits: Habits = Habits()) -> Person:
    """A user that a seed makes: the same for ever.

    >>> person(7, "42").gender, person(7, "42") == person(7, "42"), person(7, "42") == person(8, "42")
    ('M', True, False)
    """
    rng = _rng(seed, user_id)
    gender: Gender = "F" if rng.random() < WOMEN_SHARE else "M"
    age = int(np.clip(18 + rng.gamma(2.0, 8.0), 18, 90))
    weights = rng.standard_normal(len(_NAMES)) + habits.tilt * _SIDES * (1 if gender == "M" else -1)
    return Person(user_id, gender, dict(zip(_NAMES, weights.tolist(), strict=True)), age)


def fan(
    user_id: str, gender: str | None, watched: Iterable[Movie], shares: Mapping[str, float], *, seed: int
) -> Person:
    """A user whose taste is read from what they watched; the seed's where that is too little.

    A genre's weight is log₂ of its share in what was watched over its share in the catalogue (`shares`), each with one hundredth
    added; the weights are then brought to mean 0 and deviation 1, as a seed's are.
    """
    seen = list(watched)
    known: Gender | None = "M" if gender == "M" else "F" if gender == "F" else None
    if len(seen) < FEWEST_WATCHED or not shares:
        made = person(seed, user_id)
        return Person(user_id, known or (made.gender if gender is None else None), made.weights, made.age)
    mine = genre_shares(seen)
    ratios = np.array([log2((mine.get(genre, 0.0) + 0.01) / (share + 0.01)) for genre, share in shares.items()])
    ratios = (ratios - ratios.mean()) / max(float(ratios.std()), 1e-9)
    return Person(user_id, known, dict(zip(shares, ratios.tolist(), strict=True)))


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


def who_asks(seed: int, number: int, n_known: int, *, newcomers: bool = True) -> int | str:
    """Whose request number `number` is: the place of a known user, or the id of a new one, who may come again.

    One request in twenty is a new user's (all where nobody is known); there are the more of them the longer it goes on.
    """
    rng = np.random.default_rng([seed, number])
    if n_known and not (newcomers and rng.random() < NEWCOMERS_SHARE):
        return int(rng.integers(n_known))
    crowd = 10 + number // 100 if n_known else 500
    return f"sim-{seed}-{int(rng.integers(crowd)) + 1}"


def choose(slate: Sequence[Movie | None], who: Person, rng: np.random.Generator, habits: Habits = Habits()) -> Choice:
    """What a user does with a list, best first; None stands for a movie that the catalogue does not have.

    An empty list pleases nobody: nothing chosen, satisfaction 0.
    """
    draws = rng.random(len(slate)).tolist()
    length, stays, rates = rng.random(3).tolist()
    mood, grain = (rng.standard_normal(2) * (0.08, 0.5)).tolist()
    if not slate:
        return Choice(None, 0.0, 0, None)
    fits = [who.fit(movie) for movie in slate]
    look = _look(len(slate), habits.patience)
    place = None
    for k, fit in enumerate(fits):
        if draws[k] < look[k] * _logistic(habits.sharpness * (fit - habits.choosiness)):
            place = k
            break
    shown = sum(weight * fit for weight, fit in zip(look, fits, strict=True)) / sum(look)
    pleased = shown if place is None else (shown + fits[place]) / 2 + 0.5
    side = {"M": -0.5, "F": 0.5}.get(who.gender or "", 0.0)
    satisfaction = min(1.0, max(0.0, _logistic(1.2 * pleased) + mood + side * habits.gap))
    if place is None:
        return Choice(None, satisfaction, 0, None)
    minute = _minute(fits[place], length, stays)
    stars = stars_for(fits[place], grain) if rates < 0.3 else None
    return Choice(place, satisfaction, minute, stars)


def stars_for(fit: float, noise: float) -> float:
    """A rating of 0.5 to 5 in halves: 3.5 for a middling fit, a star more for each unit of it.

    >>> stars_for(0.0, 0.0), stars_for(1.2, 0.0), stars_for(-9.0, 0.3)
    (3.5, 4.5, 0.5)
    """
    return min(5.0, max(0.5, round(2 * (3.5 + fit + noise)) / 2))


def _minute(fit: float, length: float, stays: float) -> int:
    """How far a movie of 85 to 125 minutes is watched: to its end the likelier, the better it fits."""
    return max(1, round((85 + 40 * length) * (1.0 if stays < _logistic(fit + 0.5) else stays)))


class History(NamedTuple):
    """What a simulated service has seen before canarec came."""

    movies: list[Movie]
    profiles: list[Profile]
    events: list[Watch | Rating]  # by time


def history(
    seed: int, *, n_users: int = 2_000, n_movies: int = 3_000, mean_watches: float = 48, habits: Habits = Habits()
) -> History:
    """Movies, users "1" … "n_users" and what they watched and rated in the two years before END_MS.

    A user watches movie j with weight appeal_j · exp(TASTE · fit), without repeating: appeal is a long tail
    1 / (rank + 10), so some movies are popular with all, and taste makes the rest. A third of what is watched is rated.
    Movie ids are a movie service's: the title's words and the year, `the+silent+harbour+1987`.
    """
    rng = _rng(seed, "history")
    movies = _movies(rng, n_movies)
    people = [person(seed, str(number), habits) for number in range(1, n_users + 1)]
    likes = _fits(movies, people)
    appeal = -1.0 * np.log(np.arange(n_movies) + 10)
    appeal = appeal[rng.permutation(n_movies)]
    spread = 0.9
    counts = rng.lognormal(log(mean_watches) - spread**2 / 2, spread, n_users)
    counts = np.clip(np.rint(counts), 5, max(5, n_movies // 3)).astype(np.int64)
    events: list[Watch | Rating] = []
    for row, who in enumerate(people):
        # The best of Gumbel-shifted log weights are a draw without replacement: Efraimidis & Spirakis 2006.
        keys = appeal + TASTE * likes[row] + rng.gumbel(size=n_movies)
        count = min(int(counts[row]), n_movies)
        watched = np.argpartition(-keys, count - 1)[:count]
        watched = watched[rng.permutation(count)].tolist()
        first = END_MS - int(rng.uniform(30, 730) * _DAY_MS)
        times = np.sort(rng.integers(first, END_MS - 4 * 3_600_000, count)).tolist()
        rated, length, stays = rng.random((3, count)).tolist()
        noise = rng.normal(0, 0.5, count).tolist()
        for k, column in enumerate(watched):
            movie, fit, at = movies[column], float(likes[row, column]), times[k]
            minute = _minute(fit, length[k], stays[k])
            events.append(Watch(who.user_id, movie.movie_id, minute, at))
            if rated[k] < 1 / 3:
                events.append(Rating(who.user_id, movie.movie_id, stars_for(fit, noise[k]), at + minute * 60_000))
    events.sort(key=lambda event: event.timestamp_ms)
    return History(movies, [who.profile() for who in people], events)


def _fits(movies: Sequence[Movie], people: Sequence[Person]) -> npt.NDArray[np.float64]:
    """`Person.fit` of everybody for everything, (users, movies)."""
    tags = np.zeros((len(_NAMES), len(movies)))
    for column, movie in enumerate(movies):
        for genre in movie.genres:
            tags[_NAMES.index(genre), column] = 1 / len(movie.genres)
    return np.array([list(who.weights.values()) for who in people]) @ tags


def _movies(rng: np.random.Generator, n: int) -> list[Movie]:
    weights = np.array([weight for weight, _ in GENRES.values()])
    names = rng.permutation(len(_FIRST) * len(_SECOND))
    years = np.clip(2024 - np.floor(rng.gamma(1.3, 14.0, n)), 1920, 2024).astype(int).tolist()
    numbers = rng.choice([1, 2, 3], n, p=[0.35, 0.4, 0.25]).tolist()
    movies = []
    for j in range(n):
        sequel, name = divmod(j, len(names))
        first, second = divmod(int(names[name]), len(_SECOND))
        title = f"{_FIRST[first]} {_SECOND[second]}" + (f" {sequel + 1}" if sequel else "")
        genres = rng.choice(len(_NAMES), numbers[j], replace=False, p=weights / weights.sum()).tolist()
        movie_id = f"{title.lower().replace(' ', '+')}+{years[j]}"
        movies.append(Movie(movie_id, title, tuple(_NAMES[g] for g in sorted(genres)), years[j]))
    return movies


def _rng(seed: int, name: str) -> np.random.Generator:
    """A generator of its own for each name: who else there is changes nobody."""
    return np.random.default_rng([seed, int.from_bytes(sha256(name.encode()).digest()[:8], "big")])


def _logistic(x: float) -> float:
    return 1 / (1 + exp(-min(50.0, max(-50.0, x))))


@cache
def _look(n: int, patience: float) -> tuple[float, ...]:
    return tuple((k + 1) ** -patience for k in range(n))


def _names(line: str) -> tuple[str, ...]:
    return tuple(line.split(","))


_FIRST = _names(
    "The Silent,The Last,The Hidden,The Golden,The Broken,A Distant,The Crimson,An Empty,The Burning,The Paper,The Second,"
    "A Borrowed,The Iron,The Painted,The Midnight,Seven,The Forgotten,A Quiet,The Glass,The Northern,Beyond the,Under the,"
    "The Stolen,The Wandering,One More,The Blue,The Winter,After the,The Secret,The Long,A Perfect,The Hollow,The Velvet,"
    "Return to the,The Invisible,The Wild,No Other,The Ninth,The Lonely,Escape from the,The Restless,The Marble,A Summer,"
    "The Gentle,The Savage,The Electric,The Emerald,The Sleeping,Beneath the,The Unknown"
)
_SECOND = _names(
    "Harbour,Garden,River,Letter,Mountain,Stranger,Orchestra,Kingdom,Detective,Promise,Shadow,Island,Train,Winter,Piano,"
    "Soldier,Daughter,Machine,Circus,Forest,Desert,Lighthouse,Witness,Voyage,Mirror,Carnival,Highway,Castle,Dancer,Painter,"
    "Thief,Engine,Symphony,Summer,Hotel,Comet,Frontier,Island Song,Clockmaker,Library,Bridge,Valley,Storm,Captain,Portrait,"
    "Wedding,Village,Tower,Traveller,Window,Horizon,Fortune,Inheritance,Market,Prophecy,Rain,Signal,Teacher,Tide,Tomorrow,"
    "Violin,Visitor,Wolf,Year"
)
