"""What the two mitigations do to the gap between men and women, and what they cost:

    python -m pipelines.studies.fairness          (3 minutes; `make study-fairness`)

People of a known imbalance (`people.Imbalance`): a quarter are women, who watch half as much and have other tastes. Each user's newest
five are held out, so that a gap is not one of how much there is to be found, and lists are made as canarec makes them. Settings are
looked for on some seeds; tables and pictures of them are of others. Prints the tables, puts them into docs/fairness.md and draws
docs/fairness-*.svg.
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from models.config import Exposure
from models.measures import ranking
from models.measures.intervals import Interval
from models.recommenders.base import Bools, Parameters
from models.recommenders.popular import counts
from models.recommenders.protected import Protected
from pipelines.chart import STUDY, Line, lines_chart
from pipelines.dataset import Dataset
from pipelines.evaluate import learn
from pipelines.studies import pages
from pipelines.studies.people import Crowd, Imbalance, Service, crowd, watched

PAGE = Path("docs/fairness.md")
APART = Imbalance(men=900, women=300, movies=600, watched_by_men=60, watched_by_women=30, tilt=1.2)
CLOSE = Imbalance(men=900, women=300, movies=600, watched_by_men=60, watched_by_women=30, tilt=0.6)
SEARCHED, REPORTED = (101, 102, 103), (1, 2, 3, 4, 5)
N, HELD = 10, 5
NICHE = 0.8  # niche genres: those outside the ones with this share of what is watched
LOSS = 0.01  # of NDCG@10 that a mitigation may cost
# strengths as good as any for everybody's NDCG@10 without mitigation, on seeds of neither kind
RECIPES: Mapping[str, Parameters] = {
    "EASE": {"algorithm": "ease", "regularization": 400.0, "movies": 600, "neighbours": 600},
    "ALS": {"algorithm": "als", "factors": 32, "regularization": 20.0, "alpha": 1.0, "iterations": 8},
}
WEIGHTS = (1.0, 2.0, 3.0)  # of women's interactions
SHARES = (0.0, 0.5, 0.7, 0.8, 0.9)  # of a list's places, for the user's own genres
OTHERS = {
    "movies outside the head, 0.3": {"share": 0.3, "protect": "movies"},
    "niche genres, 0.2": {"share": 0.2, "protect": "genres", "head_fraction": NICHE},
    "genres women like more, 0.3": {"share": 0.3, "protect": "genres", "genres": ["Romance", "Musical", "Children"]},
}


class Setting(NamedTuple):
    """Both mitigations, as config.json has them; (1, {}) is neither."""

    weight: float = 1.0
    exposure: Mapping[str, Any] = {}


class Outcome(NamedTuple):
    """One seed, one setting."""

    ndcg: float
    men: float
    women: float
    niche: float  # share of places that movies of niche genres have
    ratio: float  # mean satisfaction of men / of women, of what they would say of the movies they were shown

    @property
    def gap(self) -> float:
        return self.men - self.women


FIGURES = (*Outcome._fields, "gap")
NEITHER = Setting()


class Trial:
    """One seed's people, with all that does not depend on a setting."""

    def __init__(self, imbalance: Imbalance, seed: int, recipe: Parameters) -> None:
        self._crowd = crowd(imbalance, seed)
        self._data = watched(self._crowd, imbalance, seed)
        self._recipe = recipe
        self._held = newest(self._data, HELD)
        self._rows, self._truth = self._data.rows(~self._held), self._data.rows(self._held)
        self._men: Bools = np.array([gender == "M" for gender in self._data.genders])
        self._popularity = counts(self._rows, imbalance.movies)
        self._niche = niche(self._crowd, self._popularity)
        self._models: dict[float, Any] = {}

    def outcome(self, setting: Setting) -> Outcome:
        """Figures of the lists that this setting gives."""
        if setting.weight not in self._models:
            weights = {"group_weights": {"F": setting.weight}} if setting.weight != 1 else {}
            self._models[setting.weight] = learn(self._data, {**self._recipe, **weights}, ~self._held)
        settings = {"exposure": dict(setting.exposure)}
        service = Service(self._crowd, self._models[setting.weight], self._popularity, settings)
        lists = service.lists(self._rows, N, "study")
        ndcg = ranking.ndcg(ranking.hits(lists, self._truth), np.diff(self._truth.indptr))
        liked = np.take_along_axis(self._crowd.likes, lists.astype(np.int64), axis=1)
        pleased = (1 / (1 + np.exp(-1.2 * liked))).mean(axis=1)
        return Outcome(
            float(ndcg.mean()),
            float(ndcg[self._men].mean()),
            float(ndcg[~self._men].mean()),
            float(self._niche[lists].mean()),
            float(pleased[self._men].mean() / pleased[~self._men].mean()),
        )


def newest(data: Dataset, n: int) -> Bools:
    """Each user's newest n."""
    order = np.lexsort((-data.time_ms, data.user))
    first = np.searchsorted(data.user, np.arange(len(data.users)))
    held = np.zeros(len(data), np.bool_)
    held[order] = np.arange(len(order)) - first[data.user[order]] < n
    return held


def niche(people: Crowd, popularity: Any) -> Bools:
    """The movies that have a niche genre."""
    names = sorted({genre for movie in people.movies for genre in movie.genres})
    tags = np.array([[genre in movie.genres for movie in people.movies] for genre in names])
    found = Protected.of(Exposure(protect="genres", head_fraction=NICHE), popularity, tuple(names), tags).movies
    assert found is not None
    return found


Found = dict[str, list[Outcome]]  # by a setting's name, an outcome for each seed


def outcomes(imbalance: Imbalance, recipe: Parameters, settings: Mapping[str, Setting], seeds: Sequence[int]) -> Found:
    found: Found = {name: [] for name in settings}
    for seed in seeds:
        trial = Trial(imbalance, seed, recipe)
        for name, setting in settings.items():
            found[name].append(trial.outcome(setting))
    return found


def change(found: Found, name: str, what: str) -> Interval:
    """In percent of what it is without mitigation: the ratio of the means over seeds, and its interval by linearisation.

    (A mean of each seed's ratio would be a seed's whose gap is nearly 0.) Cochran, Sampling Techniques (1977), section 6.4.
    """
    new, old = (np.array([getattr(one, what) for one in found[each]]) for each in (name, "neither"))
    ratio = new.mean() / old.mean()
    value, low, high = pages.interval((new - ratio * old) / old.mean())
    return Interval(*(100 * (bound + ratio - 1) for bound in (value, low, high)))


def candidates() -> dict[str, Setting]:
    """What is tried: each mitigation alone, and both together."""
    own = {share: {"share": share, "protect": "own_genres"} for share in SHARES if share}
    found = {"neither": NEITHER}
    found |= {f"weight {weight:g}": Setting(weight) for weight in WEIGHTS if weight != 1}
    found |= {f"own genres, {share:g}": Setting(1.0, exposure) for share, exposure in own.items()}
    found |= {name: Setting(1.0, exposure) for name, exposure in OTHERS.items()}
    return found | {
        f"weight {weight:g}, own genres, {share:g}": Setting(weight, own[share])
        for weight in WEIGHTS
        for share in (0.7, 0.8, 0.9)
        if weight != 1
    }


_KINDS = {(True, False): "weights alone", (False, True): "re-ranking alone", (True, True): "both"}


def chosen(found: Found, settings: Mapping[str, Setting]) -> dict[str, Setting]:
    """Of each kind the setting with the smallest gap among those that cost at most LOSS, on the searched seeds."""
    kinds: dict[str, list[str]] = {kind: [] for kind in _KINDS.values()}
    for name, setting in settings.items():
        if setting != NEITHER:
            kinds[_KINDS[setting.weight != 1, bool(setting.exposure)]].append(name)
    best = {"neither": NEITHER}
    for kind, names in kinds.items():
        cheap = [name for name in names if change(found, name, "ndcg").value >= -100 * LOSS]
        if cheap:
            best[kind] = settings[min(cheap, key=lambda name: np.mean([one.gap for one in found[name]]))]
    return best


def report(found: Found, settings: Mapping[str, Setting]) -> str:
    rows = []
    for name, some in found.items():
        figures = {what: pages.interval(np.array([getattr(one, what) for one in some])) for what in FIGURES}
        changes = [change(found, name, what) for what in ("gap", "ndcg")]
        rows.append(
            [
                f"{name}{_said(settings[name])}",
                *(pages.written(figures[what]) for what in ("ndcg", "men", "women", "gap")),
                *(pages.written(each, 1, " %") if name != "neither" else "–" for each in changes),
                *(pages.written(figures[what]) for what in ("niche", "ratio")),
            ]
        )
    head = ["", "NDCG@10", "men", "women", "gap", "gap, change", "NDCG@10, change", "niche genres", "ratio"]
    return pages.table(head, rows)


def searched(found: Found) -> str:
    """What each setting did on the searched seeds."""
    rows = [
        [name, *(f"{change(found, name, what).value:+.1f} %".replace("-", "−") for what in ("gap", "ndcg"))]
        for name in found
        if name != "neither"
    ]
    return pages.table(["", "gap", "NDCG@10"], rows)


def _said(setting: Setting) -> str:
    parts = [f"F {setting.weight:g}"] if setting.weight != 1 else []
    if setting.exposure:
        named = ", ".join(setting.exposure.get("genres", ()))
        parts.append(f"{setting.exposure['protect']}{f' ({named})' if named else ''} {setting.exposure['share']:g}")
    return f" ({'; '.join(parts)})" if parts else ""


CHARTS = (
    ("fairness-weights.svg", "Gap and NDCG@10 by the weight of women's interactions", WEIGHTS, "weight {:g}"),
    ("fairness-reranking.svg", "Gap and NDCG@10 by the share of places for own genres", SHARES, "own genres, {:g}"),
)


def drawn() -> list[str]:
    """The settings that `draw` shows."""
    return ["neither", *(name.format(value) for _, _, x, name in CHARTS for value in x[1:])]


def draw(found: Mapping[str, Found], folder: Path) -> None:
    """The gap and NDCG@10 by the strength of a mitigation, in percent of what they are without."""
    for file, title, x, name in CHARTS:
        lines = [
            Line(
                f"{algorithm}: {label}",
                x,
                [100.0] + [float(100 + change(some, name.format(value), what).value) for value in x[1:]],
            )
            for algorithm, some in found.items()
            for label, what in (("gap", "gap"), ("NDCG@10", "ndcg"))
        ]
        seeds = len(next(iter(found.values()))["neither"])
        about = f"In percent of what they are without mitigation, means over {seeds} seeds by which nothing was chosen."
        (folder / file).write_text(lines_chart(title, about, lines, shape=STUDY, file=True) + "\n")


def section(parts: Sequence[tuple[str, str]]) -> str:
    """What stands between the marks."""
    text = [f"{above}:\n\n{table}" for above, table in parts]
    text.insert(1, "![By weight](fairness-weights.svg)\n\n![By share](fairness-reranking.svg)")
    return "\n\n".join(text) + "\n"


class Studied(NamedTuple):
    """One algorithm: what was tried on the searched seeds; on the others what is drawn, and the tables of what was chosen."""

    tried: Found
    drawn: Found
    apart: str
    close: str


def study(algorithm: str) -> Studied:
    settings, recipe = candidates(), RECIPES[algorithm]
    tried = outcomes(APART, recipe, settings, SEARCHED)
    best, shown = chosen(tried, settings), {name: settings[name] for name in drawn()}
    apart = outcomes(APART, recipe, best | shown, REPORTED)
    close = outcomes(CLOSE, recipe, best, REPORTED)
    return Studied(
        tried,
        {name: apart[name] for name in shown},
        report({name: apart[name] for name in best}, best),
        report(close, best),
    )


def main() -> None:
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        found = dict(zip(RECIPES, pool.map(study, RECIPES), strict=True))
    parts = [(f"{algorithm}, {len(REPORTED)} seeds", one.apart) for algorithm, one in found.items()]
    parts += [
        (f"{algorithm}, the same settings where tastes lie half as far apart (tilt {CLOSE.tilt:g})", one.close)
        for algorithm, one in found.items()
    ]
    parts += [
        (f"{algorithm}, all that was tried, over the {len(SEARCHED)} seeds of the search", searched(one.tried))
        for algorithm, one in found.items()
    ]
    text = section(parts)
    print(text)
    draw({algorithm: one.drawn for algorithm, one in found.items()}, PAGE.parent)
    PAGE.write_text(pages.filled(PAGE.read_text(), text, "study-fairness"))


if __name__ == "__main__":
    main()
