"""What a verdict is computed from: counts and sums, nothing else. They go into its record, so that anyone can compute it again.

A user is one observation in [0, 1] for each metric. Values are whole numbers of 1/UNIT: sums are exact, and do not depend on the
order in which users came.
"""

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta

from models.release.bounds import Sample

Metric = Literal["success", "ctr", "hit_rate", "satisfaction"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Group = Literal["M", "F", "other", "unknown"]
GROUPS: tuple[Group, ...] = get_args(Group)
UNIT = 10_000

Count = Annotated[int, Meta(ge=0)]


class Moments(msgspec.Struct, frozen=True, array_like=True):
    """Users, the sum of their values in 1/UNIT, and of the squares in 1/UNIT².

    >>> Moments().with_value(0.5).with_value(1.0)
    Moments(n=2, total=15000, squares=125000000)
    """

    n: Count = 0
    total: Count = 0
    squares: Count = 0

    def __post_init__(self) -> None:
        # n values in 0 to UNIT with this sum: their squares sum to no less than total²/n, and to no more than UNIT · total
        if not (self.total <= self.n * UNIT and self.total**2 <= self.n * self.squares <= self.n * UNIT * self.total):
            raise ValueError(f"no {self.n} values in 0 to 1 have the sums {self.total} and {self.squares}")

    def with_value(self, value: float) -> "Moments":
        """One user more. ValueError outside [0, 1], NaN too."""
        if not 0 <= value <= 1:
            raise ValueError(f"{value} is not in [0, 1]")
        part = round(value * UNIT)
        return Moments(self.n + 1, self.total + part, self.squares + part * part)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.n + other.n, self.total + other.total, self.squares + other.squares)

    @property
    def sample(self) -> Sample:
        n = max(self.n, 1)
        return Sample(self.n, self.total / n / UNIT, self.squares / n / UNIT**2)


class ArmEvidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One arm. `requests` and `failures` are of answers, everything under `users` of users."""

    users: Mapping[Metric, Mapping[Group, Moments]] = {}
    requests: Count = 0
    failures: Count = 0  # the model failed
    failing_users: Count = 0  # different users among them
    scorings: Count = 0
    scoring_p99_ms: Annotated[float, Meta(ge=0)] | None = None

    def __post_init__(self) -> None:
        if not self.failing_users <= self.failures <= self.requests:
            raise ValueError(
                f"{self.failures} failures of {self.failing_users} users do not go with {self.requests} requests"
            )

    def moments(self, metric: Metric, group: Group | None = None) -> Moments:
        """Of a group, or of all users together."""
        found = self.users.get(metric, {})
        return sum(found.values(), Moments()) if group is None else found.get(group, Moments())


class Period(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Users who came first while the split was set to this percentage: forced ones belong to no arm and are not here."""

    percentage: Annotated[float, Meta(ge=0, le=100)]
    canary: Count
    stable: Count


class Evidence(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Everything that a verdict is computed from, but the settings under `release`."""

    stable: str
    candidate: str
    percentage: Annotated[float, Meta(ge=0, le=100)]  # of the step; 0: the candidate scores in the shadow
    held_s: Annotated[float, Meta(ge=0)]  # since the step began
    stable_arm: ArmEvidence = ArmEvidence()
    canary_arm: ArmEvidence = ArmEvidence()
    periods: tuple[Period, ...] = ()
    crashes: Count = 0  # of processes, that the candidate is to blame for
    config_sha256: tuple[str, ...] = ()  # of the live workers, each once
    wrong_checksums: tuple[str, ...] = ()  # files of either version that are not what their hash says, one line each
    alerts: tuple[
        str, ...
    ] = ()  # of the newest windows, that stable's have not, one line each (models.measures.reports)
