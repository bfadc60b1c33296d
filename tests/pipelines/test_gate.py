"""The data gate at work, in every bad state that an archive can be in."""

import json
from dataclasses import replace

import pytest

from models.config import Config, DataGate, Training
from models.errors import BadArtifact, Refused
from pipelines import dataset as datasets
from pipelines import gate

DAY_MS = 86_400_000


@pytest.fixture
def good(small):
    """30 users, 5 of 10 movies each, a catalogue, half of the users women."""
    small.add("movie-catalog", [small.movie(f"m{n}") for n in range(10)])
    small.add("user-profiles", [small.profile(f"u{n}", "FM"[n % 2]) for n in range(30)])
    small.add("watch-events", [small.watch(f"u{n}", f"m{(n + k) % 10}") for n in range(30) for k in range(5)])
    return small


def examined(archive, before=None, *, now_ms=None, **settings):
    config = Config(training=Training(data_gate=DataGate(**settings)))
    return gate.examine(archive.folder, config, before, now_ms=now_ms or archive.now_ms)


def stopped(found):
    return [finding.check for finding in found.stopped]


def test_a_good_archive_becomes_a_file_and_a_judgement(good, tmp_path):
    found = examined(good)
    gate.settle(found, tmp_path / "out")
    assert datasets.read(tmp_path / "out" / "dataset.npz").md5 == found.dataset.md5
    said = json.loads((tmp_path / "out" / "gate.json").read_text())
    assert (said["outcome"], said["md5"]) == ("passed", found.dataset.md5)
    assert said["figures"]["interactions"] == 150


def test_the_same_archive_gives_the_same_bytes(good, tmp_path):
    for name in ("one", "two"):
        gate.settle(examined(good), tmp_path / name)
    for file in ("dataset.npz", "dataset.json", "gate.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_what_is_refused_leaves_its_reasons_and_no_data_set(good, tmp_path):
    gate.settle(examined(good), tmp_path)
    with pytest.raises(Refused, match="the data gate: users: 30 users, at least 50 are wanted"):
        gate.settle(examined(good, users_min=50), tmp_path)
    assert json.loads((tmp_path / "gate.json").read_text())["outcome"] == "stopped"
    assert not (tmp_path / "dataset.npz").exists()
    assert not (tmp_path / "dataset.json").exists()


def test_empty_topics_stop(small):
    assert stopped(examined(small)) == ["users", "interactions"]


def test_one_user_stops(small):
    small.add("rating-events", [small.rate("u", f"m{n}", 5) for n in range(200)])
    assert stopped(examined(small)) == ["users"]


def test_ratings_off_the_scale_stop(good):
    good.add("rating-events", [good.rate(f"u{n}", "m1", 15) for n in range(20)])
    (finding,) = examined(good).stopped
    assert finding.says.startswith("refused: 20 of 170 messages are no events (bad_rating 20)")


def test_half_a_file_is_an_error_that_names_it(good):
    path = good.add("rating-events", [good.rate("u1", "m1", 5)])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadArtifact, match=str(path)):
        examined(good)


def test_without_profiles_there_are_no_groups_and_nothing_stops(small):
    small.add("watch-events", [small.watch(f"u{n}", f"m{k}") for n in range(30) for k in range(5)])
    found = examined(small)
    assert (stopped(found), found.figures.groups) == ([], {})


def test_a_clock_in_the_past_stops(good):
    assert stopped(examined(good, now_ms=good.now_ms - 2 * DAY_MS)) == ["ahead"]


def test_events_that_repeat_each_other_stop(good):
    good.add("watch-events", [good.watch(f"u{n}", f"m{n % 10}") for n in range(30)] * 6, partition=1)
    found = examined(good)
    assert (found.figures.events, found.figures.duplicates, stopped(found)) == (330, 180, ["duplicates"])


def test_movies_that_the_catalogue_does_not_have_stop(good):
    good.add("rating-events", [good.rate(f"u{n}", f"new{k}", 5) for n in range(30) for k in range(2)])
    assert stopped(examined(good)) == ["unknown_movies"]


def test_a_bot_that_writes_half_of_all_events_about_one_movie_is_left_out(good):
    good.add("watch-events", [good.watch("bot", "m1", good.now_ms - n) for n in range(150)], partition=1)
    found = examined(good)
    assert stopped(found) == []
    assert [f.says for f in found.findings if f.check == "heavy_user"] == [
        "heavy_user: 'bot' made 50.0% of the events and 0.7% of the interactions (150 and 1), allowed are 10.0%: left out"
    ]
    assert "bot" not in found.dataset.users


def test_or_it_stops_the_run_as_configured(good, tmp_path):
    good.add("watch-events", [good.watch("bot", "m1", good.now_ms - n) for n in range(150)], partition=1)
    with pytest.raises(Refused, match="'bot' made 50"):
        gate.settle(examined(good, heavy_users="stop"), tmp_path)


def test_a_group_that_vanished_since_the_last_version_stops(good):
    remembered = gate.recalled(gate.remembered(examined(good).figures))
    before = replace(remembered, interactions=1_500, groups={"F": 750, "M": 750})
    good.add("watch-events", [good.watch(f"v{n}", f"m{k}") for n in range(100) for k in range(5)], partition=1)
    good.add("user-profiles", [good.profile(f"v{n}", "M") for n in range(100)], partition=1)
    (finding,) = examined(good, before).stopped
    assert finding.says == (
        "group: 'F' has 11.5% of the interactions, in the last version's data 50.0%: 23% of that, at least 50% are wanted"
    )


def test_figures_come_back_from_the_file(good, tmp_path):
    found = examined(good)
    gate.settle(found, tmp_path)
    assert gate.figures(tmp_path / "gate.json") == found.figures


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"figures": 3}', '{"figures": {"events": "many"}}'])
def test_what_is_no_judgement_is_said_to_be_none(tmp_path, content):
    (tmp_path / "gate.json").write_text(content)
    with pytest.raises(BadArtifact):
        gate.figures(tmp_path / "gate.json")


def test_what_is_remembered_names_nobody(good):
    good.add("watch-events", [good.watch("bot", "m1") for _ in range(150)], partition=1)
    found = examined(good)
    assert len(found.figures.heavy) == 1
    assert "bot" not in json.dumps(gate.remembered(found.figures))
