"""The configuration that comes with canarec: config.json is valid, and the schema beside it is what `models.config` says."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from models import config
from models.errors import BadConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json.loads((ROOT / "config.schema.json").read_text())  # type: ignore[no-any-return]


def test_the_schema_file_is_fresh(schema: dict[str, Any]) -> None:
    assert schema == config.schema(), "stale: canarec config schema > config.schema.json"


def test_config_json_is_valid_under_the_schema_and_is_applied(schema: dict[str, Any]) -> None:
    text = (ROOT / "config.json").read_text()
    Draft202012Validator.check_schema(schema)
    Draft202012Validator(schema).validate(json.loads(text))
    config.parse(text)


def test_the_defaults_are_valid_under_the_schema(schema: dict[str, Any]) -> None:
    Draft202012Validator(schema).validate(config.defaults())
    Draft202012Validator(schema).validate({})


def test_every_key_is_documented(schema: dict[str, Any]) -> None:
    undocumented = [
        f"{kind}.{name}"
        for kind, definition in schema["$defs"].items()
        for name, value in definition.get("properties", {}).items()
        if "description" not in value
        and "description" not in schema["$defs"].get(value.get("$ref", "").split("/")[-1], {})
    ]
    assert undocumented == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"canary": {"percentage": 101}},
        {"canary": {"unit": "household"}},
        {"canary": {"salt": ""}},
        {"canary": {"percentge": 10}},
        {"serving": {"deadline_ms": -1}},
        {"training": {"versions": {}}},
        {"training": {"versions": {"v1": {"factors": "64"}}}},
        {"topics": {"watch-events": "a topic"}},
        {"colour": "blue"},
    ],
)
def test_the_schema_and_the_worker_refuse_the_same(wrong: dict[str, Any], schema: dict[str, Any]) -> None:
    assert not Draft202012Validator(schema).is_valid(wrong)
    with pytest.raises(BadConfig):
        config.parse(json.dumps(wrong))
