"""How often verdicts err, by simulation, beside tests that were not made for repeated looks:

    python -m pipelines.studies.canary          (a minute; `make study`)

Seeds are fixed. Users come one by one and are looked at after every 100 an arm (of the smaller arm's, where arms differ); the first
verdict of a run stands. Prints its tables, puts them into docs/canary.md and draws docs/canary-*.svg.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import chi2, norm

from models.config import Release
from models.recommenders.base import F64, Bools
from models.release import failures
from models.release.bounds import Sample, about, information
from models.release.ratio_mismatch import log_bayes_factor
from pipelines.chart import Line, line_chart
from pipelines.studies import pages

PAGE = Path("docs/canary.md")
RUNS, SPLIT_RUNS, ERROR_RUNS = 1_000, 20_000, 300
LOOK = 100
RATE, MARGIN = 0.3, 0.05
_DEFAULTS = Release()
FAIL_ALPHA = _DEFAULTS.alpha / 4  # four metrics may roll back

Draw = Callable[[np.random.Generator, tuple[int, int], int], tuple[F64, F64]]
"""(runs, looks) sums of values and of squares of that many users a look."""


class Decided(NamedTuple):
    """(runs, looks): whether the run has, by this look, been passed or rolled back."""

    passed: Bools
    failed: Bools

    def share(self, looks: int | None = None) -> tuple[float, float]:
        last = (looks or self.passed.shape[1]) - 1
        return float(self.passed[:, last].mean()), float(self.failed[:, last].mean())

    def users(self) -> float:
        """Median users an arm at the first verdict; infinite where most runs have none."""
        done = self.passed | self.failed
        first = np.where(done[:, -1], done.argmax(axis=1) + 1, np.inf) * LOOK
        return float(np.median(first))


def coin(rate: float) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, int], users: int) -> tuple[F64, F64]:
        found = rng.binomial(users, rate, shape).astype(np.float64)
        return found, found

    return draw


def share_of_three(rate: float) -> Draw:
    """Users with three answers each, who take to lists differently: a beta-binomial of 3, over 3."""
    chances = [
        math.comb(3, hits)
        * math.exp(_log_beta(hits + 4 * rate, 3 - hits + 4 * (1 - rate)) - _log_beta(4 * rate, 4 * (1 - rate)))
        for hits in range(4)
    ]

    def draw(rng: np.random.Generator, shape: tuple[int, int], users: int) -> tuple[F64, F64]:
        found = rng.multinomial(users, np.array(chances) / sum(chances), shape)
        return found @ (np.arange(4) / 3), found @ (np.arange(4) / 3) ** 2

    return draw


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def arms(
    rng: np.random.Generator,
    stable: Draw,
    canary: Draw,
    *,
    looks: int,
    runs: int,
    users: tuple[int, int] = (LOOK, LOOK),
) -> tuple[Sample, Sample]:
    """Both arms at each look; `users` of (stable, canary) come between two."""
    samples = []
    for draw, each in zip((stable, canary), users, strict=True):
        total, squares = (np.cumsum(part, axis=1) for part in draw(rng, (runs, looks), each))
        n = np.arange(1, looks + 1) * each
        samples.append(Sample(n, total / n, squares / n))
    return samples[0], samples[1]


def anytime(stable: Sample, canary: Sample, margin: float, fail_alpha: float = FAIL_ALPHA) -> Decided:
    """The bounds of models.release.bounds: lower > −margin, upper < 0. (The bound has passed d where the evidence against d is 1/α.)"""
    mixture, difference = about(margin), canary.mean - stable.mean
    to_pass, to_fail = information(stable, canary, -margin), information(stable, canary, 0.0)
    return _first(
        mixture.log_evidence((difference + margin) * to_pass, to_pass) > -math.log(_DEFAULTS.alpha),
        mixture.log_evidence(-difference * to_fail, to_fail) > -math.log(fail_alpha),
        np.minimum(stable.n, canary.n),
    )


def z_test(stable: Sample, canary: Sample, margin: float, fail_alpha: float = FAIL_ALPHA) -> Decided:
    """The usual one-sided z tests of the same hypotheses at the same levels, right for one look."""
    difference = canary.mean - stable.mean
    error = np.sqrt(
        sum((arm.mean_square - arm.mean**2) / arm.n for arm in (stable, canary)) + 1e-12  # no variance seen yet
    )
    return _first(
        (difference + margin) / error > norm.isf(_DEFAULTS.alpha),
        difference / error < -norm.isf(fail_alpha),
        np.minimum(stable.n, canary.n),
    )


def _first(passes: Bools, fails: Bools, users: Any) -> Decided:
    """What stands is the first verdict; where one look gives both, the candidate is out."""
    enough = users >= _DEFAULTS.users_min
    failed = np.logical_or.accumulate(fails & enough, axis=1)
    passed = np.logical_or.accumulate(passes & enough & ~failed, axis=1)
    failed_first = failed & ~np.logical_or.accumulate(
        np.hstack([np.zeros((len(failed), 1), bool), passed[:, :-1]]), axis=1
    )
    return Decided(passed, np.logical_or.accumulate(failed_first, axis=1))


def quality(runs: int = RUNS) -> tuple[str, dict[float, tuple[Decided, Decided]]]:
    """One metric, CTR 0.3: what becomes of candidates of all kinds by 2,400 and by 5,000 users an arm."""
    found: dict[float, tuple[Decided, Decided]] = {}
    rows = []
    for difference in (-0.10, -0.05, -0.04, -0.03, -0.02, -0.01, 0.0, 0.02, 0.05):
        rng = np.random.default_rng([2026, round(1000 + 1000 * difference)])
        both = arms(rng, coin(RATE), coin(RATE + difference), looks=50, runs=runs)
        found[difference] = anytime(*both, MARGIN), z_test(*both, MARGIN)
        cells = [f"{100 * difference:+.0f} points".replace("-", "−") if difference else "equal"]
        for decided in found[difference]:
            early, late = decided.share(24), decided.share(50)
            users = decided.users()
            cells += [*map(_percent, (*early, *late)), f"{users:,.0f}" if math.isfinite(users) else "–"]
        rows.append(cells)
    head = ["candidate"]
    for name in ("", "z: "):
        head += [
            f"{name}{what}" for what in ("passed by 2,400", "out by 2,400", "passed by 5,000", "out by 5,000", "users")
        ]
    return pages.table(head, rows), found


def rates(runs: int = RUNS * 2) -> str:
    """Errors of both kinds for rates near 0 and 1 and arms of different sizes, up to 10,000 users of the smaller arm."""
    rows = []
    cases: list[tuple[str, Callable[[float], Draw], float, float]] = [
        (f"rate {rate:g}", coin, rate, margin)
        for rate, margin in ((0.3, 0.05), (0.1, 0.05), (0.05, 0.02), (0.02, 0.01), (0.98, 0.01), (0.995, 0.01))
    ]
    cases.append(("share of three answers, 0.3", share_of_three, 0.3, 0.05))
    for place, (name, make, rate, margin) in enumerate(cases):
        for users in ((LOOK, LOOK), (9 * LOOK, LOOK), (LOOK, 3 * LOOK)):
            rng = np.random.default_rng([7, place, *users])
            at = arms(rng, make(rate), make(rate - margin), looks=100, runs=runs, users=users)
            equal = arms(rng, make(rate), make(rate), looks=100, runs=runs, users=users)
            cells = [name, f"{margin:g}", f"{users[0] // LOOK} : {users[1] // LOOK}"]
            for test in (anytime, z_test):
                cells += [_percent(test(*at, margin).share()[0]), _percent(test(*equal, margin).share()[1])]
            rows.append(cells)
    return pages.table(
        ["metric", "margin", "stable : canary", "at the margin, passed", "equal, out", "z: passed", "z: out"], rows
    )


def together(runs: int = RUNS) -> str:
    """All four metrics: an equal candidate, and one that is at the margin, or worse, in one of them."""
    metrics: list[tuple[str, Callable[[float], Draw], float, float]] = [
        ("success", coin, 0.99, 0.01),
        ("ctr", share_of_three, 0.3, 0.05),
        ("hit_rate", coin, 0.2, 0.05),
        ("satisfaction", share_of_three, 0.6, 0.05),
    ]
    rows: list[list[str]] = []
    for worse in (None, *(name for name, *_ in metrics)):
        passed, failed = [], []
        for place, (name, make, rate, margin) in enumerate(metrics):
            rng = np.random.default_rng([13, place, len(rows)])
            off = margin if name == worse else 0.0
            stable, canary = arms(rng, make(rate), make(rate - off), looks=50, runs=runs)
            mixture, difference = about(margin), canary.mean - stable.mean
            to_pass, to_fail = information(stable, canary, -margin), information(stable, canary, 0.0)
            passed.append(mixture.log_evidence((difference + margin) * to_pass, to_pass) > -math.log(_DEFAULTS.alpha))
            failed.append(mixture.log_evidence(-difference * to_fail, to_fail) > -math.log(FAIL_ALPHA))
        users = np.arange(1, 51) * LOOK
        decided = _first(np.logical_and.reduce(passed), np.logical_or.reduce(failed), users)
        rows.append(
            [
                f"at the margin in {worse}" if worse else "equal",
                *map(_percent, (*decided.share(24), *decided.share(50))),
            ]
        )
    return pages.table(["candidate", "passed by 2,400", "out by 2,400", "passed by 5,000", "out by 5,000"], rows)


def split(runs: int = SPLIT_RUNS) -> str:
    """A split that is set to 10 %: how often it is called broken within 10,000 users, at 100 looks."""
    rows = []
    n = np.arange(LOOK, 10_001, LOOK)
    for share in (0.10, 0.08, 0.11, 0.12, 0.15):
        rng = np.random.default_rng([17, round(1000 * share)])
        canary = np.cumsum(rng.binomial(LOOK, share, (runs, len(n))), axis=1).astype(np.float64)
        sequential = log_bayes_factor(canary, n - canary, 0.1) > -math.log(_DEFAULTS.srm_alpha)
        usual = (canary - 0.1 * n) ** 2 / (0.09 * n) > chi2.isf(_DEFAULTS.srm_alpha, 1)
        rows.append([f"{share:.0%}", *(f"{100 * test.any(axis=1).mean():.2f} %" for test in (sequential, usual))])
    return pages.table(["gives", "found", "χ² looked at as often"], rows)


def errors(runs: int = ERROR_RUNS) -> str:
    """Candidates that fail: requests of theirs until they are out, looked at after each of their failures, up to 200."""
    rows = []
    for stable, canary in ((0.01, 1.0), (0.01, 0.5), (0.01, 0.2), (0.01, 0.01), (0.02, 0.02), (0.02, 0.04)):
        cells = [f"{canary:.0%}", f"{stable:.0%}"]
        for share in (0.01, 0.1, 0.5):
            rng = np.random.default_rng([19, round(1000 * canary), round(1000 * stable), round(100 * share)])
            first = np.array([_fires_after(rng, canary, stable, share) for _ in range(runs)])
            fired = np.isfinite(first)
            median = f", median {np.median(first[fired]):.0f}" if fired.mean() > 0.5 else ""
            cells.append(f"{100 * fired.mean():.1f} %{median}")
        rows.append(cells)
    return pages.table(["candidate fails", "stable fails", "out at 1 %", "out at 10 %", "out at 50 %"], rows)


def _fires_after(rng: np.random.Generator, canary: float, stable: float, share: float, requests: int = 200) -> float:
    failed = np.cumsum(rng.random(requests) < canary)
    others = np.cumsum(rng.geometric(share, requests) - 1)  # requests of stable before each of the canary's
    stable_failed = np.cumsum(rng.binomial(np.diff(others, prepend=0), stable))
    for place in np.flatnonzero(np.diff(failed, prepend=0)):
        if failed[place] >= _DEFAULTS.failing_users_min:
            above, _ = failures.excess(
                (int(failed[place]), int(place) + 1),
                (int(stable_failed[place]), int(others[place])),
                _DEFAULTS.error_margin,
                _DEFAULTS.error_alpha,
            )
            if above >= 0:
                return float(place + 1)
    return math.inf


def draw_charts(found: dict[float, tuple[Decided, Decided]], folder: Path) -> None:
    """What happens to a candidate at the margin while one looks on, and to candidates of all kinds by 5,000 users."""
    users = [LOOK * look for look in range(1, 51)]
    at_margin = found[-MARGIN]
    (folder / "canary-looks.svg").write_text(
        line_chart(
            "Runs in which a candidate at the margin was promoted, by users an arm",
            [
                Line("anytime-valid bound", users, (100 * at_margin[0].passed.mean(axis=0)).tolist()),
                Line("z test, looked at as often", users, (100 * at_margin[1].passed.mean(axis=0)).tolist()),
                Line("5 % that were asked for", [users[0], users[-1]], [5.0, 5.0]),
            ],
        )
    )
    differences = sorted(found)
    points = [100 * difference for difference in differences]
    (folder / "canary-power.svg").write_text(
        line_chart(
            "Runs by the true difference in CTR, in points, at 5,000 users an arm",
            [
                Line("passed", points, [100 * found[d][0].share()[0] for d in differences]),
                Line("rolled back", points, [100 * found[d][0].share()[1] for d in differences]),
                Line("z: passed", points, [100 * found[d][1].share()[0] for d in differences]),
            ],
        )
    )


def section(quality_table: str, parts: dict[str, str]) -> str:
    """What stands between the marks."""
    text = [
        f"CTR, base rate {RATE:g}, one observation of 0 or 1 a user, margin {MARGIN:g}, arms of equal size, {RUNS:,} runs, looked at after "
        f"every {LOOK} users an arm from {_DEFAULTS.users_min} on; the first verdict stands. *Passed* at {_DEFAULTS.alpha:g}, *out* at "
        f"{FAIL_ALPHA:g} (a quarter of it, as four metrics may roll back). *users*: median at the verdict. Behind *z* the same hypotheses, "
        "levels and looks with the usual z test:",
        quality_table,
        "![Promotions of a candidate at the margin](canary-looks.svg)",
        "![Passed and rolled back by true difference](canary-power.svg)",
    ]
    for above, table in parts.items():
        text += [f"{above}:", table]
    return "\n\n".join(text) + "\n"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def main() -> None:
    table, found = quality()
    parts = {
        f"Rates near 0 and 1, arms of different sizes, {2 * RUNS:,} runs, up to 10,000 users of the smaller arm": rates(),
        "All four metrics together (success 0.99, CTR 0.3 and satisfaction 0.6 as shares of three answers, hit rate 0.2)": together(),
        f"A split that is set to 10 %, {SPLIT_RUNS:,} runs of 10,000 users, 100 looks, p < {_DEFAULTS.srm_alpha:g}": split(),
        f"Failures, {ERROR_RUNS} runs of 200 requests of the candidate, by the percentage of the step": errors(),
    }
    text = section(table, parts)
    print(text)
    draw_charts(found, PAGE.parent)
    PAGE.write_text(pages.filled(PAGE.read_text(), text))


if __name__ == "__main__":
    main()
