"""`canarec windows`: what the closed windows say, and whether their figures come out again."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import click
import msgspec
from confluent_kafka import KafkaException

from models.errors import CanarecError
from models.measures.reports import FAIRNESS, LOOPS, Fairness, FeedbackLoop
from streams.cli.options import Integer, cluster_options
from streams.home import Home

KINDS: dict[str, type[FeedbackLoop] | type[Fairness]] = {LOOPS: FeedbackLoop, FAIRNESS: Fairness}
FIGURES = {
    LOOPS: ("requests", "ctr", "hit_rate", "coverage", "exposure_gini"),
    FAIRNESS: ("satisfaction_ratio", "ci_low", "ci_high"),
}
EQUAL, DIFFERS, GONE = "equal", "differs", "gone"


@click.command()
@click.option(
    "--last", type=Integer(1, 10_000), default=10, show_default=True, help="Records of each topic, the newest."
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
    Where windows with answers closed more than five minutes ago and are not written, it says so on stderr.

    \b
    Example:
      canarec windows --last 4 --verify
    """
    from pipelines.windows import levels_before, newest, recompute, unwritten

    applied, cluster = home.load(), home.cluster(bootstrap_servers)
    cluster.check(timeout_s=5)
    outcomes: Counter[str] = Counter()
    for name, figures in FIGURES.items():
        records = newest(cluster, applied, KINDS[name], last)[-last:]
        if not in_json:
            click.echo(name if records else f"{name}: no window has closed yet")
        before = levels_before(cluster, applied, records) if verify else None
        for record in records:
            shown, outcome, differing = as_json(record), "", {}
            if verify:
                try:
                    differing = differences(shown, as_json(recompute(cluster, applied, record, before)))
                    outcome = DIFFERS if differing else EQUAL
                except (CanarecError, KafkaException) as error:
                    outcome = f"{GONE}: {error}"
                outcomes[outcome.partition(":")[0]] += 1
            if in_json:
                again = {"computed_again": outcome, "differing": differing} if verify else {}
                click.echo(json.dumps({"topic": name, **shown, **again}))
            else:
                for line in lines(shown, figures, told(outcome, differing)):
                    click.echo(line)
    if verify and not in_json:
        click.echo(
            ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) or "nothing to verify"
        )
    for late in unwritten(cluster, applied, round(1_000 * time.time())):
        ended = "in the last day none was" if late.newest is None else f"the last one ended at {late.newest}"
        click.echo(
            f"windows of {late.window_s} s are not written any more: {ended}, and there are answers since. What to do: docs/runbook.md#windowslate",
            err=True,
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


def lines(record: Mapping[str, Any], figures: Sequence[str], again: str = "") -> list[str]:
    """A record as a person reads it on 80 columns; `again`, which may be longer, on a line of its own.

    >>> found = {"window_start": "2026-11-27T08:00:00Z", "window_s": 300, "variant": "stable", "model_version": "v1"}
    >>> for line in lines({**found, "requests": 1200, "ctr": 0.31234, "hit_rate": None, "status": "ok"}, ("requests", "ctr", "hit_rate"), "equal"):
    ...     print(line)
    2026-11-27 08:00:00    300 s  stable  v1      ok
      requests 1200  ctr 0.312  hit_rate –
      again: equal
    """
    start, model = str(record["window_start"])[:19].replace("T", " "), str(record["model_version"] or "–")
    head = f"{start}  {record['window_s']:>5g} s  {record['variant']:<6}  {model:<6}  {record['status']}"
    shown = [f"{name} {_number(record.get(name))}" for name in figures]
    told = [head, f"  {'  '.join(shown)}", *([f"  again: {again}"] if again else [])]
    return [line if line.isprintable() else repr(line) for line in told]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def told(outcome: str, differing: Mapping[str, tuple[Any, Any]]) -> str:
    """What came of computing a record again, with each field that differs."""
    return outcome + "".join(f"; {name}: {was} → {now}" for name, (was, now) in differing.items())
