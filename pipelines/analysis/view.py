"""Lists of movies seen against a catalogue and what was watched of it: concentration, popularity, novelty, genres.

Histories are lists, too: the same figure of what people watched and of what they are shown can be compared. Reads nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.measures import concentration, exposure, intervals
from models.measures.exposure import GROUPS
from models.measures.feedback import group_of
from models.measures.intervals import Interval
from models.recommenders.base import F64, I64
from pipelines import evaluate
from pipelines.analysis.observed import Lists, Observed

SMALL = 100  # users: of a smaller group nothing should be concluded
TOP_MOVIES, MOST_GENRES = 10, 40  # in the tables

Figures = dict[str, Any]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """What lists are seen against: the catalogue, and how often each of its movies was watched in the window."""

    observed: Observed
    watched: I64  # (movies,) users of each
    information: F64  # (movies,) bits

    @classmethod
    def of(cls, observed: Observed, histories: Lists) -> "View":
        watched = np.bincount(histories.movie, minlength=len(observed.catalogue.movies))
        return cls(observed, watched, concentration.self_information(watched, len(observed.dataset.users)))

    def counts(self, lists: Lists) -> I64:
        """(movies,): how often each is in a list."""
        return np.bincount(lists.movie, minlength=len(self.watched))

    def spread(self, lists: Lists) -> Figures:
        """How lists are spread over the catalogue, with intervals."""
        counts = self.counts(lists)
        each = self.of_users(lists)
        return {
            "lists": len(lists),
            "users": int(np.count_nonzero(~np.isnan(each["mean_popularity"]))),
            "movies": int(np.count_nonzero(counts)),
            "never": int(np.count_nonzero(counts == 0)),
            "top_share_percent": exposure.popularity_stats(counts, None)["top_share_percent"],
            **{name: written(found) for name, found in self.concentration(lists).items()},
            **{name: written(mean(values)) for name, values in each.items()},
        }

    def concentration(self, lists: Lists) -> dict[str, Interval]:
        """Gini and coverage; a jackknife over users, as of all that is no mean."""
        value, without = concentration.gini(self.counts(lists)), self.without(lists)
        covered = np.count_nonzero(self.counts(lists)) / max(len(self.watched), 1)
        return {
            "gini": _share_of(intervals.jackknife(np.nan if value is None else value, without["gini"])),
            "coverage": _share_of(intervals.jackknife(covered, without["coverage"])),
        }

    def without(self, lists: Lists) -> dict[str, F64]:
        """Gini and coverage if one user were missing, for each user."""
        n_users, n_movies = len(lists.users), max(len(self.watched), 1)
        user = lists.owner[lists.of]
        pair = np.unique(user.astype(np.int64) * n_movies + lists.movie)
        shown_to = np.bincount(pair % n_movies, minlength=n_movies)
        alone = np.bincount(pair // n_movies, shown_to[pair % n_movies] == 1, minlength=n_users)
        return {
            "gini": concentration.gini_without(self.counts(lists), user, lists.movie, n_users),
            "coverage": (np.count_nonzero(shown_to) - alone) / n_movies,
        }

    def of_users(self, lists: Lists) -> dict[str, F64]:
        """The means of each user's lists; NaN of a user without any."""
        n_users = len(lists.users)
        user = lists.owner[lists.of]
        entries = np.bincount(user, minlength=n_users)
        met = exposure.genres_met(lists.of, lists.movie, self.observed.catalogue.genres, len(lists))
        filled = np.bincount(lists.of, minlength=len(lists)) > 0
        owner = lists.owner[filled]
        return {
            "mean_popularity": _share(np.bincount(user, self.watched[lists.movie], minlength=n_users), entries),
            "novelty": _share(np.bincount(user, self.information[lists.movie], minlength=n_users), entries),
            "genres_per_list": _share(
                np.bincount(owner, met[filled], minlength=n_users), np.bincount(owner, minlength=n_users)
            ),
        }

    def tenths(self, recommended: Lists) -> list[Figures]:
        """Of each tenth of the catalogue, most watched first: its share of what was watched and of what is recommended."""
        tenth = concentration.tenths(self.watched)
        shares = {
            name: np.bincount(tenth, counts, minlength=concentration.TENTHS) / max(counts.sum(), 1)
            for name, counts in (("watched", self.watched), ("recommended", self.counts(recommended)))
        }
        movies = np.bincount(tenth, minlength=concentration.TENTHS)
        return [
            {"tenth": n + 1, "movies": int(movies[n]), **{name: float(share[n]) for name, share in shares.items()}}
            for n in range(concentration.TENTHS)
        ]

    def groups(self, histories: Lists, recommended: Lists) -> list[Figures]:
        """How popular the movies in the histories and in the lists of each group are."""
        parts = {}
        for name, lists in (("histories", histories), ("lists", recommended)):
            parts[name] = (groups(lists.genders), self.of_users(lists)["mean_popularity"])
        rows = []
        for group in GROUPS:
            found = {name: values[(members == group) & ~np.isnan(values)] for name, (members, values) in parts.items()}
            if not any(map(len, found.values())):
                continue
            means = {name: mean(values) for name, values in found.items()}
            rows.append(
                {
                    "group": group,
                    "n_users": len(found["histories"]),
                    "too_small": min(map(len, found.values())) < SMALL,
                    **{f"popularity_of_{name}": written(each) for name, each in means.items()},
                    "ratio": number(means["lists"].value / means["histories"].value),
                }
            )
        return rows

    def genres(self, recommended: Lists) -> list[Figures]:
        """Of each genre: its share of the catalogue, of what was watched and of what is recommended. A movie has several."""
        every = self.observed.catalogue.genres
        sums: dict[str, I64] = {}
        counts = np.stack([np.ones_like(self.watched), self.watched, self.counts(recommended)])
        for place, some in enumerate(every):
            for genre in set(some):
                sums[genre] = sums[genre] + counts[:, place] if genre in sums else counts[:, place]
        totals = np.maximum(counts.sum(axis=1), 1)
        largest = sorted(sums, key=lambda genre: (-int(sums[genre][0]), genre))[:MOST_GENRES]
        names = ("of_catalogue", "of_watched", "of_recommended")
        return [{"genre": genre, **dict(zip(names, (sums[genre] / totals).tolist(), strict=True))} for genre in largest]

    def top_movies(self, recommended: Lists) -> list[Figures]:
        """The most watched movies."""
        catalogue, counts = self.observed.catalogue, self.counts(recommended)
        first = np.argsort(-self.watched, kind="stable")[:TOP_MOVIES]
        return [
            {
                "movie_id": catalogue.movies[place],
                "title": catalogue.titles[place],
                "interactions": int(self.watched[place]),
                "of_watched": float(self.watched[place] / self.watched.sum()),
                "of_recommended": float(counts[place] / max(counts.sum(), 1)),
            }
            for place in first.tolist()
            if self.watched[place]
        ]


def mean(values: F64) -> Interval:
    """Over users; NaN is left out."""
    known = values[~np.isnan(values)]
    total, count = intervals.in_blocks(rng(), known, np.ones(len(known)))
    return intervals.ratio(total, count, rng())


def root_mean(squares: F64, counts: F64) -> Interval:
    """√(Σ squares / Σ counts) over users."""
    squared, count = intervals.in_blocks(rng(), squares, counts)
    return Interval(*np.sqrt(intervals.ratio(squared, count, rng())).tolist())


def groups(genders: tuple[str | None, ...]) -> npt.NDArray[Any]:
    """The group of each user."""
    return np.array([group_of(gender) for gender in genders], dtype="U7")


def written(interval: Interval) -> Figures:
    """For JSON, which has no NaN."""
    return {name: number(bound) for name, bound in interval._asdict().items()}


def number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def rng() -> np.random.Generator:
    """The same draws for every figure."""
    return np.random.default_rng(evaluate.BOOTSTRAP_SEED)


def _share_of(found: Interval) -> Interval:
    """What lies between 0 and 1 whatever the normal distribution says."""
    return Interval(found.value, *np.clip([found.low, found.high], 0, 1).tolist())


def _share(of: npt.NDArray[Any], all_: I64) -> F64:
    share: F64 = np.divide(of, all_, out=np.full(len(all_), np.nan), where=all_ > 0)
    return share
