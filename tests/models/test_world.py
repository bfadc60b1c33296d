"""The tables that tie a model's columns to the shared numbering of movies, and the order of fallback lists."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.catalog import Catalog
from models.recommenders.popular import order
from models.world import NEW_EVERY, World, _interleaved


def test_columns_and_indices_are_each_others_inverse(small):
    servable = small.world().models["v1"]
    columns = np.arange(len(servable.index_of), dtype=np.int32)
    np.testing.assert_array_equal(servable.columns(servable.index_of), columns)
    assert [small.ids.text(index) for index in servable.index_of.tolist()] == list(servable.model.movie_ids)


def test_movies_that_the_model_does_not_know_have_no_column(small):
    servable = small.world().models["v1"]
    later = small.ids.index("seen for the first time after this World was made")
    movies = np.array([small.ids.index("n03"), later, small.ids.index("m07")], np.int32)
    assert servable.columns(movies).tolist() == [-1, -1, 7]
    assert servable.columns(np.empty(0, np.int32)).tolist() == []


def test_without_a_catalogue_every_movie_may_be_recommended(small):
    servable = small.world(catalog=()).models["v1"]
    assert servable.allowed is None
    assert [small.ids.text(i) for i in servable.popular] == [
        servable.model.movie_ids[c] for c in order(servable.model.popularity)
    ]


def test_what_the_catalogue_lacks_is_neither_allowed_nor_popular(small):
    servable = small.world(catalog=[m for m in small.catalog if m.movie_id not in ("m00", "m02")]).models["v1"]
    assert np.flatnonzero(~servable.allowed).tolist() == [0, 2]
    assert not {small.ids.index("m00"), small.ids.index("m02")} & set(servable.popular)


def test_the_fallback_order_holds_each_movie_of_the_catalogue_once(small):
    servable = small.world().models["v1"]
    found = [small.ids.text(index) for index in servable.popular]
    assert sorted(found) == sorted((*small.known_movies, *small.new_movies))


def test_every_tenth_place_of_the_fallback_goes_to_a_newer_movie(small):
    servable = small.world().models["v1"]
    found = [small.ids.text(index) for index in servable.popular]
    newer = [place for place, movie in enumerate(found, 1) if movie in small.new_movies]
    assert newer[:6] == [10, 20, 30, 40, 50, 60]


@given(known=st.integers(0, 40), newer=st.integers(0, 40))
def test_interleaving_loses_nothing_doubles_nothing_and_keeps_both_orders(known, newer):
    old, new = list(range(known)), list(range(100, 100 + newer))
    mixed = _interleaved(np.array(old, np.int32), np.array(new, np.int32)).tolist()
    assert [movie for movie in mixed if movie < 100] == old
    assert [movie for movie in mixed if movie >= 100] == new
    places = [place for place, movie in enumerate(mixed, 1) if movie >= 100]
    assert all(place % NEW_EVERY == 0 or place > known for place in places)


@pytest.mark.parametrize(("candidate", "expected"), [("v2", "v2"), (None, "v1")])
def test_a_variants_version_is_read_from_the_configuration(small, candidate, expected):
    world = small.world({"canary": {"candidate": candidate}})
    assert (world.version("stable"), world.version("canary")) == ("v1", expected)


def test_a_world_takes_over_the_tables_of_the_one_before_where_model_and_catalogue_are_the_same(small):
    before = small.world({"canary": {"percentage": 10}})
    models = {"v1": before.models["v1"].model, "v2": small.model("v2")}  # v2 was read again
    after = World.of(before.applied, models, before.catalog, small.ids, before=before)
    assert after.models["v1"] is before.models["v1"]
    assert after.models["v2"] is not before.models["v2"]
    changed = Catalog.of(small.catalog[1:], small.ids)
    without = World.of(before.applied, models, changed, small.ids, before=before)
    assert without.models["v1"] is not before.models["v1"]
    assert small.ids.index("m00") not in without.models["v1"].popular
    assert small.ids.index("m00") not in without.fallback


def test_without_a_model_the_fallback_is_the_catalogues_own_order(small):
    world = small.world(models={})
    assert [small.ids.text(index) for index in world.fallback] == world.catalog.most_popular_first()
