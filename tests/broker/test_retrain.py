"""`canarec retrain`, with real topics and a real DVC: what it makes, when it does nothing, and what is left when it is killed."""

import contextlib
import fcntl
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest

from models.recommenders import store
from pipelines import versions
from pipelines.places import Places
from streams import processes
from streams.worker import child_command

ALS = {"algorithm": "als", "factors": 8, "iterations": 3, "alpha": 5.0, "regularization": 2.0}
TRAINING = {
    "recipes": {"als": ALS, "damped": {**ALS, "popularity_damping": 0.3}},
    "versions": {"v1": ALS},
    "next": "als",
}
IDLE = {"stable": "v1", "candidate": None, "percentage": 0, "rolled_back": "v2"}


class Trained:
    """An installation that holds v1 and v2, and in its topics a world where even users like even movies."""

    def __init__(self, installation):
        self.installation, self.home = installation, installation.home
        self.places = Places(self.home.path)
        self.command = child_command("retrain", self.home, installation.cluster.bootstrap_servers)
        for movie in range(40):
            fields = {
                "movie_id": f"m{movie}",
                "title": f"M{movie}",
                "genres": ["Even", "Odd"][movie % 2 : movie % 2 + 1],
            }
            installation.publish("movie-catalog", fields, f"m{movie}")
        self.see(range(40))

    def start(self, *arguments):
        """The command as a child; with DVC and its stages in a session of its own."""
        return processes.start([*self.command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def retrain(self, *arguments, code=0):
        """What it said."""
        process = self.start(*arguments)
        said = process.communicate(timeout=240)[0].decode()
        assert process.returncode == code, said
        return said

    def edit(self, **changes):
        settings = json.loads(self.home.config.read_bytes())
        for name, change in changes.items():
            settings[name] = {**settings.get(name, {}), **change}
        self.home.config.write_text(json.dumps(settings))

    def canary(self):
        return json.loads(self.home.config.read_bytes())["canary"]

    def told(self):
        """Each event's name, rule and version, in their order."""
        found = self.installation.everything("retraining-events")
        return [(event["event"], event["rule"], event.get("model_version")) for event in found]

    def see(self, users):
        for user in users:
            for place, movie in enumerate(np.random.default_rng(user).choice(20, 10, replace=False).tolist()):
                self.installation.see(f"u{user}", f"m{2 * movie + user % 2}", at=1_700_000_000 + place)
        self.installation.flush()

    def by_hand(self):
        """What `dvc repro` says."""
        environment = {
            **os.environ,
            "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
            "CANAREC_BOOTSTRAP_SERVERS": self.installation.cluster.bootstrap_servers,
        }
        command = [sys.executable, "-m", "dvc", "repro"]
        told = subprocess.run(command, cwd=self.home.path, env=environment, capture_output=True, text=True, check=False)
        assert told.returncode == 0, told.stdout + told.stderr
        return told.stdout

    def stamps(self):
        return {path.name: path.stat().st_mtime_ns for path in (self.places.pipeline / "models").iterdir()}


@pytest.fixture
def trained(installations):
    with installations(canary=IDLE, training=TRAINING) as installation:
        yield Trained(installation)


def test_a_home_from_its_first_version_on(trained):
    home = trained
    assert "v3 is published: NDCG@20 is " in home.retrain()
    assert (home.canary()["candidate"], home.canary()["percentage"]) == ("v3", 0)
    assert versions.pushed(home.places) == ["v1", "v2", "v3"]

    # a split that moves trains nothing
    home.edit(canary={"percentage": 25})
    before = home.stamps()
    said = home.retrain()
    assert "nothing to do: v3 is of the same data and the same training parameters" in said
    assert said.count("Running stage") == 1
    assert home.stamps() == before

    # new data, and one other recipe, by hand: a version of both, which waits for v3's trial to end; the oldest that nobody uses leaves
    home.see(range(40, 60))
    home.edit(
        training={"recipes": {**TRAINING["recipes"], "damped": {**ALS, "popularity_damping": 0.4}}, "next": "damped"}
    )
    said = home.by_hand()
    assert "v4 is published" in said
    assert "v4 is the next: it waits while v3 is on trial" in said
    assert "v2: in the remote only; `canarec models fetch v2` brings it back" in said
    assert store.read_metadata(home.places.models, "v4").training_method["popularity_damping"] == 0.4
    assert store.list_versions(home.places.models) == ["v1", "v3", "v4"]

    # a recipe alone: the data is not looked at again; the other one's model stays
    before = home.stamps()
    home.edit(training={"recipes": {**TRAINING["recipes"], "damped": {**ALS, "popularity_damping": 0.5}}})
    home.edit(canary={"candidate": None, "percentage": 0, "rolled_back": "v3"})
    said = home.retrain()
    assert "Running stage 'dataset'" not in said
    assert home.stamps()["als.npz"] == before["als.npz"]
    assert "v4 is the candidate, on 0 %" in said  # it had waited
    assert "v5 is the next" in said
    assert home.told() == [
        ("started", "manual", None),
        ("finished", "manual", "v3"),
        ("started", "manual", None),
        ("skipped", "manual", None),
        ("started", "manual", None),
        ("finished", "manual", "v5"),
    ]
    offers = [event for event in home.installation.everything("canary-events") if event["event"] == "offered"]
    assert [event["to"]["candidate"] for event in offers] == ["v3", "v4"]


def test_a_run_that_fails_says_why_in_a_line_and_the_next_one_is_clean(trained):
    home = trained
    home.edit(training={"data_gate": {"users_min": 1000}})
    said = home.retrain(code=1)
    assert said.splitlines()[-1] == ("canarec: dataset: the data gate: users: 40 users, at least 1,000 are wanted")
    assert home.told() == [("started", "manual", None), ("failed", "manual", None)]
    home.edit(training={"data_gate": {"users_min": 10}}, canary={"rolled_back": None})
    # the version that waits is damaged: it is not offered, not counted from, and stops nothing
    (home.places.models / "v2" / store.METADATA).write_bytes(b"{")
    # DVC's list of locks half written, as a kill leaves it
    (home.home.path / ".dvc" / "tmp" / "rwlock").write_text('{"write": {')
    said = home.retrain()
    assert "not offered: " in said
    assert "v2 is left out: " in said
    assert "v3 is published" in said
    # a cache that lost its files, and a workspace that lost one, too: made again, and the same
    sha256 = store.read_metadata(home.places.models, "v3").files
    shutil.rmtree(home.home.path / ".dvc" / "cache")
    home.places.trained("als").unlink()
    home.places.dataset.unlink()
    said = home.retrain()
    assert "Running stage 'dataset'" in said
    assert "nothing to do: v3" in said
    assert home.places.trained("als").exists()
    assert store.read_metadata(home.places.models, "v3").files == sha256


def test_a_kill_leaves_what_serves_and_the_next_run_clean(trained):
    home = trained
    for stage in ("train@als", "publish"):
        process = home.start()
        with process.stdout as output:
            assert any(f"Running stage '{stage}'" in line.decode() for line in iter(output.readline, b""))
            output.readline()  # the command: it has begun, or is about to
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            process.wait()
        _, alive = psutil.wait_procs(children, timeout=20)
        assert not alive  # neither DVC nor a stage goes on
        assert {"v1", "v2"} <= set(store.list_versions(home.places.models))
        assert home.canary()["stable"] == "v1"
    # published, and killed before anybody was told
    process = home.start()
    while not (home.places.models / "v3").exists() and process.poll() is None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    home.retrain()
    assert [event for event in home.told() if event[0] != "started"] == [("finished", "manual", "v3")]
    assert store.list_versions(home.places.models) == ["v1", "v2", "v3"]
    assert all(store.verify(home.places.models, version) == [] for version in ("v1", "v2", "v3"))
    assert home.canary()["candidate"] == "v3"


def test_whatever_fails_before_there_is_a_decision_is_told_too(trained):
    home = trained
    (home.home.path / ".dvc").mkdir()
    (home.home.path / ".dvc" / "config.local").write_text("[core]\n    colour = blue\n")
    assert "extra keys not allowed" in home.retrain(code=1).splitlines()[-1]
    assert home.told() == [("failed", "manual", None)]


def test_two_at_once_train_once(trained):
    home = trained
    lock = home.places.pipeline / "retrain.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert home.retrain(code=1).splitlines()[-1] == "canarec: another retraining of this home is at work"
        assert "skipped: another retraining of this home is at work" in home.retrain("--if-due")
    assert home.told() == []


def test_what_is_not_due_is_told_and_a_dry_run_is_not(trained):
    home = trained
    made = "2026-11-23T00:00:00Z"  # tests.broker.conftest's models
    assert "new interactions" in home.retrain("--if-due", "--dry-run", "--now", made)
    assert home.told() == []
    assert "skipped: v2 is 1.0 days old of 3.0 days" in home.retrain("--if-due", "--now", "2026-11-24T00:00:00Z")
    assert home.told() == [("skipped", "none", None)]


def test_a_full_disk_fails_in_a_line_and_leaves_what_serves(trained, tmp_path):
    home = trained
    artifacts = home.home.artifacts
    kept = tmp_path / "kept"
    shutil.copytree(artifacts, kept)
    shutil.rmtree(artifacts)
    artifacts.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", artifacts], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    try:
        shutil.copytree(kept, artifacts, dirs_exist_ok=True)
        with (artifacts / "ballast").open("wb", buffering=0) as file, contextlib.suppress(OSError):
            for _ in itertools.count():
                file.write(bytes(4_096))
        assert "No space left on device" in home.retrain(code=1).splitlines()[-1]
        assert all(store.verify(home.places.models, version) == [] for version in ("v1", "v2"))
        (artifacts / "ballast").unlink()
        assert "v3 is published" in home.retrain()
    finally:
        subprocess.run(["umount", "--lazy", artifacts], check=True)
