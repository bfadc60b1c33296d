"""How soon the drift trigger finds a change, and how often it raises a false alarm, on simulated streams through a real small model:

    python -m pipelines.studies.drift          (make study-drift; about 4 minutes on 2 cores)

Each event is a user who is shown a list and watches a movie; the model never learns from the stream. What is asked after each LOOK events
are the very functions that the scheduler asks: `models.measures.drift.signals` and `models.retraining.decide`, with the
thresholds of an empty config.json.

    taste      a user watches unseen movie j with weight appeal_j · exp(2 · fit), as in `models.viewer`: appeal is a long tail
    stationary nothing changes but who the users are: two in a hundred of those who watch are new
    abrupt     from one event on half of the movies have another's appeal, and every user other tastes
    gradual    the same, the chance that an event follows the new taste growing from 0 to 1
"""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy, as everywhere

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np

from models.config import Drift, Retraining
from models.measures.drift import Level, signals
from models.measures.prequential import Predicted
from models.recommenders.als import Als
from models.recommenders.base import F64, I32, I64, Bools, Rows
from models.recommenders.popular import counts
from models.retraining import Counts, Decision, Last, decide

RECIPE = {"factors": 16, "regularization": 4.0, "alpha": 2.0, "iterations": 10}
BLOCK = 500  # events whose users are different ones: their histories are those of the block's beginning
LOOK = 1_000  # events between two looks
NEWCOMERS = 0.02
TASTE = 2.0
MADE = datetime(2026, 11, 1, tzinfo=UTC)
DEFAULTS = Drift()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A stream. The new taste comes with chance 0 before `begins`, 1 from `begins + lasts` on, and linearly between."""

    events: int
    begins: int | None = None  # None: never
    lasts: int = 0
    users: int = 3_000
    movies: int = 800
    watched: int = 40  # by each user, before the model is trained

    def chance(self, event: int) -> float:
        if self.begins is None or event < self.begins:
            return 0.0
        return min(1.0, (event - self.begins) / self.lasts) if self.lasts else 1.0


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: after how many events, what was decided, and each signal alone."""

    events: int
    decision: Decision

    @property
    def alarm(self) -> bool:
        return self.decision.rule == "drift" and self.decision.due


class _World:
    """Users, movies and who has seen what. All chance is from one generator."""

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self._rng, self._movies, genres = rng, scenario.movies, 12
        tags = (rng.random((genres, scenario.movies)) < 2 / genres).astype(np.float64)
        self._tags = tags / np.maximum(tags.sum(axis=0), 1)
        appeal = -np.log(rng.permutation(scenario.movies) + 10.0)
        moved = rng.permutation(scenario.movies)[: scenario.movies // 2]
        other = appeal.copy()
        other[moved] = appeal[rng.permutation(moved)]
        self._appeal = (appeal, other)
        self._tastes = tuple(rng.standard_normal((scenario.users, genres)) for _ in range(2))
        self.seen: Bools = np.zeros((scenario.users, scenario.movies), np.bool_)
        self.number = np.arange(scenario.users)  # of whom a row is, a new one for a newcomer
        liking = self._liking(np.arange(scenario.users), np.zeros(scenario.users, np.bool_))
        first = np.argpartition(-liking, scenario.watched - 1, axis=1)[:, : scenario.watched]
        np.put_along_axis(self.seen, first, True, axis=1)

    def histories(self, rows: I64) -> Rows:
        row, column = np.nonzero(self.seen[rows])
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum(np.bincount(row, minlength=len(rows)), out=indptr[1:])
        return Rows(indptr, column.astype(np.int32), np.ones(len(column), np.float32))

    def visitors(self) -> I64:
        """The rows of a block, newcomers among them."""
        rows = self._rng.choice(len(self.seen), BLOCK, replace=False)
        new = rows[self._rng.random(BLOCK) < NEWCOMERS]
        self.seen[new] = False
        self.number[new] = self.number.max() + 1 + np.arange(len(new))
        for tastes in self._tastes:
            tastes[new] = self._rng.standard_normal((len(new), tastes.shape[1]))
        return rows

    def watch(self, rows: I64, chance: float) -> I32:
        """What each watches."""
        liking = self._liking(rows, self._rng.random(len(rows)) < chance)
        watched: I32 = np.where(self.seen[rows], -np.inf, liking).argmax(axis=1).astype(np.int32)
        self.seen[rows, watched] = True
        return watched

    def _liking(self, rows: I64, changed: Bools) -> F64:
        """Gumbel-shifted log weights: their largest is a draw by weight."""
        old, new = (self._appeal[k] + TASTE * (self._tastes[k][rows] @ self._tags) for k in range(2))
        liking: F64 = np.where(changed[:, None], new, old) + self._rng.gumbel(size=old.shape)
        return liking


def stream(scenario: Scenario, seed: int, drift: Drift = DEFAULTS) -> Iterator[Seen]:
    """The looks at one stream, until its end."""
    world = _World(scenario, np.random.default_rng(seed))
    rows = world.histories(np.arange(scenario.users))
    model, popularity = Als.fit(rows, scenario.movies, RECIPE, 0), counts(rows, scenario.movies)
    retraining, level = Retraining(drift=drift), Level(drift.adwin_delta)
    columns: list[I32] = []
    ndcg: list[F64] = []
    whose: list[I64] = []
    for done in range(0, scenario.events, BLOCK):
        who = world.visitors()
        known = np.flatnonzero(world.seen[who].any(axis=1))  # nothing can be predicted for the others
        before = world.histories(who[known])
        watched = world.watch(who, scenario.chance(done))
        top = model.top(model.users(before), 20, excluded=before)
        at = np.argwhere(top.columns == watched[known, None])
        gain = np.zeros(len(known))
        gain[at[:, 0]] = 1 / np.log2(at[:, 1] + 2)
        hit = np.zeros(len(known))
        hit[at[at[:, 1] < 10, 0]] = 1.0
        level.add(hit.tolist())
        columns.append(watched)
        ndcg.append(gain)
        whose.append(world.number[who[known]].copy())
        if (done + BLOCK) % LOOK == 0:
            yield Seen(done + BLOCK, _decided(popularity, columns, level, ndcg, whose, retraining))


def _decided(
    popularity: I64, columns: list[I32], level: Level, ndcg: list[F64], whose: list[I64], retraining: Retraining
) -> Decision:
    n = retraining.drift.events
    gain, user = np.concatenate(ndcg), np.concatenate(whose)
    two = len(gain) >= 2 * n
    found = signals(
        popularity=popularity,
        columns=np.concatenate(columns),
        events=n,
        hits=level,
        then=Predicted(gain[:n], user[:n]) if two else None,
        now=Predicted(gain[-n:], user[-n:]) if two else None,
    )
    last, now = Last("v1", MADE), MADE + timedelta(days=retraining.drift.cool_down_days)
    return decide(last, Counts(0, len(gain)), found, retraining, now)


def delay(scenario: Scenario, seed: int, drift: Drift = DEFAULTS) -> int | None:
    """Events from the beginning of the change to the alarm, below 0 for one before it; None where there was none."""
    alarm = next((seen.events for seen in stream(scenario, seed, drift) if seen.alarm), None)
    return None if alarm is None else alarm - (scenario.begins or 0)


STATIONARY = Scenario(events=100_000)
ABRUPT = Scenario(events=60_000, begins=30_000)
GRADUAL = Scenario(events=80_000, begins=20_000, lasts=50_000)


def main() -> None:
    """Prints the tables of docs/retraining.md."""
    print(
        "| stationary run | largest PSI | ADWIN | lowest upper bound of NDCG's ratio | alarms |\n|---|---|---|---|---|"
    )
    alarms = 0
    for seed in range(20):
        looks = list(stream(STATIONARY, seed))
        found = [look.decision.signals for look in looks if look.decision.signals is not None]
        alarm = any(look.alarm for look in looks)
        alarms += alarm
        shift = max(each.psi for each in found if each.psi is not None)
        fell = sum(each.hit_before is not None for each in found)
        low = min(each.ndcg_ratio[2] for each in found if each.ndcg_ratio is not None)
        print(
            f"| {seed} | {shift:.4f} | fallen at {fell} of {len(looks)} looks | {low:.3f} | {int(alarm)} |", flush=True
        )
    print(f"\nalarms in 20 stationary runs of {STATIONARY.events:,} events: {alarms}\n")
    for name, scenario in (("abrupt", ABRUPT), ("gradual", GRADUAL)):
        delays = [delay(scenario, 100 + seed) for seed in range(10)]
        print(f"{name}: found after {', '.join('never' if d is None else f'{d:,}' for d in delays)} events", flush=True)


if __name__ == "__main__":
    main()
