"""Which deaths count as crashes, and since when."""

import signal

import pytest

from streams import crashes


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGBUS", "SIGILL", "SIGFPE", "SIGABRT"])
def test_a_fault_in_native_code_is_one(name):
    assert crashes.is_fault(-getattr(signal, name))


@pytest.mark.parametrize("code", [0, 1, 75, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT])
def test_any_other_end_is_none(code):
    assert not crashes.is_fault(code)


def test_those_of_all_workers_count_from_a_moment_on(tmp_path):
    for name, at_ms in (("a", 5), ("a", 10), ("b", 11)):
        crashes.note(tmp_path, name, -11, at_ms)
    assert [crashes.since(tmp_path, at_ms) for at_ms in (0, 6, 11, 12)] == [3, 2, 1, 0]
    assert (tmp_path / "a.crashes").read_text() == "5 11\n10 11\n"


def test_a_line_that_was_cut_off_is_none(tmp_path):
    (tmp_path / "a.crashes").write_text("7 11\n12")
    assert crashes.since(tmp_path, 0) == 1
    crashes.note(tmp_path, "a", -11, 9)
    assert crashes.since(tmp_path, 0) == 2


def test_a_file_does_not_grow_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(crashes, "MOST_LINES", 3)
    for at_ms in range(6):
        crashes.note(tmp_path, "a", -6, at_ms)
    assert (tmp_path / "a.crashes").read_text() == "3 6\n4 6\n5 6\n"
