"""Log lines: one event each, whoever logs at the same moment."""

import io
import json
import logging
import sys

import pytest
import structlog

from streams import logs


class Written(io.StringIO):
    """Keeps what was handed over at once: between two writes another thread's may come."""

    def __init__(self):
        super().__init__()
        self.writes = []

    def write(self, text):
        self.writes.append(text)
        return len(text)


@pytest.mark.usefixtures("configured")
def test_a_line_is_written_at_once_by_us_and_by_the_libraries(monkeypatch):
    written = Written()
    monkeypatch.setattr(sys, "stderr", written)  # here: pytest sets its own before each phase of a test
    structlog.get_logger().info("ours", offset=7)
    logging.getLogger("rdkafka").warning("theirs")
    assert [line[-1] for line in written.writes] == ["\n", "\n"]
    assert [json.loads(line)["event"] for line in written.writes] == ["ours", "theirs"]


@pytest.mark.usefixtures("configured")
def test_what_librdkafka_repeats_is_counted_and_said_now_and_then(monkeypatch):
    written, now = Written(), [100.0]
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    log = logging.getLogger("librdkafka")
    for number in range(50):
        log.error("FAIL [c#consumer-%d] Connection refused (after %dms in state CONNECT)", number, number)
    log.error("FAIL [d#consumer-1] Connection refused (after 0ms in state CONNECT)")
    now[0] += logs.SELDOM_S
    log.error("FAIL [c#consumer-1] Connection refused (after 7ms in state CONNECT)")
    assert [json.loads(line)["event"] for line in written.writes] == [
        "FAIL [c#consumer-0] Connection refused (after 0ms in state CONNECT)",
        "FAIL [d#consumer-1] Connection refused (after 0ms in state CONNECT)",
        "FAIL [c#consumer-1] Connection refused (after 7ms in state CONNECT) (49 more like it since the last one)",
    ]


@pytest.mark.usefixtures("configured")
def test_what_is_critical_is_said_each_time(monkeypatch):
    written = Written()
    monkeypatch.setattr(sys, "stderr", written)
    for _ in range(3):
        logging.getLogger("librdkafka").critical("FATAL")
    assert len(written.writes) == 3
