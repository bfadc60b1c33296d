"""A candidate that is judged without anybody: real worker, real scheduler, and the simulator's users, who choose by what they are shown.

    pytest tests/broker/test_canary_release.py               a damaged candidate, as part of `make test`
    pytest tests/broker/test_canary_release.py -m release    also an identical one, and a better one that begins in the shadow (`make release`)

Margins are wide and horizons short, so that some hundred users decide within seconds. Each run prints the events that it leaves.
"""

import json
import threading
from contextlib import contextmanager

import numpy as np
import pytest

from models.config import Simulator
from models.recommenders import store
from models.recommenders.als import Als
from models.recommenders.base import Rows
from models.recommenders.popular import counts
from streams import processes
from streams.cli import main
from streams.crowd import crowd
from streams.simulator import Simulation
from streams.worker import child_command

pytestmark = pytest.mark.release

MOVIES, USERS, RATE = 120, 900, 90
MOVIE_IDS = tuple(f"m{number:03}" for number in range(MOVIES))
RECIPE = {"factors": 8, "regularization": 2.0, "alpha": 5.0, "iterations": 6}
RELEASE = {
    "automation": "act",
    "steps": [0, 20, 50, 100],
    "decides_from": 20,
    "hold_s": 0,
    "look_every_s": 0.5,
    "users_min": 100,
    "requests_min": 50,
    "scorings_min": 100,
    "shadow_share": 1,
    "scoring_p99_ratio_max": 1_000,  # a busy machine
    "margins": {"success": 0.2, "ctr": 0.25, "hit_rate": 0.25, "satisfaction": 0.15},
}
SCENARIOS = {  # stable, candidate, its first step, how it ends
    "damaged": ("good", "shuffled", 20, "rolled_back"),
    "better": ("shuffled", "good", 0, "promoted"),  # a worker tells of its shadow once a minute
    "identical": ("good", "good", 20, "promoted"),
}


def pytest_generate_tests(metafunc):
    names = list(SCENARIOS) if metafunc.config.getoption("markexpr") == "release" else ["damaged"]
    metafunc.parametrize("scenario", names)


def taste(user):
    """Even users like even movies, odd users odd ones: what they have watched."""
    return np.sort(np.random.default_rng([7, user]).choice(MOVIES // 2, 8, replace=False)) * 2 + user % 2


def publish_model(home, version, kind):
    rows = Rows.of([taste(user) for user in range(200)])
    model = Als.fit(rows, MOVIES, RECIPE, 0)
    if kind == "shuffled":  # the file is whole, and what it says is wrong
        arrays = model.arrays()
        order = np.random.default_rng(3).permutation(MOVIES)
        model = Als.from_arrays({**arrays, "item_factors": arrays["item_factors"][order]})
    metadata = store.Metadata(
        model_id="als-8",
        model_version=version,
        training_method={"algorithm": "als", "seed": 0, **RECIPE},
        data_version={"md5": "data"},
        evaluation={},
        dvc_ref=None,
        code_version="0",
        created_at="2026-11-23T00:00:00Z",
        files={},
    )
    store.write(home.models, model, MOVIE_IDS, counts(rows, MOVIES), metadata)


def publish_world(shop):
    for number, movie in enumerate(MOVIE_IDS):
        genres = ["Romance"] if number % 2 else ["Action"]
        shop.publish("movie-catalog", {"movie_id": movie, "title": movie.upper(), "genres": genres}, movie)
    for user in range(USERS):
        gender = {"user_id": f"u{user}", "gender": "MF"[user // 2 % 2]}
        shop.publish("user-profiles", gender, gender["user_id"])
        for place, column in enumerate(taste(user)):
            shop.see(f"u{user}", MOVIE_IDS[column], at=1_700_000_000 + place)
    shop.flush()


@contextmanager
def scheduler(shop):
    with (shop.home.path / "scheduler.log").open("wb") as log:
        process = processes.start(
            child_command("scheduler", shop.home, shop.cluster.bootstrap_servers, "--metrics-port", "0"),
            stdout=log,
            stderr=log,
        )
        try:
            yield process
        finally:
            processes.stop(process, 10)


@contextmanager
def simulated_users(shop):
    users = crowd(shop.cluster, shop.applied, [f"u{number}" for number in range(USERS)])
    simulation = Simulation(shop.cluster, shop.applied, users, Simulator(rate=RATE, seed=5))
    ending = threading.Event()
    thread = threading.Thread(target=simulation.run, args=(ending,))
    thread.start()
    try:
        yield simulation
    finally:
        ending.set()
        thread.join()


def test_a_candidate_is_judged_without_anybody(scenario, installations, audited, capsys):
    stable, candidate, begins, ends = SCENARIOS[scenario]
    settings = {
        "canary": {"stable": "v1", "candidate": None, "percentage": 0},
        "release": RELEASE,
        "metrics": {"horizon_s": 2},
        "retraining": {"days": 3_650, "drift": {"enabled": False}},
    }
    with installations(**settings) as shop:
        publish_model(shop.home, "v7", stable)
        publish_model(shop.home, "v8", candidate)
        publish_world(shop)
        shop.configure(canary={"stable": "v7", "candidate": "v8", "percentage": begins})
        shop.start_worker()
        shop.ask("u1")
        with scheduler(shop) as process, simulated_users(shop):

            def decided():
                assert process.poll() is None, (shop.home.path / "scheduler.log").read_text()
                return shop.home.load().config.canary.candidate is None

            shop.wait(decided, "the end of the trial", 180)
            wanted = shop.home.load().sha256
            shop.wait(lambda: shop.ask("u1")["config_sha256"] == wanted, "the end to be in force")
        events = shop.everything("canary-events")
        capsys.readouterr()
        at = ["--home", str(shop.home.path), "--bootstrap-servers", shop.cluster.bootstrap_servers]
        main(["canary", "verify", *at])
        verified = capsys.readouterr().out
        with capsys.disabled():
            print(f"\n-- {scenario}: {candidate} against {stable}\n" + "\n".join(shown(event) for event in events))
            print(verified, end="")
        canary = shop.home.load().config.canary
        assert audited(shop) == []
    verdicts = [event for event in events if event["event"] == "verdict"]
    changes = [event for event in events if event["who"] == "canarec scheduler" and event["event"] != "verdict"]
    assert f"{len(verdicts)} verdicts recomputed, the chain is whole" in verified
    assert changes[-1]["event"] == ends
    assert changes[-1]["why"] == verdicts[-1]["verdict"]["message"]
    if ends == "promoted":
        assert (canary.stable, canary.previous) == ("v8", "v7")
        steps = [event["to"]["percentage"] for event in changes]
        assert steps == [20, 50, 100, 0][begins > 0 :]
        passed = changes[begins == 0 :]  # the shadow is left by requests and time
        assert all(event["why"].startswith("ADVANCE: all of success, ctr, hit_rate, satisfaction") for event in passed)
    else:
        assert (canary.stable, canary.rolled_back) == ("v7", "v8")
        assert len(changes) == 1
        assert verdicts[-1]["verdict"]["reason"] == "worse"
    surely_better = {
        metric
        for event in verdicts
        for metric, bounds in event["verdict"]["metrics"].items()
        if bounds["lower"] is not None and bounds["lower"] > 0
    }
    assert ("satisfaction" in surely_better) == (scenario == "better")
    assert scenario != "identical" or not surely_better


def shown(event):
    """One line."""
    if event["event"] == "verdict":
        return f"{event['timestamp']} verdict      {event['verdict']['message']}  {event['previous'][:8]} → {event['sha256'][:8]}"
    to = event["to"]
    split = f"{to['percentage']:g} % to {to['candidate']}, stable {to['stable']}" if to else ""
    return f"{event['timestamp']} {event['event']:<12} {split} ({event['who']})" + (
        f": {json.dumps(event['why'], ensure_ascii=False)}" if event.get("why") else ""
    )
