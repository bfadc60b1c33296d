"""What a person sees of answers and models."""

import io
from typing import Any, get_args

from rich.console import Console, RenderableType

from models.config import Canary
from models.events import AnswerReason, Movie
from models.recommenders.store import Metadata
from streams.shown import IN_WORDS, in_words, table, versions

MOVIES = {
    "a": Movie("a", "Alien [cut]", ("Horror", "Sci-Fi"), 1979),
    "h": Movie("h", "Heat", ("Crime",), 1995),
    "x": Movie("x", "Untitled", ()),
}
ANSWER: dict[str, Any] = {
    "request_id": "r",
    "user_id": "42",
    "status": "ok",
    "recommendations": ["a", "x", "gone"],
    "scores": [0.5, 0.25, 0.125],
    "model_id": "als-64",
    "model_version": "v1",
    "variant": "stable",
    "latency_ms": 12,
}


def text(shown: RenderableType) -> str:
    written = io.StringIO()
    Console(width=200, file=written).print(shown)
    return written.getvalue()


def test_every_reason_has_words() -> None:
    assert set(IN_WORDS) == set(get_args(AnswerReason))


def test_a_list_has_rank_title_year_genres_and_score() -> None:
    shown = text(table(ANSWER, MOVIES))
    assert "user 42: ok, model v1 (als-64, stable), in 12 ms" in shown
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in shown.splitlines() if line.startswith("│")]
    assert rows == [
        ["1", "0.5", "1979", "Alien [cut]", "Horror, Sci-Fi"],
        ["2", "0.25", "", "Untitled", ""],
        ["3", "0.125", "", "gone", "not in the catalogue"],
    ]


def test_what_pulled_a_movie_in_is_named_by_title() -> None:
    shown = text(table(ANSWER, MOVIES, {"a": ["Heat (1995)", "Jaws [1]"]}))
    assert "because of" in shown
    assert "Heat (1995), Jaws [1]" in shown


def test_a_fallback_says_why_and_counts_viewers() -> None:
    shown = text(
        table({**ANSWER, "status": "fallback", "reason": "unknown_user", "scores": [1234.0, 5.0, 0.0]}, MOVIES)
    )
    assert "nobody knows this user: popular movies" in shown
    assert "1,234" in shown


def test_a_rejection_says_what_was_wrong() -> None:
    rejected = {**ANSWER, "status": "rejected", "reason": "bad_n", "recommendations": [], "scores": []}
    rejected |= {"variant": None, "model_id": None, "model_version": None}
    shown = text(table(rejected, MOVIES))
    assert "user 42: rejected, model none" in shown
    assert "the request was refused: bad_n" in shown
    assert "│" not in shown


def test_a_reason_of_tomorrow_is_said_as_it_is() -> None:
    assert in_words({"status": "fallback", "reason": "full_moon"}) == "full_moon"


def test_versions_show_figures_where_there_are_any_and_damage_where_there_is_damage() -> None:
    figure = {"value": 0.25, "low": 0.2, "high": 0.3}
    known = Metadata(
        model_id="als-64",
        model_version="v1",
        training_method={},
        data_version={"md5": "0"},
        evaluation={"model": {"ndcg_at_20": figure}, "popularity": {"ndcg_at_20": figure}, "ndcg_ratio": figure},
        dvc_ref=None,
        code_version="0",
        created_at="2026-11-23T12:34:56Z",
        files={},
    )
    bare = Metadata(
        **{name: getattr(known, name) for name in known.__slots__} | {"evaluation": {}, "model_version": "v3"}
    )
    shown = text(versions({"v1": known, "v2": None, "v3": bare}, Canary(percentage=12.5)))
    first, second, third = (line for line in shown.splitlines() if line.startswith("│"))
    assert "stable, 87.5 %" in first
    assert "0.250 (0.200–0.300)" in first
    assert "0.25 (0.20–0.30)" in first
    assert "2026-11-23 12:34" in first
    assert "candidate, 12.5 %" in second
    assert "damaged" in second
    assert "–" in third
