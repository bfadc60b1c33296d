"""A worker's name: one holder at a time, the same again after a restart, never the same in two homes."""

import fcntl
import os

import pytest

from models.errors import CanarecError, UsageError
from streams.names import claim


@pytest.fixture
def held():
    """Claims that end with the test."""
    claims = []
    yield claims
    for one in claims:
        os.close(one.descriptor)


def test_each_worker_of_a_home_gets_the_first_free_name(tmp_path, held):
    held += [claim(tmp_path) for _ in range(3)]
    home = (tmp_path / "home-id").read_text()
    assert [one.name for one in held] == [f"{home}-1", f"{home}-2", f"{home}-3"]


def test_a_name_is_free_again_when_its_holder_is_gone(tmp_path, held):
    first, second = claim(tmp_path), claim(tmp_path)
    held.append(second)
    os.close(first.descriptor)  # what the kernel does for a killed process
    held.append(claim(tmp_path))
    assert held[-1].name == first.name


def test_two_homes_never_use_the_same_name(tmp_path, held):
    held += [claim(tmp_path / "a"), claim(tmp_path / "b")]
    assert held[0].name != held[1].name


def test_a_given_name_is_kept_and_cannot_be_taken_twice(tmp_path, held):
    held.append(claim(tmp_path, "left-1"))
    assert held[0].name == "left-1"
    with pytest.raises(CanarecError, match="left-1"):
        claim(tmp_path, "left-1")


@pytest.mark.parametrize("name", ["", "a b", "../a", "-a", "a\n", "x" * 65, "é"])
def test_a_name_that_kafka_or_a_folder_would_not_take_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="--name"):
        claim(tmp_path, name)


def test_a_claim_holds_a_lock_that_others_can_see(tmp_path, held):
    held.append(claim(tmp_path, "w"))
    with (tmp_path / "w.lock").open("w") as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
