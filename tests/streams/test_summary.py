"""The live summary of `canarec up`, from a worker's metrics as they are scraped."""

import io

import pytest
from prometheus_client import start_http_server
from rich.console import Console

from streams import metrics, summary


@pytest.fixture(scope="module")
def found():
    """5 men and 3 women have said how content they are with stable, and one man with canary."""
    metrics.REQUESTS.labels("v1", "stable", "ok").inc(12)
    metrics.REQUESTS.labels("v2", "canary", "ok").inc(3)
    for variant, men, women in (("stable", 5, 3), ("canary", 1, 0)):
        metrics.SATISFACTION_RATIO.labels(variant).set(0.5)
        metrics.SATISFACTION_USERS.labels("M", variant).set(men)
        if women:
            metrics.SATISFACTION_USERS.labels("F", variant).set(women)
    server, thread = start_http_server(0, "127.0.0.1")
    yield summary.scrape(f"http://127.0.0.1:{server.server_port}/metrics")
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(("enough", "stable"), [(3, "0.500"), (4, "too few")])
def test_men_and_women_are_compared_once_enough_of_both_have_reported(found, enough, stable):
    assert f"fairness M/F stable {stable} canary too few" in summary.line(found, enough)
    console = Console(file=io.StringIO(), width=120)
    console.print(summary.screen(found, "", [], enough))
    rows = {line.split("│")[1].strip(): line for line in console.file.getvalue().splitlines() if "│" in line}
    assert stable in rows["stable"]
    assert "too few" in rows["canary"]


def test_where_nobody_answers_the_worker_is_being_started():
    assert summary.scrape("http://127.0.0.1:1/metrics") is None
    assert summary.line(None, 100) == "the worker is being started …"
