"""Where in a home the pipeline's files lie. Makes nothing."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Places:
    """Paths of a home, as far as the pipeline goes. What DVC may remove and make again is all under `pipeline`."""

    home: Path

    @property
    def artifacts(self) -> Path:
        return self.home / "artifacts"

    @property
    def archive(self) -> Path:
        return self.artifacts / "archive"

    @property
    def models(self) -> Path:
        return self.artifacts / "models"

    @property
    def rejected(self) -> Path:
        """Versions that a gate refused."""
        return self.artifacts / "rejected"

    @property
    def versions(self) -> Path:
        """`<version>.dvc`: the hash of every version that was ever published; from the remote they come back by it."""
        return self.artifacts / "versions"

    @property
    def workers(self) -> Path:
        return self.artifacts / "workers"

    @property
    def pipeline(self) -> Path:
        return self.artifacts / "pipeline"

    @property
    def archived(self) -> Path:
        return self.pipeline / "archive.json"

    @property
    def dataset(self) -> Path:
        return self.pipeline / "dataset.npz"

    @property
    def gate(self) -> Path:
        return self.pipeline / "gate.json"

    @property
    def evaluation(self) -> Path:
        """Figures of each recipe, in full; each user's are beside it, in .npz."""
        return self.pipeline / "evaluation.json"

    @property
    def metrics(self) -> Path:
        """The same in few numbers, for `dvc metrics`."""
        return self.pipeline / "metrics.json"

    @property
    def analysis(self) -> Path:
        return self.pipeline / "analysis.json"

    @property
    def plots(self) -> Path:
        return self.pipeline / "plots"

    @property
    def published(self) -> Path:
        """What the last run has published or refused."""
        return self.pipeline / "published.json"

    @property
    def retraining(self) -> Path:
        """The lock of whoever retrains."""
        return self.pipeline / "retrain.lock"

    @property
    def untold(self) -> Path:
        """The versions that were there before a retraining whose end was not told yet."""
        return self.pipeline / "untold.json"

    def trained(self, recipe: str) -> Path:
        return self.pipeline / "models" / f"{recipe}.npz"
