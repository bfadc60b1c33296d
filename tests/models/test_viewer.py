"""The synthetic user: the same seed is the same people; places, tastes and genders have the effect they are said to have."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.events import Movie, Rating, Watch
from models.recommenders.als import Als
from models.recommenders.base import Rows, Top
from models.recommenders.popular import Popular, counts
from models.viewer import END_MS, GENRES, Gender, Habits, Person, choose, fan, genre_shares, history, person, who_asks

WAR, LOVE = Movie("war", "War", ("War",)), Movie("love", "Love", ("Romance",))
SOLDIER = Person("1", "M", {"War": 3.0, "Romance": -3.0})


def test_a_seed_makes_the_same_people_whoever_else_there_is() -> None:
    assert person(1, "42") == person(1, "42")
    assert person(1, "42").weights != person(1, "43").weights
    assert person(1, "42").weights != person(2, "42").weights


def test_two_users_in_five_are_women() -> None:
    women = sum(person(3, str(number)).gender == "F" for number in range(2_000))
    assert 740 < women < 860


def test_fit_is_the_mean_of_the_weights_of_the_genres() -> None:
    assert SOLDIER.fit(WAR) == 3.0
    assert SOLDIER.fit(Movie("x", "X", ("War", "Romance"))) == 0.0
    assert SOLDIER.fit(Movie("x", "X", ("War", "of a genre nobody knows"))) == 1.5
    assert SOLDIER.fit(Movie("x", "X", ())) == SOLDIER.fit(None) == 0.0


def test_men_and_women_differ_by_the_tilt() -> None:
    def gap(tilt: float) -> float:
        people = [person(5, str(number), Habits(tilt=tilt)) for number in range(2_000)]
        men = np.mean([who.weights["War"] for who in people if who.gender == "M"])
        women = np.mean([who.weights["War"] for who in people if who.gender == "F"])
        return float(men - women)

    assert abs(gap(0.0)) < 0.15
    assert gap(1.0) == pytest.approx(2 * GENRES["War"][1], abs=0.15)


def test_a_taste_is_read_from_what_was_watched() -> None:
    shares = {"War": 0.2, "Romance": 0.4, "Drama": 0.4}
    who = fan("u", "F", [WAR] * 8 + [LOVE] * 2, shares, seed=1)
    assert who.weights["War"] > who.weights["Romance"] > who.weights["Drama"]
    assert np.mean(list(who.weights.values())) == pytest.approx(0)
    assert np.std(list(who.weights.values())) == pytest.approx(1)
    assert who.gender == "F"


def test_a_taste_for_everything_alike_is_none() -> None:
    assert fan("u", "F", [WAR] * 9, {"War": 1.0}, seed=1).weights == {"War": 0.0}


def test_too_little_watched_leaves_the_seeds_taste() -> None:
    who = fan("u", None, [WAR] * 4, {"War": 1.0}, seed=1)
    assert who == person(1, "u")
    assert fan("u", "x", [], {}, seed=1).gender is None


def test_shares_of_nothing_are_none() -> None:
    assert genre_shares([]) == {} == genre_shares([Movie("a", "A", ())])


def test_who_asks_is_the_seeds_and_one_in_twenty_is_new() -> None:
    turns = [who_asks(1, number, 50) for number in range(4_000)]
    assert turns == [who_asks(1, number, 50) for number in range(4_000)]
    assert turns != [who_asks(2, number, 50) for number in range(4_000)]
    assert {turn for turn in turns if isinstance(turn, int)} == set(range(50))
    newcomers = [turn for turn in turns if isinstance(turn, str)]
    assert 140 < len(newcomers) < 260
    assert len(set(newcomers)) < len(newcomers)  # some come again
    assert all(isinstance(who_asks(1, number, 50, newcomers=False), int) for number in range(500))
    assert all(isinstance(who_asks(1, number, 0), str) for number in range(500))


def test_an_empty_list_pleases_nobody() -> None:
    assert choose([], SOLDIER, np.random.default_rng(0)) == (None, 0.0, 0, None)


def test_the_same_generator_gives_the_same_choice() -> None:
    slate = [LOVE, WAR, None, LOVE]
    assert choose(slate, SOLDIER, np.random.default_rng(9)) == choose(slate, SOLDIER, np.random.default_rng(9))


def test_earlier_places_are_chosen_more_often_with_the_same_movie_in_each() -> None:
    nobody, habits = replace(SOLDIER, weights={}), Habits(sharpness=1.0, choosiness=2.0, patience=1.0)
    places = [choose([LOVE] * 3, nobody, np.random.default_rng(n), habits).place for n in range(9_000)]
    attract = 1 / (1 + np.exp(2.0))  # the fit is 0
    expected = [attract, (1 - attract) * attract / 2, (1 - attract) * (1 - attract / 2) * attract / 3]
    for k, share in enumerate(expected):
        assert places.count(k) / 9_000 == pytest.approx(share, abs=0.01)


def test_what_fits_is_chosen_and_pleases() -> None:
    keen = replace(SOLDIER, weights={"War": 5.0, "Romance": -5.0})
    good = [choose([WAR] * 10, keen, np.random.default_rng(n)) for n in range(500)]
    bad = [choose([LOVE] * 10, keen, np.random.default_rng(n)) for n in range(500)]
    assert sum(c.place is not None for c in good) > 450
    assert sum(c.place is not None for c in bad) < 25
    assert np.mean([c.satisfaction for c in good]) > 0.9
    assert np.mean([c.satisfaction for c in bad]) < 0.1


def test_the_gap_is_what_men_are_less_satisfied_by() -> None:
    def mean(gender: Gender, gap: float) -> float:
        who = replace(SOLDIER, weights={}, gender=gender)
        return float(np.mean([choose([WAR], who, np.random.default_rng(n), Habits(gap=gap))[1] for n in range(400)]))

    assert mean("F", 0.0) == mean("M", 0.0)
    assert mean("F", 0.2) - mean("M", 0.2) == pytest.approx(0.2, abs=0.01)


@given(
    st.lists(st.none() | st.sampled_from([WAR, LOVE]), max_size=100),
    st.floats(-50, 50),
    st.integers(0, 2**32),
    st.floats(-1, 1),
)
def test_a_choice_is_always_one_that_can_be(slate: list[Movie | None], weight: float, seed: int, gap: float) -> None:
    who = Person("u", "F", {"War": weight})
    choice = choose(slate, who, np.random.default_rng(seed), Habits(gap=gap))
    assert 0 <= choice.satisfaction <= 1
    if choice.place is None:
        assert (choice.minute, choice.stars) == (0, None)
    else:
        assert 0 <= choice.place < len(slate)
        assert 1 <= choice.minute <= 125
        assert choice.stars is None or (0.5 <= choice.stars <= 5 and choice.stars * 2 % 1 == 0)


def test_a_history_is_the_same_for_a_seed_and_another_for_another() -> None:
    small = history(1, n_users=20, n_movies=50)
    assert small == history(1, n_users=20, n_movies=50)
    assert small.events != history(2, n_users=20, n_movies=50).events


def test_a_history_names_only_movies_and_users_that_it_has() -> None:
    made = history(1, n_users=50, n_movies=80)
    movies, users = {movie.movie_id for movie in made.movies}, {who.user_id for who in made.profiles}
    assert (len(movies), len(users)) == (80, 50)
    assert {event.movie_id for event in made.events} <= movies
    assert {event.user_id for event in made.events} == users
    watches = [(event.user_id, event.movie_id) for event in made.events if isinstance(event, Watch)]
    assert len(watches) == len(set(watches))
    assert {(e.user_id, e.movie_id) for e in made.events if isinstance(e, Rating)} <= set(watches)
    times = [event.timestamp_ms for event in made.events]
    assert times == sorted(times)
    assert times[-1] < END_MS


def test_ids_are_a_movie_services_and_differ_even_when_names_run_out() -> None:
    made = history(1, n_users=1, n_movies=7_000)
    assert len({movie.movie_id for movie in made.movies}) == 7_000
    for movie in made.movies:
        assert movie.movie_id == f"{movie.title.lower().replace(' ', '+')}+{movie.year}"


def test_few_movies_get_most_of_the_watches_and_a_model_beats_popularity() -> None:
    made = history(2026)
    column = {movie.movie_id: number for number, movie in enumerate(made.movies)}
    watched: dict[str, list[int]] = {}
    for event in made.events:
        if isinstance(event, Watch):
            watched.setdefault(event.user_id, []).append(column[event.movie_id])
    assert 100_000 < len(made.events) < 160_000
    newest = {user: seen[int(0.8 * len(seen)) :] for user, seen in watched.items()}
    before = Rows.of([sorted(seen[: int(0.8 * len(seen))]) for seen in watched.values()])
    popularity = counts(before, len(column))
    assert np.sort(popularity)[-300:].sum() / popularity.sum() > 0.4

    def recall(top: Top) -> float:
        found = [len(set(top.row(row)[0].tolist()) & set(held)) / len(held) for row, held in enumerate(newest.values())]
        return float(np.mean(found))

    parameters = {"factors": 32, "regularization": 5.0, "alpha": 5.0, "iterations": 8}
    model = Als.fit(before, len(column), parameters, seed=0)
    assert recall(model.top(model.users(before), 20, before)) > 1.25 * recall(Popular.of(popularity).top(20, before))
