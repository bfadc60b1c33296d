"""The study of the loop, in a small form."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.studies import loop
from pipelines.studies.loop import POLICIES, Policy

FEW = replace(loop.PEOPLE, men=15, women=10, movies=120)


def run(name, retrainings=2):
    return loop.generations(POLICIES[name], 1, FEW, retrainings)


@pytest.fixture(scope="module")
def nothing():
    return run("nothing", 3)


def test_there_is_a_generation_for_each_model_and_every_figure_has_its_bounds(nothing):
    assert len(nothing) == 4
    for one in nothing:
        assert all(0 <= figure <= 1 for figure in (one.gini, one.coverage, one.taste, one.chosen))
        assert one.popularity > 0


def test_people_who_choose_from_lists_make_the_lists_narrower(nothing):
    assert nothing[-1].coverage < nothing[0].coverage


def test_the_same_seed_gives_the_same_story(nothing):
    assert run("nothing") == nothing[:3]


def test_exploration_shows_more_of_the_catalogue(nothing):
    assert run("5 % exploration")[-1].coverage > nothing[2].coverage


def test_a_share_for_movies_outside_the_head_evens_out_what_is_shown(nothing):
    assert run("outside the head 0.5", 0)[0].gini < nothing[0].gini


def test_the_first_lists_of_a_policy_without_effect_are_those_of_none(nothing):
    off = Policy({"exposure": {"share": 0.0, "protect": "genres"}}, {"unknown": 3.0})
    assert loop.generations(off, 1, FEW, 0) == nothing[:1]


def test_the_table_and_the_charts_have_every_policy(nothing, tmp_path):
    found = {"nothing": [nothing, nothing], "other": [nothing[::-1], nothing]}
    assert [line.split(" | ")[0] for line in loop.report(found).splitlines()[2:]] == ["| nothing", "| other"]
    loop.draw(found, tmp_path)
    assert all("other" in (tmp_path / f"loop-{what}.svg").read_text() for what in ("gini", "coverage", "taste"))
    assert loop.curve(found["nothing"], "gini").shape == (2, 4)
    assert np.isfinite(loop.curve(found["other"], "taste")).all()
