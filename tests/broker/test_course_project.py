"""docs/from-a-course-project.md, done: a team's files, the page's own commands, and what comes of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.broker.gateway import running

PAGE = Path(__file__).parents[2] / "docs" / "from-a-course-project.md"
MOVIES = [f"heat+{1900 + number}" for number in range(60)]
USERS = range(596_300, 596_340)
LOG = [
    "2022-11-14T12:23:12,596300,GET /data/m/heat+1901/16.mpg",
    "2022-11-14T12:23:13,596300,GZET /data/m/heat+1901/16.mpg",
    "2022-11-14T12:23:12.202,596300,recommendation request host:8082, status 200, result: heat+1901, heat+1902, 102 ms",
]
ALS = {"algorithm": "als", "factors": 8, "iterations": 3, "alpha": 5.0, "regularization": 2.0}


def blocks(language):
    """The fenced blocks of the page in a language, by the heading above them."""
    found = {}
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        code = re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
        if code:
            found[heading] = code
    return found


@pytest.fixture(scope="module")
def team(installations, tmp_path_factory):
    """A team's folder, and an installation in which the page was followed."""
    folder = tmp_path_factory.mktemp("team")
    movies = [
        {"id": movie, "title": movie[:4].title(), "genres": [{"id": 1, "name": "Crime"}], "release_date": "1995-12-15"}
        | {"popularity": 17.9}
        for movie in MOVIES
    ]
    (folder / "movies.jsonl").write_text("".join(json.dumps(movie) + "\n" for movie in movies))
    rows = ["user_id,movie_id,rating,timestamp"]
    for user in USERS:
        for place, number in enumerate(np.random.default_rng(user).choice(30, 10, replace=False)):
            rows.append(f"{user},{MOVIES[2 * number + user % 2]},{3 + place % 3},2022-11-{10 + place}T12:23:12")
    (folder / "ratings.csv").write_text("\n".join(rows) + "\n")
    (folder / "kafka-log.csv").write_text("\n".join(LOG) + "\n")
    training = {"recipes": {"als": ALS}, "versions": {"v1": ALS}, "next": "als"}
    with installations(training=training, canary={"stable": "v1", "candidate": None, "percentage": 0}) as shop:
        shop.folder = folder
        shutil.rmtree(shop.home.models)  # a team has none of ours
        (code,) = blocks("python")["The catalogue"]
        code = code.replace("127.0.0.1:9092", shop.cluster.bootstrap_servers)
        code = code.replace('"movie-catalog"', repr(shop.applied.topic("movie-catalog")))
        shop.catalogue = subprocess.run(
            [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
        )
        shop.imports = [done(shop, line) for block in blocks("sh")["The CSV"] for line in block.splitlines()]
        shop.start_worker()
        (lines,) = blocks("sh")["The first models"]
        shop.trained = [done(shop, line) for line in lines.splitlines()]
        yield shop


def done(shop, line):
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "CANAREC_HOME": str(shop.home.path),
        "CANAREC_BOOTSTRAP_SERVERS": shop.cluster.bootstrap_servers,
    }
    return subprocess.run(
        ["bash", "-c", line], cwd=shop.folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )


def test_the_movie_api_s_answers_become_the_catalogue(team):
    assert (team.catalogue.returncode, team.catalogue.stderr) == (0, "")
    movies = team.everything("movie-catalog")
    assert [movie["movie_id"] for movie in movies] == MOVIES
    assert movies[0] == {
        "movie_id": "heat+1900",
        "title": "Heat",
        "genres": ["Crime"],
        "year": 1995,
        "popularity": 17.9,
    }


def test_the_csv_and_the_log_are_imported(team):
    assert [(told.returncode, told.stdout[:22]) for told in team.imports] == [
        (0, ""),
        (0, "published 400 lines; t"),
        (0, "published 3 lines; the"),
    ]


def test_its_rows_are_ratings(team):
    found = team.wait(lambda: len(team.committed("rating-events")) == 400 and team.committed("rating-events"), "them")
    assert {event["user_id"] for event in found} == {str(user) for user in USERS}
    assert found[0]["rating"] in (3, 4, 5)


def test_a_damaged_line_is_a_dead_letter_and_others_answers_are_not(team):
    (letter,) = team.wait(lambda: team.committed("dead-letters"), "a dead letter")
    assert (letter["reason"], letter["payload"]) == ("unknown_line", LOG[1])


def test_topics_are_there_already(team):
    told = done(team, "canarec topics make")
    assert (told.returncode, told.stdout) == (0, "all are there already\n")


def test_the_first_model_comes_from_their_ratings(team):
    trained, listed = team.trained
    assert trained.returncode == 0, trained.stdout + trained.stderr
    assert "v1" in listed.stdout
    team.wait(lambda: team.ask(str(USERS[0]))["status"] == "ok", "lists of the model")


def test_their_url_gives_twenty_ids(team):
    (lines,) = blocks("sh")["The HTTP service"]
    curl = lines.splitlines()[-1]
    team.ask(str(USERS[0]))  # the worker has loaded the model
    with running(team) as api:
        told = done(team, curl.replace("8082", str(api.port)))
    assert told.returncode == 0, told.stderr
    assert len(told.stdout.strip().split(",")) == 20
    assert set(told.stdout.strip().split(",")) <= set(MOVIES)
