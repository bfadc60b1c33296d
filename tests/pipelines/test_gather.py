"""From Parquet files to the data set that the same events give, and to the figures that the gate judges."""

import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.config import DataGate, Events
from models.errors import BadArtifact
from models.ids import Ids
from pipelines.dataset import Dataset
from pipelines.gather import LOOKED_AT, Repeats, from_archive

DAY_MS = 86_400_000
NOW_MS = 1_700_000_000_000
ANYBODY = DataGate(user_share_max=1)
events = st.tuples(
    st.sampled_from(["u1", "u10", "u2", "é", "\U0001f600", "\uffee"]),
    st.sampled_from(["m1", "m2", "m10"]),
    st.sampled_from([None, 0.5, 3.5, 5]),
    st.integers(NOW_MS, NOW_MS + 3),
)


def gathered(folder, gate=ANYBODY, limits=None, now_ms=NOW_MS):
    return from_archive(folder, limits or Events(), gate, now_ms=now_ms)


def same(one, other):
    for name in ("user", "movie", "thousandths", "time_ms"):
        a, b = getattr(one, name), getattr(other, name)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert (one.users, one.movies, one.genders, one.md5) == (other.users, other.movies, other.genders, other.md5)


def of_events(rows, **more):
    users, movies, stars, times = zip(*rows, strict=True) if rows else ((), (), (), ())
    ratings = np.array([np.nan if star is None else star for star in stars], float)
    return Dataset.from_events(users, movies, ratings, np.array(times, np.int64), offsets={}, **more)


def fill(archive, rows, partitions=2):
    for number in range(partitions):
        mine = [row for row in rows if (len(row[0]) + row[3]) % partitions == number]
        watches = [archive.watch(user, name, at) for user, name, stars, at in mine if stars is None]
        ratings = [archive.rate(user, name, stars, at) for user, name, stars, at in mine if stars is not None]
        for topic, messages in (("watch-events", watches), ("rating-events", ratings)):
            half = len(messages) // 2
            for first, some in ((0, messages[:half]), (half, messages[half:])):
                if some:
                    archive.add(topic, some, partition=number, first=first)


@settings(max_examples=30)
@given(st.lists(events, max_size=25), st.dictionaries(st.sampled_from(["u1", "é", "z"]), st.sampled_from(["F", "M"])))
def test_an_archive_gives_the_data_set_of_its_events_to_the_bit(small_archive, rows, genders):
    with tempfile.TemporaryDirectory() as name:
        archive = small_archive(Path(name))
        fill(archive, rows)
        if genders:
            archive.add("user-profiles", [archive.profile(*of) for of in genders.items()])
        dataset, figures = gathered(archive.folder)
    same(dataset, of_events(rows, genders=genders))
    assert figures.events == len(rows)
    assert figures.duplicates == len(rows) - len({(u, m, s is None, t) for u, m, s, t in rows})


@settings(max_examples=15)
@given(st.lists(events, min_size=1, max_size=25))
def test_a_bot_that_is_left_out_leaves_no_trace(small_archive, rows):
    with tempfile.TemporaryDirectory() as name:
        archive = small_archive(Path(name))
        rows = [*rows, *((f"o{n}", "m1", None, NOW_MS) for n in range(30))]
        fill(archive, rows)
        archive.add("watch-events", [archive.watch("bot", f"b{i % 9}") for i in range(300)], partition=5)
        dataset, figures = gathered(archive.folder, DataGate(user_share_max=0.8))
    same(dataset, of_events(rows))
    (bot,) = figures.heavy
    assert (bot.user_id, bot.events, bot.interactions) == ("bot", 300, 9)
    assert figures.events == len(rows)


def test_a_gender_is_that_of_the_newest_profile(small):
    small.add(
        "watch-events", [small.watch("a", "x"), small.watch("b", "x"), small.watch("c", "x"), small.watch("d", "x")]
    )
    small.add(
        "user-profiles",
        [small.profile("a", "F"), small.profile("b", "M"), small.profile("a", "M"), small.profile("c", "F")],
    )
    small.add("user-profiles", [("b", None), small.profile("c", None)], first=4)
    dataset, figures = gathered(small.folder)
    assert dataset.genders == ("M", None, None, None)
    assert figures.groups == {"M": 1}


def test_between_partitions_kafkas_time_says_which_profile_is_newer(small):
    small.add("watch-events", [small.watch("a", "x")])
    small.add("user-profiles", [small.profile("b", "M"), small.profile("a", "F")], partition=0, logged_ms=5)
    small.add("user-profiles", [small.profile("a", "M")], partition=1, logged_ms=6)
    assert gathered(small.folder)[0].genders == ("M",)


def test_movies_that_the_catalogue_does_not_have_are_counted_by_interaction(small):
    small.add(
        "watch-events",
        [small.watch("a", "x"), small.watch("b", "y"), small.watch("b", "gone"), small.watch("b", "gone", minute=9)],
    )
    small.add("movie-catalog", [small.movie("x"), small.movie("gone"), ("gone", None), small.movie("unseen")])
    figures = gathered(small.folder)[1]
    assert (figures.catalogue, figures.unknown_movies, figures.interactions) == (2, 2, 3)


def test_what_was_refused_is_counted_from_the_files(small):
    small.add("rating-events", [small.rate("a", "x", 15), ("a", b"?"), small.rate("a", "y", 5)])
    small.add("watch-events", [small.watch("a", "x", minute=-1)])
    figures = gathered(small.folder)[1]
    assert (figures.refused, figures.events) == ({"bad_minute": 1, "bad_rating": 1, "not_json": 1}, 1)


def test_a_scale_that_was_narrowed_since_leaves_out_what_is_off_it_now(small):
    small.add("rating-events", [small.rate("a", "x", 8), small.rate("b", "y", 4)])
    small.add("watch-events", [small.watch("c", "z", minute=300)])
    dataset, figures = gathered(small.folder, limits=Events(rating_max=5, minute_max=200))
    assert (dataset.users, dataset.movies) == (("b",), ("y",))
    assert figures.refused == {"bad_minute": 1, "bad_rating": 1}


def test_a_clock_in_the_past_changes_the_figures_and_not_the_data(small):
    small.add("watch-events", [small.watch("a", "x"), small.watch("a", "y", NOW_MS - 9 * DAY_MS)])
    now, then = gathered(small.folder), gathered(small.folder, now_ms=NOW_MS - 5 * DAY_MS)
    assert now[0].md5 == then[0].md5
    assert (now[1].ahead, then[1].ahead) == (0, 1)


def test_offsets_are_those_of_the_files(small):
    small.add("watch-events", [small.watch("a", "x"), ("a", b"?")], partition=3, first=7)
    small.add("user-profiles", [small.profile("a", "F")])
    assert gathered(small.folder)[0].offsets == {
        "watch-events": {"3": (7, 9)}, "rating-events": {}, "user-profiles": {"0": (0, 1)},
    }  # fmt: skip


def test_no_files_are_an_empty_data_set(small):
    dataset, figures = gathered(small.folder / "nowhere")
    assert (len(dataset), dataset.users, figures.events, figures.refused) == (0, (), 0, {})


@pytest.mark.parametrize("topic", ["watch-events", "movie-catalog"])
def test_half_a_file_is_named(small, topic):
    messages = [small.watch("a", "x")] if topic == "watch-events" else [small.movie("x")]
    path = small.add(topic, messages)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadArtifact, match=str(path)):
        gathered(small.folder)


def test_a_flipped_bit_is_found(small):
    path = small.add("watch-events", [small.watch(f"user{n}", f"movie{n % 7}") for n in range(500)])
    group = pq.read_metadata(path).row_group(0)
    users = next(group.column(n) for n in range(group.num_columns) if group.column(n).path_in_schema == "user_id")
    content = bytearray(path.read_bytes())
    content[users.data_page_offset + users.total_compressed_size // 4] ^= 1
    path.write_bytes(content)
    with pytest.raises(BadArtifact, match=str(path)):
        gathered(small.folder)


def test_heavy_users_of_a_run_that_stops_are_named_too(small):
    small.add(
        "watch-events", [*(small.watch(f"u{n}", "x") for n in range(40)), *(small.watch("bot", "y") for _ in range(40))]
    )
    gate = msgspec.structs.replace(DataGate(), heavy_users="stop")
    assert [user.user_id for user in gathered(small.folder, gate)[1].heavy] == ["bot"]


def test_of_too_many_events_repeats_are_looked_for_among_whole_users():
    users = Ids(f"u{n}" for n in range(400))
    events = (
        np.repeat(np.arange(400, dtype=np.int32), 3),
        np.tile(np.array([1, 1, 2], np.int32), 400),
        np.full(1_200, 9),
    )
    everybody, some = Repeats(1_200), Repeats(5 * LOOKED_AT)
    for repeats in (everybody, some):
        repeats.add(*events, users)
    looked_at, repeated = everybody.of_users(400)
    assert (set(looked_at.tolist()), set(repeated.tolist())) == ({3}, {1})
    looked_at, repeated = some.of_users(400)
    assert 20 < np.count_nonzero(looked_at) < 200
    np.testing.assert_array_equal(looked_at, 3 * repeated)
