"""Two versions on the same users: what is the same, what differs, and by what they are judged."""

import numpy as np
import pytest

from models.recommenders import popular, store
from pipelines import evaluate
from pipelines.analysis import versions
from pipelines.analysis.observed import Window

from .conftest import BEGIN_MS, HOUR_MS, answer

ALS = {"algorithm": "als", "factors": 4, "iterations": 4, "alpha": 3.0, "regularization": 1.0, "seed": 0}


def model(version, dataset, offsets, evaluation=None, **recipe):
    """A version as the store would give it."""
    method = {**ALS, **recipe}
    return store.Model(
        version=version,
        model_id="als-4",
        sha256="0" * 64,
        data_version="0" * 32,
        recommender=evaluate.fit(method, dataset.rows(), len(dataset.movies)),
        movie_ids=dataset.movies,
        popularity=popular.counts(dataset.rows(), len(dataset.movies)),
        metadata=store.Metadata(
            model_id="als-4",
            model_version=version,
            training_method=method,
            data_version={"md5": "0" * 32, "offsets": offsets},
            evaluation=evaluation or {},
            dvc_ref=None,
            code_version="0",
            created_at="2026-11-27T08:00:00Z",
            files={},
        ),
    )


@pytest.fixture
def trained(world):
    """Two versions of the same data, and then more ratings: what the versions were trained on, both, and the window."""
    data, offsets = world.observed().dataset, {"rating-events": {"0": [0, 480]}}
    figure = {"value": 0.25, "low": 0.2, "high": 0.3}
    plain = model("v1", data, offsets, {"model": {"ndcg_at_20": figure}})
    damped = model("v2", data, offsets, {"model": {"ndcg_at_20": {**figure, "value": 0.5}}}, popularity_damping=0.9)
    return world, plain, damped


def numbers(found):
    return {(row["number"], row["group"]): row for row in found["numbers"]}


def test_a_version_does_not_differ_from_itself(trained):
    world, plain, _ = trained
    found = versions.compare(world.observed(), plain, plain)
    assert found["same_movies"] == {"value": 1, "low": 1, "high": 1}
    for row in found["numbers"]:
        assert row["difference"]["value"] == 0
        if row["number"] not in ("ndcg_at_20", "recall_at_20"):
            assert (row["difference"]["low"], row["difference"]["high"]) == (0, 0)


def test_differences_are_second_less_first_and_paired(trained):
    world, plain, damped = trained
    found = numbers(versions.compare(world.observed(), plain, damped))
    back = numbers(versions.compare(world.observed(), damped, plain))
    row = found["mean_popularity", "all"]
    assert row["difference"]["value"] == pytest.approx(row["second"]["value"] - row["first"]["value"], abs=1e-5)
    assert row["difference"]["value"] < 0  # what damping is for
    assert back["mean_popularity", "all"]["difference"]["value"] == pytest.approx(-row["difference"]["value"])
    apart = row["first"]["high"] - row["first"]["low"]
    assert row["difference"]["high"] - row["difference"]["low"] < apart  # less wide than either alone


def test_groups_have_rows_of_their_own(trained):
    world, plain, damped = trained
    found = numbers(versions.compare(world.observed(), plain, damped))
    assert found["mean_popularity", "M"]["users"] == 28
    assert found["mean_popularity", "unknown"]["users"] == 5
    assert found["mean_popularity", "M"]["too_small"]


def test_quality_is_of_what_neither_was_trained_on(trained):
    world, plain, damped = trained
    world.rate(range(60), seed=9, begin_ms=BEGIN_MS + 50 * HOUR_MS)
    trained_on = [each.metadata.data_version["offsets"] for each in (plain, damped)]
    observed = world.observed(trained=trained_on)
    found = versions.compare(observed, plain, damped)
    assert (
        found["quality_from"]
        == f"{np.count_nonzero(observed.unseen):,} interactions that neither version was trained on"
    )
    row = numbers(found)["recall_at_20", "all"]
    assert row["first"]["value"] > 0.9  # 12 of 20 liked movies are left, and 20 are shown
    assert row["difference"]["low"] is not None


def test_without_anything_new_each_versions_own_evaluation_stands_without_an_interval(trained):
    world, plain, damped = trained
    trained_on = [each.metadata.data_version["offsets"] for each in (plain, damped)]
    found = versions.compare(world.observed(trained=trained_on), plain, damped)
    row = numbers(found)["ndcg_at_20", "all"]
    assert found["quality_from"].startswith("each version's own evaluation")
    assert (row["first"]["value"], row["second"]["value"]) == (0.25, 0.5)
    assert row["difference"] == {"value": 0.25, "low": None, "high": None}


def test_that_quality_favours_who_was_shown_is_noted_with_how_often_each_was(trained):
    world, plain, damped = trained
    assert versions.compare(world.observed(), plain, damped)["notes"] == []  # nobody was shown anything
    served = [answer(n, f"u{n}", ["m0"], version) for n, version in enumerate(["v1", "v1", "v1", "v2", "v7"])]
    world.add("recommendations", served)
    found = versions.compare(world.observed(), plain, damped)
    assert found["shown"] == {"v1": 3, "v2": 1}
    (note,) = found["notes"]
    assert note.startswith("NDCG and Recall favour the version whose lists people were shown")
    assert note.endswith("3 of v1, 1 of v2.")


def test_offsets_of_another_life_of_the_topics_take_no_history_away(trained):
    world, plain, damped = trained
    found = versions.compare(world.observed(trained=[{}]), plain, damped)
    assert found["users"] == 60
    assert found["quality_from"].startswith("each version's own evaluation")


def test_who_is_unknown_to_a_version_is_left_out(trained):
    world, plain, damped = trained
    world.add("movie-catalog", [world.movie(99)])
    world.add("rating-events", [world.archive.rate("newcomer", "m99", 5.0, BEGIN_MS)])
    assert versions.compare(world.observed(), plain, damped)["users"] == 60


def test_a_version_that_lacks_movies_is_compared_all_the_same(trained):
    world, plain, _ = trained
    few = world.observed(until_ms=BEGIN_MS + HOUR_MS).dataset
    found = versions.compare(world.observed(), plain, model("v0", few, {}))
    assert found["users"] > 0
    assert Window() == world.observed().window


def test_a_window_chooses_what_is_measured_and_histories_are_all_that_was_before(trained):
    """All of the window is new to both versions; what the lists are made from happened before it."""
    world, plain, damped = trained
    other_half = [(f"u{user}", f"m{20 * (1 - user % 2) + user % 20}") for user in range(60)]
    world.add("rating-events", [world.archive.rate(*who, 4.0, BEGIN_MS + 50 * HOUR_MS) for who in other_half])
    trained_on = [each.metadata.data_version["offsets"] for each in (plain, damped)]
    whole = numbers(versions.compare(world.observed(trained=trained_on), plain, damped))
    observed = world.observed(since_ms=BEGIN_MS + 40 * HOUR_MS, trained=trained_on)
    assert observed.unseen.all()
    found = versions.compare(observed, plain, damped)
    assert found["users"] == 60
    assert found["quality_from"].endswith("interactions that neither version was trained on")
    for name in ("ndcg_at_20", "recall_at_20"):
        assert numbers(found)[name, "all"] == whole[name, "all"]


def test_what_was_met_before_the_window_and_again_in_it_judges_nothing(trained):
    """No list names it: it was watched before."""
    world, plain, damped = trained
    trained_on = [each.metadata.data_version["offsets"] for each in (plain, damped)]
    for hours in (50, 70):
        world.add("watch-events", [world.archive.watch("u0", "m39", BEGIN_MS + hours * HOUR_MS)])
    since_ms = BEGIN_MS + 60 * HOUR_MS
    found = versions.compare(world.observed(since_ms=since_ms, trained=trained_on), plain, damped)
    assert found["quality_from"].startswith("each version's own evaluation")


def test_offsets_of_another_life_of_the_topics_judge_nothing_in_a_window_either(trained):
    world, plain, damped = trained
    observed = world.observed(since_ms=BEGIN_MS + 2 * HOUR_MS, trained=[{}])
    assert versions.compare(observed, plain, damped)["quality_from"].startswith("each version's own evaluation")


def test_a_folders_histories_are_what_was_before_its_window(trained, tmp_path):
    from models.wire import Limits
    from pipelines.analysis.observed import from_movielens

    (tmp_path / "movies.csv").write_text("movieId,title,genres\n1,A (1995),War\n2,B (1979),War\n3,C (1979),War\n")
    lines = [f"{user},{1 + (user + k) % 3},4.0,{100 + k}" for user in range(6) for k in range(2)]
    (tmp_path / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *lines, ""]))
    whole = from_movielens(tmp_path, Limits(), Window())
    model_of = model("v1", whole.dataset, {}, factors=2)
    observed = from_movielens(tmp_path, Limits(), Window(101_000))
    served = versions._served(observed, model_of, np.zeros(len(observed.dataset), np.bool_))
    for user, name in enumerate(observed.dataset.users):
        before = {1 + int(name) % 3}
        assert {int(movie) + 1 for movie in served[user] if movie >= 0} == {1, 2, 3} - before
