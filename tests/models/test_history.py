"""Laws of the fold: the order, the number and the batches of events do not matter."""

import random
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.errors import BadArtifact
from models.events import Rating, Watch
from models.history import BLOCK, MAX_MINUTE, MAX_TIME_MS, Histories, Ids, join, packed

Event = Watch | Rating
State = dict[tuple[str, str], tuple[int, int, int]]  # (user, movie): time_ms, thousandths, minute

# Few users, movies and times, so that they meet; the last users stand in other blocks than the first.
USERS = ("ann", "bob", "zoë")
CROWD = [Watch(f"user{n}", "heat+1995", 0, 0) for n in range(2 * BLOCK)]
users = st.sampled_from(USERS)
movies = st.sampled_from(("heat+1995", "alien+1979", "dune+2021", "m"))
times = st.sampled_from((0, 1, 2, 1_700_000_000_000, MAX_TIME_MS))
watches = st.builds(Watch, users, movies, st.sampled_from((0, 1, 95, MAX_MINUTE)), times)
ratings = st.builds(Rating, users, movies, st.sampled_from((0.0001, 0.5, 3.333, 4.5, 10.0)), times)
events = st.lists(watches | ratings, max_size=40)
interactions = st.builds(
    packed,
    st.integers(0, MAX_TIME_MS),
    thousandths=st.integers(0, 10_000),
    minute=st.integers(-1, MAX_MINUTE),
)
quick = settings(max_examples=60)


def told(all_events: Sequence[Event]) -> State:
    """The contract's sentence in plain words: the oracle."""
    state: State = {}
    for pair in {(event.user_id, event.movie_id) for event in all_events}:
        own = [event for event in all_events if (event.user_id, event.movie_id) == pair]
        rated = [(r.timestamp_ms, max(1, round(r.rating * 1_000))) for r in own if isinstance(r, Rating)]
        watched = [(w.timestamp_ms, w.minute) for w in own if isinstance(w, Watch)]
        newest, stars = max(rated) if rated else (max(watched)[0], 0)
        state[pair] = (newest, stars, max((minute for _, minute in watched), default=-1))
    return state


def kept(histories: Histories, names: Sequence[str] = USERS) -> State:
    """What histories hold of some users."""
    return {
        (user, histories.movie_ids.text(movie)): (time_ms, thousandths, minute)
        for user in names
        for movie, time_ms, thousandths, minute in zip(
            *(column.tolist() for column in histories.interactions(user)), strict=True
        )
    }


def batches(all_events: Sequence[Event], rng: random.Random) -> Iterator[Sequence[Event]]:
    first = 0
    while first < len(all_events):
        last = first + rng.randint(1, 9)
        yield all_events[first:last]
        first = last


def loaded(all_events: Sequence[Event]) -> Histories:
    """All events in one batch, merged by the arrays."""
    histories = Histories(Ids())
    histories.apply(all_events)
    return histories


def live(all_events: Sequence[Event], *, live_limit: int = 1_000_000) -> Histories:
    """Each event by itself, by the dictionaries."""
    histories = Histories(Ids(), live_limit=live_limit)
    histories.finish_loading()
    for event in all_events:
        histories.apply([event])
    return histories


# -- the fold of one interaction ------------------------------------------------------------------


@given(interactions, interactions)
def test_join_is_commutative(one: int, other: int) -> None:
    assert join(one, other) == join(other, one)


@given(interactions, interactions, interactions)
def test_join_is_associative(one: int, two: int, three: int) -> None:
    assert join(join(one, two), three) == join(one, join(two, three))


@given(interactions, interactions)
def test_join_is_idempotent(one: int, other: int) -> None:
    assert join(join(one, other), other) == join(one, other)
    assert join(one, one) == one


@pytest.mark.parametrize(
    "wrong", [{"time_ms": -1}, {"time_ms": MAX_TIME_MS + 1}, {"time_ms": 0, "minute": MAX_MINUTE + 1}]
)
def test_what_does_not_fit_is_not_packed(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        packed(**wrong)


# -- the fold of all ------------------------------------------------------------------------------


@quick
@given(events)
def test_the_arrays_keep_what_the_contract_says(all_events: list[Event]) -> None:
    assert kept(loaded(all_events)) == told(all_events)


@quick
@given(events)
def test_the_dictionaries_keep_what_the_arrays_keep(all_events: list[Event]) -> None:
    assert kept(live(all_events)) == kept(loaded(all_events))


@quick
@given(events, st.randoms(use_true_random=False), st.integers(0, 10), st.integers(0, 60))
def test_order_repetition_batches_and_merges_do_not_matter(
    all_events: list[Event], rng: random.Random, limit: int, loading: int
) -> None:
    again = [*all_events, *(rng.choice(all_events) for _ in range(len(all_events) // 2))]
    rng.shuffle(again)
    histories = Histories(Ids(), log_limit=limit, live_limit=limit)
    for number, batch in enumerate(batches(again, rng)):
        if number == loading // 4:
            histories.finish_loading()
        histories.apply(batch)
        if rng.random() < 0.2:
            histories.movies(rng.choice(USERS))  # a read in between
    assert kept(histories) == told(all_events)


@quick
@given(events)
def test_users_of_other_blocks_do_not_matter(all_events: list[Event]) -> None:
    cut = len(all_events) // 2
    histories = Histories(Ids(), live_limit=0)
    histories.apply([*all_events[:cut], *CROWD])
    histories.finish_loading()
    histories.apply(all_events[cut:])
    assert kept(histories) == told(all_events)


NEWEST = [
    ([Rating("ann", "m", 2.0, 1), Rating("ann", "m", 1.0, 2)], (2, 1_000, -1), "the newest rating counts"),
    ([Rating("ann", "m", 2.0, 1), Rating("ann", "m", 1.0, 1)], (1, 2_000, -1), "at a tie the better rating"),
    ([Watch("ann", "m", 50, 1), Watch("ann", "m", 10, 2)], (2, 0, 50), "the furthest minute, the newest time"),
    ([Rating("ann", "m", 3.0, 1), Watch("ann", "m", 7, 9)], (1, 3_000, 7), "a rating's time before a later watch's"),
    ([Watch("ann", "m", 0, 1)], (1, 0, 0), "minute 0 is watched"),
    ([Rating("ann", "m", 0.0001, 1)], (1, 1, -1), "the smallest rating is a rating"),
]


@pytest.mark.parametrize(("own", "expected", "law"), NEWEST, ids=[law for *_, law in NEWEST])
def test_what_counts(own: list[Event], expected: tuple[int, int, int], law: str) -> None:
    for folded in (loaded(own), live(own), live(own[::-1])):
        assert kept(folded) == {("ann", "m"): expected}


@pytest.mark.parametrize(
    "bad",
    [
        Watch("ann", "m", 0, -1),
        Watch("ann", "m", 0, MAX_TIME_MS + 1),
        Watch("ann", "m", -1, 0),
        Watch("ann", "m", MAX_MINUTE + 1, 0),
        Rating("ann", "m", 0.0, 0),
        Rating("ann", "m", -1.0, 0),
        Rating("ann", "m", 17.0, 0),
        Rating("ann", "m", float("nan"), 0),
        Rating("ann", "m", float("inf"), 0),
    ],
)
def test_a_batch_with_what_does_not_fit_changes_nothing(bad: Event) -> None:
    histories = live([Watch("bob", "m", 5, 5)])
    with pytest.raises(ValueError, match="does not fit"):
        histories.apply([Watch("ann", "heat+1995", 1, 1), bad])
    assert kept(histories) == {("bob", "m"): (5, 0, 5)}
    assert "ann" not in histories
    assert len(histories.movie_ids) == 1


def test_no_events_are_no_events() -> None:
    histories = loaded([])
    assert (histories.users, histories.n_interactions, histories.nbytes) == (0, 0, 0)


# -- reads ----------------------------------------------------------------------------------------


@quick
@given(events, st.integers(0, 10))
def test_movies_are_those_of_the_interactions_ascending(all_events: list[Event], limit: int) -> None:
    histories = live(all_events, live_limit=limit)
    for user in USERS:
        assert histories.movies(user).tolist() == sorted(set(histories.interactions(user).movie.tolist()))
        assert histories.movies(user).dtype == np.int32


@quick
@given(events, st.lists(st.sampled_from((*USERS, "nobody"))), st.integers(0, 10))
def test_a_batch_is_its_users_one_by_one(all_events: list[Event], asked: list[str], limit: int) -> None:
    histories = live(all_events, live_limit=limit)
    indptr, indices = histories.batch(asked)
    assert (str(indptr.dtype), str(indices.dtype), int(indptr[-1])) == ("int64", "int32", len(indices))
    for place, user in enumerate(asked):
        assert indices[indptr[place] : indptr[place + 1]].tolist() == histories.movies(user).tolist()


@quick
@given(events, st.integers(0, 10))
def test_a_user_is_in_with_the_first_event(all_events: list[Event], limit: int) -> None:
    histories = live(all_events, live_limit=limit)
    assert {user for user in USERS if user in histories} == {event.user_id for event in all_events}


@quick
@given(events, st.integers(0, 10))
def test_interactions_are_pairs_of_user_and_movie(all_events: list[Event], limit: int) -> None:
    assert live(all_events, live_limit=limit).n_interactions == len(told(all_events))


def test_an_interaction_takes_at_most_16_bytes() -> None:
    histories = loaded([Watch(f"u{n % BLOCK}", f"m{n // BLOCK}", 1, 1) for n in range(20 * BLOCK)])
    assert histories.n_interactions == 20 * BLOCK
    assert histories.nbytes <= 16 * histories.n_interactions


def test_movies_are_numbered_by_the_shared_ids() -> None:
    ids = Ids(["dune+2021", "heat+1995"])
    histories = Histories(ids)
    histories.apply([Watch("ann", "heat+1995", 1, 1), Watch("ann", "alien+1979", 1, 1)])
    assert histories.movies("ann").tolist() == [1, 2]
    assert ids.text(2) == "alien+1979"


# -- erasure --------------------------------------------------------------------------------------


@quick
@given(events, users, st.integers(0, 10))
def test_a_forgotten_user_leaves_the_others_as_they_were(all_events: list[Event], gone: str, limit: int) -> None:
    histories = live(all_events, live_limit=limit)
    histories.forget(gone)
    assert gone not in histories
    assert kept(histories) == told([event for event in all_events if event.user_id != gone])
    assert histories.n_interactions == len(kept(histories))


def test_a_forgotten_user_leaves_no_name_behind() -> None:
    histories = loaded([Watch("ann", "m", 1, 1), Watch("bob", "m", 1, 1)])
    histories.forget("ann")
    assert histories.to_arrays()["user_text"].tobytes() == b"bob"


def test_a_forgotten_user_may_come_back_as_a_new_one() -> None:
    histories = loaded([Rating("ann", "m", 5.0, 9)])
    histories.forget("ann")
    histories.apply([Watch("ann", "m", 1, 1)])
    assert kept(histories) == {("ann", "m"): (1, 0, 1)}


def test_forgetting_nobody_changes_nothing() -> None:
    histories = loaded([Watch("ann", "m", 1, 1)])
    histories.forget("bob")
    assert kept(histories) == {("ann", "m"): (1, 0, 1)}


# -- copies ---------------------------------------------------------------------------------------


@quick
@given(events, st.integers(0, 10), st.sampled_from(([], ["m"], ["other", "dune+2021", "m", "heat+1995"])))
def test_frozen_histories_come_back_whatever_the_movies_numbers(
    all_events: list[Event], limit: int, known: list[str]
) -> None:
    again = Histories.from_arrays(live(all_events, live_limit=limit).to_arrays(), Ids(known))
    assert kept(again) == told(all_events)
    assert again.n_interactions == len(told(all_events))


@quick
@given(events, events, st.integers(0, 10))
def test_histories_that_came_back_go_on(before: list[Event], after: list[Event], limit: int) -> None:
    again = Histories.from_arrays(live(before, live_limit=limit).to_arrays(), Ids())
    again.apply(after)
    again.finish_loading()
    assert kept(again) == told([*before, *after])


@quick
@given(events, events, users, st.integers(0, 10))
def test_a_frozen_copy_does_not_see_what_comes_later(
    before: list[Event], after: list[Event], gone: str, limit: int
) -> None:
    histories = live(before, live_limit=limit)
    frozen = histories.freeze()
    was = [column.tolist() for column in frozen.interactions()[1]]
    for event in after:
        histories.apply([event])
    histories.forget(gone)
    indptr, columns = frozen.interactions()
    assert [column.tolist() for column in columns] == was
    assert len(indptr) == len({event.user_id for event in before}) + 1


def test_a_merge_writes_to_no_array_that_a_frozen_copy_holds() -> None:
    histories = live([Watch("ann", "m", 1, 1), Watch("bob", "m", 1, 1)], live_limit=0)
    frozen = histories.freeze()
    histories.apply([Watch("ann", "m", 2, 2), Watch("ann", "dune+2021", 2, 2)])
    assert frozen.interactions()[1].minute.tolist() == [1, 1]
    assert frozen.interactions()[1].time_ms.tolist() == [1, 1]


@quick
@given(events, st.integers(0, 10))
def test_the_whole_table_is_its_users_one_by_one(all_events: list[Event], limit: int) -> None:
    histories = live(all_events, live_limit=limit)
    indptr, columns = histories.freeze().interactions()
    for user in range(histories.users):
        own = histories.interactions(histories.user_ids.text(user))
        here = slice(int(indptr[user]), int(indptr[user + 1]))
        assert [np.asarray(column)[here].tolist() for column in columns] == [np.asarray(one).tolist() for one in own]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("count", np.zeros(3, np.int32)),
        ("movie", np.zeros(1, np.int32)),
        ("movie", np.array([0, 7], np.int32)),
        ("movie", np.array([0, -1], np.int32)),
        ("standing", np.zeros(3, np.int64)),
        ("tail_user", np.zeros(1, np.int32)),
        ("user_ends", np.array([3], np.int64)),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(name: str, wrong: np.ndarray) -> None:
    arrays = loaded([Watch("ann", "m", 1, 1), Watch("bob", "m", 1, 1)]).to_arrays()
    with pytest.raises(BadArtifact):
        Histories.from_arrays({**arrays, name: wrong}, Ids())


def test_arrays_without_a_column_are_refused() -> None:
    arrays = loaded([Watch("ann", "m", 1, 1)]).to_arrays()
    del arrays["minute"]
    with pytest.raises(BadArtifact, match="minute"):
        Histories.from_arrays(arrays, Ids())


def test_frozen_users_of_many_blocks_come_back() -> None:
    again = Histories.from_arrays(loaded(CROWD).to_arrays(), Ids())
    assert again.users == len(CROWD)
    assert [again.movies(event.user_id).tolist() for event in CROWD[:: BLOCK // 2]] == [[0]] * 4
