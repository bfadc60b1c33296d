"""The catalogue of a moment: its digest names its text, whatever order it was read in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import catalog
from models.catalog import Catalog
from models.errors import BadArtifact
from models.events import Movie
from models.ids import Ids

ids = st.text(min_size=1, max_size=8).filter(str.isprintable)
movies = st.lists(
    st.builds(
        Movie,
        ids,
        st.text(max_size=12).filter(lambda title: not any("\ud800" <= c <= "\udfff" for c in title)),
        st.lists(st.sampled_from(["Crime", "crime", "Drama", "Äkta", "STRASSE", "straße"]), max_size=3).map(tuple),
        st.none() | st.integers(1800, 2200),
        st.none() | st.floats(-1e6, 1e6),
    ),
    max_size=8,
    unique_by=lambda movie: movie.movie_id,
)

HEAT = Movie("heat", "Heat", ("Crime", "Drama"), 1995)
ALIEN = Movie("alien", "Alien", ("Horror",), 1979)
DUNE = Movie("dune", "Dune", ("Drama",), 2021, 9.5)


@given(found=movies, seed=st.randoms(use_true_random=False))
def test_the_digest_does_not_depend_on_the_order_of_reading_nor_on_numbering(found, seed):
    mixed = list(found)
    seed.shuffle(mixed)
    assert Catalog.of(mixed, Ids(["other", "movies"])).sha256 == Catalog.of(found, Ids()).sha256


@given(found=movies)
def test_a_snapshot_comes_back_as_the_same_catalogue(found):
    made = Catalog.of(found, Ids())
    back = catalog.parse(made.text(), made.sha256, Ids())
    assert (dict(back.movies), back.sha256) == (dict(made.movies), made.sha256)


def test_a_snapshot_that_was_changed_is_refused():
    made = Catalog.of([HEAT, ALIEN], Ids())
    with pytest.raises(BadArtifact, match=made.sha256):
        catalog.parse(made.text().replace("Heat", "Heap"), made.sha256, Ids())


@pytest.mark.parametrize("change", [{"title": "Heat!"}, {"year": 1996}, {"genres": ("Crime",)}, {"popularity": 1.0}])
def test_any_change_of_a_movie_changes_the_digest(change):
    import msgspec

    assert Catalog.of([HEAT], Ids()).sha256 != Catalog.of([msgspec.structs.replace(HEAT, **change)], Ids()).sha256


@given(
    found=movies,
    wanted=st.lists(st.sampled_from(["CRIME", "drama", "äkta", "Strasse", "none such"]), max_size=3).map(tuple),
)
def test_genres_are_found_whatever_their_case(found, wanted):
    numbers = Ids()
    made = Catalog.of(found, numbers)
    folded = {genre.casefold() for genre in wanted}
    expected = {movie.movie_id for movie in found if folded & {genre.casefold() for genre in movie.genres}}
    assert {numbers.text(index) for index in made.with_genres(wanted).tolist()} == expected
    known = {genre.casefold() for movie in found for genre in movie.genres}
    assert made.unknown(wanted) == [genre for genre in wanted if genre.casefold() not in known]


def test_indices_are_those_of_the_shared_numbering():
    numbers = Ids(["dune"])
    made = Catalog.of([HEAT, DUNE], numbers)
    assert [numbers.text(index) for index in made.index.tolist()] == list(made.movies) == ["dune", "heat"]


def test_without_events_movies_stand_by_popularity_then_year_then_id():
    older = Movie("a-heat", "Heat", (), 1995)
    assert Catalog.of([ALIEN, HEAT, DUNE, older], Ids()).most_popular_first() == ["dune", "a-heat", "heat", "alien"]


def test_an_empty_catalogue_is_one_too():
    empty = Catalog.of([], Ids())
    assert (len(empty), empty.most_popular_first(), empty.with_genres(("Crime",)).tolist()) == (0, [], [])
    assert len(catalog.parse(empty.text(), empty.sha256, Ids())) == 0
