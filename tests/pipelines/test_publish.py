"""The stages behind the archive, without Kafka and DVC: data set, models, evaluation, analysis, and what is published of it."""

import hashlib
import json
import shutil
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow.parquet as pq
import pytest

from models import config
from models.errors import BadArtifact, Refused, UsageError
from models.recommenders import store
from pipelines import project, stages, versions
from pipelines.places import Places
from pipelines.publish import chosen
from pipelines.tiles import Partition

NOW = datetime(2026, 11, 27, 8, tzinfo=UTC)
ALS = {"algorithm": "als", "factors": 4, "iterations": 3, "alpha": 3.0, "regularization": 1.0}
DAMPED = {**ALS, "popularity_damping": 0.5}
RECIPES = {"als": ALS, "damped": DAMPED}


class Installed:
    """A home with an archive: 40 users, each with 8 of the 30 movies of their half of a checkerboard."""

    def __init__(self, folder, small_archive):
        self.places = Places(folder)
        self.archive = small_archive(self.places.archive)
        self.said, self.offered = [], []
        self.settings = {
            "canary": {"stable": "v1", "candidate": None, "percentage": 0},
            "training": {"recipes": RECIPES, "versions": {"v1": ALS}},
        }

    def fill(self):
        project.prepare(self.places.home, None)
        movies = [(f"m{n}", {"movie_id": f"m{n}", "title": "M", "genres": ["A", "B"][: 1 + n % 2]}) for n in range(60)]
        self.archive.add("movie-catalog", movies)
        self.archive.add("user-profiles", [self.archive.profile(f"u{n}", "FM"[n % 2]) for n in range(45)])
        self.watch(range(40))
        return self

    def watch(self, users, first=0, seed=0):
        rng = np.random.default_rng(seed)
        seen = [(u, 2 * m + u % 2, k) for u in users for k, m in enumerate(rng.choice(30, 8, replace=False).tolist())]
        events = [self.archive.rate(f"u{u}", f"m{m}", 1 + (u + m) % 5, 1_600_000_000_000 + k) for u, m, k in seen]
        self.archive.add("rating-events", events, first=first)
        return first + len(events)

    @property
    def applied(self):
        return config.parse(json.dumps(self.settings))

    def train(self, **training):
        """All stages but the archive's; what was published."""
        self.settings["training"].update(training)
        stages.dataset(self.places, self.applied, NOW, self.said.append)
        for name in self.applied.config.training.recipes:
            stages.train(self.places, self.applied, name, self.said.append)
        stages.evaluate(self.places, self.applied, self.said.append)
        stages.analyze(self.places, self.applied, self.said.append)
        return self.publish()

    def publish(self, now=NOW, **training):
        self.settings["training"].update(training)
        return stages.publish(self.places, self.applied, now, self.change, self.said.append, wait_s=0)

    def change(self, move, why):
        after = move(self.applied.config.canary)
        self.settings["canary"].update(stable=after.stable, candidate=after.candidate, percentage=after.percentage)

    def metadata(self, version, folder=None):
        return store.read_metadata(folder or self.places.models, version)


@pytest.fixture
def home(tmp_path, small_archive):
    """With an archive, and nothing done yet."""
    return Installed(tmp_path, small_archive).fill()


@pytest.fixture(scope="module")
def once(tmp_path_factory, small_archive):
    home = Installed(tmp_path_factory.mktemp("once"), small_archive).fill()
    home.train()
    return home.places.home


@pytest.fixture
def trained(once, tmp_path, small_archive):
    """With v1, by the recipe `als`."""
    shutil.copytree(once, tmp_path, dirs_exist_ok=True)
    return Installed(tmp_path, small_archive)


def test_a_version_is_described_so_that_it_can_be_made_again(home):
    done = home.train()
    assert (done.version, done.outcome, done.recipe) == ("v1", "published", "als")
    found = home.metadata("v1")
    assert found.training_method == home.applied.config.training.method(home.applied.config.training.recipes["als"])
    assert found.data_version["md5"] == md5(home.places.dataset)
    assert found.data_version["offsets"]["rating-events"] == {"0": [0, 320]}
    assert found.data_version["figures"]["interactions"] == 320
    assert found.dvc_ref == f"train@als:{md5(home.places.trained('als'))}"
    assert found.created_at == "2026-11-27T08:00:00Z"
    assert found.evaluation["gate"]["passed"]
    assert found.evaluation["model"]["ndcg_at_20"]["value"] == pytest.approx(done.metrics["ndcg_at_20"])
    assert store.verify(home.places.models, "v1") == []


def test_the_same_archive_and_recipe_give_the_same_files_to_the_bit(home, tmp_path_factory, small_archive):
    other = Installed(tmp_path_factory.mktemp("other"), small_archive).fill()
    for each in (home, other):
        each.train()
    for name in ("dataset.npz", "models/als.npz", "evaluation.npz", "evaluation.json", "analysis.json", "metrics.json"):
        assert (home.places.pipeline / name).read_bytes() == (other.places.pipeline / name).read_bytes()
    for name in (store.FACTORS, store.METADATA):
        assert (home.places.models / "v1" / name).read_bytes() == (other.places.models / "v1" / name).read_bytes()


def test_nothing_is_published_twice(trained):
    again = trained.publish(now=NOW + timedelta(days=1))
    assert (again.version, again.outcome) == ("v1", "unchanged")
    assert store.list_versions(trained.places.models) == ["v1"]


def test_new_data_is_a_new_version_that_is_offered_on_the_first_step(trained):
    trained.watch(range(40, 60), first=320, seed=1)
    done = trained.train()
    assert (done.version, done.outcome) == ("v2", "published")
    assert trained.settings["canary"] == {"stable": "v1", "candidate": "v2", "percentage": 0}
    assert trained.metadata("v2").evaluation["gate"]["stable"] == "v1"


def test_what_is_published_is_said_before_anything_else_is_done(trained):
    """A kill while it is offered: the version is there, and the next run must know."""

    def killed(move, why):
        raise KeyboardInterrupt

    trained.change = killed
    trained.settings["canary"]["stable"] = "v0"
    trained.places.published.unlink()
    with pytest.raises(KeyboardInterrupt):
        trained.publish(next="damped")
    assert json.loads(trained.places.published.read_bytes())["version"] == "v2"


def test_an_offer_that_fails_is_said_and_the_version_waits(trained):
    def damaged(move, why):
        raise BadArtifact("model v2 is damaged")

    trained.change = damaged
    assert trained.publish(next="damped").outcome == "published"
    assert "not offered: model v2 is damaged" in trained.said


def test_a_version_that_became_stable_while_the_stage_ran_stays_at_hand(trained):
    for name in ("v2", "v3", "v4"):
        shutil.copytree(trained.places.models / "v1", trained.places.models / name)
    trained.settings["canary"]["stable"] = "v4"
    loaded = trained.applied
    trained.settings["canary"].update(stable="v1", rolled_back="v4")
    stages.keep(trained.places, loaded, trained.change, trained.said.append)
    assert "v1" in store.list_versions(trained.places.models)


def test_a_damaged_page_ends_one_run_and_is_set_aside_for_the_next(home):
    home.watch(range(40), first=320)
    path = home.places.archive / "rating-events" / "0" / "320-639.parquet"
    group = pq.read_metadata(path).row_group(0)
    users = next(group.column(n) for n in range(group.num_columns) if group.column(n).path_in_schema == "user_id")
    content = bytearray(path.read_bytes())
    content[users.data_page_offset + users.total_compressed_size // 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        BadArtifact, match=r"320-639.parquet: is damaged .*, and is set aside: the next archiving reads"
    ):
        stages.dataset(home.places, home.applied, NOW, home.said.append)
    assert Partition(home.places.archive, "rating-events", 0).hole(640) == (320, 640)
    stages.dataset(home.places, home.applied, NOW, home.said.append)


def test_while_a_canary_is_undecided_the_next_one_waits(trained):
    trained.settings["canary"].update(candidate="v0", percentage=10)
    trained.publish(next="damped")
    assert trained.settings["canary"]["candidate"] == "v0"
    assert "v2 is the next: it waits while v0 is on trial" in trained.said


def test_another_recipe_is_a_new_version_of_the_same_data(trained):
    assert (trained.publish(next="damped").version, trained.metadata("v2").training_method["popularity_damping"]) == (
        "v2",
        0.5,
    )


def test_a_version_may_have_a_recipe_of_its_own(home):
    home.train(versions={"v1": {**ALS, "factors": 3}})
    found = home.metadata("v1")
    assert (found.model_id, found.dvc_ref) == ("als-3", None)


def test_the_recipe_of_a_version_is_its_own_or_the_next():
    training = config.parse(
        json.dumps(
            {"training": {"recipes": RECIPES, "next": "damped", "versions": {"v7": ALS, "v8": {**ALS, "seed": 9}}}}
        )
    ).config.training
    assert [chosen(training, version)[0] for version in ("v6", "v7", "v8")] == ["damped", "als", None]
    assert chosen(training, "v8")[1]["seed"] == 9


def worse(home):
    """A model that lists popular movies last: the gate has to refuse it."""
    return home.publish(next="bad")


def test_a_model_that_is_clearly_worse_is_refused_and_kept_aside(home):
    home.train(recipes={**RECIPES, "bad": {**ALS, "factors": 1, "popularity_damping": 1.0}})
    before = dict(home.settings["canary"])
    done = worse(home)
    assert (done.version, done.outcome) == ("v2", "refused")
    assert done.says.startswith("v2 was refused by the model gate: NDCG@20 is 0.")
    assert store.list_versions(home.places.models) == ["v1"]
    assert not home.metadata("v2", home.places.rejected).evaluation["gate"]["passed"]
    assert home.settings["canary"] == before
    assert (worse(home).version, store.list_versions(home.places.rejected)) == ("v2", ["v2"])
    assert home.publish(next="damped").version == "v3"  # the name is taken


def test_refused_versions_do_not_pile_up(trained):
    for number in range(4, 9):
        (trained.places.rejected / f"v{number}").mkdir(parents=True)
    trained.publish()
    assert store.list_versions(trained.places.rejected) == ["v6", "v7", "v8"]


def test_the_data_gate_stops_before_anything_is_trained(home):
    with pytest.raises(Refused, match="users: 40 users, at least 1,000 are wanted"):
        home.train(data_gate={"users_min": 1000})
    assert not home.places.trained("als").exists()


def test_a_group_that_vanished_is_measured_against_the_last_versions_data(trained):
    trained.archive.add("user-profiles", [trained.archive.profile(f"u{n}", "F") for n in range(45)], first=45)
    with pytest.raises(Refused, match=r"group: 'M' has 0\.0% .* in the last version's data 50\.0%"):
        trained.train()


def test_a_recipe_that_is_not_there_is_a_wrong_call(home):
    stages.dataset(home.places, home.applied, NOW, home.said.append)
    with pytest.raises(UsageError, match=r"'east' is none of training\.recipes: als, damped"):
        stages.train(home.places, home.applied, "east", home.said.append)


def test_a_damaged_model_is_not_published(trained):
    trained.places.trained("damped").write_bytes(b"half")
    with pytest.raises(BadArtifact, match=r"damped\.npz"):
        trained.publish(next="damped")
    assert store.list_versions(trained.places.models) == ["v1"]


def test_a_remote_that_is_away_stops_nothing_and_is_caught_up_with(home):
    (home.places.artifacts / "remote").write_text("no folder")
    assert home.train().outcome == "published"
    assert any(line.startswith("not in the remote yet") for line in home.said)
    assert versions.pushed(home.places) == []
    (home.places.artifacts / "remote").unlink()
    assert home.publish().outcome == "unchanged", home.said
    assert versions.pushed(home.places) == ["v1"]


def test_the_analysis_has_the_contracts_figures(trained):
    found = json.loads(trained.places.analysis.read_text())
    assert found["popularity_source"].startswith("none")
    assert set(found["popularity_stats"]) == {
        *("n_movies", "corr_popularity_interactions", "top_share_fraction", "top_share_percent", "top_k_fraction")
    }
    assert found["popularity_stats"]["n_movies"] == 60
    assert found["genre_diversity"]["n_users"] == 45  # five have a profile and nothing else
    assert [row["group"] for row in found["fairness"]] == ["M", "F"]
    assert set(found["fairness"][0]) == {
        *("group", "n_users", "n_interactions", "mean_rating", "ndcg_at_20", "recall_at_20", "rmse")
    }
    assert found["fairness"][0]["rmse"] > 0


def test_a_catalogue_with_a_popularity_is_compared_with_what_was_watched(home):
    movies = [{"movie_id": f"m{n}", "title": "M", "genres": [], "popularity": float(n)} for n in range(60)]
    home.archive.add("movie-catalog", [(movie["movie_id"], movie) for movie in movies], first=60)
    home.train()
    found = json.loads(home.places.analysis.read_text())
    assert (found["popularity_source"], found["window"]["interactions"]) == ("catalogue", 320)
    assert -1 <= found["popularity_stats"]["corr_popularity_interactions"] <= 1


def test_dvc_plots_the_figures_of_the_analysis(trained):
    settings = {**config.defaults(), **trained.settings}
    (trained.places.home / "config.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "dvc", "plots", "show", "--json"]
    shown = subprocess.run(command, cwd=trained.places.home, stdout=subprocess.PIPE, check=True, timeout=120)
    plots = json.loads(shown.stdout)
    assert "errors" not in plots
    points = {name.rsplit("/", 1)[-1]: plot[0]["content"]["data"]["values"] for name, plot in plots["data"].items()}
    figures = json.loads(trained.places.analysis.read_text())
    tenths = points["Share of each tenth of the movies, most watched first"]
    for name in ("watched", "recommended"):
        found = [point["dvc_inferred_y_value"] for point in tenths if point["field"] == name]
        assert found == [row[name] for row in figures["tenths"]]
    assert [point["value"] for point in points["groups.json"]] == [
        row[measure]["value"]
        for measure in ("ndcg_at_20", "recall_at_20", "rmse")
        for row in figures["quality"]["groups"]
    ]
    assert sum(point["users"] for point in points["breadth.json"]) == figures["genre_diversity"]["n_users"]
    assert {"popularity.json", "genres.json", "quality.json"} < points.keys()


def md5(path):
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
