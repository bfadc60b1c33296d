"""Histories from the index of many users' events are those of the fold."""

from hypothesis import given, settings
from hypothesis import strategies as st

from models.events import Rating, Watch
from models.history import Histories
from models.ids import Ids
from models.wire import Limits
from pipelines import below
from pipelines.below import RATINGS, WATCHES
from streams.clients import Cluster

NOBODY = Cluster("127.0.0.1:1")
LIMITS = Limits(rating_max=5.0, minute_max=300)
NAMES = {"prod.watch": WATCHES, "prod.rating": RATINGS}
EVENT = st.tuples(
    st.sampled_from(["u1", "u2", "ü"]),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([None, 4.0, 5.5]),
    st.booleans(),
)


@settings(max_examples=25)
@given(st.lists(EVENT, max_size=20), st.integers(0, 20), st.integers(0, 20))
def test_a_history_below_offsets_is_the_fold_of_the_events_below_them(
    tmp_path_factory, small_archive, events, watches, ratings
):
    archive = small_archive(tmp_path_factory.mktemp("archive"))
    kept = {"prod.watch": [], "prod.rating": []}
    for user, movie, rating, late in events:
        if rating is None:
            kept["prod.watch"].append(Watch(user, movie, 400 if late else 5, archive.now_ms))
        else:
            kept["prod.rating"].append(Rating(user, movie, rating, archive.now_ms))
    for topic, some in kept.items():
        if some:
            archive.add(
                NAMES[topic],
                [
                    archive.rate(e.user_id, e.movie_id, e.rating)
                    if isinstance(e, Rating)
                    else archive.watch(e.user_id, e.movie_id, minute=e.minute)
                    for e in some
                ],
            )
    ends = {(topic, 0): len(some) for topic, some in kept.items()}
    found = below.read(NOBODY, archive.folder, {"u1", "ü"}, ends, NAMES, Ids())
    offsets = {"prod.watch": {"0": watches}, "prod.rating": {"0": ratings}}
    fold = Histories(Ids())
    fold.apply([e for e in kept["prod.watch"][:watches] if e.minute <= LIMITS.minute_max])
    fold.apply([e for e in kept["prod.rating"][:ratings] if e.rating <= LIMITS.rating_max])
    for user in ("u1", "ü"):
        expected = {fold.movie_ids.text(number) for number in fold.movies(user).tolist()}
        assert {found.ids.text(number) for number in found.movies(user, offsets, LIMITS).tolist()} == expected
    assert not len(found.movies("u2", offsets, LIMITS))
