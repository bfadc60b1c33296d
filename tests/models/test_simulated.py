"""The simulated history: a pure function of its seed, whole, and of the published shape."""

from functools import cache

import numpy as np
import pytest

from models import calibration
from models.events import Rating, Watch
from models.simulated import END_MS, History, history
from models.viewer import GENRES, Habits

SMALL = {"n_users": 400, "n_movies": 300}


@cache
def whole(seed: int) -> History:
    return history(seed)


@pytest.mark.parametrize("seed", [2026, 7])
@pytest.mark.parametrize("target", calibration.TARGETS, ids=lambda target: target.name)
def test_a_history_has_the_published_figures(seed: int, target: calibration.Target) -> None:
    row = next(row for row in calibration.check(whole(seed)) if row.target == target)
    assert row.kept, row


def test_a_history_of_another_size_is_seen_to_be_off() -> None:
    rows = {row.target.name: row for row in calibration.check(history(1, **SMALL))}
    assert not rows["n_movies"].kept
    assert rows["n_movies"].got == 300
    assert "n_movies                          21,941       300          0  OFF" in calibration.table(
        tuple(rows.values())
    )


def test_without_ratings_there_is_no_mean_and_it_is_not_kept() -> None:
    made = history(1, **SMALL)
    watches = made._replace(events=[event for event in made.events if isinstance(event, Watch)])
    row = next(row for row in calibration.check(watches) if row.target.name == "mean_rating of M")
    assert np.isnan(row.got)
    assert not row.kept


def test_a_history_is_the_same_for_a_seed_and_another_for_another() -> None:
    small = history(1, **SMALL)
    assert small == history(1, **SMALL)
    other = history(2, **SMALL)
    assert small.events != other.events
    assert small.movies == other.movies  # one service


def test_a_history_names_only_movies_and_users_that_it_has_and_nobody_watches_anything_twice() -> None:
    made = history(1, **SMALL)
    movies, users = {movie.movie_id for movie in made.movies}, {who.user_id for who in made.profiles}
    assert (len(movies), len(users)) == (300, 400)
    assert {event.movie_id for event in made.events} <= movies
    assert {event.user_id for event in made.events} <= users
    watches = [(event.user_id, event.movie_id) for event in made.events if isinstance(event, Watch)]
    assert len(watches) == len(set(watches))
    assert {(e.user_id, e.movie_id) for e in made.events if isinstance(e, Rating)} <= set(watches)
    times = [event.timestamp_ms for event in made.events]
    assert times == sorted(times)
    assert times[-1] < END_MS


def test_who_has_watched_nothing_comes_after_all_others_of_their_gender() -> None:
    made = history(1, **SMALL)
    active = {event.user_id for event in made.events}
    for gender in ("M", "F"):
        has = [who.user_id in active for who in made.profiles if who.gender == gender]
        assert has == sorted(has, reverse=True)
        assert not all(has)


def test_in_a_catalogue_of_a_few_movies_nobody_watches_more_than_there_are() -> None:
    made = history(1, n_users=300, n_movies=2)
    watches = [(event.user_id, event.movie_id) for event in made.events if isinstance(event, Watch)]
    assert 300 < len(watches) == len(set(watches)) < 600


def test_ids_are_a_movie_services_and_differ_even_when_names_run_out() -> None:
    movies = whole(7).movies
    assert len({movie.movie_id for movie in movies}) == len(movies)
    for movie in movies[::97]:
        assert movie.movie_id == f"{movie.title.lower().replace(' ', '+')}+{movie.year}"


def test_men_and_women_watch_what_they_like_and_the_same_without_the_tilt() -> None:
    def gap(tilt: float) -> float:
        made = history(3, n_users=8_000, n_movies=2_000, habits=Habits(tilt=tilt))
        genders = {who.user_id: who.gender for who in made.profiles}
        tags = {movie.movie_id: movie.genres for movie in made.movies}
        watched = [(genders[event.user_id], "War" in tags[event.movie_id]) for event in made.events]
        shares = [np.mean([war for gender, war in watched if gender == one]) for one in ("M", "F")]
        return float(shares[0] - shares[1])

    assert GENRES["War"][1] > 0
    assert abs(gap(0.0)) < 0.03
    assert gap(1.0) > 0.05
