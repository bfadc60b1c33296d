"""One trial from its beginning: answers, feedback and watches in, evidence out. Counts; decides nothing, knows no clock.

Events come in the order of the broker's times, and users are entered at whole ticks of those times: the same events up to the same
tick give the same evidence, however often and whenever somebody looked. Memory grows with the users who were met, not with answers.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from models.config import Canary, Release
from models.events import Feedback, ShadowFigures, Variant, Watch
from models.measures.feedback import watched_ms
from models.release.arms import Served
from models.release.evidence import ArmEvidence, Count, Evidence, Period
from models.release.observations import VARIANTS, Observations
from models.release.timing import Timings

CHANGEOVER_MS = 15_000  # after a change workers answer by different configurations, and that is no fault
NOWADAYS_MS = 10_000
_FILES = 8  # different files of one version that are told apart


class Record(Served):
    """Of a provenance record, what counts here."""

    canary_percentage: float = 0.0
    config_sha256: str = ""
    model_sha256: str | None = None
    scoring_ms: float | None = None
    scored_together: int | None = None


@dataclass(slots=True)
class _Arm:
    requests: int = 0
    failures: int = 0
    failing_users: set[str] = field(default_factory=set)


def tick_ms(horizon_ms: int) -> int:
    """Users are entered at multiples of this.

    >>> tick_ms(1_800_000), tick_ms(1_000)
    (90000, 100)
    """
    return max(100, horizon_ms // 20)


class Trial:
    """What became of a stable version and its candidate since they are in the split.

    `quality` from the first answer on that was given at `release.decides_from` or more: who was met on a smaller step would else be
    left out when the split grows, since they change arm. `since_ms`: when a worker took these versions first. For CHANGEOVER_MS from
    then on nobody counts for the split's test: who is late gives the candidate's users another version, and stable's their own.
    """

    def __init__(self, canary: Canary, release: Release, horizon_ms: int, *, since_ms: int | None = None) -> None:
        if canary.candidate is None:
            raise ValueError("without a candidate there is no trial")
        self._met_from_ms = None if since_ms is None else since_ms + CHANGEOVER_MS
        self.stable, self.candidate, self._unit = canary.stable, canary.candidate, canary.unit
        self._decides_from, self._horizon_ms = release.decides_from, horizon_ms
        self._tick_ms = tick_ms(horizon_ms)
        self._closed_ms = 0
        self._quality: Observations | None = None
        self._arms: dict[Variant, _Arm] = {variant: _Arm() for variant in VARIANTS}
        self._timings = Timings()
        self._met: set[str] = set()
        self._periods: dict[float, dict[Variant, int]] = {}
        self._configs: dict[str, int] = {}  # digest → when it was answered by last
        self._files: dict[str, set[str]] = {}  # version → digests that answers were made from
        self._genders: dict[str, str] = {}

    def tick(self, at_ms: int) -> int:
        """The last whole tick that is not later."""
        return at_ms // self._tick_ms * self._tick_ms

    def reach(self, at_ms: int) -> int:
        """Enters the users whose horizon has closed at the last tick; that tick. Call it before each event, and at the end."""
        tick = self.tick(at_ms)
        if tick > self._closed_ms:
            if self._quality is not None:
                self._quality.close(tick)
            self._closed_ms = tick
            self._configs = {sha: last for sha, last in self._configs.items() if last > tick - 2 * CHANGEOVER_MS}
        return tick

    def profile(self, user_id: str, gender: str | None) -> None:
        """The user's gender from now on; None forgets it."""
        if gender is None:
            self._genders.pop(user_id, None)
        else:
            self._genders[user_id] = gender if gender in ("M", "F") else "other"

    def answered(self, at_ms: int, served: Record) -> None:
        """An answer. Forced users and rejected requests are in no arm, and neither are versions that the split does not name."""
        self._configs[served.config_sha256] = at_ms
        variant, user_id = served.variant, served.user_id
        if variant is None or user_id is None or served.status == "rejected":
            return
        if served.model_version != (self.stable if variant == "stable" else self.candidate):
            return
        files = self._files.setdefault(served.model_version, set())
        if served.model_sha256 is not None and len(files) < _FILES:
            files.add(served.model_sha256)
        if served.forced:
            return
        self._count(served, variant, user_id)
        if served.canary_percentage <= 0:
            return
        if self._met_from_ms is None or at_ms >= self._met_from_ms:
            self._meet(user_id if self._unit == "user" else served.request_id, served.canary_percentage, variant)
        if self._quality is None and served.canary_percentage >= self._decides_from:
            self._quality = Observations(self._horizon_ms)
        if self._quality is not None:
            ok, gender = served.status == "ok", self._genders.get(user_id)
            self._quality.answered(
                served.request_id, user_id, variant, served.recommendations, ok=ok, group=gender, at_ms=at_ms
            )

    def said(self, at_ms: int, feedback: Feedback) -> None:
        if self._quality is not None:
            self._quality.said(feedback, at_ms)

    def watched(self, at_ms: int, watch: Watch) -> None:
        """A watch that came then; of a user without an answer before it, as of an import, it can be no hit."""
        if self._quality is not None and self._quality.waits_for(watch.user_id):
            self._quality.watched(watch.user_id, watch.movie_id, watched_ms(watch.timestamp_ms, at_ms))

    def configurations(self, now_ms: int, changed_ms: int | None) -> tuple[str, ...]:
        """By which configurations workers answer: of a change not long ago only the newest, since they follow one by one."""
        recent = {sha: last for sha, last in self._configs.items() if last > now_ms - NOWADAYS_MS}
        if recent and changed_ms is not None and changed_ms > now_ms - CHANGEOVER_MS:
            return (max(recent, key=lambda sha: (recent[sha], sha)),)
        return tuple(sorted(recent))

    def files(self, version: str) -> tuple[str, ...]:
        """Digests of the factors that this version's answers were made from."""
        return tuple(sorted(self._files.get(version, ())))

    def evidence(
        self,
        percentage: float,
        *,
        held_s: float,
        shadow: Sequence[ShadowFigures] = (),
        crashes: int = 0,
        configurations: Sequence[str] = (),
        wrong_checksums: Sequence[str] = (),
    ) -> Evidence:
        """Everything so far. On step 0 requests, failures and times are the shadow's: the candidate answers nobody."""
        stable, canary = self._arm("stable"), self._arm("canary")
        if percentage <= 0:
            stable, canary = in_shadow("stable", shadow), in_shadow("canary", shadow)
        return Evidence(
            self.stable,
            self.candidate,
            percentage,
            held_s,
            stable,
            canary,
            tuple(Period(of, met["canary"], met["stable"]) for of, met in sorted(self._periods.items())),
            crashes=crashes,
            config_sha256=tuple(configurations),
            wrong_checksums=tuple(wrong_checksums),
        )

    def _count(self, served: Record, variant: Variant, user_id: str) -> None:
        arm = self._arms[variant]
        arm.requests += 1
        if served.reason == "model_failed":
            arm.failures += 1
            arm.failing_users.add(user_id)
        elif served.scoring_ms is not None:
            self._timings.add(variant, served.scoring_ms, served.scored_together or 1)

    def _meet(self, key: str, percentage: float, variant: Variant) -> None:
        """Who comes first while nobody could meet the candidate says nothing of the split, and is not here."""
        if key not in self._met:
            self._met.add(key)
            self._periods.setdefault(percentage, dict.fromkeys(VARIANTS, 0))[variant] += 1

    def _arm(self, variant: Variant) -> ArmEvidence:
        arm, timed = self._arms[variant], dict(zip(VARIANTS, self._timings.compared(), strict=True))[variant]
        return ArmEvidence(
            {} if self._quality is None else self._quality.users(variant),
            arm.requests,
            arm.failures,
            len(arm.failing_users),
            timed.scorings,
            timed.p99_ms,
        )


def in_shadow(variant: Variant, shadow: Iterable[ShadowFigures]) -> ArmEvidence:
    """An arm of step 0. Of several workers the p99 is the mean of theirs, weighted by requests; users are not told apart there."""
    found = list(shadow)
    requests = sum(max(each.requests, each.errors) for each in found)
    failures: Count = sum(each.errors for each in found) if variant == "canary" else 0
    timed = [(each.requests, each.scoring_ms[variant].p99) for each in found if variant in each.scoring_ms]
    scorings = sum(count for count, _ in timed)
    p99 = sum(count * p99 for count, p99 in timed) / scorings if scorings else None
    return ArmEvidence({}, requests, failures, failures, scorings, p99)
