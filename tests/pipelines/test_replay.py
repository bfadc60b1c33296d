"""Answers made again from a home alone: the archive has all events, so that no broker is asked."""

import json
import shutil
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from models import config
from models.answer import Cut, Question, decide, records
from models.catalog import Catalog
from models.erasure import Erasure, user_digest
from models.events import Movie, Rating, Request, Source, Watch
from models.history import Histories, Ids
from models.recommenders import store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.popular import counts
from models.world import World
from pipelines import differences, erase, erasures, project, versions
from pipelines.below import RATINGS, WATCHES
from pipelines.kept import described
from pipelines.places import Places
from pipelines.replay import outcomes, replay, summary
from streams.clients import Cluster

MOVIES = [f"m{number:02}" for number in range(60)]
USERS = [f"u{number}" for number in range(20)]
NOBODY = Cluster("127.0.0.1:1")  # whoever asks it waits in vain
AT_MS = 1_700_000_000_000


class Shop:
    """A home whose answers are made here as a worker makes them; events come between them."""

    def __init__(self, folder, small_archive):
        self.home, self.places = folder, Places(folder)
        self.archive = small_archive(self.places.archive)
        self.settings = {"canary": {"stable": "v1", "candidate": "v2", "percentage": 50}}
        self.movies = [
            Movie(movie, movie.upper(), ("Even" if n % 2 == 0 else "Odd",)) for n, movie in enumerate(MOVIES)
        ]
        self.events = {WATCHES: [], RATINGS: []}  # one partition each
        self.records = []
        rng = np.random.default_rng(3)
        for version, factors in (("v1", 4), ("v2", 6)):
            self.train(version, factors)
        for user in USERS:
            for movie in rng.choice(MOVIES, 6, replace=False):
                self.see(user, str(movie), 4.0 if rng.random() < 0.5 else None)

    def train(self, version, factors, seed=0):
        rng = np.random.default_rng(seed)
        rows = Rows.of([np.sort(rng.choice(len(MOVIES) - 3, 8, replace=False)) for _ in range(80)])
        recipe = {"factors": factors, "regularization": 2.0, "alpha": 5.0, "iterations": 3}
        shutil.rmtree(self.places.models / version, ignore_errors=True)
        store.write(
            self.places.models,
            Als.fit(rows, len(MOVIES) - 3, recipe, 0),
            tuple(MOVIES[:-3]),
            counts(rows, len(MOVIES) - 3),
            store.Metadata(
                model_id=f"als-{factors}",
                model_version=version,
                training_method={"algorithm": "als", "seed": 0, **recipe},
                data_version={"md5": f"data-of-{version}"},
                evaluation={},
                dvc_ref=None,
                code_version="0",
                created_at="2026-11-23T00:00:00Z",
                files={},
            ),
        )

    def see(self, user, movie, rating=None):
        name = WATCHES if rating is None else RATINGS
        at_ms = AT_MS + 1000 * len(self.events[name])
        self.events[name].append(
            Watch(user, movie, 30, at_ms) if rating is None else Rating(user, movie, rating, at_ms)
        )

    def ask(self, user, **fields):
        """An answer's record, from every event so far."""
        applied = config.parse(json.dumps(self.settings))
        ids = Ids()
        catalog, histories = Catalog.of(self.movies, ids), Histories(ids)
        for events in self.events.values():
            histories.apply(events)
        histories.finish_loading()
        at_hand = {version: store.read(self.places.models, version) for version in ("v1", "v2")}
        for folder, name, text in (
            ("configs", f"{applied.sha256}.json", applied.text),
            ("catalogs", f"{catalog.sha256}.jsonl", catalog.text()),
        ):
            (self.places.artifacts / folder).mkdir(exist_ok=True)
            (self.places.artifacts / folder / name).write_text(text)
        offsets = {applied.topic(name): {"0": len(events)} for name, events in self.events.items()}
        request = Request(f"r{len(self.records)}", user, **fields)
        question = Question(request, Source("recommendation-requests", 0, len(self.records)), AT_MS)
        indptr, movies = histories.batch([user])
        cut = Cut(indptr, movies, [user in histories], msgspec.Raw(msgspec.json.encode(offsets)))
        world = World.of(applied, at_hand, catalog, ids)
        (decision,) = decide([question], cut, world, AT_MS)
        record = json.loads(records(decision, cut, world, AT_MS)[1])
        record.setdefault("reason", None)
        self.records.append(record)
        return record

    def archived(self):
        """All events so far, in files of the archive."""
        for name, events in self.events.items():
            shutil.rmtree(self.archive.folder / name, ignore_errors=True)
            half = len(events) // 2
            for first, some in ((0, events[:half]), (half, events[half:])):
                make = self.archive.watch if name == WATCHES else self.archive.rate
                messages = [
                    make(e.user_id, e.movie_id, e.timestamp_ms, 30)
                    if name == WATCHES
                    else make(e.user_id, e.movie_id, e.rating, e.timestamp_ms)
                    for e in some
                ]
                self.archive.add(name, messages, first=first)

    def replayed(self, record):
        return replay(NOBODY, self.places.artifacts, record)

    def summary(self):
        return summary(outcomes(NOBODY, self.places, self.records), self.records)


@pytest.fixture
def shop(tmp_path, small_archive):
    return Shop(tmp_path, small_archive)


def busy(shop):
    """Answers of every kind, while events come, the split and the catalogue change and a model is made anew."""
    shop.settings["canary"]["forced"] = {"u3": "canary", "u4": "stable"}
    for turn in range(4):
        for user in USERS:
            shop.ask(user, n=int(5 + turn))
            shop.see(user, MOVIES[(turn * 7 + int(user[1:])) % 60], None if turn % 2 else 3.5)
        shop.ask("stranger")
        shop.ask("u1", genres=("odd",), n=20)
        shop.ask("u2", n=100)  # more than the model knows: filled
        shop.ask("u5", exclude_seen=False)
        shop.settings["canary"] |= {"percentage": (90, 0, 100, 50)[turn]}
        if turn == 2:
            shop.settings["exploration"] = {"share": 0.5, "pool": 10}
        if turn == 1:
            shop.movies = [*shop.movies[1:], Movie("new", "New", ("Odd",))]


def test_answers_of_every_kind_replay_to_the_same_lists(shop):
    busy(shop)
    shop.archived()
    found = shop.summary()
    assert (found.different, found.impossible, found.same) == ((), {}, len(shop.records))
    assert {record["reason"] for record in shop.records} == {None, "unknown_user", "filled_from_popular"}
    assert {record["variant"] for record in shop.records} == {"stable", "canary"}
    assert any(record.get("explored") for record in shop.records)
    assert len({record["config_sha256"] for record in shop.records}) > 2


def test_many_records_and_one_give_the_same(shop):
    busy(shop)
    shop.archived()
    for outcome in list(outcomes(NOBODY, shop.places, shop.records))[::9]:
        assert shop.replayed(outcome.record).movies == outcome.replayed.movies


def test_events_that_came_later_are_not_in_a_replay(shop):
    record = shop.ask("u1", n=10)
    for movie in record["recommendations"]:
        shop.see("u1", movie)
    shop.archived()
    assert shop.replayed(record).movies == record["recommendations"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: {"recommendations": r["recommendations"][::-1], "scores": r["scores"][::-1]}, "place 1"),
        (lambda r: {"recommendations": [*r["recommendations"][:-1], "new"]}, "place 5"),
        (lambda r: {"recommendations": [*r["recommendations"][:-1], r["recommendations"][0]]}, "movies: were 4, are 5"),
        (lambda r: {"scores": [r["scores"][0] + 0.01, *r["scores"][1:]]}, "score of"),
        (lambda r: {"variant": "stable" if r["variant"] == "canary" else "canary"}, "arm: was"),
        (lambda r: {"status": "fallback", "reason": "model_failed"}, "place 1"),
        (lambda r: {"asked": {**r["asked"], "n": 4}}, "movies: were 5, are 4"),
        (lambda r: {"history_offsets": {WATCHES: {"0": 0}, RATINGS: {"0": 0}}}, "status: was ok"),
    ],
)
def test_a_record_that_was_altered_is_found(shop, change, said):
    record = shop.ask("u7", n=5)
    shop.archived()
    assert shop.replayed(record).differences == []
    assert any(said in line for line in shop.replayed({**record, **change(record)}).differences)


def test_neighbours_with_one_score_may_swap_and_the_last_with_the_first_behind_it(shop):
    record, longer = shop.ask("u7", n=5), shop.ask("u7", n=6)
    shop.archived()
    near = [*record["scores"][:4], longer["scores"][4]]
    swapped = {
        **record,
        "recommendations": [*record["recommendations"][:4], longer["recommendations"][5]],
        "scores": near,
    }
    assert shop.replayed(swapped).differences  # its score is another by far
    model = store.read(shop.places.models, record["model_version"])
    tied = [longer["recommendations"][place] for place in (4, 5)]
    factors = model.recommender.arrays()
    columns = [model.movie_ids.index(movie) for movie in tied]
    name = next(name for name, array in factors.items() if array.shape[:1] == (len(model.movie_ids),))
    array = factors[name].copy()
    array[columns[1]] = array[columns[0]]
    shutil.rmtree(shop.places.models / model.version)
    store.write(
        shop.places.models,
        Als.from_arrays({**factors, name: array}),
        model.movie_ids,
        model.popularity,
        replace(model.metadata, files={}),
    )
    tie = shop.ask("u7", n=5)
    other = next(movie for movie in tied if movie != tie["recommendations"][-1])
    assert other not in tie["recommendations"]
    swapped = {**tie, "recommendations": [*tie["recommendations"][:4], other]}
    assert shop.replayed(swapped).differences == []


def test_a_model_is_taken_from_where_it_is_and_stays_there(shop):
    record = shop.ask("u1")
    shop.archived()
    version = record["model_version"]
    shop.places.rejected.mkdir()
    (shop.places.models / version).rename(shop.places.rejected / version)
    assert shop.replayed(record).differences == []
    project.prepare(shop.home, None)
    (shop.places.rejected / version).rename(shop.places.models / version)
    versions.push(shop.places, version)
    shop.train(version, 5, seed=9)  # another one of the same name
    assert shop.replayed(record).differences == []
    shutil.rmtree(shop.places.models / version)
    assert shop.replayed(record).differences == []
    assert version not in store.list_versions(shop.places.models)


def test_what_cannot_be_replayed_is_counted_by_its_reason_and_the_rest_is_replayed(shop):
    for user in USERS:
        shop.ask(user)
    shop.records.append({**shop.records[0], "status": "rejected"})
    shop.archived()
    shutil.rmtree(shop.places.models / "v2")
    found = shop.summary()
    gone = sum(record["model_version"] == "v2" for record in shop.records[:-1])
    assert 0 < gone < len(USERS)
    assert (found.same, found.rejected, list(found.impossible.values())) == (len(USERS) - gone, 1, [gone])
    assert "model v2" in next(iter(found.impossible))


def test_answers_of_an_erased_user_say_so_and_the_others_are_replayed(shop):
    for user in ("u1", "u2"):
        shop.ask(user)
    shop.archived()
    erase.from_archive(shop.places.archive, "u1", set())
    erasures.keep(shop.places.artifacts, Erasure(user_digest("u1"), "2026-11-27T08:00:00.000Z"))
    found = shop.summary()
    assert (found.same, found.different) == (1, ())
    assert found.impossible == {"erased: the user was erased at 2026-11-27T08:00:00.000Z": 1}


def test_why_two_answers_differ_is_said_part_by_part(shop):
    first = shop.ask("u1", n=8)
    movie = first["recommendations"][0]
    shop.see("u1", movie, 5.0)
    shop.see("u2", MOVIES[0], 5.0)
    shop.settings["canary"] |= {"percentage": 100}
    shop.settings["serving"] = {"deadline_ms": 1000}
    shop.movies[3] = Movie(MOVIES[3], "Another title", ("Odd",))
    second = shop.ask("u1", n=9)
    shop.archived()
    found = differences.between(NOBODY, shop.places, first, second)
    assert [seen.movie_id for seen in found.came] == [movie]
    assert found.gone == []
    assert {change.what for change in found.changes["configuration"]} == {"canary.percentage", "serving.deadline_ms"}
    assert [(c.what, c.one, c.other) for c in found.changes["asked"]] == [("n", 8, 9)]
    assert [change.what for change in found.changes["catalog"]] == [MOVIES[3]]
    assert "percentage" in {change.what for change in found.changes["split"]}
    assert movie in found.only_one
    back = differences.between(NOBODY, shop.places, second, first)
    assert ([seen.movie_id for seen in back.gone], back.came) == ([movie], [])
    assert differences.between(NOBODY, shop.places, first, first).parts == []


def test_what_is_known_of_a_record_is_what_this_machine_has(shop):
    record = shop.ask("u1")
    applied, metadata, movies = described(shop.places, record)
    assert (applied.sha256, metadata.model_version) == (record["config_sha256"], record["model_version"])
    assert movies[MOVIES[0]].title == MOVIES[0].upper()
    shutil.rmtree(shop.places.artifacts / "catalogs")
    shutil.rmtree(shop.places.models)
    assert described(shop.places, record)[1:] == (None, {})


@pytest.mark.parametrize(
    "exposure",
    [
        {"protect": "movies", "head_fraction": 0.6},
        {"protect": "genres", "genres": ["Odd"], "every_prefix": True},
        {"protect": "own_genres"},
    ],
    ids=lambda exposure: exposure["protect"],
)
def test_reranked_lists_are_made_again(shop, exposure):
    shop.settings["exposure"] = {"share": 0.7, **exposure}
    shop.settings["exploration"] = {"share": 0.3, "pool": 10}
    for number, user in enumerate(USERS):
        shop.ask(user, n=5 + number % 8, genres=("Even",) if number % 7 == 0 else None)
    shop.archived()
    assert any(record["reranked"]["added"] for record in shop.records)
    assert (shop.summary().same, shop.summary().different) == (len(USERS), ())
