"""A home: its file is read, made once, and changed as a whole."""

import os

import pytest

from models import config
from models.errors import BadConfig
from streams.home import Home, write_whole


def test_a_home_without_a_file_has_the_defaults(tmp_path):
    assert Home(tmp_path).load().config == config.Config()


def test_a_prepared_home_has_a_file_that_says_the_same(tmp_path):
    Home(tmp_path).prepare()
    assert Home(tmp_path).load().config == config.Config()


def test_a_file_that_is_there_stays_as_it_is(tmp_path):
    home = Home(tmp_path)
    home.config.write_text('{"canary": {"percentage": 3}}')
    home.prepare()
    assert home.config.read_text() == '{"canary": {"percentage": 3}}'


def test_a_wrong_file_is_refused_with_its_path(tmp_path):
    home = Home(tmp_path)
    home.config.write_text('{"canary": {"percentage": 300}}')
    with pytest.raises(BadConfig, match=r"canary\.percentage"):
        home.load()


def test_a_file_that_cannot_be_read_is_one_clear_line(tmp_path):
    home = Home(tmp_path)
    home.config.mkdir()
    with pytest.raises(BadConfig, match="cannot be read"):
        home.load()


def test_a_file_is_replaced_as_a_whole_and_nothing_stays_beside_it(tmp_path):
    path = tmp_path / "sub" / "file"
    write_whole(path, b"one")
    with path.open("rb") as reader:
        write_whole(path, b"two")
        assert reader.read() == b"one"  # whoever had it open reads on in the old one
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "file").mkdir()  # cannot be replaced by a file
    with pytest.raises(OSError, match="file"):
        write_whole(tmp_path / "file", b"one")
    assert os.listdir(tmp_path) == ["file"]
