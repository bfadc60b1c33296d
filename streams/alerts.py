"""What the newest windows say, as gauges: every worker shows them, whoever of the installation writes the two topics."""

import time
from collections.abc import Callable
from functools import partial

from confluent_kafka import Message
from prometheus_client import Gauge

from models.config import Applied
from models.measures.reports import FAIRNESS, LOOPS, Fairness, FeedbackLoop, Record, at_ms, fresh_from, in_force, read
from streams import metrics
from streams.messages import Place, kafka_ms
from streams.tail import Followed, Tail


def followed(applied: Applied, written: Callable[[int, int], None]) -> dict[str, Followed]:
    """The topics, for a reader that follows others, too. `written` is told the length of each window that is written, and when it ended."""

    def show_loops(records: list[FeedbackLoop]) -> None:
        _show_loops(records)
        for record in records:
            written(record.window_s, at_ms(record.window_end))

    return {
        applied.topic(LOOPS): Followed(lambda messages: _parsed(messages, FeedbackLoop), show_loops),
        applied.topic(FAIRNESS): Followed(lambda messages: _parsed(messages, Fairness), _show_fairness),
    }


def starts(tail: Tail, applied: Applied) -> dict[Place, int]:
    """Where the records begin whose alerts may still be in force."""
    names, chosen = {applied.topic(LOOPS), applied.topic(FAIRNESS)}, applied.config.metrics
    since_ms = fresh_from(round(1_000 * time.time()), chosen.windows_s[-1], chosen.lateness_s)
    places = [place for place in tail.places if place[0] in names]
    ends = tail.ends(places).get(30)  # before the other question: what is appended between the two is above these
    found = tail.since(since_ms, places).get(30)
    return {place: found[place] if found[place] >= 0 else end for place, end in ends.items()}  # −1: nothing since


def _parsed(messages: list[Message], kind: type[Record]) -> list[Record]:
    read_all = (read(message.value(), kind, kafka_ms(message)) for message in messages)
    return [record for record in read_all if record is not None]


def _show_loops(records: list[FeedbackLoop]) -> None:
    for record in records:
        of = (str(record.window_s), record.variant)
        metrics.WINDOW_END.labels(*of).set(at_ms(record.window_end) / 1_000)
        metrics.WINDOW_REQUESTS.labels(*of).set(record.requests)
        for gauge, value in (
            (metrics.WINDOW_CTR, record.ctr),
            (metrics.WINDOW_HIT_RATE, record.hit_rate),
            (metrics.WINDOW_COVERAGE, record.coverage),
            (metrics.WINDOW_GINI, record.exposure_gini),
            (metrics.WINDOW_POPULARITY, record.mean_popularity),
            (metrics.WINDOW_GENRES, record.genres_per_list),
        ):
            _set(gauge, of, value)
        metrics.LOOP_ALERT.labels(*of).set_function(partial(_in_force, record))


def _show_fairness(records: list[Fairness]) -> None:
    for record in records:
        of = (str(record.window_s), record.variant)
        for side, value in (
            ("value", record.satisfaction_ratio),
            ("low", record.ci_low),
            ("high", record.ci_high),
        ):
            _set(metrics.WINDOW_RATIO, (*of, side), value)
        metrics.FAIRNESS_ALERT.labels(*of).set_function(partial(_in_force, record))


def _in_force(record: FeedbackLoop | Fairness) -> bool:
    """Asked at each scrape: a variant that answers nobody any more writes no record that would end its alert."""
    return bool(in_force([record], round(1_000 * time.time())))


def _set(gauge: Gauge, labels: tuple[str, ...], value: float | None) -> None:
    gauge.labels(*labels).set(float("nan") if value is None else value)
