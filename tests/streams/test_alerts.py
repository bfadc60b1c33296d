"""The gauges of alerts: up while the newest window says so, and not for ever after a variant's last one."""

import time

import msgspec
import pytest
from prometheus_client import REGISTRY

from models.measures.alerts import Thresholds
from models.measures.reports import Fairness
from models.wire import rfc3339
from streams import alerts


def record(status, ago_s):
    end_ms = round(1_000 * (time.time() - ago_s))
    return Fairness(
        window_start=rfc3339(end_ms - 300_000),
        window_end=rfc3339(end_ms),
        window_s=300,
        model_version="v2",
        variant="canary",
        groups={},
        satisfaction_ratio=0.7,
        ci_low=0.6,
        ci_high=0.8,
        status=status,
        thresholds=Thresholds(),
        horizon_s=1_800,
        lateness_s=60,
        offsets={},
        hit_offsets={},
    )


def shown(found):
    alerts._show_fairness([found])
    return REGISTRY.get_sample_value("canarec_fairness_alert", {"window": "300", "variant": "canary"})


@pytest.mark.parametrize(
    ("status", "ago_s", "value"), [("alert", 10, 1), ("ok", 10, 0), ("alert", 900, 1), ("alert", 961, 0)]
)
def test_an_alert_is_shown_for_three_windows_after_its_own(status, ago_s, value):
    found = msgspec.json.decode(msgspec.json.encode(record(status, ago_s)), type=Fairness)
    assert shown(found) == value
