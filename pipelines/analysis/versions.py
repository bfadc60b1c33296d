"""What a retraining did: the lists of two versions for the same users, number for number, with paired intervals.

Each version gets the same histories and gives the list that it would serve: all that a user did before the window, and in it whatever
does not judge. How good the lists are is said by what neither version was trained on, if anything such has happened in the window; else by
each version's own evaluation, which is of other data and has no interval.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from models.measures import concentration, intervals
from models.measures.exposure import GROUPS
from models.measures.intervals import Interval
from models.measures.quality import Quality
from models.recommenders.base import F64, I32, I64, Bools, Rows
from models.recommenders.store import Model
from pipelines import evaluate
from pipelines.analysis.observed import Lists, Observed
from pipelines.analysis.view import SMALL, View, groups, mean, written
from pipelines.evaluate import N

Figures = dict[str, Any]
MEASURES = {f"ndcg_at_{N}": "ndcg", f"recall_at_{N}": "recall"}


def compare(observed: Observed, first: Model, second: Model) -> Figures:
    """{"versions", "users", "same_movies", "quality_from", "shown", "notes", "numbers": [{"number", "group", "users", "too_small", "first",
    "second", "difference"}], "tenths"}; a difference is second − first.

    Only users of whom both versions know something; the others get a fallback list, whichever version serves.
    """
    dataset = observed.dataset
    unseen = np.zeros(len(dataset), np.bool_)
    if observed.unseen is not None and observed.learned:  # else of another life of the topics: their data is not here
        unseen = observed.unseen & ~_repeated(observed)
    matrices = [_served(observed, model, ~unseen) for model in (first, second)]
    known = np.all([(matrix >= 0).any(axis=1) for matrix in matrices], axis=0)
    for matrix in matrices:
        matrix[~known] = -1
    place = np.arange(len(observed.catalogue.movies), dtype=np.int32)
    lists = [Lists.of_columns(matrix, place, dataset.users, dataset.genders) for matrix in matrices]
    view, members = _view(observed), groups(dataset.genders)
    quality_from, qualities = _qualities(observed, matrices, unseen & known[dataset.user], first, second)
    answered = {} if observed.answers is None else dict(observed.answers.versions)
    shown = {model.version: answered.get(model.version, 0) for model in (first, second)}
    return {
        "versions": [first.version, second.version],
        "users": int(np.count_nonzero(known)),
        "same_movies": written(mean(_same(*matrices))),
        "quality_from": quality_from,
        "shown": shown,
        "notes": _notes(shown),
        "numbers": [
            *_of_all(view, lists),
            *_of_users(view, lists, members),
            *qualities(members),
        ],
        "tenths": [
            {
                "tenth": one["tenth"],
                "watched": one["watched"],
                "first": one["recommended"],
                "second": other["recommended"],
            }
            for one, other in zip(*map(view.tenths, lists), strict=True)
        ],
    }


def _notes(shown: Mapping[str, int]) -> list[str]:
    """What to keep in mind about the numbers.

    >>> _notes({"v1": 0, "v2": 0})
    []
    """
    if not any(shown.values()):
        return []
    lists = ", ".join(f"{number:,} of {version}" for version, number in shown.items())
    return [
        f"NDCG and Recall favour the version whose lists people were shown, since they choose from what they see; lists in this window: {lists}."
    ]


def _view(observed: Observed) -> View:
    movie = observed.movie
    known = movie >= 0
    dataset = observed.dataset
    owner = np.arange(len(dataset.users), dtype=np.int32)
    return View.of(observed, Lists(dataset.users, dataset.genders, owner, dataset.user[known], movie[known]))


def _served(observed: Observed, model: Model, part: Bools) -> I32:
    """(users, N) places in the catalogue: the list for each user's history in `part`; −1 for users unknown to the model."""
    dataset, catalogue = observed.dataset, observed.catalogue
    column = {movie: number for number, movie in enumerate(model.movie_ids)}
    columns = np.array([column.get(movie, -1) for movie in dataset.movies], np.int32)[dataset.movie]
    user, taken = dataset.user[part], columns[part]
    if observed.earlier is not None:
        before = np.array([column.get(movie, -1) for movie in observed.earlier.movies], np.int32)
        user = np.concatenate([user, observed.earlier.user])
        taken = np.concatenate([taken, before[observed.earlier.movie]])
    histories = _rows(user[taken >= 0], taken[taken >= 0], len(dataset.users))
    found = evaluate.lists(model.recommender, histories).columns
    served = np.where(found >= 0, catalogue.places(model.movie_ids)[found], -1).astype(np.int32)
    served[np.diff(histories.indptr) == 0] = -1
    return served


def _repeated(observed: Observed) -> Bools:
    """(interactions,) of movies that their user had met before the window: no list names them."""
    dataset, earlier = observed.dataset, observed.earlier
    if earlier is None:
        return np.zeros(len(dataset), np.bool_)
    column = {movie: number for number, movie in enumerate(dataset.movies)}
    place = np.array([column.get(movie, -1) for movie in earlier.movies], np.int32)[earlier.movie]
    met: Bools = np.isin(_keys(dataset.user, dataset.movie), _keys(earlier.user[place >= 0], place[place >= 0]))
    return met


def _rows(user: I32, column: I32, n_users: int) -> Rows:
    """Each (user, column) once."""
    key = np.unique(_keys(user, column))
    indptr = np.searchsorted(key, np.arange(n_users + 1, dtype=np.int64) << 32)
    return Rows(indptr, key.astype(np.int32), np.ones(len(key), np.float32))


def _keys(user: I32, column: I32) -> I64:
    keys: I64 = user.astype(np.int64) << 32 | column
    return keys


def _same(one: I32, other: I32) -> F64:
    """Of each user, the share of the longer list that both name; NaN without lists."""
    both = (one[:, :, None] == other[:, None, :]) & (one >= 0)[:, :, None]
    longer = np.maximum((one >= 0).sum(axis=1), (other >= 0).sum(axis=1))
    share: F64 = np.divide(both.any(axis=2).sum(axis=1), longer, out=np.full(len(one), np.nan), where=longer > 0)
    return share


def _of_all(view: View, lists: list[Lists]) -> list[Figures]:
    """Gini and coverage: figures of all users together, so the same user is left out of both."""
    found, without = [view.concentration(each) for each in lists], [view.without(each) for each in lists]
    n = len(lists[0].users)
    return [
        _row(
            name,
            "all",
            n,
            found[0][name],
            found[1][name],
            intervals.jackknife(found[1][name].value - found[0][name].value, without[1][name] - without[0][name]),
        )
        for name in ("gini", "coverage")
    ]


def _of_users(view: View, lists: list[Lists], members: Any) -> list[Figures]:
    head = concentration.tenths(view.watched) == 0
    values = []
    for each in lists:
        user = each.owner[each.of]
        entries = np.bincount(user, minlength=len(each.users))
        of_head = np.bincount(user, head[each.movie], minlength=len(each.users))
        share = np.divide(of_head, entries, out=np.full(len(entries), np.nan), where=entries > 0)
        values.append({"share_of_most_watched_tenth": share, **view.of_users(each)})
    return [
        row
        for name in values[0]
        for row in paired(name, values[0][name], values[1][name], members if name == "mean_popularity" else None)
    ]


def _qualities(observed: Observed, matrices: list[I32], unseen: Bools, first: Model, second: Model) -> tuple[str, Any]:
    """Where it is from, and a function from groups to rows."""
    dataset, movie = observed.dataset, observed.movie
    part = unseen & (movie >= 0)
    if not part.any():
        return "each version's own evaluation, of the data that it was trained on", lambda _: _published(first, second)
    truth = _rows(dataset.user[part], movie[part], len(dataset.users))
    found = [Quality.of(matrix, truth, len(observed.catalogue.movies)) for matrix in matrices]
    return (
        f"{int(np.count_nonzero(part)):,} interactions that neither version was trained on",
        lambda members: [
            row
            for name, field in MEASURES.items()
            for row in paired(name, getattr(found[0], field), getattr(found[1], field), members)
        ],
    )


def _published(first: Model, second: Model) -> list[Figures]:
    """What each version's metadata says, where it says anything."""
    nothing = Interval(np.nan, np.nan, np.nan)
    rows = []
    for name in MEASURES:
        one, other = (_evaluated(model.metadata.evaluation, name) for model in (first, second))
        if np.isfinite([one.value, other.value]).all():
            rows.append(_row(name, "all", 0, one, other, nothing._replace(value=other.value - one.value)))
    return rows


def _evaluated(evaluation: Mapping[str, Any], name: str) -> Interval:
    found = evaluation.get("model", {}).get(name, {})
    return Interval(*(np.nan if found.get(key) is None else float(found[key]) for key in Interval._fields))


def paired(name: str, one: F64, other: F64, members: Any | None) -> list[Figures]:
    """The row of everybody, and of each group where there are several; a user counts that both have a value for."""
    both = ~(np.isnan(one) | np.isnan(other))
    rows = []
    for group in ("all", *(GROUPS if members is not None else ())):
        member = both if group == "all" else both & (members == group)
        if group != "all" and (not member.any() or np.array_equal(member, both)):
            continue
        rows.append(
            _row(
                name,
                group,
                int(np.count_nonzero(member)),
                mean(one[member]),
                mean(other[member]),
                mean((other - one)[member]),
            )
        )
    return rows


def _row(name: str, group: str, users: int, one: Interval, other: Interval, difference: Interval) -> Figures:
    return {
        "number": name,
        "group": group,
        "users": users,
        "too_small": 0 < users < SMALL,
        "first": written(one),
        "second": written(other),
        "difference": written(difference),
    }
