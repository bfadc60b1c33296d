"""Answers and models as a person reads them: tables, and in plain words why an answer is as it is. Asks nobody."""

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from models.config import Canary
from models.events import Movie
from models.recommenders.store import Metadata
from models.release.rollout import waiting

# AnswerReason, in words; what a rejected request is refused for is a dead letter's reason and said as it is.
IN_WORDS: Mapping[str, str] = {
    "unknown_user": "nobody knows this user: popular movies",
    "no_history": "this user has watched nothing that the model knows: popular movies",
    "model_failed": "the model could not answer: popular movies that this user has not seen",
    "history_behind": "the newest events could not be read in time: popular movies",
    "deadline_passed": "the request had waited too long: popular movies that this user has not seen",
    "overloaded": "the worker had too much to do: popular movies that this user has not seen",
    "filled_from_popular": "the model knows fewer such movies: newer ones fill the list, with score 0",
}


def in_words(answer: Mapping[str, Any]) -> str:
    """Why the answer is as it is.

    >>> in_words({"status": "rejected", "reason": "bad_n"})
    'the request was refused: bad_n'
    >>> in_words({"status": "ok"})
    'made for this user, from what they watched and rated'
    """
    reason = answer.get("reason")
    if answer["status"] == "rejected":
        return f"the request was refused: {reason}"
    if reason is None:
        return "made for this user, from what they watched and rated"
    return IN_WORDS.get(str(reason), str(reason))


def table(
    answer: Mapping[str, Any], movies: Mapping[str, Movie], because: Mapping[str, Sequence[str]] | None = None
) -> RenderableType:
    """The list with titles. `because`: for each movie the watched ones that pulled it in."""
    made_by = (
        f"{answer['model_version']} ({answer['model_id']}, {answer['variant']})" if answer.get("variant") else "none"
    )
    head = Text(
        f"user {answer['user_id']}: {answer['status']}, model {made_by}, in {answer['latency_ms']} ms\n{in_words(answer)}"
    )
    if not answer["recommendations"]:
        return head
    shown = Table()
    for column in ("#", "score", "year"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("title", overflow="fold")
    shown.add_column("genres", overflow="fold")
    if because is not None:
        shown.add_column("because of", overflow="fold")
    for rank, (movie_id, score) in enumerate(zip(answer["recommendations"], answer["scores"], strict=True), 1):
        movie = movies.get(movie_id)
        row = [
            str(rank),
            f"{score:.4g}" if answer["status"] == "ok" else f"{score:,.0f}",
            str(movie.year) if movie and movie.year else "",
            escape(movie.title if movie else movie_id),
            escape(", ".join(movie.genres) if movie else "not in the catalogue"),
        ]
        if because is not None:
            row.append(escape(", ".join(titled(each, movies) for each in because.get(movie_id, ()))))
        shown.add_row(*row)
    return Group(head, shown)


def titled(movie_id: str, movies: Mapping[str, Movie]) -> str:
    """A movie by title and year; by its id where the catalogue lacks it.

    >>> titled("1", {"1": Movie("1", "Heat", (), 1995)}), titled("2", {})
    ('Heat (1995)', '2')
    """
    movie = movies.get(movie_id)
    if movie is None:
        return movie_id
    return f"{movie.title} ({movie.year})" if movie.year else movie.title


def versions(
    found: Mapping[str, Metadata | None],
    canary: Canary,
    remote: Sequence[str] = (),
    refused: Sequence[str] = (),
    erased: Mapping[str, bool] = MappingProxyType({}),
) -> RenderableType:
    """Model versions with their part in the split and NDCG@20 on held-out interactions, 95 % intervals in brackets.

    None stands for a version whose metadata is damaged. remote: versions that the DVC remote has; refused: by a gate; erased: trained on
    the data of a user who is erased, True where a training is due for it.
    """

    def noted(version: str, said: str) -> str:
        if version not in erased:
            return said
        due = ": a training is due" if erased[version] else ""
        return "\n".join(filter(None, (said, f"trained on an erased user's data{due}")))

    shown = Table()
    for column in ("version", "model", "serves"):
        shown.add_column(column, overflow="fold")
    for column in ("NDCG@20", "popularity's", "ratio"):
        shown.add_column(column, justify="right", no_wrap=True)
    shown.add_column("created", no_wrap=True)
    for version in remote:
        if version not in found:
            shown.add_row(escape(version), f"in the remote: `canarec models fetch {version}`", noted(version, ""))
    for version, metadata in found.items():
        if metadata is None:
            said = "damaged: `canarec models verify`"
            shown.add_row(escape(version), said, noted(version, serves(version, canary, found)))
            continue
        figures = metadata.evaluation
        shown.add_row(
            escape(version),
            escape(metadata.model_id),
            noted(version, serves(version, canary, found)),
            _interval(figures.get("model", {}).get("ndcg_at_20")),
            _interval(figures.get("popularity", {}).get("ndcg_at_20")),
            _interval(figures.get("ndcg_ratio"), digits=2),
            metadata.created_at[:16].replace("T", " "),
        )
    for version in refused:
        shown.add_row(escape(version), "refused by the model gate: artifacts/rejected", noted(version, ""))
    return shown


def serves(version: str, canary: Canary, at_hand: Collection[str] = ()) -> str:
    """A version's part in the split; that of several `at_hand` which waits for its turn is the next.

    >>> [serves(version, Canary(), ["v1", "v2", "v3", "v4"]) for version in ("v1", "v2", "v3", "v4")]
    ['stable, 90 %', 'candidate, 10 %', '', 'next']
    """
    unit = "" if canary.unit == "user" else " of requests"
    if version == canary.stable:
        share = 100 - canary.percentage if canary.candidate else 100
        return f"stable, {share:g} %{unit}"
    if version == canary.candidate:
        return f"candidate, {canary.percentage:g} %{unit}"
    if version == canary.previous:
        return "previous"
    return "next" if version == waiting(canary, at_hand) else ""


def _interval(figure: Mapping[str, float] | None, digits: int = 3) -> str:
    if not figure:
        return "–"
    return f"{figure['value']:.{digits}f} ({figure['low']:.{digits}f}–{figure['high']:.{digits}f})"


def console() -> Console:
    """Where tables go: as wide as the terminal, 130 columns where there is none."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=130)
