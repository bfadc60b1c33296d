"""docs/asyncapi.yaml: the topics as an AsyncAPI 3.0 document, from the same tables and record types that canarec works with.

What canarec writes has the schemas of its record types. What it reads is checked by `models.wire`, by hand and leniently: its schemas stand here,
and tests/test_asyncapi.py holds the two together.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from models import erasure, retraining, wire
from models.config import Release
from models.events import Answer, CanaryEvent, DeadLetter, Proof
from models.measures.reports import Fairness, FeedbackLoop, Quality
from models.release.evidence import Evidence
from models.release.verdict import Verdict
from models.topics import TOPICS, Topic

VERSION = "3.0.0"
_BINDING = {"bindingVersion": "0.5.0"}
_LIMITS = wire.Limits()

Schema = dict[str, Any]

WRITTEN: Mapping[str, type] = {
    "recommendations": Answer,
    "provenance": Proof,
    "recommendation-quality": Quality,
    "feedback-loop-metrics": FeedbackLoop,
    "fairness-metrics": Fairness,
    "canary-events": CanaryEvent,
    "retraining-events": retraining.Event,
    "dead-letters": DeadLetter,
}


def _ref(of: str) -> Schema:
    return {"$ref": f"#/components/schemas/{of}"}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


_TEXT = {"type": "string", "maxLength": wire.MAX_ID_BYTES}
_IN: dict[str, Schema] = {
    "Id": {
        "description": "a whole number is read as its decimal text; at most 256 bytes, no control characters",
        "anyOf": [
            {
                "type": "string",
                "minLength": 1,
                "maxLength": wire.MAX_ID_BYTES,
                "pattern": r"^[^\u0000-\u001f\u007f-\u009f]+$",
            },
            {"type": "integer"},
        ],
    },
    "Time": {
        "description": "RFC 3339, UTC where no zone is given; or seconds since 1970, milliseconds above 10¹¹",
        "anyOf": [
            {
                "type": "string",
                "pattern": r"^\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?$",
            },
            {"type": "number", "minimum": 0, "exclusiveMaximum": wire.YEAR_10000_MS},
        ],
    },
    "Genres": {
        "type": "array",
        "maxItems": wire.MAX_GENRES,
        "items": {**_TEXT, "minLength": 1},
    },
}
_FIELDS: dict[str, dict[str, Schema]] = {
    "watch-events": {
        "user_id": _ref("Id"),
        "movie_id": _ref("Id"),
        "minute": {"type": "integer", "minimum": 0, "maximum": _LIMITS.minute_max},
        "timestamp": _ref("Time"),
    },
    "rating-events": {
        "user_id": _ref("Id"),
        "movie_id": _ref("Id"),
        "rating": {"type": "number", "minimum": _LIMITS.rating_min, "maximum": _LIMITS.rating_max},
        "timestamp": _ref("Time"),
    },
    "user-profiles": {
        "user_id": _ref("Id"),
        "gender": _or_null(_TEXT),
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "occupation": {"anyOf": [_TEXT, {"type": "integer"}]},
    },
    "movie-catalog": {
        "movie_id": _ref("Id"),
        "title": {"type": "string", "maxLength": wire.MAX_TITLE},
        "genres": _ref("Genres"),
        "year": {"type": "integer", "minimum": 1800, "maximum": 2200},
        "popularity": {"type": "number"},
    },
    "recommendation-requests": {
        "request_id": _ref("Id"),
        "user_id": _ref("Id"),
        "n": {"type": "integer", "minimum": 1, "maximum": 100},
        "genres": _ref("Genres"),
        "exclude_seen": {"type": "boolean"},
        "timestamp": _ref("Time"),
    },
    "recommendation-feedback": {
        "request_id": _ref("Id"),
        "user_id": _ref("Id"),
        "selected": _ref("Id"),
        "satisfaction": {"type": "number", "minimum": 0, "maximum": 1},
        "timestamp": _ref("Time"),
    },
}
_OFFSETS = {"type": "object", "additionalProperties": {"type": "object", "additionalProperties": {"type": "integer"}}}
VERDICT: dict[str, Schema] = {
    "event": {"const": "verdict"},
    "timestamp": {"type": "string"},
    "who": {"type": "string"},
    "home": {"type": "string"},
    "since": {"type": "string"},
    "until": {"type": "string"},
    "offsets": _OFFSETS,
    "evidence": _ref("Evidence"),
    "release": _ref("Release"),
    "verdict": _ref("Verdict"),
    "covers": {"type": "object"},
    "previous": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
    "sha256": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}


def document() -> dict[str, Any]:
    """The whole document, as its YAML says it."""
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "canarec",
            "version": "1",  # of the messages' fields, as their header `schema` has it
            "description": "A movie recommender that lives on Kafka. The same as a page: topics.md. Fields are only ever added, and unknown ones "
            "ignored. Read what canarec writes with isolation.level=read_committed.",
        },
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": "127.0.0.1:9092", "protocol": "kafka", "description": "or any cluster"}},
        "channels": {topic.name: _channel(topic) for topic in TOPICS.values()},
        "operations": {topic.name: _operation(topic) for topic in TOPICS.values() if topic.direction != "internal"},
        "components": {"messages": {name: _message(topic) for name, topic in TOPICS.items()}, "schemas": _schemas()},
    }


def page() -> str:
    """The same as YAML."""
    import yaml

    text: str = yaml.dump(document(), Dumper=_plain(yaml), sort_keys=False, allow_unicode=True, width=140)
    return "# Made by `make docs`: changes here are lost.\n" + text


def payload(topic: str) -> Schema:
    """The JSON Schema of a topic's values, whole, for a validator."""
    return {**_ref(topic), "components": {"schemas": _schemas()}}


def _plain(yaml: Any) -> Any:
    class Plain(yaml.SafeDumper):  # type: ignore[misc]  # PyYAML has no types
        """No anchors: what is said twice is written twice."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return Plain


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": topic.about,
        "messages": {topic.name: {"$ref": f"#/components/messages/{topic.name}"}},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["compact" if topic.compacted else "delete"],
                    **({} if topic.compacted else {"retention.ms": topic.retention_ms}),
                    "max.message.bytes": topic.max_message_bytes,
                },
                **_BINDING,
            }
        },
    }


def _operation(topic: Topic) -> dict[str, Any]:
    """What canarec does with it; whoever uses canarec does the opposite."""
    operation: dict[str, Any] = {
        "action": "receive" if topic.direction == "in" else "send",
        "channel": {"$ref": f"#/channels/{topic.name}"},
        "summary": topic.about,
    }
    if topic.name == "recommendation-requests":
        operation["reply"] = {"channel": {"$ref": "#/channels/recommendations"}}
    return operation


def _message(topic: Topic) -> dict[str, Any]:
    from streams.cli.reference import FIELDS, LINES, example

    message: dict[str, Any] = {"name": topic.name, "summary": topic.about}
    if topic.name == "movielog":
        examples = [{"payload": line} for line in LINES]
        return {**message, "contentType": "text/plain", "payload": {"type": "string"}, "examples": examples}
    if topic.name not in FIELDS:
        return {**message, "contentType": "application/octet-stream"}
    if topic.direction == "out":
        message["headers"] = {"type": "object", "properties": {"schema": {"type": "string", "const": "1"}}}
    message["payload"] = _ref(topic.name)
    if topic.name in ("recommendation-requests", "recommendations"):
        message["correlationId"] = {"location": "$message.payload#/request_id"}
    if topic.key != "none":
        message["bindings"] = {"kafka": {"key": {"type": "string", "description": topic.key}, **_BINDING}}
    return {**message, "examples": [{"payload": example(topic.name)}]}


def _schemas() -> dict[str, Schema]:
    kinds = (*WRITTEN.values(), Evidence, Verdict, Release, erasure.UserErased)
    found, of_records = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    of_records = _draft_07(of_records)
    made = dict(zip(WRITTEN, found, strict=False))
    properties = {topic: of_records[schema["$ref"].rpartition("/")[2]]["properties"] for topic, schema in made.items()}
    properties["provenance"]["history_offsets"] |= _OFFSETS  # raw JSON to the record's type
    for topic, fields in properties.items():
        _describe(topic, fields)
    return {
        **_IN,
        **{topic: _of_a_user(topic, fields) for topic, fields in _FIELDS.items()},
        **made,
        "provenance": {"allOf": [made["recommendations"], made["provenance"]]},
        "canary-events": {"oneOf": [made["canary-events"], _ref("VerdictEvent")]},
        "retraining-events": {"oneOf": [made["retraining-events"], _ref("UserErased")]},
        "VerdictEvent": {
            "type": "object",
            "description": "a verdict of the scheduler's: canary.md#the-record",
            "properties": VERDICT,
            "required": list(VERDICT),
        },
        **of_records,
    }


def _draft_07(schema: Any) -> Any:
    """AsyncAPI's schemas are of draft 07, msgspec's of 2020-12: a list of fixed length is said in other words."""
    if isinstance(schema, list):
        return [_draft_07(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    renamed = {"items": "additionalItems", "prefixItems": "items"} if "prefixItems" in schema else {}
    return {renamed.get(name, name): _draft_07(value) for name, value in schema.items()}


def _of_a_user(topic: str, fields: Mapping[str, Schema]) -> Schema:
    """What canarec reads: an optional field may also be null."""
    from streams.cli.reference import FIELDS

    optional = {field.name for field in FIELDS[topic] if field.optional}
    properties = {name: _or_null(schema) if name in optional else dict(schema) for name, schema in fields.items()}
    _describe(topic, properties)
    return {"type": "object", "properties": properties, "required": [name for name in fields if name not in optional]}


def _describe(topic: str, properties: dict[str, Schema]) -> None:
    """The words of topics.md to each field of its own."""
    from streams.cli.reference import FIELDS

    for field in FIELDS[topic]:
        if field.name in properties:
            found = properties[field.name]
            # beside a reference older readers look at nothing
            properties[field.name] = {**({"allOf": [found]} if "$ref" in found else found), "description": field.about}
