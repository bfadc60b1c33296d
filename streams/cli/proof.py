"""Provenance as a person reads it: a record on one screen, a replay's outcome, why two answers differ. Asks nobody, decides nothing."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from models import wire
from models.config import Applied
from models.events import Movie
from models.recommenders.store import Metadata
from pipelines.below import Seen
from pipelines.differences import Change, Difference
from pipelines.replay import Replayed, Summary
from streams.shown import in_words, titled

SHOWN = 12  # changes, events or differences of a kind; the others are counted
IN_WORDS = {
    "asked": "what was asked",
    "split": "the split",
    "model": "the model",
    "configuration": "the configuration",
    "catalog": "the catalogue",
    "history": "the history",
}


def screen(
    record: Mapping[str, Any],
    where: str,
    applied: Applied | None,
    metadata: Metadata | None,
    movies: Mapping[str, Movie],
) -> RenderableType:
    """A record with what it names. None: it is not on this machine."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(overflow="fold")
    known = f": {len(movies):,} movies" if movies else ": not kept in this home"
    for name, value in _facts(record, where, applied, metadata, known):
        facts.add_row(name, escape(value))
    return Group(facts, _listed(record, movies))


def _facts(
    record: Mapping[str, Any], where: str, applied: Applied | None, metadata: Metadata | None, known: str
) -> list[tuple[str, str]]:
    asked, source = record["asked"], record["source"]
    answer = f"{record['status']}, {in_words(record)}; at {record['served_at']}, after {record['latency_ms']:,} ms"
    facts = [
        ("request", f"{record['request_id']} of user {record['user_id']}"),
        ("answer", answer),
        ("asked", _asked(asked) if asked else "nothing that could be read"),
    ]
    if record["variant"] is not None:
        drawn = "set for this user" if record.get("forced") else f"bucket {record['bucket']}"
        places = "; some places of the list were drawn" if record.get("explored") else ""
        facts.append(
            ("arm", f"{record['variant']}: {drawn}, {record['canary_percentage']:g} % to the candidate{places}")
        )
        facts += _model(record, metadata)
    facts += [
        (
            "configuration",
            f"{record['config_sha256'][:12]}…: {_split(applied) if applied else 'not kept in this home'}",
        ),
        ("catalogue", f"{record['catalog_sha256'][:12]}…{known}"),
        ("history", f"every event below {_offsets(record['history_offsets'])}"),
        ("stands in", f"{where}; asked in {source['topic']}/{source['partition']}, offset {source['offset']}"),
    ]
    return facts


def _asked(asked: Mapping[str, Any]) -> str:
    genres = f", only {', '.join(asked['genres'])}" if asked["genres"] else ""
    return f"{asked['n']} movies{genres}{'' if asked['exclude_seen'] else ', seen ones too'}"


def _split(applied: Applied) -> str:
    canary = applied.config.canary
    return (
        f"stable {canary.stable}, candidate {canary.candidate or 'none'}, {canary.percentage:g} %, salt {canary.salt}"
    )


def _model(record: Mapping[str, Any], metadata: Metadata | None) -> list[tuple[str, str]]:
    if record["model_sha256"] is None:
        return [("model", f"{record['model_version']} was not at hand")]
    facts = [("model", f"{record['model_version']} ({record['model_id']}), sha256 {record['model_sha256'][:12]}…")]
    if metadata is None:
        return [
            *facts,
            ("data", f"{record['data_version']}"),
            ("", f"its metadata is not on this machine: `canarec models fetch {record['model_version']}`"),
        ]
    method = ", ".join(f"{name} {value}" for name, value in metadata.training_method.items())
    figure = metadata.evaluation.get("model", {}).get("ndcg_at_20")
    quality = f"NDCG@20 {figure['value']:.4f} ({figure['low']:.4f} to {figure['high']:.4f})" if figure else ""
    return [
        *facts,
        ("trained by", f"{method}; {metadata.created_at[:19]}, code {metadata.code_version}"),
        ("data", f"{record['data_version']}{_events(metadata.data_version)}; DVC {metadata.dvc_ref or 'no reference'}"),
        *([("figures", quality)] if figure else []),
    ]


def _events(data_version: Mapping[str, Any]) -> str:
    offsets = data_version.get("offsets")
    if not offsets:
        return ""
    counts = (
        f"{sum(after - first for first, after in spans.values()):,} of {topic}" for topic, spans in offsets.items()
    )
    return f": {', '.join(counts)}"


def _offsets(offsets: Mapping[str, Mapping[str, int]]) -> str:
    return "; ".join(
        f"{topic} {', '.join(f'{number}:{after}' for number, after in sorted(by.items(), key=lambda each: int(each[0])))}"
        for topic, by in offsets.items()
    )


def _listed(record: Mapping[str, Any], movies: Mapping[str, Movie]) -> RenderableType:
    places = list(enumerate(zip(record["recommendations"], record["scores"], strict=True), 1))
    half = (len(places) + 1) // 2 if len(places) > 10 else len(places)
    return Columns([_part(record, movies, part) for part in (places[:half], places[half:]) if part])


def _part(
    record: Mapping[str, Any], movies: Mapping[str, Movie], places: Sequence[tuple[int, tuple[str, float]]]
) -> Table:
    shown = Table(box=None, padding=(0, 1), show_header=False)
    for rank, (movie, score) in places:
        told = f"{score:.4g}" if record["status"] == "ok" else f"{score:,.0f}"
        shown.add_row(str(rank), told, escape(titled(movie, movies)[:50]))
    return shown


def as_json(
    record: Mapping[str, Any],
    where: str,
    applied: Applied | None,
    metadata: Metadata | None,
    movies: Mapping[str, Movie],
    because: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The same for programs: what is not on this machine is null, and so is what was not asked for."""
    described = None
    if metadata is not None:
        described = {name: getattr(metadata, name) for name in Metadata.__dataclass_fields__}
    return {
        "record": dict(record),
        "found_in": where,
        "model": described,
        "configuration": json.loads(applied.text) if applied else None,
        "titles": {movie: titled(movie, movies) for movie in record["recommendations"]},
        "because": None
        if because is None
        else {movie: [titled(each, movies) for each in strongest] for movie, strongest in because.items()},
    }


def explained(because: Mapping[str, Sequence[str]], movies: Mapping[str, Movie]) -> RenderableType:
    """Of each movie the watched ones that pulled it in."""
    shown = Table("movie", "because of")
    for movie, strongest in because.items():
        shown.add_row(escape(titled(movie, movies)), escape(", ".join(titled(each, movies) for each in strongest)))
    return shown


# -- replay ----------------------------------------------------------------------------------------


def replayed(record: Mapping[str, Any], found: Replayed) -> str:
    """What a replay of one record has shown, a line each difference."""
    if not found.differences:
        n = len(found.movies)
        return f"{record['request_id']}: the same: {n} movies in the same order, scores to 1e-4, by {record['model_version']}"
    lines = [f"{record['request_id']}: different", *(f"  {each}" for each in found.differences[:SHOWN])]
    if len(found.differences) > SHOWN:
        lines.append(f"  and {len(found.differences) - SHOWN} differences more")
    return "\n".join(lines)


def replayed_as_json(found: Replayed | None, words: str) -> dict[str, Any]:
    """The same for programs. None: there was no list to make again."""
    return {
        "same": None if found is None else not found.differences,
        "says": words,
        "differences": [] if found is None else found.differences,
        "recommendations": [] if found is None else found.movies,
        "scores": [] if found is None else found.scores,
    }


def summarized(found: Summary, seconds: float) -> str:
    """What a replay of many records has shown."""
    speed = f"{found.replayed / seconds:,.0f}/s" if seconds > 0 else "at once"
    lines = [
        f"replayed {found.replayed:,} in {seconds:.1f} s ({speed}): {found.same:,} the same, {len(found.different):,} different",
        *([f"skipped {found.rejected:,}: rejected requests have no list"] if found.rejected else []),
        *(f"not replayed {count:,}: {why}" for why, count in found.impossible.items()),
    ]
    for outcome in found.different[:SHOWN]:
        first, *others = outcome.replayed.differences if outcome.replayed else [""]
        more = f", and {len(others)} differences more" if others else ""
        lines.append(f"{outcome.record['request_id']}: {first}{more}")
    if len(found.different) > SHOWN:
        lines.append(f"and {len(found.different) - SHOWN:,} more that differ")
    return "\n".join(lines)


# -- why two answers differ ------------------------------------------------------------------------


def differing(one: Mapping[str, Any], other: Mapping[str, Any], found: Difference) -> RenderableType:
    """The parts that differ, each with what it was and is; then the lists."""
    parts = [IN_WORDS[part] for part in found.parts]
    lists = bool(found.only_one or found.only_other or found.moved)
    if parts:
        head = f"{'They differ' if lists else 'The lists are the same, though they differ'} in {', '.join(parts)}."
    elif lists:
        head = "Nothing that an answer depends on differs, but the lists do: `canarec provenance replay` both."
    else:
        head = "The same answer, from the same model, configuration, catalogue and history."
    told: list[RenderableType] = [Text(head)]
    rows = Table()
    rows.add_column("")
    for record in (one, other):
        rows.add_column(escape(f"{str(record['request_id'])[:40]} at {record['served_at']}"), overflow="fold")
    for part, changes in found.changes.items():
        for place, change in enumerate(changes[:SHOWN]):
            rows.add_row(*_row(part if place == 0 else "", change))
        if len(changes) > SHOWN:
            rows.add_row("", f"and {len(changes) - SHOWN:,} changes more", "")
    if rows.row_count:
        told.append(rows)
    for heading, events in (("only the second knew", found.came), ("only the first knew", found.gone)):
        if events:
            newest = f", the newest {SHOWN} of {len(events):,}" if len(events) > SHOWN else ""
            told.append(Text(f"Events of this user that {heading}{newest}:"))
            told += [Text(f"  {_seen(seen, found.movies)}") for seen in events[-SHOWN:]]
    for heading, listed in (("Only in the first list", found.only_one), ("Only in the second", found.only_other)):
        if listed:
            told.append(Text(f"{heading}: {', '.join(titled(movie, found.movies) for movie in listed)}"))
    if found.moved:
        told.append(Text(f"In both, in another place: {found.moved}"))
    return Group(*told)


def _row(part: str, change: Change) -> tuple[str, str, str]:
    name = f"{IN_WORDS[part]}\n  {change.what}" if part else f"  {change.what}"
    pad = "\n" if part else ""
    return escape(name), escape(f"{pad}{_value(change.one)}"), escape(f"{pad}{_value(change.other)}")


def _value(value: Any) -> str:
    if isinstance(value, str):
        return f"{value[:12]}…" if re.fullmatch("[0-9a-f]{32,64}", value) else value
    return "–" if value is None else json.dumps(value, ensure_ascii=False)


def _seen(seen: Seen, movies: Mapping[str, Movie]) -> str:
    what = f"rated {seen.rating:g}" if seen.rating is not None else f"watched to minute {seen.minute}"
    topic, number = seen.place
    return (
        f"{wire.rfc3339(seen.time_ms)} {what}: {titled(seen.movie_id, movies)} ({topic}/{number}, offset {seen.offset})"
    )
