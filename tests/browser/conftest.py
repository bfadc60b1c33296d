"""A real Chromium for pages. Where there is none the tests are skipped and say so; `make browser` demands one."""

import os

import pytest

from tests.broker.conftest import installations  # noqa: F401 - a fixture
from tests.browser.chromium import MISSING, Chromium, executable


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    path = executable()
    if path is None:
        (pytest.fail if os.environ.get("CANAREC_BROWSER_NEEDED") else pytest.skip)(MISSING)
    browser = Chromium(path, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.stop()


@pytest.fixture
def tab(chromium):
    """A new page."""
    tab = chromium.tab()
    tab.screen(1_280)
    yield tab
    tab.close()
