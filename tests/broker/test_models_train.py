"""`canarec models train`: the first models of a home, from what the topics hold."""

import pytest

from models.recommenders import store
from streams import clients
from streams.cli import main
from tests.broker.conftest import store_model

ALS = {"algorithm": "als", "factors": 4, "iterations": 2, "alpha": 5.0, "regularization": 2.0}
EASE = {"algorithm": "ease", "regularization": 50.0}


def train(shop):
    """Its exit code."""
    try:
        main(
            ["models", "train", "--home", str(shop.home.path), "--bootstrap-servers", shop.cluster.bootstrap_servers],
        )
    except SystemExit as ended:
        return ended.code
    return 0


@pytest.fixture
def shop(installations):
    """Recipes for v1, v3 and v4, of which v1 is there already."""
    with installations(training={"versions": {"v1": ALS, "v3": EASE, "v4": ALS}}) as shop:
        yield shop


def test_what_is_missing_is_trained_on_every_event_of_the_topics_and_nothing_else_is_touched(shop, capsys):
    shop.publish_world()
    before = store.read_metadata(shop.home.models, "v1")
    assert train(shop) == 0
    said = capsys.readouterr().out
    assert said.startswith("trained v3, v4\n")
    assert store.read_metadata(shop.home.models, "v1") == before
    reader = shop.cluster.consumer()
    topics = {name: shop.applied.topic(name) for name in ("watch-events", "rating-events")}
    ends = clients.whole(reader, topics.values())
    reader.close()
    for version, recipe in (("v3", EASE), ("v4", ALS)):
        model = store.read(shop.home.models, version)
        assert set(model.movie_ids) == set(shop.watched_movies)
        made = model.metadata
        assert recipe.items() <= made.training_method.items()
        assert f"{made.evaluation['model']['ndcg_at_20']['value']:.3f}" in said
        for name, topic in topics.items():
            spans = {int(number): tuple(span) for number, span in made.data_version["offsets"][name].items()}
            assert spans == {number: span for (of, number), span in ends.items() if of == topic}


def test_a_worker_answers_by_what_was_trained(shop):
    shop.publish_world()
    assert train(shop) == 0
    shop.configure(canary={"stable": "v4", "candidate": "v3", "percentage": 50})
    shop.start_worker()
    records = [shop.ask(f"u{user}") for user in range(8)]
    assert {(record["status"], record["model_version"]) for record in records} == {("ok", "v3"), ("ok", "v4")}


def test_where_nothing_is_missing_nothing_is_done_and_nothing_is_needed(shop, capsys):
    for version in ("v3", "v4"):
        store_model(shop.home, version, 4)
    assert train(shop) == 0
    assert capsys.readouterr().out.startswith("nothing is missing\n")


def test_topics_without_events_are_one_line_that_says_how_to_fill_them(shop, capsys):
    assert train(shop) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "canarec import movielens" in line
    assert store.list_versions(shop.home.models) == ["v1", "v2"]
