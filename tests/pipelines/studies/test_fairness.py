"""The study of the mitigations, in a small form."""

from dataclasses import replace

import numpy as np
import pytest

from pipelines.studies import fairness
from pipelines.studies.fairness import NEITHER, Outcome, Setting

SMALL = replace(fairness.APART, men=90, women=60, movies=150)
RECIPE = {"algorithm": "ease", "regularization": 50.0, "movies": 150, "neighbours": 150}
OWN = {"share": 0.8, "protect": "own_genres"}


@pytest.fixture(scope="module")
def found():
    settings = {
        "neither": NEITHER,
        "weight": Setting(3.0),
        "own": Setting(1.0, OWN),
        "niche": Setting(1.0, {**fairness.OTHERS["niche genres, 0.2"], "share": 0.6}),
    }
    return fairness.outcomes(SMALL, RECIPE, settings, (1, 2))


def test_every_figure_is_a_share(found):
    for one in (one for some in found.values() for one in some):
        assert all(0 < figure < 1 for figure in one[:4])
        assert one.ndcg == pytest.approx((90 * one.men + 60 * one.women) / 150)
        assert 0.8 < one.ratio < 1.25


def test_the_same_seeds_give_the_same_figures(found):
    assert fairness.outcomes(SMALL, RECIPE, {"own": Setting(1.0, OWN)}, (1, 2))["own"] == found["own"]


def test_niche_genres_get_the_share_that_they_are_given(found):
    for new, old in zip(found["niche"], found["neither"], strict=True):
        assert new.niche >= 0.6 > old.niche


def test_the_newest_five_of_each_user_are_held_out():
    people = fairness.crowd(SMALL, 1)
    data = fairness.watched(people, SMALL, 1)
    held = fairness.newest(data, 5)
    assert np.bincount(data.user[held]).tolist() == [5] * 150
    for user in (0, 77, 149):
        of_user = data.user == user
        assert data.time_ms[of_user & held].min() > data.time_ms[of_user & ~held].max()


def outcome(ndcg, gap):
    return Outcome(ndcg, ndcg + gap / 2, ndcg - gap / 2, 0.2, 1.0)


def test_a_change_is_the_ratio_of_means_and_needs_no_gap_in_every_seed():
    found = {
        "neither": [outcome(0.2, 0.04), outcome(0.2, 0.0)],
        "new": [outcome(0.2, 0.03), outcome(0.2, -0.01)],
    }
    change = fairness.change(found, "new", "gap")
    assert change.value == pytest.approx(-50)
    assert change.low < -50 < change.high


def test_the_smallest_gap_is_chosen_that_costs_one_percent_at_most():
    settings = {"neither": NEITHER, "a": Setting(2.0), "b": Setting(3.0), "c": Setting(4.0), "d": Setting(1.0, OWN)}
    figures = {"neither": (0.2, 0.04), "a": (0.2, 0.03), "b": (0.1985, 0.02), "c": (0.19, 0.0), "d": (0.1, 0.0)}
    found = {name: [outcome(*figure)] * 2 for name, figure in figures.items()}
    assert fairness.chosen(found, settings) == {"neither": NEITHER, "weights alone": Setting(3.0)}


def test_tables_and_charts_name_what_was_found(found, tmp_path):
    settings = dict.fromkeys(found, NEITHER) | {"own": Setting(2.0, OWN)}
    lines = fairness.report(found, settings).splitlines()
    assert len(lines) == 2 + len(found)
    assert lines[4].startswith("| own (F 2; own_genres 0.8) |")
    names = [f"weight {weight:g}" for weight in fairness.WEIGHTS] + [f"own genres, {s:g}" for s in fairness.SHARES]
    fairness.draw({"EASE": found | dict.fromkeys(names, found["own"])}, tmp_path)
    assert "EASE: gap" in (tmp_path / "fairness-weights.svg").read_text()


def test_pictures_are_of_seeds_by_which_nothing_was_chosen(monkeypatch):
    for name, value in {
        "APART": SMALL,
        "CLOSE": SMALL,
        "RECIPES": {"EASE": RECIPE},
        "SEARCHED": (3, 4),
        "REPORTED": (1, 2),
    }.items():
        monkeypatch.setattr(fairness, name, value)
    drawn = fairness.study("EASE").drawn
    assert list(drawn) == fairness.drawn()
    some = {name: fairness.candidates()[name] for name in ("neither", "weight 2", "own genres, 0.7")}
    assert fairness.outcomes(SMALL, RECIPE, some, (1, 2)) == {name: drawn[name] for name in some}
