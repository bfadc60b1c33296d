"""`canarec analyze` without a broker: from a folder and from an archive, and what it says where there is nothing to analyze."""

import json
import time
from pathlib import Path

import pytest

from models.wire import Limits
from pipelines import columns
from pipelines.parquet import Writing
from streams.cli import main

NOBODY = "127.0.0.1:1"
NOW = "2026-11-27T08:00:00Z"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """60 users and 12 movies, each user with 8 of them."""
    data = tmp_path / "tiny"
    data.mkdir()
    movies = "".join(f"{m},<b>Movie</b> {m} (1999),Drama|War\n" for m in range(12))
    ratings = "".join(
        f"{u},{(u + k) % 12},{1 + (u + k) % 5}.0,{1_000_000 + 100 * k}\n" for u in range(60) for k in range(8)
    )
    (data / "movies.csv").write_text("movieId,title,genres\n" + movies)
    (data / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + ratings)
    return data


def canarec(home: Path, *arguments: str) -> int:
    """The exit code."""
    try:
        main(["analyze", *arguments, "--home", str(home), "--bootstrap-servers", NOBODY, "--now", NOW])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def test_a_folder_becomes_numbers_and_a_page(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert canarec(tmp_path, "--data", str(folder)) == 0
    analysis = tmp_path / "artifacts" / "analysis"
    found = json.loads((analysis / "latest.json").read_text())
    assert (found["made_at"], found["window"]["interactions"]) == (NOW, 480)
    assert "&lt;b&gt;Movie" in (analysis / "latest.html").read_text()
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("The top 10 % of movies receive")
    assert said[-1] == str(analysis / "latest.html")
    assert str(folder) not in (analysis / "latest.json").read_text()


def test_each_analysis_is_kept_under_its_time(tmp_path: Path, folder: Path) -> None:
    assert canarec(tmp_path, "--data", str(folder)) == 0
    analysis = tmp_path / "artifacts" / "analysis"
    assert {path.name for path in analysis.iterdir()} == {
        *("latest.json", "latest.html", "2026-11-27T080000Z.json", "2026-11-27T080000Z.html")
    }
    assert (analysis / "latest.json").read_bytes() == (analysis / "2026-11-27T080000Z.json").read_bytes()


def test_a_window_is_of_the_events_times(tmp_path: Path, folder: Path) -> None:
    window = ("--since", "1970-01-12T13:50:00Z", "--until", "1970-01-12T13:53:20Z")  # 1,000,200 and 1,000,400 s
    assert canarec(tmp_path, "--data", str(folder), *window) == 0
    found = json.loads((tmp_path / "artifacts" / "analysis" / "latest.json").read_text())
    assert found["window"] == {
        "since": "1970-01-12T13:50:00Z",
        "until": "1970-01-12T13:53:20Z",
        "first": "1970-01-12T13:50:00Z",
        "last": "1970-01-12T13:51:40Z",
        "interactions": 120,
        "users": 60,
        "idle_users": 0,
        "of_movies_not_in_the_catalogue": 0,
    }
    assert found["popularity_source"] == "interactions before the window"


def test_a_window_without_events_is_told(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert canarec(tmp_path, "--data", str(folder), "--since", "2026-01-01T00:00:00Z") == 1
    assert "has no interactions from 2026-01-01T00:00:00+00:00" in capsys.readouterr().err
    assert not (tmp_path / "artifacts" / "analysis").exists()


def test_a_window_may_begin_so_long_ago(tmp_path: Path, folder: Path) -> None:
    (folder / "ratings.csv").write_text(
        f"userId,movieId,rating,timestamp\n1,1,3.0,1000000\n1,2,3.0,{round(time.time()) - 3_600}\n"
    )
    assert canarec(tmp_path, "--data", str(folder), "--since", "2h") == 0
    found = json.loads((tmp_path / "artifacts" / "analysis" / "latest.json").read_text())
    assert found["window"]["interactions"] == 1
    assert canarec(tmp_path, "--data", str(folder), "--since", "30m") == 1


def test_a_window_that_ends_before_it_begins_is_a_wrong_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert canarec(tmp_path, "--since", "2026-01-02T00:00:00Z", "--until", "2026-01-01T00:00:00Z") == 2
    assert "--since must be before --until" in capsys.readouterr().err


def test_a_version_that_is_not_at_hand_is_told_before_anything_is_read(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert canarec(tmp_path, "--data", str(folder), "--compare", "v8", "v9") == 1
    assert "v8: no such model version" in capsys.readouterr().err


def test_without_a_broker_the_archive_is_read_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    messages = [
        (
            n,
            0,
            b"",
            json.dumps({"user_id": f"u{n % 9}", "movie_id": f"m{n % 14}", "rating": 3, "timestamp": n}).encode(),
        )
        for n in range(60)
    ]
    rows, refused = columns.batch("rating-events", 0, messages, Limits())
    folder = tmp_path / "artifacts" / "archive" / "rating-events" / "0"
    with Writing(folder, "rating-events", 0, 0) as file:
        file.add(rows, refused)
        file.finish(59, 60)
    assert canarec(tmp_path) == 0
    said = capsys.readouterr()
    assert said.err.startswith("the archive as it is: no Kafka broker answers at 127.0.0.1:1")
    assert said.out.startswith("The top 10 % of movies receive")


def test_without_a_broker_and_without_an_archive_there_is_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert canarec(tmp_path) == 1
    assert "no Kafka broker answers" in capsys.readouterr().err
