"""Laws of the numbering of ids."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import BadArtifact
from models.ids import Ids

IDS = st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8))


@given(IDS)
def test_numbers_are_dense_and_in_the_order_of_first_sight(texts: list[str]) -> None:
    ids = Ids(texts)
    assert [ids.text(number) for number in range(len(ids))] == list(dict.fromkeys(texts))


@given(IDS)
def test_a_number_never_moves(texts: list[str]) -> None:
    ids = Ids()
    first = {text: ids.index(text) for text in texts}
    assert {text: ids.index(text) for text in texts} == first == {text: ids.get(text) for text in texts}


@given(IDS)
def test_many_at_once_are_numbered_as_one_by_one(texts: list[str]) -> None:
    one_by_one = Ids()
    assert Ids().indices(texts) == [one_by_one.index(text) for text in texts]


def test_asking_numbers_nothing() -> None:
    ids = Ids()
    assert ids.get("heat+1995") is None
    assert "heat+1995" not in ids
    assert len(ids) == 0


@pytest.mark.parametrize("number", [-1, 1])
def test_a_number_never_given_is_an_error(number: int) -> None:
    with pytest.raises(IndexError):
        Ids(["heat+1995"]).text(number)


def test_an_erased_text_is_gone_and_its_number_is_not_given_again() -> None:
    ids = Ids(["ann", "bob"])
    ids.erase("ann")
    assert ids.get("ann") is None
    assert (ids.text(0), ids.text(1)) == ("", "bob")
    assert ids.index("ann") == 2


def test_erasing_what_was_never_seen_changes_nothing() -> None:
    ids = Ids(["ann"])
    ids.erase("bob")
    assert (len(ids), ids.get("ann")) == (1, 0)


@given(IDS, st.data())
def test_a_table_gives_back_every_number(texts: list[str], data: st.DataObject) -> None:
    ids = Ids(texts)
    for text in data.draw(st.lists(st.sampled_from(texts))) if texts else []:
        ids.erase(text)
    again = Ids.of_table(*ids.table())
    assert [again.text(n) for n in range(len(again))] == [ids.text(n) for n in range(len(ids))]
    assert [again.get(text) for text in texts] == [ids.get(text) for text in texts]


def test_a_table_may_end_early() -> None:
    ids = Ids(["ann", "zoë", "bob"])
    again = Ids.of_table(*ids.table(2))
    assert [again.text(n) for n in range(len(again))] == ["ann", "zoë"]


@pytest.mark.parametrize(
    ("text", "ends"),
    [
        pytest.param(b"annbob", [3], id="text behind the last end"),
        pytest.param(b"ann", [3, 6], id="an end behind the text"),
        pytest.param(b"annbob", [6, 3], id="ends that go back"),
        pytest.param(b"annann", [3, 6], id="an id twice"),
        pytest.param(b"\xff", [1], id="not UTF-8"),
    ],
)
def test_a_table_that_is_none_is_refused(text: bytes, ends: list[int]) -> None:
    with pytest.raises(BadArtifact):
        Ids.of_table(np.frombuffer(text, np.uint8), np.array(ends, np.int64))
