"""Times and durations: one way to write them, whichever command takes them."""

from datetime import UTC, datetime, timedelta

import click
import pytest

from streams.cli.options import Moment, Seconds


@pytest.mark.parametrize(
    ("written", "ago"),
    [
        ("90s", timedelta(seconds=90)),
        ("15m", timedelta(minutes=15)),
        ("1.5h", timedelta(hours=1.5)),
        ("7d", timedelta(days=7)),
    ],
)
def test_a_duration_is_a_moment_so_long_ago(written: str, ago: timedelta) -> None:
    before = datetime.now(UTC)
    found = Moment(past=True).convert(written, None, None)
    assert before <= found + ago <= datetime.now(UTC)


def test_without_a_zone_it_is_utc() -> None:
    assert Moment().convert("2026-11-01T00:00:00", None, None) == datetime(2026, 11, 1, tzinfo=UTC)


@pytest.mark.parametrize(("written", "seconds"), [("60", 60), ("0.5", 0.5), ("90s", 90), ("2h", 7_200), ("1d", 86_400)])
def test_seconds_may_have_a_unit(written: str, seconds: float) -> None:
    assert Seconds(0, 86_400).convert(written, None, None) == seconds


@pytest.mark.parametrize("written", ["2d", "-1s", "1w", "s", "1e999s", ""])
def test_a_unit_does_not_lead_out_of_the_range(written: str) -> None:
    with pytest.raises(click.BadParameter):
        Seconds(0, 86_400).convert(written, None, None)
