"""The canary's job in the scheduler, joined to a home: config.json, the outbox, the hash of the newest record, the gauges."""

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_args

import structlog

from models.config import Applied, Canary, canonical
from models.errors import BadArtifact, CanarecError, NoModel
from models.events import CanaryChange
from models.recommenders import store
from models.release.verdict import Outcome, Verdict
from pipelines import outbox
from pipelines.release import WHO, Judged, Releasing
from pipelines.trial import Following
from streams import crashes, metrics
from streams.cli import changes
from streams.home import Home, write_whole
from streams.names import home_id

log = structlog.get_logger()

CHECKED_EVERY_S = 600.0


def releasing(home: Home, bootstrap_servers: str) -> Releasing:
    """The job."""
    return Releasing(following(home, bootstrap_servers), Around(home, bootstrap_servers))


def following(home: Home, bootstrap_servers: str) -> Following:
    """The trial of this home's configuration, the checksums of its models and the crashes of its workers."""
    return Following(
        home.cluster(bootstrap_servers), Checksums(home), lambda since_ms: crashes.since(home.workers, since_ms)
    )


def last(home: Home) -> str | None:
    """The hash of the newest record that was kept in this home: a chain cannot show that its own end is missing."""
    try:
        told = json.loads(home.last_verdict.read_bytes())
        return str(told["sha256"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CanarecError(f"{home.last_verdict} cannot be read: {error}") from None


class Around:
    """`pipelines.release.Surroundings` of a home."""

    def __init__(self, home: Home, bootstrap_servers: str) -> None:
        self._home, self._bootstrap_servers = home, bootstrap_servers

    def load(self) -> Applied:
        return self._home.load()

    def change(self, move: Callable[[Canary], Canary], name: CanaryChange, why: str) -> None:
        _, after = changes.change(self._home, move, name, who=WHO, why=why, now_ms=_now_ms())
        canary = after.config.canary
        log.info("split changed", change=name, why=why, stable=canary.stable, percentage=canary.percentage)

    def keep(self, record: Mapping[str, Any]) -> None:
        outbox.put(self._home.outbox, changes.TOPIC, canonical(record).encode(), now_ms=_now_ms())
        write_whole(self._home.last_verdict, canonical({"sha256": record["sha256"]}).encode() + b"\n")
        log.info("verdict", message=record["verdict"]["message"], sha256=record["sha256"][:12])

    def home(self) -> str:
        self._home.workers.mkdir(parents=True, exist_ok=True)
        return home_id(self._home.workers / "home-id")

    def last(self) -> str | None:
        return last(self._home)

    def tell(self, applied: Applied) -> str | None:
        return changes.tell(self._home, lambda: self._home.cluster(self._bootstrap_servers), applied)

    def show(self, judged: Judged | None) -> None:
        for gauge in metrics.OF_VERDICTS:
            gauge.clear()
        if judged is not None:
            _show(judged.verdict)
            seen = judged.seen
            metrics.CANARY_VERDICT_AT.labels(seen.evidence.candidate).set(seen.until_ms / 1_000)
            metrics.CANARY_RATIO_P.labels(seen.evidence.candidate).set(judged.verdict.sample_ratio_p)


def _show(verdict: Verdict) -> None:
    for outcome in get_args(Outcome):
        metrics.CANARY_VERDICT.labels(outcome, verdict.phase).set(outcome == verdict.outcome)
    for metric, found in verdict.metrics.items():
        for side, value in (("lower", found.lower), ("upper", found.upper), ("difference", found.difference)):
            if value is not None:
                metrics.CANARY_BOUND.labels(metric, side).set(value)
        metrics.CANARY_MARGIN.labels(metric).set(found.margin)
        metrics.CANARY_USERS.labels(metric, "stable").set(found.users_stable)
        metrics.CANARY_USERS.labels(metric, "canary").set(found.users_canary)
        if found.more_users is not None:
            metrics.CANARY_MORE_USERS.labels(metric).set(found.more_users)


class Checksums:
    """Of the files of this home's versions. A file is read again when it is another one, and every CHECKED_EVERY_S."""

    def __init__(self, home: Home) -> None:
        self._models = home.models
        self._known: dict[Path, tuple[tuple[int, int, int], float, str]] = {}

    def __call__(self, version: str) -> tuple[str | None, list[str]]:
        """The digest that the factors ought to have, and what is wrong. Of a version that is not here nothing is known."""
        if version not in store.list_versions(self._models):
            return None, []
        try:
            files = store.read_metadata(self._models, version).files
            told = [(name, sha256, self._sha256(self._models / version / name)) for name, sha256 in files.items()]
        except NoModel:  # went to the remote just now
            return None, []
        except (BadArtifact, OSError) as error:
            return None, [str(error).replace(f"{self._models}/", "")]
        wrong = [
            f"{name} is {found[:8]}, metadata.json says {sha256[:8]}" for name, sha256, found in told if found != sha256
        ]
        return files[store.FACTORS], wrong

    def _sha256(self, path: Path) -> str:
        found = path.stat()
        stamp, now = (found.st_ino, found.st_size, found.st_mtime_ns), time.monotonic()
        known = self._known.get(path)
        if known is None or known[0] != stamp or now - known[1] > CHECKED_EVERY_S:
            with path.open("rb") as file:
                known = stamp, now, hashlib.file_digest(file, "sha256").hexdigest()
            self._known[path] = known
        return known[2]


def _now_ms() -> int:
    return int(time.time() * 1_000)
