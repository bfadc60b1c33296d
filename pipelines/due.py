"""Is a training due? Counts what the event topics hold above the newest version's offsets, looks for drift, and asks `models.retraining`.

Looks; trains and announces nothing. What was read once is not read again by the same `Looking`, so a look costs what has come since the
last one. Memory: 8 bytes for each new interaction and for each user, and a sample of the newest and the first events.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from models.config import Applied
from models.errors import BadArtifact, NoModel
from models.measures.drift import Level, Signals, signals
from models.news import News, among
from models.recommenders import store
from models.recommenders.base import I32, I64
from models.recommenders.store import Metadata, Model
from models.release.rollout import number
from models.retraining import Counts, Decision, Last, decide, drift_may_ask, shifted
from pipelines import erasures
from pipelines.past import RATINGS, WATCHES, is_anothers, read, users
from pipelines.quality import live_hits, predicted
from pipelines.windows import StandingAlerts
from streams.clients import Cluster, partitions, watermarks

_LOOK_AGAIN = 10  # quality is measured again once a tenth of `drift.events` more have come

Place = tuple[str, int]  # topic of the contract, partition


@dataclass(frozen=True, slots=True)
class Trained:
    """A version that a run has made, published or refused, and what it was made from."""

    last: Last
    offsets: Mapping[str, Mapping[str, Any]]  # topic → partition → [first, next]

    def next(self, applied: Applied, place: Place) -> int | None:
        """The first offset that is not in its data; None where nothing of the partition is."""
        name, partition = place
        spans = self.offsets.get(name) or self.offsets.get(applied.topic(name)) or {}
        span = spans.get(str(partition))
        return None if span is None else int(span[1])


Say = Callable[[str], None]


def look(
    cluster: Cluster,
    applied: Applied,
    artifacts: Path,
    now: datetime,
    *,
    manual: bool = False,
    say: Say = lambda line: None,
) -> Decision:
    """What the rule says now. Errors: CanarecError where Kafka does not answer."""
    return Looking(cluster, artifacts, say).look(applied, now, manual=manual)


def newest(artifacts: Path, say: Say = lambda line: None) -> Trained | None:
    """The version of the last run: the largest number, `v12` after `v9`; of others the one made last.

    One whose metadata cannot be read is passed over, and said: it must not stop all that come after it.
    """
    runs = []
    for folder, refused in (("models", False), ("rejected", True)):
        for version in store.list_versions(artifacts / folder):
            try:
                run = _trained(store.read_metadata(artifacts / folder, version), refused)
            except BadArtifact as error:
                say(f"{version} is left out: {error}")
                continue
            runs.append((number(version), run.last.created_at, version, run))
    return max(runs, key=lambda found: found[:3])[3] if runs else None


class Looking:
    """Looks again and again, and says once what it has to pass over. Not for two threads at once."""

    def __init__(self, cluster: Cluster, artifacts: Path, say: Say = lambda line: None) -> None:
        self._cluster, self._artifacts = cluster, artifacts
        self._tell, self._told = say, set[str]()
        self._since: tuple[object, _Since] | None = None
        self._standing = StandingAlerts(cluster)

    def look(self, applied: Applied, now: datetime, *, manual: bool = False) -> Decision:
        """See `look`."""
        trained = newest(self._artifacts, self._say)
        since = self._read_since(trained, applied)
        counts = since.counts()
        retraining = applied.config.retraining
        last = None if trained is None else trained.last
        decision = decide(last, counts, None, retraining, now, erased=self._erased(), manual=manual)
        if decision.due or last is None:
            return decision
        found = since.signals(made_at=last.created_at, now=now) if drift_may_ask(last, retraining, now) else None
        alerts = self._alerts(applied, now) if retraining.on_alert else []
        return decide(last, counts, found, retraining, now, alerts=alerts)

    def _say(self, line: str) -> None:
        if line not in self._told:
            self._told.add(line)
            self._tell(line)

    def _erased(self) -> int:
        """Users in the data of a version who were erased, and nothing was trained since."""
        return sum(bool(each.models) and not each.retrained for each in erasures.kept(self._artifacts))

    def _alerts(self, applied: Applied, now: datetime) -> list[str]:
        """Of what stable serves."""
        found = self._standing.at(applied, round(1_000 * now.timestamp()))
        return [alert.line for alert in found if alert.variant == "stable"]

    def _read_since(self, trained: Trained | None, applied: Applied) -> "_Since":
        config = applied.config
        of = (trained, config.topics, config.events, config.retraining.drift, config.canary.stable, config.metrics)
        if self._since is None or self._since[0] != of:
            self._since = of, _Since(self._cluster, applied, self._artifacts, trained, self._say)
        since = self._since[1]
        try:
            since.read_on()
        except BaseException:
            self._since = None  # half read: the next look begins anew
            raise
        return since


class _Since:
    """What has come since a version's data."""

    def __init__(self, cluster: Cluster, applied: Applied, artifacts: Path, trained: Trained | None, say: Say) -> None:
        self._cluster, self._applied, self._artifacts, self._trained = cluster, applied, artifacts, trained
        self._say = say
        self._drift = applied.config.retraining.drift
        self._news = News(self._drift.events)
        self._refused = 0
        self._known: I64 | None = None  # digests of the users in the version's data
        self._popularity: tuple[dict[str, int], I64] | None = None
        self._quality: tuple[int, Signals] | None = None
        self._lost = 0
        self._begins: dict[Place, int] = {}
        self._positions: dict[Place, int] = {}

    def read_on(self) -> None:
        """Reads what has come since the last call."""
        ends = self._ends()
        ahead = {place: (self._positions.get(place, 0), end) for place, end in ends.items()}
        for events, refused in read(self._cluster, self._applied, ahead):
            self._news.add(events)
            self._refused += refused
        self._positions.update(ends)

    def counts(self) -> Counts:
        whose = self._news.users
        if self._known is None and len(whose):
            below = self._below()
            self._known = users(self._cluster, self._applied, below, self._artifacts / "archive") if below else None
        new = whose if self._known is None else whose[~among(whose, self._known)]
        return Counts(len(new), self._news.interactions, self._news.events, self._refused, self._lost)

    def signals(self, *, made_at: datetime, now: datetime) -> Signals:
        """Popularity first; quality, which costs more, only where that has shifted."""
        latest = self._news.latest
        if self._news.interactions < self._drift.events or (reference := self._reference()) is None:
            return Signals(psi_events=min(self._news.interactions, self._drift.events))
        column_of, popularity = reference
        columns: I32 = np.array([column_of.get(event.movie_id, -1) for event in latest], np.int32)
        found = signals(popularity=popularity, columns=columns, events=self._drift.events)
        if not shifted(found, self._drift):
            return found
        if self._quality is not None and self._news.interactions < self._quality[0]:
            known = self._quality[1]
            return Signals(
                found.psi_events, found.psi, known.hit_before, known.hit_now, known.ndcg_events, known.ndcg_ratio
            )
        found = self._with_quality(popularity, columns, made_at, now)
        self._quality = self._news.interactions + self._drift.events // _LOOK_AGAIN, found
        return found

    def _with_quality(self, popularity: I64, columns: I32, made_at: datetime, now: datetime) -> Signals:
        stable = self._applied.config.canary.stable
        since_ms, now_ms = (round(1_000 * moment.timestamp()) for moment in (made_at, now))
        hits = Level(self._drift.adwin_delta)
        hits.add(live_hits(self._cluster, self._applied, stable, since_ms=since_ms, now_ms=now_ms))
        then = latest = None
        enough = self._news.interactions >= 2 * self._drift.events
        if enough and (model := _readable(self._artifacts, [stable], self._say)) is not None:
            then, latest = predicted(
                self._cluster,
                self._applied,
                self._artifacts / "archive",
                model,
                (self._news.earliest, self._news.latest),
                below=self._below(),
                above={place: (begin, self._positions[place]) for place, begin in self._begins.items()},
            )
        return signals(
            popularity=popularity,
            columns=columns,
            events=self._drift.events,
            hits=hits,
            then=then,
            now=latest,
        )

    def _reference(self) -> tuple[dict[str, int], I64] | None:
        """Movies and their popularity in the data of the newest published version; None where there is none.

        A refused one serves nobody: what has drifted away from what serves still has.
        """
        if self._popularity is None:
            by_number = sorted(store.list_versions(self._artifacts / "models"), key=number, reverse=True)
            model = _readable(self._artifacts, by_number, self._say)
            if model is not None:
                self._popularity = {m: column for column, m in enumerate(model.movie_ids)}, model.popularity
        return self._popularity

    def _ends(self) -> dict[Place, int]:
        """The committed end of each partition; a partition that is met first begins above the version's offsets."""
        ends = {}
        met = []
        consumer = self._cluster.consumer()
        try:
            for name in (WATCHES, RATINGS):
                topic = self._applied.topic(name)
                for partition in partitions(consumer, topic):
                    low, end = watermarks(consumer, topic, partition)
                    ends[name, partition] = end
                    if (name, partition) not in self._begins:
                        met.append((name, partition, low, end))
        finally:
            consumer.close()
        archive = self._artifacts / "archive"
        anew = {name for name, *_ in met if is_anothers(self._cluster, archive, name, self._applied.topic(name))}
        for name, partition, low, end in met:
            known = None if self._trained is None else self._trained.next(self._applied, (name, partition))
            if known is None or known > end or name in anew:
                known = 0  # none of it is in the data, or the topic was made anew, and its offsets mean other events
            elif low > known:
                self._lost += low - known
            self._begins[name, partition] = self._positions[name, partition] = max(low, known)
        return ends

    def _below(self) -> dict[Place, tuple[int, int]]:
        """The ranges of the version's data that events were counted above."""
        found = {}
        for place, begin in self._begins.items():
            known = None if self._trained is None else self._trained.next(self._applied, place)
            if known is not None and 0 < known <= begin:
                found[place] = (0, known)
        return found


def _trained(metadata: Metadata, refused: bool) -> Trained:
    version = metadata.model_version
    try:
        created_at = datetime.fromisoformat(metadata.created_at)
    except ValueError:
        raise BadArtifact(f"{version}/{store.METADATA}: created_at {metadata.created_at!r} is not RFC 3339") from None
    if created_at.tzinfo is None:
        created_at = created_at.replace(tzinfo=UTC)
    return Trained(Last(version, created_at, refused), metadata.data_version.get("offsets") or {})


def _readable(artifacts: Path, versions: Iterable[str], say: Say) -> Model | None:
    """The first of these published versions that is at hand and whole."""
    for version in versions:
        try:
            return store.read(artifacts / "models", version)
        except NoModel:
            continue  # went to the remote
        except BadArtifact as error:
            say(f"{version} is left out: {error}")
    return None
