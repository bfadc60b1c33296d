"""Randomised slots: over all draws the chances that are told are the frequencies; a draw is the same for ever."""

from collections import Counter
from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.config import Exploration
from models.exploration import dealt, draw, explores

small = [(1, 1, 1), (1, 3, 1), (2, 1, 1), (3, 4, 1), (4, 2, 1), (3, 3, 2), (4, 3, 3), (2, 4, 2), (3, 2, 5), (2, 3, 9)]
settings = st.builds(
    Exploration, share=st.just(1.0), slots=st.integers(1, 10), pool=st.integers(1, 1_000), salt=st.text(min_size=1)
)


@pytest.mark.parametrize(("n", "pool", "slots"), small)
def test_over_all_draws_the_propensities_are_the_frequencies(n, pool, slots):
    used = min(slots, n, pool)
    outcomes = prod((n - slot) * (pool - slot) for slot in range(used))
    draws = [dealt(number, n, pool, slots) for number in range(outcomes)]
    standing = Counter((place, rank) for one in draws for place, rank in enumerate(one.ranks))
    for one in draws:
        for place, (rank, propensity) in enumerate(zip(one.ranks, one.propensities, strict=True)):
            assert standing[place, rank] / outcomes == pytest.approx(propensity, abs=1e-12)
    # every movie that may stand in a place does, so an inverse propensity never divides by what never happens
    own = {(place, place) for place in range(n)} if used < n else set()
    assert standing.keys() == own | {(place, n + movie) for place in range(n) for movie in range(pool)}


@pytest.mark.parametrize(("n", "pool", "slots"), small)
def test_inverse_propensities_estimate_another_policy_without_bias(n, pool, slots):
    """Horvitz and Thompson: the mean of value · 1(shown) / propensity is the value of showing it always."""
    used = min(slots, n, pool)
    outcomes = prod((n - slot) * (pool - slot) for slot in range(used))
    place, wanted, value = n - 1, n + pool - 1, 0.625
    total = 0.0
    for number in range(outcomes):
        one = dealt(number, n, pool, slots)
        if one.ranks[place] == wanted:
            total += value / one.propensities[place]
    assert total / outcomes == pytest.approx(value)


def test_hashes_of_request_ids_draw_as_evenly_as_dice():
    exploration, times, n, pool = Exploration(share=1, slots=2, pool=6), 6_000, 5, 6
    standing = Counter()
    for number in range(times):
        one = draw(f"r{number}", n, n + pool, exploration)
        standing.update((place, rank) for place, rank in enumerate(one.ranks))
    expected = {(place, place): 0.6 for place in range(n)}
    expected |= {(place, n + movie): 0.4 / pool for place in range(n) for movie in range(pool)}
    for of, share in expected.items():
        assert abs(standing[of] / times - share) < 4.5 * (share * (1 - share) / times) ** 0.5  # 35 cells


@given(request=st.text(min_size=1), n=st.integers(1, 100), ranked=st.integers(0, 1_200), exploration=settings)
def test_a_list_keeps_its_length_shows_nothing_twice_and_no_more_slots_than_there_are(request, n, ranked, exploration):
    one = draw(request, n, ranked, exploration)
    if ranked <= n:
        assert one is None
        return
    pool = min(ranked - n, exploration.pool)
    assert len(one.ranks) == len(one.propensities) == len(set(one.ranks)) == n
    drawn = [place for place, rank in enumerate(one.ranks) if rank != place]
    assert len(drawn) == min(exploration.slots, n, pool)
    assert all(n <= one.ranks[place] < n + pool for place in drawn)
    assert all(0 < propensity <= 1 for propensity in one.propensities)


@given(request=st.text(min_size=1), exploration=settings)
def test_the_same_request_draws_the_same(request, exploration):
    assert draw(request, 20, 400, exploration) == draw(request, 20, 400, exploration)


def test_a_draw_is_the_documented_hash():
    # sha256("2026-11:draw:r1"), typed once into a shell: another draw would make no list of the past again
    assert draw("r1", 3, 10, Exploration(share=1, pool=4)).ranks == [0, 1, 5]


def test_another_salt_draws_otherwise():
    draws = {tuple(draw("r1", 20, 200, Exploration(share=1, salt=f"s{number}")).ranks) for number in range(20)}
    assert len(draws) == 20


@pytest.mark.parametrize("share", [0, 0.05, 0.5, 1])
def test_as_many_users_explore_as_the_share_says(share):
    found = sum(explores(f"user{number}", Exploration(share=share)) for number in range(4_000)) / 4_000
    assert abs(found - share) <= 4 * (share * (1 - share) / 4_000) ** 0.5


@given(user=st.text(min_size=1), smaller=st.floats(0, 1), larger=st.floats(0, 1))
def test_growing_the_share_stops_nobody_from_exploring(user, smaller, larger):
    smaller, larger = sorted((smaller, larger))
    assert explores(user, Exploration(share=larger)) or not explores(user, Exploration(share=smaller))
