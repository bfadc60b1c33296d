"""The synthetic user: the same seed is the same people; places, tastes and genders have the effect they are said to have."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.events import Movie
from models.viewer import (
    GENRES,
    WOMEN_SHARE,
    Gender,
    Habits,
    People,
    Person,
    bot_choice,
    chances,
    choose,
    drifted,
    fan,
    fashion,
    genre_shares,
    is_bot,
    is_newcomer,
    person,
    renown,
    who_asks,
)

WAR, LOVE = Movie("war", "War", ("War",)), Movie("love", "Love", ("Romance",))
SOLDIER = Person("1", "M", {"War": 3.0, "Romance": -3.0})


def test_a_seed_makes_the_same_people_whoever_else_there_is() -> None:
    assert person(1, "42") == person(1, "42")
    assert person(1, "42").weights != person(1, "43").weights
    assert person(1, "42").weights != person(2, "42").weights


def test_many_at_once_are_the_same_people() -> None:
    names = [f"u{number}" for number in range(50)]
    people = People.of(3, names, Habits(tilt=1.0))
    assert [people.person(place) for place in range(50)] == [person(3, name, Habits(tilt=1.0)) for name in names]


def test_one_user_in_six_is_a_woman() -> None:
    women = People.of(3, [str(number) for number in range(20_000)]).women
    assert women.mean() == pytest.approx(WOMEN_SHARE, abs=0.01)


def test_chances_are_even_and_those_of_two_names_or_seeds_have_nothing_in_common() -> None:
    drawn = chances(1, [str(number) for number in range(2_000)], 20)
    assert np.histogram(drawn, 10, (0, 1))[0] == pytest.approx(4_000, abs=300)
    assert 0 < drawn.min() < drawn.max() < 1
    others = chances(2, [str(number) for number in range(2_000)], 20)
    assert abs(np.corrcoef(drawn[:-1].ravel(), drawn[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(drawn.ravel(), others.ravel())[0, 1]) < 0.02


def test_a_liked_year_makes_a_movie_fit_better_and_one_far_away_worse() -> None:
    who = replace(SOLDIER, year=1990)
    fits = [who.fit(replace_year(WAR, year)) for year in (1990, 1985, 1980, 1970, 1920)]
    assert fits == [4.5, 3.75, 3.0, 1.5, 1.5]
    assert who.fit(WAR) == 3.0


def replace_year(movie: Movie, year: int) -> Movie:
    return Movie(movie.movie_id, movie.title, movie.genres, year)


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
    assert all(isinstance(who_asks(1, number, 50, newcomers=0.0), int) for number in range(500))
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


# -- places, what was seen, what is popular ---------------------------------------------------------


def test_the_stronger_the_position_bias_the_more_often_the_first_place_is_chosen() -> None:
    nobody = replace(SOLDIER, weights={})

    def first(patience: float) -> float:
        habits = Habits(sharpness=1.0, choosiness=2.0, patience=patience)
        places = [choose([LOVE] * 10, nobody, np.random.default_rng(n), habits).place for n in range(3_000)]
        return places.count(0) / sum(place is not None for place in places)

    shares = [first(patience) for patience in (0.0, 0.8, 2.0)]
    assert shares == sorted(shares)
    assert shares[2] > shares[0] + 0.3


def test_what_was_seen_is_seldom_chosen_again() -> None:
    def chosen(seen: set[str]) -> int:
        return sum(choose([WAR], SOLDIER, np.random.default_rng(n), seen=seen).place == 0 for n in range(2_000))

    assert chosen({"war"}) < 0.2 * chosen({"love"})


def test_what_is_popular_attracts_more_but_pleases_no_more() -> None:
    def choices(known: float) -> list[tuple[int | None, float]]:
        habits = Habits(fame=2.0)
        some = [choose([WAR], SOLDIER, np.random.default_rng(n), habits, renowned={"war": known}) for n in range(1_000)]
        return [(each.place, each.satisfaction) for each in some]

    unknown, famous = choices(-1.0), choices(1.0)
    assert sum(place == 0 for place, _ in famous) > 2 * sum(place == 0 for place, _ in unknown)
    for (before, content), (after, as_content) in zip(unknown, famous, strict=True):
        assert before == after == 0 or before is None
        assert before != after or content == as_content


def test_renown_of_equals_is_none() -> None:
    assert renown({}) == {}
    assert renown({"a": 1.0, "b": 1.0}) == {"a": 0.0, "b": 0.0}


# -- newcomers, bots, drift -------------------------------------------------------------------------


def test_bots_have_their_share_of_the_requests_and_move_nobody_elses() -> None:
    plain = [who_asks(1, number, 50) for number in range(4_000)]
    turns = [who_asks(1, number, 50, bots=0.3) for number in range(4_000)]
    by_bots = [isinstance(turn, str) and is_bot(1, turn) for turn in turns]
    assert np.mean(by_bots) == pytest.approx(0.3, abs=0.03)
    assert all(mine == turn for mine, turn, bot in zip(plain, turns, by_bots, strict=True) if not bot)


@pytest.mark.parametrize("share", [0.0, 0.2, 1.0])
def test_newcomers_have_their_share(share: float) -> None:
    turns = [who_asks(1, number, 50, newcomers=share) for number in range(3_000)]
    assert np.mean([isinstance(turn, str) for turn in turns]) == pytest.approx(share, abs=0.03)


def test_for_lines_new_users_and_bots_are_whole_numbers_and_still_told_apart() -> None:
    words = [who_asks(7, number, 0, bots=0.5) for number in range(300)]
    digits = [who_asks(7, number, 0, bots=0.5, numeric=True) for number in range(300)]
    for word, number in zip(words, digits, strict=True):
        assert isinstance(word, str)
        assert isinstance(number, str)
        assert number.isdecimal()
        assert len(number) < 20
        assert is_bot(7, word) == is_bot(7, number) != is_newcomer(7, number) == is_newcomer(7, word)
    assert len(set(words)) == len(set(digits))


def test_a_bot_takes_and_praises_what_is_first_whatever_it_is() -> None:
    assert bot_choice([None, WAR]) == (0, 1.0, 0, 5.0)
    assert bot_choice([]).place is None


def test_a_fashion_moves_everybodys_taste_the_same_way_and_not_at_all_before_it_begins() -> None:
    way = fashion(3)
    assert fashion(3) == way != fashion(4)
    assert np.mean(list(way.values())) == pytest.approx(0)
    assert np.std(list(way.values())) == pytest.approx(1)
    people = [person(1, str(number)) for number in range(10)]
    assert [drifted(who, way, 0.0) for who in people] == people
    for who in people:
        moved = drifted(who, way, 2.0)
        assert all(moved.weights[genre] == who.weights[genre] + 2 * step for genre, step in way.items())
        assert (moved.user_id, moved.gender, moved.year) == (who.user_id, who.gender, who.year)
