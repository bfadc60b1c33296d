"""How far back a writer of windows looks when it begins: whatever the lengths, it knows all that the next windows are compared with."""

import pytest

from models.config import Metrics
from streams.agents.windows import BACK_MS, Progress

END_MS = 1_700_006_400_000
DAY_MS = 86_400_000


@pytest.mark.parametrize("windows_s", [(60, 86_400), (1,), (300, 3_600)])
def test_a_writer_knows_all_windows_that_the_next_of_each_length_is_compared_with(windows_s):
    metrics = Metrics(windows_s=windows_s, fall_windows=12)
    progress = Progress(ends=dict.fromkeys(windows_s, END_MS))
    assert progress.needed_from(metrics, END_MS + 1) <= END_MS - 12 * 1_000 * windows_s[-1]


def test_where_nobody_knows_of_any_window_it_looks_back_a_day_and_what_that_is_compared_with():
    metrics = Metrics(windows_s=(300, 86_400), fall_windows=2)
    assert Progress(ends={300: END_MS}).needed_from(metrics, END_MS) <= END_MS - BACK_MS - 2 * DAY_MS
