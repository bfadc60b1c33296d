"""The canary study in a small form: the numbers that docs/canary.md claims, with room for the smaller number of runs."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

from models.release.bounds import Sample, compare
from pipelines.chart import Line, line_chart
from pipelines.studies import canary, pages

RUNS = 300


def study(difference, *, looks=50, seed=1):
    rng = np.random.default_rng(seed)
    return canary.arms(rng, canary.coin(0.3), canary.coin(0.3 + difference), looks=looks, runs=RUNS)


def test_a_candidate_at_the_margin_is_hardly_ever_promoted_and_mostly_gone_by_2400_users_an_arm():
    decided = canary.anytime(*study(-0.05, looks=100), canary.MARGIN)
    assert decided.share()[0] <= 0.06
    assert decided.share(24)[1] >= 0.8


def test_an_equal_candidate_passes_by_5000_users_an_arm():
    passed, failed = canary.anytime(*study(0.0), canary.MARGIN).share()
    assert passed >= 0.9
    assert failed <= 0.03


def test_a_z_test_that_is_looked_at_as_often_promotes_too_many():
    assert canary.z_test(*study(-0.05, looks=100), canary.MARGIN).share()[0] > 0.09


def test_the_study_decides_as_a_verdict_does():
    stable, candidate = study(-0.03, looks=40)
    decided = canary.anytime(stable, candidate, canary.MARGIN)
    for run in range(40):
        expected = (False, False)
        for look in range(4, 40):
            both = (Sample(arm.n[look], arm.mean[run, look], arm.mean_square[run, look]) for arm in (stable, candidate))
            found = compare(*both, margin=canary.MARGIN, pass_alpha=0.05, fail_alpha=canary.FAIL_ALPHA)
            if found.upper < 0 or found.lower > -canary.MARGIN:
                expected = (not found.upper < 0, found.upper < 0)
                break
        assert (decided.passed[run, -1], decided.failed[run, -1]) == expected


def test_shares_of_three_answers_have_the_mean_that_was_asked_for():
    total, squares = canary.share_of_three(0.3)(np.random.default_rng(0), (1, 1), 100_000)
    assert total[0, 0] / 100_000 == pytest.approx(0.3, abs=0.005)
    assert total[0, 0] / 3 < squares[0, 0] < total[0, 0]


def test_tables_go_between_the_marks_and_nowhere_else():
    page = "above\n<!-- study -->\nold\n<!-- /study -->\nbelow\n"
    assert pages.filled(page, "new \\1") == "above\n<!-- study -->\n\nnew \\1\n<!-- /study -->\nbelow\n"


def test_a_chart_is_well_formed_and_has_a_point_for_each_value():
    drawing = ET.fromstring(line_chart("5 < 6 & more", [Line("a", [0, 1, 2], [0, 50, 100]), Line("b", [0, 2], [5, 5])]))
    lines = drawing.findall("{http://www.w3.org/2000/svg}polyline")
    assert [len(line.get("points").split()) for line in lines] == [3, 2]
