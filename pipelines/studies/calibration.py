"""How the simulator's constants are found: the history of some seeds is made again and again until its mean figures are the published ones.

    python -m pipelines.studies.calibration          (a minute or two)

One constant for one figure, in turn: SPREAD for the head's share, RHO for the correlation of popularity and interactions, GENRE_CHANCE
for the genres a user. Each step is the secant's. Prints the constants, and the figures of other seeds with their standard deviation.
"""

from collections.abc import Callable

import numpy as np

from models import calibration
from models.calibration import TARGETS
from models.simulated import Knobs, history

SEEDS, OTHER_SEEDS = range(1, 3), range(101, 109)
ROUNDS = 2
START = Knobs(0.6, 0.4, 0.44)
NUDGE = 0.05
_AIMS = {"spread": "top_share_percent", "rho": "corr_popularity_interactions", "genre_chance": "mean_genres"}
_VALUES = {target.name: target.value for target in TARGETS}


def fit(start: Knobs = START, say: Callable[[str], None] = print) -> Knobs:
    """The constants, to three digits."""
    knobs = start
    for _ in range(ROUNDS):
        for name, figure in _AIMS.items():
            here = getattr(knobs, name)
            there = here + NUDGE
            low, high = (_mean(knobs._replace(**{name: value}), figure) for value in (here, there))
            knobs = knobs._replace(**{name: round(here + NUDGE * (_VALUES[figure] - low) / (high - low), 3)})
            say(f"{name} = {getattr(knobs, name)}, for {figure}: {low:.4f} at {here}, {high:.4f} at {there:.3f}")
    return knobs


def _mean(knobs: Knobs, figure: str) -> float:
    return float(np.mean([calibration.figures(history(seed, knobs=knobs))[figure] for seed in SEEDS]))


def main() -> None:
    knobs = fit()
    print(f"SPREAD, RHO, GENRE_CHANCE = {tuple(knobs)}")
    found = [calibration.figures(history(seed, knobs=knobs)) for seed in OTHER_SEEDS]
    print(f"{'figure':<30}{'target':>10}{'mean':>10}{'deviation':>11}{'range':>22}   of {len(found)} seeds")
    for target in TARGETS:
        values = np.array([each[target.name] for each in found])
        across = f"{values.min():,.4f}–{values.max():,.4f}"
        print(f"{target.name:<30}{target.value:>10,.10g}{values.mean():>10,.4f}{values.std(ddof=1):>11.4f}{across:>22}")


if __name__ == "__main__":
    main()
