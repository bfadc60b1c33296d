"""People of a known imbalance: they are as they were asked to be, and are answered as canarec answers."""

import numpy as np
import pytest

from models.recommenders.popular import counts
from pipelines.evaluate import learn, lists
from pipelines.studies.people import Imbalance, Service, crowd, dataset_of, watched

FEW = Imbalance(men=60, women=40, movies=120, watched_by_men=30, watched_by_women=15, tilt=1.0)
RECIPE = {"algorithm": "als", "factors": 8, "regularization": 4.0, "alpha": 1.0, "iterations": 4}


@pytest.fixture(scope="module")
def world():
    people = crowd(FEW, 1)
    return people, watched(people, FEW, 1)


def test_the_same_seed_makes_the_same_people_and_another_one_others(world):
    assert watched(crowd(FEW, 1), FEW, 1).md5 == world[1].md5
    assert watched(crowd(FEW, 2), FEW, 2).md5 != world[1].md5


def test_women_are_fewer_and_watch_less(world):
    people, data = world
    women = np.array([who.gender == "F" for who in people.people])
    watched_by = np.bincount(data.user, minlength=100)
    assert women.sum() == 40
    assert 1.5 < watched_by[~women].mean() / watched_by[women].mean() < 2.7


def test_men_like_what_men_like_more(world):
    people, _ = world
    women = np.array([who.gender == "F" for who in people.people])
    romances = [column for column, movie in enumerate(people.movies) if movie.genres == ("Romance",)]
    wars = [column for column, movie in enumerate(people.movies) if "Action" in movie.genres]
    assert people.likes[women][:, romances].mean() > people.likes[~women][:, romances].mean()
    assert people.likes[women][:, wars].mean() < people.likes[~women][:, wars].mean()


def test_a_service_gives_the_models_lists_and_those_that_a_configuration_makes_of_them(world):
    people, data = world
    model, rows = learn(data, RECIPE), data.rows()
    popularity = counts(rows, FEW.movies)
    plain = Service(people, model, popularity, {}).lists(rows, 10, "r")
    assert plain.tolist() == lists(model, rows, 10).columns.tolist()
    exposure = {"share": 0.3, "protect": "genres", "genres": ["Horror", "Fantasy"]}
    found = Service(people, model, popularity, {"exposure": exposure}).lists(rows, 10, "r")
    rare = np.array([bool({"Horror", "Fantasy"} & set(movie.genres)) for movie in people.movies])
    assert rare[found].sum(axis=1).min() >= 3 > rare[plain].sum(axis=1).min()


def test_a_data_set_keeps_movies_that_nobody_watched(world):
    people, _ = world
    data = dataset_of(people, [np.array([3, 1])] * 100)
    assert (len(data), len(data.movies)) == (200, 120)
    assert data.time_ms[:2].tolist() == [1, 0]  # sorted by movie: 1 was watched after 3
