"""`canarec windows`: what the closed windows say, and whether their figures come out again."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec
from confluent_kafka import KafkaException
from rich.table import Table

from models.errors import CanarecError
from models.measures.reports import FAIRNESS, LOOPS, Fairness, FeedbackLoop
from streams.cli.options import cluster_options
from streams.home import Home
from streams.shown import console

FIGURES: tuple[tuple[str, type[FeedbackLoop] | type[Fairness], tuple[str, ...]], ...] = (
    (LOOPS, FeedbackLoop, ("requests", "ctr", "hit_rate", "coverage", "exposure_gini")),
    (FAIRNESS, Fairness, ("satisfaction_ratio", "ci_low", "ci_high")),
)
EQUAL, DIFFERS, GONE = "equal", "differs", "gone"


@click.command()
@click.option(
    "--last", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Records of each topic, the newest."
)
@click.option(
    "--verify", is_flag=True, help="Compute each again from the offsets that it names. Exit 1 where one differs."
)
@click.option("--json", "in_json", is_flag=True, help="For programs: a line each.")
@cluster_options
def windows(home: Home, bootstrap_servers: str, last: int, verify: bool, in_json: bool) -> None:
    """The newest records of feedback-loop-metrics and fairness-metrics, oldest first.

    With --verify each is computed again from the messages that it was made of, and compared with the windows before it again: `equal`,
    `differs` with the figures that do, or `gone` where the topics have dropped all of them since. docs/metrics.md says what each figure is.

    \b
    Example:
      canarec windows --last 4 --verify
    """
    from pipelines.windows import levels_before, newest, recompute

    applied, cluster = home.load(), home.cluster(bootstrap_servers)
    cluster.check(timeout_s=5)
    outcomes: Counter[str] = Counter()
    for name, kind, figures in FIGURES:
        table = Table(
            "window", "length", "variant", "model", *figures, "status", *(["again"] if verify else []), title=name
        )
        records = newest(cluster, applied, kind, last)[-last:]
        before = levels_before(cluster, applied, records) if verify else None
        for told in records:
            record, outcome, differing = as_json(told), "", {}
            if verify:
                try:
                    differing = differences(record, as_json(recompute(cluster, applied, told, before)))
                    outcome = DIFFERS if differing else EQUAL
                except (CanarecError, KafkaException) as error:
                    outcome = f"{GONE}: {error}"
                outcomes[outcome.partition(":")[0]] += 1
            if in_json:
                again = {"computed_again": outcome, "differing": differing} if verify else {}
                click.echo(json.dumps({"topic": name, **record, **again}))
            else:
                table.add_row(*_row(record, figures), *([_told(outcome, differing)] if verify else []))
        if not in_json:
            console().print(table if table.row_count else f"{name}: no window has closed yet")
    if verify and not in_json:
        click.echo(
            ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) or "nothing to verify"
        )
    if outcomes[DIFFERS]:
        raise CanarecError(f"{outcomes[DIFFERS]} of {outcomes.total()} records differ from what their messages say")


def as_json(record: FeedbackLoop | Fairness) -> dict[str, Any]:
    """As a reader of the topic has it."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(record))
    return found


def differences(record: Mapping[str, Any], again: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Field → what the record says, and what came out again; of those that are not equal."""
    names = sorted({*record, *again})
    return {name: (record.get(name), again.get(name)) for name in names if record.get(name) != again.get(name)}


def _row(record: Mapping[str, Any], figures: Sequence[str]) -> list[str]:
    found = ["" if record.get(name) is None else f"{record[name]:.4g}" for name in figures]
    model = str(record["model_version"] or "–")
    return [
        str(record["window_start"])[:19],
        f"{record['window_s']:g} s",
        str(record["variant"]),
        model,
        *found,
        str(record["status"]),
    ]


def _told(outcome: str, differing: Mapping[str, tuple[Any, Any]]) -> str:
    return outcome + "".join(f"; {name}: {was} → {now}" for name, (was, now) in differing.items())
