"""Old requests: judged by the broker's time, answered at once, shed only where that is configured."""

import time
from datetime import datetime
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def late(installations):
    """Requests that waited for a worker: u1's past the deadline by the time that it came."""
    with installations(serving={"deadline_ms": 3_000}) as installation:
        installation.publish_world()
        old = installation.request("u1")
        installation.flush()
        time.sleep(3.2)
        installation.start_worker()
        record = installation.records_of([old])[old]
        yield installation, record


def test_a_request_past_its_deadline_gets_a_fallback_with_the_reason(late):
    _, record = late
    assert (record["status"], record["reason"]) == ("fallback", "deadline_passed")


def test_a_request_in_time_gets_its_own_list(late):
    installation, _ = late
    assert installation.ask("u1")["status"] == "ok"


def test_shedding_is_off_unless_configured_and_then_answers_all(installations):
    with installations(serving={"shed_after_ms": 1_000}) as installation:
        installation.publish_world()
        old = [installation.request(f"u{number}") for number in range(8)]
        installation.flush()
        time.sleep(1.2)
        installation.start_worker()
        shed = installation.records_of(old).values()
        assert {(r["status"], r["reason"]) for r in shed} == {("fallback", "overloaded")}
        assert all(len(r["recommendations"]) == 20 for r in shed)
        assert installation.ask("u1")["status"] == "ok"


def test_a_worker_whose_clock_is_an_hour_ahead_goes_by_the_brokers(installations):
    with installations() as installation:
        installation.publish_world()
        installation.start_worker(script=Path(__file__).with_name("skewed_worker.py"))
        installation.ask("u1")  # the first answer's stamp tells the broker's time
        record = installation.ask("u1")
        served = datetime.fromisoformat(record["served_at"]).timestamp()
        assert record["status"] == "ok"
        assert abs(served - time.time()) < 30
        assert record["latency_ms"] < 30_000
