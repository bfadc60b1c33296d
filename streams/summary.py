"""The live summary of `canarec up`: what a worker's metrics say, as one screen or one line. Scrapes; counts nothing itself."""

import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

SCRAPE_S = 2.0


@dataclass(slots=True)
class Scrape:
    """One look at a worker's metrics."""

    requests: dict[tuple[str, str], dict[str, float]] = field(default_factory=lambda: defaultdict(dict))
    buckets: dict[float, float] = field(default_factory=lambda: defaultdict(float))
    ctr: dict[str, float] = field(default_factory=dict)
    ratio: dict[str, float] = field(default_factory=dict)
    reporters: dict[str, dict[str, float]] = field(default_factory=lambda: defaultdict(dict))  # variant → group → users
    dead_letters: float = 0
    lag: float = 0
    percentage: float = 0
    users: float = 0
    interactions: float = 0
    ready: bool = False

    @property
    def answered(self) -> int:
        return int(sum(sum(outcomes.values()) for outcomes in self.requests.values()))

    def quantile_ms(self, q: float) -> float | None:
        """Upper end of the latency bucket that holds the quantile; None without answers."""
        edges = sorted(self.buckets)
        total = self.buckets[edges[-1]] if edges else 0
        return next((edge * 1000 for edge in edges if total and self.buckets[edge] >= q * total), None)

    def fairness(self, variant: str, group_users_min: int) -> str:
        """The satisfaction of men over that of women, where enough of both reported theirs (`metrics.group_users_min`)."""
        ratio, reporters = self.ratio.get(variant), self.reporters.get(variant, {})
        if ratio is None:
            return "–"
        few = min(reporters.get(group, 0) for group in ("M", "F")) < group_users_min
        return "too few" if few else f"{ratio:.3f}"


def scrape(url: str) -> Scrape | None:
    """None where nobody answers, for instance while a worker is being started again."""
    try:
        with urllib.request.urlopen(url, timeout=SCRAPE_S) as answer:
            text = answer.read().decode()
    except (urllib.error.URLError, OSError):
        return None
    found = Scrape()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels, value = sample.labels, sample.value
            match sample.name:
                case "canarec_requests_total":
                    found.requests[labels["variant"], labels["model_version"]][labels["outcome"]] = value
                case "canarec_request_latency_seconds_bucket":
                    found.buckets[float(labels["le"])] += value
                case "canarec_ctr":
                    found.ctr[labels["variant"]] = value
                case "canarec_satisfaction_ratio":
                    found.ratio[labels["variant"]] = value
                case "canarec_satisfaction_users":
                    found.reporters[labels["variant"]][labels["group"]] = value
                case "canarec_dead_letters_total":
                    found.dead_letters += value
                case "canarec_consumer_lag":
                    found.lag += value
                case "canarec_canary_percentage":
                    found.percentage = value
                case "canarec_history_users":
                    found.users = value
                case "canarec_history_interactions":
                    found.interactions = value
                case "canarec_worker_ready":
                    found.ready = value == 1
    return found


def screen(found: Scrape | None, url: str, hints: Sequence[str], group_users_min: int) -> RenderableType:
    """The summary as a person reads it."""
    if found is None:
        return Text("the worker is being started …")
    table = Table(title=f"canarec: {found.answered:,} answers, {found.percentage:g} % of users to the candidate")
    for column in ("variant", "model", "ok", "fallback", "rejected", "click-through", "fairness M/F"):
        table.add_column(column, justify="left" if column in ("variant", "model") else "right")
    for (variant, version), outcomes in sorted(found.requests.items(), reverse=True):
        if variant == "none" and not sum(outcomes.values()):
            continue
        table.add_row(
            variant,
            version,
            *(f"{outcomes.get(outcome, 0):,.0f}" for outcome in ("ok", "fallback", "rejected")),
            _share(found.ctr.get(variant)),
            found.fairness(variant, group_users_min),
        )
    p50, p99 = found.quantile_ms(0.5), found.quantile_ms(0.99)
    facts = (
        f"latency p50 ≤ {p50:g} ms, p99 ≤ {p99:g} ms" if p50 and p99 else "no latency yet",
        f"{found.users:,.0f} users, {found.interactions:,.0f} interactions",
        f"lag {found.lag:,.0f}",
        f"dead letters {found.dead_letters:,.0f}",
    )
    return Group(table, Text(" · ".join(facts)), Text(f"metrics: {url}"), *(Text(f"try: {hint}") for hint in hints))


def line(found: Scrape | None, group_users_min: int) -> str:
    """The same on one line, for a log."""
    if found is None:
        return "the worker is being started …"
    arms = ", ".join(
        f"{variant} {version}: " + " ".join(f"{count:.0f} {outcome}" for outcome, count in sorted(outcomes.items()))
        for (variant, version), outcomes in sorted(found.requests.items(), reverse=True)
    )
    ctr = " ".join(f"{variant} {_share(value)}" for variant, value in sorted(found.ctr.items(), reverse=True))
    ratio = " ".join(
        f"{variant} {found.fairness(variant, group_users_min)}" for variant in sorted(found.ratio, reverse=True)
    )
    p50, p99 = found.quantile_ms(0.5), found.quantile_ms(0.99)
    return (
        f"answers {found.answered} ({arms or 'none yet'}), p50 ≤ {p50 or 0:g} ms, p99 ≤ {p99 or 0:g} ms, "
        f"click-through {ctr or '–'}, fairness M/F {ratio or '–'}, lag {found.lag:.0f}"
    )


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
