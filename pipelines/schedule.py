"""What the scheduler does about retraining at each of its turns: look, and let a training run where the rule says so.

Chooses; starts no process and serves no metrics: how a training runs and who is told are handed in. Between two due moments a look is no
decision, and leaves no event. A training that is run decides for itself and announces what it decided, so one is also run to say

    that a due moment has come with too little new: once for each `days` that pass without a version, and once after a start of the scheduler
    that the newest version was made later than now

After a run in vain, a failure above all, the next turn is `retry_after_s` later; after each further one in a row twice as long, up to a day.
"""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import floor
from pathlib import Path
from typing import Literal

from models import config
from models.retraining import Decision

LONGEST_WAIT_S = 86_400.0
HOURLY = "17 * * * *"  # for retraining: each run is a decision and an event
EVERY_MINUTE = "* * * * *"

Outcome = Literal["finished", "refused", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `refused`: a gate found the version unfit."""

    outcome: Outcome
    error: str | None = None


class Retraining:
    """One job of the scheduler. `turn` does what is due now."""

    name = "retraining"

    def __init__(
        self,
        look: Callable[[datetime], tuple[config.Retraining, Decision]],
        run: Callable[[Decision], Ended],
        show: Callable[[Decision], None] = lambda decision: None,
    ) -> None:
        self._look, self._run, self._show = look, run, show
        self._in_vain = 0
        self._told: tuple[str | None, int] | None = None

    def turn(self, now: datetime) -> float:
        """Looks and runs; in how many seconds the next turn should come. Errors are those of `look` and `run`."""
        retraining, decision = self._look(now)
        self._show(decision)
        occasion = _occasion(decision)
        if not decision.due and (decision.rule != "time" or occasion == self._told):
            self._in_vain = 0
            return retraining.look_every_s
        ended = self._run(decision)
        # due, and nothing came of it: another run is at work, or what is new makes no other data set
        if ended.outcome == "failed" or (decision.due and ended.outcome == "skipped"):
            self._in_vain += 1
            return max(retraining.look_every_s, after_failures(self._in_vain, retraining.retry_after_s))
        self._in_vain = 0
        if not decision.due:
            self._told = occasion
        return retraining.look_every_s


def after_failures(failures: int, retry_after_s: float) -> float:
    """Seconds until the next try after so many failures in a row.

    >>> [after_failures(n, 300) for n in (1, 2, 3, 20)]
    [300.0, 600.0, 1200.0, 86400.0]
    """
    return float(min(LONGEST_WAIT_S, retry_after_s * 2.0 ** min(failures - 1, 30)))


def crontab(command: Sequence[str], log: Path, when: str = HOURLY) -> str:
    """The line that lets cron do what the scheduler does. A shell that cannot open the log does not begin the command.

    >>> crontab(["canarec", "retrain", "--if-due", "--home", "/srv/50% off"], Path("/srv/log"))
    "17 * * * * mkdir -p /srv && canarec retrain --if-due --home '/srv/50\\\\% off' >> /srv/log 2>&1"
    """
    folder, file = shlex.quote(str(log.parent)), shlex.quote(str(log))
    # cron reads a bare % as the end of the line
    return f"{when} mkdir -p {folder} && {shlex.join(command)} >> {file} 2>&1".replace("%", r"\%")


def _occasion(decision: Decision) -> tuple[str | None, int]:
    """Which due moment a decision belongs to: the version, and how many times `days` have passed since it was made."""
    days, age = decision.thresholds.days, decision.age_days
    periods = 0 if age is None or days <= 0 else floor(age / days)
    return None if decision.last is None else decision.last.version, max(-1, periods)
