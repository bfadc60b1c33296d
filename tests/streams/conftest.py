"""What tests of logging share."""

import logging

import pytest
import structlog

from streams import logs


@pytest.fixture
def configured(monkeypatch):
    """Logging as canarec sets it up; afterwards it is as it was."""
    before, root = structlog.get_config(), logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(root, "level", root.level)
    monkeypatch.setattr(logging.getLogger("librdkafka"), "filters", [])
    logs.configure()
    yield
    structlog.configure(**before)
