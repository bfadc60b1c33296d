"""The simulator without a broker: who is named by --users, and the line that a person reads."""

from collections import deque
from pathlib import Path

import pytest

from models.errors import UsageError
from models.events import Movie, Watch
from models.history import Histories
from models.ids import Ids
from models.viewer import person
from streams.crowd import MOST_USERS, Crowd, user_ids
from streams.simulator import Counts


def test_a_range_and_a_file_name_users(tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("anna\n\n 17 \r\nzoë\n", encoding="utf-8")
    assert user_ids("9-11") == ["9", "10", "11"]
    assert user_ids(str(tmp_path / "ids")) == ["anna", "17", "zoë"]


@pytest.mark.parametrize("wrong", ["9-8", f"1-{MOST_USERS + 1}", "no such file", "", "1-2-3"])
def test_what_names_nobody_is_a_usage_error(wrong: str) -> None:
    with pytest.raises(UsageError, match="--users"):
        user_ids(wrong)


def test_an_empty_or_binary_file_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("empty", "binary"):
        with pytest.raises(UsageError):
            user_ids(str(tmp_path / name))


def test_a_line_without_answers_divides_by_nothing() -> None:
    assert Counts().line() == ("asked 0, answered 0 (– fallback, 0 rejected), click-through –, watched 0, rated 0")


def test_click_through_is_over_what_was_shown() -> None:
    counts = Counts(
        asked=12, answered=11, fallbacks=2, rejected=1, selections=5, latency_ms=deque([10.0, 30.0]), failed=3
    )
    assert counts.line() == (
        "asked 12, answered 11 (18.2 % fallback, 1 rejected), click-through 50.0 %, watched 0, rated 0, "
        "median 20 ms, 3 not taken by Kafka"
    )


def test_a_taste_comes_from_what_was_watched_or_from_the_seed() -> None:
    movies = {f"m{n}": Movie(f"m{n}", "M", ("War",) if n < 10 else ("Romance",)) for n in range(20)}
    histories = Histories(Ids())
    histories.apply([Watch("soldier", f"m{n}", 90, n) for n in range(8)])
    crowd = Crowd(movies, ["soldier"], {"soldier": "F"}, histories, {"War": 0.5, "Romance": 0.5})
    soldier = crowd.person(1, "soldier")
    assert soldier.weights["War"] > 0 > soldier.weights["Romance"]
    assert soldier.gender == "F"
    assert crowd.person(1, "unknown") == person(1, "unknown")
