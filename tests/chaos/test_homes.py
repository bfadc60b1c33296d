"""Model files that are damaged or gone, and a full disk: answers go on, none is made by the wrong factors, and logs say why."""

import itertools
import os
import shutil
import subprocess
import time
from contextlib import suppress

import pytest

from pipelines import provenance_csv

RETRY_S = 25  # a version that could not be loaded is tried again every 10


def test_a_damaged_and_a_missing_model(install, traffic):
    faulty = install()
    faulty.publish_world()
    faulty.staff(1)
    factors, gone = faulty.home.models / "v1" / "factors.npz", faulty.home.models / "v2"
    with traffic(faulty) as requests:
        requests.flow(1)
        lists = personal_lists(requests)
        requests.fault("models damaged", aim_s=1)
        whole = factors.read_bytes()
        with factors.open("r+b") as file:  # in place, as a bad disk does it
            file.seek(len(whole) // 2)
            file.write(bytes(64))
        gone.rename(gone.with_name(".gone"))
        requests.flow(1)
        requests.calm()
        assert {answer["status"] for answer in since(requests, 0.8)} == {"ok"}  # who runs has them in memory
        requests.fault("another worker starts")
        faulty.staff(2)
        requests.flow(2)
        requests.calm()
        both = {("ok", None), ("fallback", "model_failed")}
        faulty.wait(lambda: {(a["status"], a.get("reason")) for a in since(requests, 1)} == both, "answers of both")
        problems = {entry["model_version"]: entry["error"] for entry in faulty.logged("model cannot be used")}
        assert str(factors) in problems["v1"]
        assert "SHA-256" in problems["v1"]
        assert "no such model version" in problems["v2"]
        requests.fault("models whole again")
        gone.with_name(".gone").rename(gone)
        factors.write_bytes(whole)
        faulty.wait(lambda: {a["status"] for a in since(requests, 1)} == {"ok"}, "the models to be loaded", RETRY_S)
        now = personal_lists(requests)
        assert all(now[user] == them for user, them in lists.items())
        requests.finish("a damaged and a missing model, a second worker")


def personal_lists(requests):
    """The list of each old user, who watches nothing meanwhile: one for each, whoever made it."""
    lists = {}
    for got in requests.answers.copy().values():
        answer = got[0][1]
        if answer["status"] == "ok" and answer["user_id"].startswith("u"):
            lists.setdefault(answer["user_id"], set()).add(tuple(answer["recommendations"]))
    assert len(lists) > 20
    assert all(len(different) == 1 for different in lists.values())
    return lists


def since(requests, seconds):
    """Answers of the last seconds, to old users."""
    after = time.monotonic() - seconds
    answers = [got[0] for got in requests.answers.copy().values()]
    return [answer for at, answer in answers if at > after and answer["user_id"].startswith("u")]


@pytest.fixture
def small_disk(tmp_path):
    """A home whose artifacts/ is a disk of 128 MB: enough for a row of each answer."""
    artifacts = tmp_path / "home" / "artifacts"
    artifacts.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", artifacts], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield artifacts.parent
    subprocess.run(["umount", "--lazy", artifacts], check=True)


def fill(folder):
    """Leaves not one byte."""
    with (folder / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(65_536))
    with (folder / "ballast").open("ab", buffering=0) as file, pytest.raises(OSError, match="No space left"):
        file.writelines(itertools.repeat(b"x"))


def rows(faulty):
    """The request of each row of the provenance CSV."""
    return sorted(row["request_id"] for row in provenance_csv.rows(faulty.home.provenance))


def test_a_full_disk_under_artifacts(small_disk, install, traffic, long):
    faulty = install(folder=small_disk)
    faulty.publish_world()
    faulty.staff(1)
    artifacts = small_disk / "artifacts"
    with traffic(faulty) as requests:
        requests.fault("disk full", aim_s=1)
        fill(artifacts)
        if long:  # enough for a snapshot, which cannot be written
            for number in range(60_000):
                faulty.see(f"crowd{number % 500}", f"m{number % 150:03}", at=1_700_000_000)
            faulty.flush()
            faulty.wait(lambda: faulty.logged("snapshot not written"), "a snapshot that fails", 90)
        digest = faulty.configure(canary={**faulty.settings["canary"], "percentage": 100})
        faulty.wait(lambda: {a["variant"] for a in since(requests, 0.5)} == {"canary"}, "the new configuration", 10)
        assert faulty.logged("cannot be kept for replay yet", file=f"{digest}.json")
        requests.fault("another worker starts", aim_s=1)
        faulty.staff(2)
        requests.flow(1)
        requests.calm()
        assert {a["status"] for a in since(requests, 1)} == {"ok"}
        faulty.wait(lambda: faulty.logged("provenance CSV waits"), "rows that cannot be written")
        requests.fault("room again", aim_s=1)
        os.remove(artifacts / "ballast")
        faulty.wait((faulty.home.configs / f"{digest}.json").exists, "the configuration to be kept", 10)
        requests.finish("a full disk under artifacts/")
    answered = sorted(record["request_id"] for record in faulty.everything("provenance"))
    faulty.wait(lambda: rows(faulty) == answered, "a row for each answer")
    assert shutil.disk_usage(artifacts).free > 0
