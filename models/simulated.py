"""What a simulated service has seen before canarec came: movies, users, and what they watched and rated. From a seed alone.

Calibrated to the published figures of a real service (`models.calibration`; docs/simulator.md tells how the constants were found).
A choice here is one of `models.viewer`'s, given that something was chosen:

    activity   users are drawn into the given number of interactions by Gamma(ACTIVITY) weights; who draws none is a cold user
    page       the genre that a user opens, with chance ∝ Σ e^appeal of its movies · exp(PAGE · the user's weight of it)
    slate      SLATE movies of the page, drawn ∝ e^appeal, the best known first
    choice     place k of the slate, with chance ∝ k^−patience · exp(TASTE · fit); a movie that was seen before is never taken again
    appeal     SPREAD · (ρ z + √(1 − ρ²) e): z the normal score of the catalogue's popularity, which is 10 e^(z/2), e that of all else

Draws are by Gumbel's trick: argmax of log weight + Gumbel noise has chance ∝ weight (Maddison, Tarlow and Minka, A* sampling, 2014).
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from models.events import Movie, Profile, Rating, Watch
from models.recommenders.base import F64, I64, Bools
from models.viewer import ERA, ERA_YEARS, GENRES, NEWEST_YEAR, USUAL, Habits, People, minutes, stars_for

MOVIES, USERS = 21_941, 42_991
INTERACTIONS = {"M": 77_217, "F": 15_631}
MEAN_RATING = {"M": 3.7194, "F": 3.7148}
RATED = 1 / 3  # of what is watched

# Fitted, by `pipelines.studies.calibration`:
SPREAD = 0.576
RHO = 0.411
GENRE_CHANCE = 0.445  # a movie has 1 + Binomial(3, GENRE_CHANCE) genres
# Chosen, so that the median and the percentiles of genres a user come out and a model has something to learn:
ACTIVITY = 1.5
PAGE, TASTE, SLATE = 3.0, 2.0, 20

END_MS = 1_735_689_600_000  # 2025-01-01: fixed, so that a seed gives the same history in any year
_DAY_MS = 86_400_000
_NAMES = tuple(GENRES)
_AT_ONCE = 1 << 13  # choices
_TRIES = 100


class Knobs(NamedTuple):
    """What is fitted."""

    spread: float = SPREAD
    rho: float = RHO
    genre_chance: float = GENRE_CHANCE


FITTED = Knobs()


class History(NamedTuple):
    """Everything before canarec came."""

    movies: list[Movie]
    profiles: list[Profile]
    events: list[Watch | Rating]  # by time


class _Catalogue(NamedTuple):
    """Movies in columns."""

    tags: Bools  # (movies, genres)
    years: I64
    appeal: F64
    popularity: F64


def history(
    seed: int,
    *,
    n_users: int = USERS,
    n_movies: int = MOVIES,
    habits: Habits = USUAL,
    knobs: Knobs = FITTED,
) -> History:
    """Movies, users "1" … "n_users" and what they watched and rated in the two years before END_MS.

    With other sizes the interactions of men and women grow with the users. Everybody is the one that `viewer.person` makes. Who has
    no interactions comes after all others of their gender. Movie ids are a movie service's: `the+silent+harbour+1987`.
    """
    titles, rng = np.random.default_rng([n_movies, 0]), np.random.default_rng([seed, 1])
    catalogue = _catalogue(titles, n_movies, knobs)
    people = People.of(seed, [str(number) for number in range(1, n_users + 1)], habits)
    user = _who_watches(rng, people)
    user, movie = _chosen(rng, user, people, catalogue, habits)
    movies = _named(titles, catalogue)
    profiles = [people.person(place).profile() for place in range(n_users)]
    events = _events(rng, user, movie, people, catalogue, [each.movie_id for each in movies])
    return History(movies, profiles, events)


def _catalogue(rng: np.random.Generator, n: int, knobs: Knobs) -> _Catalogue:
    weights = np.log([weight for weight, _ in GENRES.values()])
    numbers = 1 + rng.binomial(3, knobs.genre_chance, n)
    rank = np.argsort(np.argsort(-(weights + rng.gumbel(size=(n, len(_NAMES)))), axis=1), axis=1)
    years = np.clip(NEWEST_YEAR - np.floor(rng.gamma(1.3, 14.0, n)), 1920, NEWEST_YEAR).astype(np.int64)
    scores = ndtri((np.arange(n) + 0.5) / n)
    popular, other = rng.permutation(scores), rng.permutation(scores)
    appeal = knobs.spread * (knobs.rho * popular + np.sqrt(1 - knobs.rho**2) * other)
    return _Catalogue(rank < numbers[:, None], years, appeal, np.round(10 * np.exp(popular / 2), 3))


def _who_watches(rng: np.random.Generator, people: People) -> I64:
    """(interactions,): the user of each."""
    counts = np.zeros(len(people.user_ids), np.int64)
    for women, total in ((False, INTERACTIONS["M"]), (True, INTERACTIONS["F"])):
        members = np.flatnonzero(people.women == women)
        if not len(members):
            continue
        activity = rng.gamma(ACTIVITY, size=len(members))
        drawn = rng.multinomial(round(total * len(counts) / USERS), activity / activity.sum())
        counts[members[: np.count_nonzero(drawn)]] = drawn[drawn > 0]
    return np.repeat(np.arange(len(counts)), counts)


def _chosen(
    rng: np.random.Generator, user: I64, people: People, catalogue: _Catalogue, habits: Habits
) -> tuple[I64, I64]:
    """(user, movie) of each interaction; one that could only repeat another is left out, as in a catalogue of a few dozen movies."""
    movie = np.full(len(user), -1, np.int64)
    pages = _Pages(catalogue)
    again = np.arange(len(user))
    for _ in range(_TRIES):
        movie[again] = np.concatenate([pages.choices(rng, some, people, habits) for some in _parts(user[again])])
        _, first = np.unique(user * len(catalogue.years) + movie, return_index=True)
        seen = np.ones(len(user), np.bool_)
        seen[first] = False
        again = np.flatnonzero(seen)
        if not len(again):
            break
    kept = np.setdiff1d(np.arange(len(user)), again)
    return user[kept], movie[kept]


class _Pages:
    """The genres' pages: each one's movies, the most appealing first."""

    def __init__(self, catalogue: _Catalogue) -> None:
        self._catalogue = catalogue
        order = np.argsort(-catalogue.appeal, kind="stable")
        pages = [order[catalogue.tags[order, genre]] for genre in range(len(_NAMES))]
        self._movie = np.concatenate(pages)
        self._ends = np.cumsum([len(page) for page in pages])
        self._cumulated = np.concatenate([[0.0], np.cumsum(np.exp(catalogue.appeal[self._movie]))])
        self._shares = catalogue.tags / catalogue.tags.sum(axis=1, keepdims=True)

    def choices(self, rng: np.random.Generator, user: I64, people: People, habits: Habits) -> I64:
        """(users,): the movie that each takes from a page."""
        first = self._cumulated[np.concatenate([[0], self._ends[:-1]])]
        weight = self._cumulated[self._ends] - first
        with np.errstate(divide="ignore"):  # nobody opens a page without movies
            opened = np.log(weight) + PAGE * people.weights[user]
        page = np.argmax(opened + rng.gumbel(size=opened.shape), axis=1)
        # sorted draws: a page has the best known first, and so has the slate
        drawn = np.sort(rng.random((len(user), SLATE)), axis=1) * weight[page, None] + first[page, None]
        place = np.searchsorted(self._cumulated, drawn, side="right") - 1
        slate = self._movie[np.minimum(place, self._ends[page, None] - 1)]
        fit = self.fits(people, user[:, None], slate)
        look = -habits.patience * np.log(np.arange(1, SLATE + 1))
        taken = np.argmax(look + TASTE * fit + rng.gumbel(size=fit.shape), axis=1)
        chosen: I64 = slate[np.arange(len(user)), taken]
        return chosen

    def fits(self, people: People, user: I64, movie: I64) -> F64:
        """`Person.fit` of users for movies, of any shape."""
        return _fits(people, self._shares, self._catalogue.years, user, movie)


def _fits(people: People, shares: F64, years: I64, user: I64, movie: I64) -> F64:
    apart = np.abs(years[movie] - people.years[user]) / ERA_YEARS
    fit: F64 = (people.weights[user] * shares[movie]).sum(axis=-1) + ERA * (1 - np.minimum(apart, 2))
    return fit


def _events(
    rng: np.random.Generator, user: I64, movie: I64, people: People, catalogue: _Catalogue, movie_ids: list[str]
) -> list[Watch | Rating]:
    shares = catalogue.tags / catalogue.tags.sum(axis=1, keepdims=True)
    fit = _fits(people, shares, catalogue.years, user, movie)
    n = len(user)
    first = END_MS - rng.integers(30 * _DAY_MS, 730 * _DAY_MS, len(people.user_ids))[user]
    at = (first + rng.random(n) * (END_MS - _DAY_MS // 6 - first)).astype(np.int64)
    minute = minutes(fit, rng.random(n), rng.random(n))
    rated = np.flatnonzero(rng.random(n) < RATED)
    noise = rng.normal(0, 0.5, n)
    stars = np.zeros(n)
    for gender in ("M", "F"):
        some = rated[people.women[user[rated]] == (gender == "F")]
        stars[some] = stars_for(fit[some], noise[some], _level(fit[some], noise[some], MEAN_RATING[gender]))
    whens = np.concatenate([at, at[rated] + minute[rated] * 60_000])
    places = np.concatenate([np.arange(n), rated])
    order = np.argsort(whens, kind="stable")
    columns = (user[places], movie[places], minute[places], stars[places], whens, np.arange(len(whens)) < n)
    events: list[Watch | Rating] = []
    for who, what, until, rating, when, watched in zip(*(column[order].tolist() for column in columns), strict=True):
        name = people.user_ids[who]
        events.append(
            Watch(name, movie_ids[what], until, when) if watched else Rating(name, movie_ids[what], rating, when)
        )
    return events


def _level(fit: F64, noise: F64, mean: float) -> float:
    """The level at which these ratings have this mean, as nearly as halves allow: by bisection, since the mean grows with it."""
    low, high = -10.0, 20.0
    for _ in range(40 if len(fit) else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if stars_for(fit, noise, middle).mean() < mean else (low, middle)
    return high


def _parts(user: I64) -> Iterator[I64]:
    for first in range(0, max(len(user), 1), _AT_ONCE):
        yield user[first : first + _AT_ONCE]


def _named(rng: np.random.Generator, catalogue: _Catalogue) -> list[Movie]:
    names = rng.permutation(len(_FIRST) * len(_SECOND)).tolist()
    movies = []
    columns = (catalogue.tags, catalogue.years.tolist(), catalogue.popularity.tolist())
    for number, (tags, year, popularity) in enumerate(zip(*columns, strict=True)):
        sequel, name = divmod(number, len(names))
        first, second = divmod(names[name], len(_SECOND))
        title = f"{_FIRST[first]} {_SECOND[second]}" + (f" {sequel + 1}" if sequel else "")
        genres = tuple(_NAMES[genre] for genre in np.flatnonzero(tags))
        movies.append(Movie(f"{title.lower().replace(' ', '+')}+{year}", title, genres, year, popularity))
    return movies


def _words(line: str) -> tuple[str, ...]:
    return tuple(line.split(","))


_FIRST = _words(
    "The Silent,The Last,The Hidden,The Golden,The Broken,A Distant,The Crimson,An Empty,The Burning,The Paper,The Second,"
    "A Borrowed,The Iron,The Painted,The Midnight,Seven,The Forgotten,A Quiet,The Glass,The Northern,Beyond the,Under the,"
    "The Stolen,The Wandering,One More,The Blue,The Winter,After the,The Secret,The Long,A Perfect,The Hollow,The Velvet,"
    "Return to the,The Invisible,The Wild,No Other,The Ninth,The Lonely,Escape from the,The Restless,The Marble,A Summer,"
    "The Gentle,The Savage,The Electric,The Emerald,The Sleeping,Beneath the,The Unknown"
)
_SECOND = _words(
    "Harbour,Garden,River,Letter,Mountain,Stranger,Orchestra,Kingdom,Detective,Promise,Shadow,Island,Train,Winter,Piano,"
    "Soldier,Daughter,Machine,Circus,Forest,Desert,Lighthouse,Witness,Voyage,Mirror,Carnival,Highway,Castle,Dancer,Painter,"
    "Thief,Engine,Symphony,Summer,Hotel,Comet,Frontier,Island Song,Clockmaker,Library,Bridge,Valley,Storm,Captain,Portrait,"
    "Wedding,Village,Tower,Traveller,Window,Horizon,Fortune,Inheritance,Market,Prophecy,Rain,Signal,Teacher,Tide,Tomorrow,"
    "Violin,Visitor,Wolf,Year"
)
