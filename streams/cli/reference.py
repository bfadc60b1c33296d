"""The reference pages that are made from the code: docs/topics.md, acls.md, configuration.md, cli.md, asyncapi.yaml (`make docs`).

What the code cannot say of a field stands here, with one example each; tests/test_docs.py holds the examples to the parsers
and the pages to this module.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click

from models import acls, config
from models.repeats import ENTRY, POSITION
from models.topics import DAY_MS, FOR_EVER, TOPICS, Topic
from streams.cli import asyncapi, canarec

WIDTH = 100
_MADE = "<!-- Made by `make docs`: changes here are lost. -->\n"


class Field(NamedTuple):
    """One field of a message. An optional one may be left out; in an answer it is left out where it says nothing."""

    name: str
    example: Any
    about: str
    optional: bool = False


_REQUEST_ID = Field("request_id", "8d8072af-0926", "the asker's own; answered once")
_USER_ID = Field("user_id", "42", "who")
_MOVIE_ID = Field("movie_id", "377", "which movie; a whole number is read as its decimal text")
_WHEN = "RFC 3339, UTC where no zone is given; or a number: seconds since 1970, milliseconds above 10¹¹"
_TIMESTAMP = Field("timestamp", "2026-11-23T12:00:00Z", _WHEN + "; at most a day ahead of the broker's clock")
_SAID_WHEN = Field("timestamp", "2026-11-23T12:00:00Z", _WHEN + "; checked, not used", optional=True)
_SOURCE = {"topic": "recommendation-requests", "partition": 4, "offset": 12}
_SPLIT = {
    "config_sha256": "213f1975…",
    "stable": "v1",
    "candidate": "v2",
    "percentage": 10.0,
    "previous": None,
    "rolled_back": None,
    "paused": False,
}

_SHADOW = {
    "since": "2026-11-27T07:41:01.205Z",
    "requests": 812,
    "errors": 0,
    "empty": 0,
    "dropped": 31,
    "overlap": 0.643,
    "scoring_ms": {"stable": {"mean": 0.41, "p99": 1.32}, "canary": {"mean": 0.44, "p99": 1.41}},
}

_LEVEL = {
    **{"ctr": 0.183, "ctr_error": 0.0061, "hit_rate": 0.094, "hit_rate_error": 0.0044},
    **{"users": 1_790, "windows": 1, "model_version": "v1"},
}
_OF_WINDOW = (
    Field("window_start", "2026-11-23T12:00:00.000Z", "its first moment"),
    Field("window_end", "2026-11-23T12:05:00.000Z", "the first moment behind it"),
    Field("window_s", 300, "its length"),
    Field("model_version", "v1", "that of the window's last answer; null where it has none"),
    Field("variant", "stable", "`stable` or `canary`"),
)
_JUDGED = (
    Field(
        "thresholds",
        {"ratio_min": 0.85, "ratio_max": 1.15, "group_users_min": 100, "fall": 0.1, "fall_windows": 12},
        "what config.json said when the window closed",
    ),
    Field("horizon_s", 1_800.0, "the same"),
    Field("lateness_s", 60.0, "the same"),
    Field(
        "offsets",
        {"provenance": {"0": [5_120, 6_402]}, "recommendation-feedback": {"0": [800, 1_022]}},
        "what it was made from, [first, next] of each partition: its answers, feedback, profiles and catalogue",
    ),
    Field(
        "hit_offsets",
        {
            "provenance": {"0": [0, 1_230]},
            "recommendation-feedback": {"0": [11, 980]},
            "watch-events": {"0": [91, 1_204]},
        },
        "the same for `hit_rate` and `level`: the answers whose horizon passed, feedback on them, and watches",
    ),
    Field(
        "ignored",
        {"other_user": 0, "not_in_list": 3},
        "feedbacks on the window's answers of which [something does not count](metrics.md#feedback-that-does-not-count); "
        "absent in records of earlier versions",
        optional=True,
    ),
)

_ANSWER = (
    _REQUEST_ID,
    Field("user_id", "42", "who asked; null where a rejected request names nobody"),
    Field("status", "ok", "`ok`, `fallback` or `rejected`"),
    Field("recommendations", ["377", "1259"], "movie ids, best first, none twice; empty for `rejected`"),
    Field(
        "scores",
        [1.138, 1.042],
        "one for each movie: the model's score; in a fallback the movie's interactions in the training data",
    ),
    Field("model_id", "als-64", "what the model is; null for `rejected`, and where the version could not be loaded"),
    Field("model_version", "v1", "the version that the split chose, also of a fallback; null for `rejected`"),
    Field("variant", "stable", "`stable` or `canary`; null for `rejected`"),
    Field("source", _SOURCE, "where the request stands"),
    Field("served_at", "2026-11-23T23:29:21.205Z", "the worker's clock"),
    Field("latency_ms", 6, "from the broker's time of the request to `served_at`, whole milliseconds"),
    Field("reason", "no_history", "why it is no plain `ok`: docs/operating.md lists every reason", optional=True),
    Field(
        "explored",
        True,
        "there where a place of the list was drawn ([exploration](provenance.md#chances)): it is not in order of the scores",
        optional=True,
    ),
)

_AT = Field("timestamp", "2026-11-04T05:00:00Z", "the clock of whoever wrote it")
_COUNTS = (
    "new since then: `users`, `interactions` (pairs of user and movie), and, left out where 0, the `events` that said so, `refused` messages, "
    "and `lost` ones that the topics dropped uncounted"
)
_THRESHOLDS = {
    "days": 3.0,
    "users": 50,
    "interactions": 100,
    "psi": 0.1,
    "psi_events": 5000,
    "ndcg_drop": 0.05,
    "cool_down_days": 1.0,
}

FIELDS: Mapping[str, tuple[Field, ...]] = {
    "watch-events": (
        _USER_ID,
        _MOVIE_ID,
        Field("minute", 87, "the minute of the film that was reached, from 0 to `events.minute_max`"),
        _TIMESTAMP,
    ),
    "rating-events": (
        _USER_ID,
        _MOVIE_ID,
        Field("rating", 4.5, "on the scale from `events.rating_min` to `events.rating_max`"),
        _TIMESTAMP,
    ),
    "user-profiles": (
        _USER_ID,
        Field("gender", "F", "`M`, `F`, other text, or null where it is unknown"),
        Field("age", 35, "whole years, 0 to 150", optional=True),
        Field("occupation", "writer", "text; a whole number is read as text", optional=True),
    ),
    "movie-catalog": (
        _MOVIE_ID,
        Field("title", "Speed", "at most 1,000 characters, without the year"),
        Field("genres", ["Action", "Thriller"], "at most 50 names; may be empty"),
        Field("year", 1994, "1800 to 2200", optional=True),
        Field("popularity", 12.5, "a number of the data set's own, larger for more popular movies", optional=True),
    ),
    "recommendation-requests": (
        _REQUEST_ID,
        _USER_ID,
        Field("n", 10, "how many movies, 1 to 100; 20 where it is left out", optional=True),
        Field("genres", ["Drama", "War"], "only movies of any of these, whatever their case", optional=True),
        Field(
            "exclude_seen", True, "leave out what the user watched or rated; true where it is left out", optional=True
        ),
        _SAID_WHEN,
    ),
    "recommendation-feedback": (
        Field("request_id", "8d8072af-0926", "which answer"),
        Field("user_id", "42", "who was answered; feedback that names somebody else does not count", optional=True),
        Field("selected", "377", "the movie of the list that was chosen, or null for none", optional=True),
        Field("satisfaction", 0.8, "0 to 1", optional=True),
        _SAID_WHEN,
    ),
    "recommendations": _ANSWER,
    "provenance": (
        *_ANSWER,
        Field(
            "asked",
            {"n": 5, "genres": None, "exclude_seen": True},
            "what of the request shapes the list; null for `rejected`",
        ),
        Field("canary_percentage", 10.0, "of the configuration in force"),
        Field("bucket", 5658, "0 to 9999, by the split's formula; null for `rejected`"),
        Field("config_sha256", "213f1975…", "names `artifacts/configs/<sha256>.json`"),
        Field("model_sha256", "a8647c10…", "of the model's `factors.npz`; null where no model was at hand"),
        Field("data_version", "bae03ba2…", "what the model was trained on"),
        Field("catalog_sha256", "901e4b8a…", "names `artifacts/catalogs/<sha256>.jsonl`"),
        Field(
            "history_offsets",
            {"watch-events": {"0": 5}, "rating-events": {"0": 14283}},
            "the list was made from every event below these offsets, and from no other",
        ),
        Field(
            "variant_probability",
            0.9,
            "with which this user met this variant ([chances](provenance.md#chances)): 1 where nothing was drawn; null for `rejected`",
        ),
        Field(
            "scoring_ms",
            0.1425,
            "the time in which the model scored this request and those that it scored with it, divided by their number; null where no "
            "model scored it",
        ),
        Field(
            "scored_together",
            16,
            "how many those were, itself included: compare times of like numbers, since few pay more each; null as above",
        ),
        Field("forced", True, "there where `canary.forced` set this user's variant, and not the bucket", optional=True),
        Field(
            "propensities",
            [0.95, 0.0005],
            "there while `exploration.share` is above 0: of each movie, the probability to stand in its place "
            "([chances](provenance.md#chances))",
            optional=True,
        ),
        Field(
            "reranked",
            {"least": 2, "protected": 2, "added": ["1259"], "removed": ["260"]},
            "there while `exposure.share` is above 0 and the model answered: how many places of the list are to be for protected movies, how many "
            "are, and what came into the model's own list for that, and left it ([exposure](fairness.md#exposure)); said of the list before "
            "places are drawn",
            optional=True,
        ),
    ),
    "recommendation-quality": (
        Field("timestamp", "2026-11-23T12:00:00.123Z", "when the answer was given, by the broker's clock"),
        _REQUEST_ID,
        _USER_ID,
        Field("recommendations", ["377", "1259"], "the list that the user saw"),
        Field("selected", "377", "the newest selection that was told; null: none was"),
        Field("satisfaction", 0.8, "the newest satisfaction that was told, 0 to 1; null: none was"),
        Field("model_version", "v1", "which version answered"),
        Field("variant", "stable", "`stable` or `canary`"),
        Field("source", {"topic": "provenance", "partition": 1, "offset": 812}, "where the answer's record stands"),
    ),
    "feedback-loop-metrics": (
        *_OF_WINDOW,
        Field("requests", 5_124, "answers, rejected requests left out"),
        Field("ctr", 0.183, "answers with a selection / answers shown; null: none was shown"),
        Field(
            "hit_rate",
            0.094,
            "answers followed by a watch / answers whose horizon passed in the window; null: none's did",
        ),
        Field("coverage", 0.31, "movies shown / movies of the catalogue"),
        Field("exposure_gini", 0.87, "Gini of the places that each movie of the catalogue had, 0 for alike"),
        Field("mean_popularity", 1_204.5, "of the movies in lists; null where nothing is known of any"),
        Field("genres_per_list", 5.2, "different genres in a list"),
        Field("users", 1_802, "who were answered"),
        Field("shown", 5_120, "answers with movies"),
        Field("selections", 937, "of those, with a selection"),
        Field("past_horizon", 5_098, "answers with movies whose horizon passed in the window"),
        Field("hits", 479, "of those, followed by a watch"),
        Field("model_versions", {"v1": 5_124}, "requests of each version"),
        Field("popularity_source", "catalogue", "`catalogue`, or `interactions` where it knows no popularity"),
        Field(
            "level",
            _LEVEL,
            "of the answers whose horizon passed: CTR and hit rate, both within the horizon, with their standard errors, users as clusters; "
            "null where one is missing. `model_version`: of all of them, null where they are of several",
        ),
        Field(
            "reference",
            {**_LEVEL, "users": 1_930, "windows": 12},
            "the same of the windows before, `users` of the largest; null without any",
        ),
        Field("status", "ok", "`ok`, `alert` (both have fallen) or `insufficient_data`"),
        *_JUDGED,
        Field(
            "popularity_offsets",
            None,
            "the events that stand for popularity, [first, next] of each partition; null: the catalogue's own",
        ),
    ),
    "fairness-metrics": (
        *_OF_WINDOW,
        Field(
            "groups",
            {
                "M": {
                    "users": 901,
                    "requests": 2_611,
                    "ctr": 0.19,
                    "hit_rate": 0.097,
                    "satisfaction": 0.64,
                    "reporting_users": 412,
                }
            },
            "`M`, `F`, `other`, `unknown`, always all four; `reporting_users`: who said how satisfied they are",
        ),
        Field("satisfaction_ratio", 0.97, "mean of M / mean of F; null where it cannot be formed"),
        Field("ci_low", 0.93, "its 95 % interval, users as clusters"),
        Field("ci_high", 1.01, "its upper end"),
        Field("status", "ok", "`ok`, `alert` or `insufficient_data`"),
        *_JUDGED,
    ),
    "canary-events": (
        Field(
            "event",
            "configuration_applied",
            "of a worker: `configuration_applied`, `configuration_refused`, `shadow`; of a person or the scheduler: `offered`, `set`, `promoted`, "
            "`rolled_back`, `paused`, `resumed`",
        ),
        Field("timestamp", "2026-11-27T07:42:01.205Z", "the clock of whoever wrote it"),
        Field("who", "419584-1", "the worker's name; `user@host` of a person; `retrain`; `canarec scheduler`"),
        Field("from", {**_SPLIT, "percentage": 5.0}, "the split before; null where none is known, as at a first start"),
        Field("to", _SPLIT, "the split from then on; null for `configuration_refused`: nothing changed"),
        Field("why", "ticket 71", "what was given with `--why`; of a refusal the error", optional=True),
        Field("path", "canary.percentage", "of a refusal: the wrong key", optional=True),
        Field(
            "shadow",
            _SHADOW,
            "of `shadow`: [what the worker has found](canary.md#the-shadow) since `since`",
            optional=True,
        ),
    ),
    "retraining-events": (
        Field(
            "event",
            "skipped",
            "`started`, `skipped`, `finished` or `failed`; a version that a gate refuses is `failed`",
        ),
        _AT,
        Field("rule", "time", "`time`, `drift`, `alert`, `erasure`, `manual`; `none`: skipped before any rule asks"),
        Field("reason", "skipped: 12 new users of 50 and …", "why, with every number that decided"),
        Field("counts", {"users": 12, "interactions": 80, "events": 131}, _COUNTS),
        Field("thresholds", _THRESHOLDS, "what config.json said then"),
        Field("last_version", "v3", "the last run's version, since whose data was counted", optional=True),
        Field("model_version", "v4", "the version that was made", optional=True),
        Field("metrics", {"ndcg_at_20": 0.136}, "how good it is", optional=True),
        Field("error", "the data set has 12 users of 20", "why it failed, in one line", optional=True),
    ),
    "dead-letters": (
        Field("source", _SOURCE, "where the refused message stands"),
        Field("reason", "bad_n", "one of the reasons in docs/operating.md"),
        Field("error", "n: 0 is not from 1 to 100", "one line: what was found, what was expected"),
        Field(
            "payload",
            '{"request_id": "r1", "user_id": "42", "n": 0}',
            "the original value as text, or in base64; null for a tombstone",
        ),
        Field("timestamp", "2026-11-23T23:29:23.963Z", "when it was refused, by the worker's clock"),
        Field(
            "payload_encoding",
            "base64",
            "there where `payload` is base64: the bytes were not UTF-8, or held a NUL",
            optional=True,
        ),
    ),
}

NOT_WRITTEN = frozenset[str]()
"""Topics that are made already and that no part of this version writes to."""

LINES = (
    "2022-11-14T12:23:12,596363,GET /data/m/snowpiercer+2013/16.mpg",
    "2024-10-14T15:20:53,69835,GET /rate/like+water+for+chocolate+1992=3",
    "2022-11-14T12:23:12.202,650856,recommendation request host:8082, status 200, result: shooter+2007, heat+1995, 102 ms",
    "2022-11-14T12:24,596363,GET /create_account",
)
"""One line of each kind that `movielog` may hold."""

_NOTES: Mapping[str, str] = {
    "movielog": "Not JSON: text, one line a message. One example of each kind; the whole grammar stands at the top of `models/movielog.py`:\n\n"
    "```text\n" + "\n".join(LINES) + "\n```\n\n"
    "A watch and a rating become an event with the header `movielog`, which holds the line's topic, partition and offset. Results and new "
    "accounts are counted (`canarec_movielog_lines_total`). Every other line is a dead letter.",
    "user-profiles": "A null value deletes the user whose id is the message's key.",
    "movie-catalog": "A null value deletes the movie whose id is the message's key: it is recommended no more.",
    "recommendation-feedback": "[What of it does not count](metrics.md#feedback-that-does-not-count), and how that shows.",
    "recommendations": "Read it with `isolation.level=read_committed`: what an aborted transaction left behind is no answer.",
    "provenance": "Every field of the answer, byte for byte, and what made it. Read it with `isolation.level=read_committed`.",
    "recommendation-quality": "One record for each answer of which feedback came before its window closed ([what that is](metrics.md)), once; written when the "
    "shortest window closes. Read it with `isolation.level=read_committed`.",
    "feedback-loop-metrics": "One record for each window and variant with answers, once; [what each figure is](metrics.md). Read it with "
    "`isolation.level=read_committed`.",
    "fairness-metrics": "Beside each record of `feedback-loop-metrics` one of the groups; [what each figure is](metrics.md).",
    "canary-events": "A worker tells when another configuration than the last one that a worker of its name told of comes into force, and once of "
    "each content of `config.json` that it does not take; beside the answers, so that nobody waits for it. The scheduler's verdicts "
    "(`event: verdict`) are records of another kind: [what they hold](canary.md#the-record).",
    "retraining-events": "`canarec erase` tells here that a user was erased, and which versions were trained on their data: `event: erased` with `timestamp`, "
    "`user_sha256`, `removed` and `model_versions`. [What the digest is](operating.md#erasing-a-user).",
    "dead-letters": "The message's own key and headers stay, and KIP-1034's are added: `__streams.errors.exception`, `…message`, `…topic`, "
    "`…partition`, `…offset`. What `canarec dead-letters replay` had published again has two headers of its own, too: `canarec-dead-letter` and `canarec-replays`.",
    "canarec-answered": "Binary, little-endian, for workers only: format (2 bytes), hash of the id of the requests' topic (8), a number of partitions (2), "
    f"{POSITION.itemsize} bytes for each of these: partition and next offset; then {ENTRY.itemsize} bytes for each id that was answered: hash of the id, "
    "hash of the content, partition and offset of the request.",
}


_KINDS = {"integer": "whole number", "string": "text", "boolean": "true or false"}


def topics() -> str:
    """docs/topics.md."""
    return "\n".join(
        (
            "# Topics\n",
            _MADE,
            "Values are UTF-8 JSON objects unless said otherwise. Unknown fields are ignored, and of a key that comes twice the last one "
            "counts. Ids are text of 1 to 256 bytes without control characters. A topic can go by another name: `topics` in "
            "[config.json](configuration.md). `canarec up`, `canarec worker` and `canarec import` make topics that are missing and change "
            "none that is there.\n",
            "Every topic has `message.timestamp.type=LogAppendTime`: the broker's clock stamps the messages "
            "([why](decisions/0008-the-brokers-clock.md)). Keys are the user's id as text (catalogue: the movie's); answers do not depend on "
            "which partition an event came in by.\n",
            "| topic | direction | key | partitions | kept | for |",
            "|---|---|---|---|---|---|",
            *(_topic_row(topic) for topic in TOPICS.values()),
            "",
            *(section for topic in TOPICS.values() for section in _topic_section(topic)),
        )
    )


def example(name: str) -> dict[str, Any]:
    """A message with every field."""
    return {field.name: field.example for field in FIELDS[name]}


def configuration() -> str:
    """docs/configuration.md."""
    schema = config.schema()
    definitions = schema["$defs"]
    whole = definitions["Config"]["properties"]
    lines = [
        "# config.json\n",
        _MADE,
        "One file in the [home](operating.md#the-home). Every key may be left out. A key that is not in these tables is refused, and so is a "
        "value out of range: `canarec config check` names its path. A worker looks at the file twice a second; a bad change is "
        "refused and the last good configuration stays in force.\n",
        "A good change is in force in each worker within 5 s. Only `topics`, `group_prefix` and `events` made the histories and groups that "
        "a worker has: a change of those is refused, with the reason in the log, until the worker is stopped and started again. `kafka` is "
        "read at a start.\n",
        "`config_sha256` is the SHA-256 of the file's own content as canonical JSON (sorted keys, no spaces) without `kafka` "
        "([why](decisions/0007-what-a-configuration-is-called.md)).\n",
        "`canarec config schema` prints the JSON Schema that this page is made from.\n",
        "## The whole file\n",
        *_keys({key: value for key, value in whole.items() if "$ref" not in value}),
    ]
    for key, value in whole.items():
        if "$ref" in value:
            lines += _section(key, definitions[value["$ref"].rpartition("/")[2]], definitions)
    return "\n".join(lines)


def cli() -> str:
    """docs/cli.md."""
    lines = [
        "# Commands\n",
        _MADE,
        "`make run` and `make test` leave the command at `.venv/bin/canarec`. Exit codes: 0, done; 1, a failure at work; 2, a wrong call or "
        "a wrong configuration; 130, stopped by Ctrl-C. Errors are one line on stderr.\n",
    ]
    for words, command in commands():
        settings = {**canarec.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
        context = click.Context(command, info_name=" ".join(words), **settings)
        lines += [f"## {' '.join(words)}\n", "```text", command.get_help(context).rstrip(), "```\n"]
    return "\n".join(lines)


def commands(
    words: tuple[str, ...] = ("canarec",), command: click.Command = canarec
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it, groups before what is in them."""
    yield words, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            if found is not None and not found.hidden:
                yield from commands((*words, name), found)


def allowed() -> str:
    """docs/acls.md."""
    lines = [
        "# ACLs\n",
        _MADE,
        "For a cluster that asks who one is: the least that each part of canarec, and each program around it, must be allowed, with a principal for "
        "each. On one machine with one principal, as `canarec up` runs, it is all of them together. `canarec topics acls PART` prints this as lines of "
        "`kafka-acls.sh`, or adds it with `--apply`; topics and groups go by the names of [config.json](configuration.md). How it is used: "
        "[security.md](security.md#kafka).\n",
        "R, read; W, write; D, describe, which R and W include; C, create; S, DescribeConfigs: its settings; X, delete, by which records are cut, too.\n",
        *(f"- **{part.name}**: {part.about}" for part in acls.PARTS.values()),
        "",
        f"| topic | {' | '.join(acls.PARTS)} |",
        f"|---|{'---|' * len(acls.PARTS)}",
        *(f"| `{name}` | {' | '.join(_letters(part, name) for part in acls.PARTS.values())} |" for name in TOPICS),
        "",
        "Groups and transactional ids begin with `group_prefix` of config.json, `canarec` unless set; `*`: all that begin so. A client that reads "
        "without a group asks for one all the same, for `canarec-unused`.\n",
        "| part | groups, R | groups, D | transactional ids, W |",
        "|---|---|---|---|",
    ]
    for part in acls.PARTS.values():
        found = [
            grant for grant in acls.grants(part.name, config.parse("{}"), "PRINCIPAL") if grant.resource != "topic"
        ]
        cells = [
            ", ".join(f"`{grant.name}{'*' * grant.prefixed}`" for grant in found if grant[::3] == of)
            for of in (("group", "read"), ("group", "describe"), ("transactional_id", "write"))
        ]
        if found:
            lines.append(f"| {part.name} | {' | '.join(cells)} |")
    return "\n".join((*lines, ""))


def _letters(part: acls.Part, topic: str) -> str:
    return "".join(
        sorted((_LETTERS[operation] for name, operation in part.operations() if name == topic), key="RWDCSX".index)
    )


_LETTERS = {"read": "R", "write": "W", "describe": "D", "create": "C", "describe_configs": "S", "delete": "X"}


PAGES = {
    "topics.md": topics,
    "acls.md": allowed,
    "asyncapi.yaml": asyncapi.page,
    "configuration.md": configuration,
    "cli.md": cli,
}


def write(folder: Path) -> list[Path]:
    """Writes the pages that are not as they should be; those."""
    written = []
    for name, page in PAGES.items():
        path, text = folder / name, page()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            written.append(path)
    return written


def _topic_row(topic: Topic) -> str:
    direction = topic.direction + (", not written yet" if topic.name in NOT_WRITTEN else "")
    return f"| [`{topic.name}`](#{topic.name}) | {direction} | {topic.key} | {topic.partitions} | {_kept(topic)} | {topic.about} |"


def _kept(topic: Topic) -> str:
    if topic.compacted:
        return "compacted: the last value of each key"
    return "for ever" if topic.retention_ms == FOR_EVER else f"{topic.retention_ms // DAY_MS} days"


def _topic_section(topic: Topic) -> Iterator[str]:
    yield f"## {topic.name}\n"
    if topic.name in NOT_WRITTEN:
        yield "The topic is made, so that it has its partitions; nothing writes to it yet.\n"
    if note := _NOTES.get(topic.name):
        yield note + "\n"
    if fields := FIELDS.get(topic.name):
        yield "| field | example | meaning |"
        yield "|---|---|---|"
        for field in fields:
            left_out = " (may be missing)" if field.optional else ""
            yield f"| `{field.name}`{left_out} | `{json.dumps(field.example, ensure_ascii=False)}` | {field.about} |"
        yield ""


def _section(key: str, definition: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {key}\n"
    yield definition["description"] + "\n"
    yield from _keys(definition["properties"])
    shown: list[Any] = []
    for name, value in definition["properties"].items():
        if "$ref" in value:
            yield from _section(f"{key}.{name}", _of(value, definitions), definitions)
        free = value.get("additionalProperties")
        if not isinstance(free, Mapping) or free in shown:
            continue  # a kind of recipe is described where it is met first
        shown.append(free)
        for kind in (each for each in free.get("anyOf", [free]) if "$ref" in each):
            each = _of(kind, definitions)
            word = each["properties"].get("algorithm", {}).get("enum")
            yield from _section(f"{key}.{name}.*{f' with {word[0]}' if word else ''}", each, definitions)


def _of(value: Mapping[str, Any], definitions: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = definitions[value["$ref"].rpartition("/")[2]]
    return found


def _keys(properties: Mapping[str, Any]) -> Iterator[str]:
    yield "| key | value | default | meaning |"
    yield "|---|---|---|---|"
    for name, value in properties.items():
        default = "see below" if "$ref" in value else f"`{json.dumps(value['default'])}`" if "default" in value else "–"
        yield f"| `{name}` | {_value(value)} | {default} | {value.get('description', '')} |"
    yield ""


def _value(value: Mapping[str, Any]) -> str:
    if "enum" in value:
        return " or ".join(f"`{json.dumps(each)}`" for each in value["enum"])
    if "$ref" in value:
        return "see below"
    if "anyOf" in value:
        return " or ".join(dict.fromkeys(_value(each) for each in value["anyOf"]))
    free = value.get("additionalProperties")
    if isinstance(free, Mapping):
        return "{name: " + _value(free) + "}"
    if value["type"] == "array":
        return (
            "["
            + _value(value["items"] if isinstance(value.get("items"), Mapping) else value["prefixItems"][0])
            + ", …]"
        )
    kind = _KINDS.get(value["type"], str(value["type"]))
    return kind + "".join(
        f", {sign} {value[bound]:,}"
        for bound, sign in (
            ("minimum", "≥"),
            ("exclusiveMinimum", ">"),
            ("maximum", "≤"),
            ("exclusiveMaximum", "<"),
        )
        if bound in value
    )


if __name__ == "__main__":
    for path in write(Path(sys.argv[1] if len(sys.argv) > 1 else "docs")):
        print(path)
