"""A new version becomes the candidate when the one before is decided and the workers have it warm."""

import fcntl
import json
import os
import threading
from datetime import UTC, datetime

import pytest

from models.config import Canary, Config, Release
from models.recommenders import store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.popular import counts
from models.release.rollout import rolled_back
from pipelines.offer import Offering, has, live, offer
from pipelines.places import Places

RECIPE = {"factors": 2, "regularization": 1.0, "alpha": 1.0, "iterations": 2}


class Home:
    """A home whose newest version is v2, and what was asked of its configuration."""

    def __init__(self, folder):
        self.places = Places(folder)
        self.canary = Canary(stable="v1", candidate=None, percentage=0)
        self.workers, self.meanwhile = [], None
        rows = Rows.of([[0, 1], [1, 2], [0, 2]])
        for version in ("v1", "v2"):
            metadata = store.Metadata(
                model_id="als-2",
                model_version=version,
                training_method=RECIPE,
                data_version={"md5": "0" * 32},
                evaluation={},
                dvc_ref=None,
                code_version="0",
                created_at="2026-11-27T00:00:00Z",
                files={},
            )
            store.write(self.places.models, Als.fit(rows, 3, RECIPE, 0), ("a", "b", "c"), counts(rows, 3), metadata)
        self.sha256 = store.read_metadata(self.places.models, "v2").files[store.FACTORS]
        self.places.workers.mkdir()

    def worker(self, name, **models):
        descriptor = os.open(self.places.workers / f"{name}.lock", os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        self.workers.append(descriptor)
        self.tell(name, **models)

    def tell(self, name, **models):
        (self.places.workers / f"{name}.json").write_text(json.dumps({"models": models}))

    def offer(self, wait_s=0.0, **release):
        def change(move, why):
            self.canary = self.meanwhile or self.canary
            self.canary, self.why = move(self.canary), why

        return offer(self.places, Config(canary=self.canary, release=Release(**release)), change, wait_s=wait_s)


@pytest.fixture
def home(tmp_path):
    found = Home(tmp_path)
    yield found
    for descriptor in found.workers:
        os.close(descriptor)


def test_it_begins_on_the_first_step(home):
    told = home.offer(steps=(5, 50))
    assert (told.offered, home.canary.candidate, home.canary.percentage) == (True, "v2", 5)
    assert (told.says, home.why) == ("v2 is the candidate, on 5 %", "a new version, on 5 %")


@pytest.mark.parametrize(
    "canary",
    [
        Canary(stable="v1", candidate="v0", percentage=10),
        Canary(stable="v1", candidate="v0", percentage=0),
        Canary(stable="v1", candidate="v0", percentage=100),
    ],
)
def test_it_waits_while_another_one_is_on_trial(home, canary):
    home.canary = canary
    told = home.offer()
    assert not told.offered
    assert told.says == "v2 is the next: it waits while v0 is on trial"
    assert home.canary == canary


@pytest.mark.parametrize(
    "canary",
    [
        Canary(stable="v2", candidate=None),
        Canary(stable="v1", candidate="v2"),
        Canary(candidate=None, rolled_back="v2"),
    ],
)
def test_who_has_had_its_turn_is_not_offered_again(home, canary):
    home.canary = canary
    assert home.offer() is None
    assert home.canary == canary


def test_every_running_worker_is_waited_for(home):
    home.worker("a", v2=home.sha256)
    home.worker("b", v1=home.sha256)
    later = threading.Timer(0.5, lambda: home.tell("b", v2=home.sha256))
    later.start()
    told = home.offer(wait_s=30)
    later.join()
    assert (told.offered, told.cold) == (True, ())


def test_what_a_rollback_put_aside_meanwhile_is_not_offered_again(home):
    """Somebody offers it, sees harm and rolls it back, all while the workers are waited for."""
    home.meanwhile = Canary(stable="v1", candidate=None, percentage=0, rolled_back="v2")
    told = home.offer()
    assert not told.offered
    assert told.says == "v2 is not offered: while the workers loaded it, the split was changed"
    assert home.canary == home.meanwhile


def test_a_worker_that_does_not_come_is_told_of(home):
    home.worker("a", v2="other factors")
    told = home.offer(wait_s=0.1)
    assert told.offered
    assert told.says == "v2 is the candidate, on 0 %; not yet at hand in a after 0.1 s"


def test_who_has_ended_is_not_waited_for(home):
    home.worker("a")
    os.close(home.workers.pop())
    assert live(home.places.workers) == []
    assert home.offer(wait_s=30).cold == ()


@pytest.mark.parametrize("told", ["", "{", "[]", '{"models": null}', '{"models": {"v2": 1}}'])
def test_a_file_that_says_nothing_is_no_yes(tmp_path, told):
    (tmp_path / "a.json").write_text(told)
    assert not has(tmp_path, "a", "v2", "ab" * 32)


def test_the_scheduler_offers_it_when_the_trial_before_has_ended(home):
    said = []

    def change(move, why):
        home.canary = move(home.canary)

    job = Offering(home.places, lambda: Config(canary=home.canary), change, said.append)
    home.canary = Canary(stable="v1", candidate="v0", percentage=10)
    assert job.turn(datetime.now(UTC)) == 60
    assert said == []
    home.canary = rolled_back(home.canary)
    home.places.pipeline.mkdir()
    with home.places.retraining.open("w") as lock:  # a retraining offers what it publishes itself
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert job.turn(datetime.now(UTC)) == 60
        assert said == []
    job.turn(datetime.now(UTC))
    assert (home.canary.candidate, [told.version for told in said]) == ("v2", ["v2"])
    job.turn(datetime.now(UTC))
    assert len(said) == 1
