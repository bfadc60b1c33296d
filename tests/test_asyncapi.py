"""docs/asyncapi.yaml: a document that is one, says what the tables say, and whose schemas take what canarec takes and refuse what it refuses."""

import itertools
import json

import pytest
import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from models.topics import TOPICS
from streams.cli import asyncapi, reference
from tests.test_docs import PARSERS, ROOT, refused_as

DOCUMENT = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
JSON_TOPICS = [name for name in TOPICS if name in reference.FIELDS]
VALIDATORS = {name: Draft7Validator(asyncapi.payload(name)) for name in JSON_TOPICS}


def wrong(topic, message):
    """Why a message is not as the document says; None where it is."""
    found = best_match(VALIDATORS[topic].iter_errors(message))
    return None if found is None else f"{'.'.join(map(str, found.absolute_path))}: {found.message}"


# -- the document ------------------------------------------------------------------------------------------


def test_the_page_is_the_document():
    assert json.loads(json.dumps(asyncapi.document())) == DOCUMENT


def test_asyncapi_s_own_schema_takes_the_document():
    schema = json.loads((ROOT / "tests" / "schemas" / "asyncapi-3.0.0.json").read_text())
    assert [best_match([error]).message for error in Draft7Validator(schema).iter_errors(DOCUMENT)] == []
    assert not Draft7Validator(schema).is_valid({**DOCUMENT, "topics": {}})


def test_every_topic_is_a_channel_with_its_settings():
    told = {name: channel["bindings"]["kafka"] for name, channel in DOCUMENT["channels"].items()}
    assert {name: binding["partitions"] for name, binding in told.items()} == {
        n: t.partitions for n, t in TOPICS.items()
    }


def test_every_reference_leads_somewhere():
    def references(node):
        if isinstance(node, dict):
            yield from [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            node = list(node.values())
        if isinstance(node, list):
            yield from itertools.chain.from_iterable(map(references, node))

    for reference_ in set(references(DOCUMENT)):
        found = DOCUMENT
        for part in reference_.removeprefix("#/").split("/"):
            found = found[part]


def test_every_schema_is_one():
    for name in JSON_TOPICS:
        Draft7Validator.check_schema(asyncapi.payload(name))


@pytest.mark.parametrize("topic", JSON_TOPICS)
def test_an_example_is_as_the_schema_says(topic):
    (told,) = DOCUMENT["components"]["messages"][topic]["examples"]
    assert wrong(topic, told["payload"]) is None


@pytest.mark.parametrize("topic", JSON_TOPICS)
def test_what_may_not_be_missing_is_missed(topic):
    for field in reference.FIELDS[topic]:
        message = reference.example(topic)
        del message[field.name]
        assert (wrong(topic, message) is None) == field.optional, field.name


@pytest.mark.parametrize("topic", JSON_TOPICS)
def test_every_field_of_the_page_is_described_in_its_words(topic):
    told = json.dumps(asyncapi.payload(topic), ensure_ascii=False)
    assert all(json.dumps(field.about, ensure_ascii=False) in told for field in reference.FIELDS[topic])


# -- against the parsers -------------------------------------------------------------------------------------

VALUES = (
    *(
        None,
        True,
        False,
        0,
        1,
        2,
        12,
        100,
        101,
        150,
        151,
        720,
        721,
        1799,
        1995,
        2201,
        -1,
        0.3,
        0.5,
        10,
        10.5,
        10**12,
        10**20,
    ),
    *("", "x", "42", "a\x00b", "x" * 256, "x" * 257, "x" * 1001, "2026-11-23T12:00:00Z", "2026-11-23 12:00:00", "soon"),
    *([], ["Drama"], [""], ["x"] * 50, ["x"] * 51, [1], {}, {"a": 1}),
)


@pytest.mark.parametrize(("topic", "field"), [(t, f.name) for t in PARSERS for f in reference.FIELDS[t]])
@pytest.mark.parametrize("value", VALUES, ids=lambda value: json.dumps(value)[:40])
def test_the_schema_takes_what_the_parser_takes_and_no_more(topic, field, value):
    message = {**reference.example(topic), field: value}
    assert (wrong(topic, message) is None) == (refused_as(topic, message) is None), wrong(topic, message)


@pytest.mark.parametrize("topic", PARSERS)
@pytest.mark.parametrize("message", [None, [], "text", 7, {}], ids=json.dumps)
def test_what_is_no_message_is_none_by_the_schema(topic, message):
    assert wrong(topic, message) is not None
