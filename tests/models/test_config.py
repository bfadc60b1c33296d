"""config.json: what is accepted, what is refused and where, and what its digest depends on."""

import contextlib
import hashlib
import json

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import config
from models.errors import BadConfig
from models.topics import TOPICS


def refused(text):
    """Path and text of the refusal."""
    with pytest.raises(BadConfig) as error:
        config.parse(text)
    return error.value.path, str(error.value)


ALS = {"algorithm": "als"}

WRONG = {
    "canary.percentage": [{"canary": {"percentage": value}} for value in (-1, 100.5, "10", None, True)],
    "canary.percentag": [{"canary": {"percentag": 10}}],
    "canary.unit": [{"canary": {"unit": "session"}}],
    "canary.salt": [{"canary": {"salt": ""}}, {"canary": {"salt": "x" * 65}}],
    "canary.stable": [{"canary": {"stable": value}} for value in ("", "../v1", "v 1", None)],
    "canary": [{"canary": 10}, {"canary": []}],
    "canry": [{"canry": {}}],
    "$schema": [{"$schema": 3}],
    "topics.watch-event": [{"topics": {"watch-event": "w"}}],
    "topics.watch-events": [
        {"topics": {"watch-events": "a b"}},
        {"topics": {"watch-events": ""}},
        {"topics": {"watch-events": "rating-events"}},
    ],
    "topics.movielog": [{"topics": {"watch-events": "w", "movielog": "m" * 250}}],
    "kafka.linger.ms": [{"kafka": {"acks": "all", "linger.ms": None}}, {"kafka": {"linger.ms": [1]}}],
    "group_prefix": [{"group_prefix": ""}, {"group_prefix": "a b"}],
    "serving.deadline_ms": [{"serving": {"deadline_ms": value}} for value in (-1, 1.5, "60")],
    "serving.batch_size": [{"serving": {"batch_size": value}} for value in (0, 4097)],
    "serving.repeat_window_hours": [{"serving": {"repeat_window_hours": value}} for value in (0, 49)],
    "events.rating_min": [{"events": {"rating_min": 5, "rating_max": 5}}, {"events": {"rating_min": 0}}],
    "training.versions": [{"training": {"versions": {}}}],
    "training.versions.v2.factors": [{"training": {"versions": {"v1": ALS, "v2": {**ALS, "factors": 0}}}}],
    "training.versions.v2.factor": [{"training": {"versions": {"v1": ALS, "v2": {**ALS, "factor": 8}}}}],
    "training.versions.v 3": [{"training": {"versions": {"v1": ALS, "v 3": ALS}}}],
    "training.versions.v1": [{"training": {"versions": {"v1": {"factors": 8}}}}],
    "training.group_weights.F": [{"training": {"group_weights": {"F": value}}} for value in (0, -1, 101, "2")],
    "training.group_weights": [{"training": {"group_weights": value}} for value in ("equal", 2.0)],
    "training.group_weights.women": [{"training": {"group_weights": {"women": 2}}}],
    "training.next": [{"training": {"recipes": {"als": ALS}, "next": "ease"}}],
    "release.margins": [{"release": {"margins": dict.fromkeys(("success", "ctr", "hit_rate", "satisfaction"))}}],
    "release.margins.ctr": [{"release": {"margins": {"ctr": value}}} for value in (0, 1, -0.1, "5 %")],
    "release.alpha": [{"release": {"alpha": value}} for value in (0, 0.5, None)],
    "release.users_min": [{"release": {"users_min": 99}}],
    "release.steps": [{"release": {"steps": [1, 5, 5]}}],
    "": [[], None, "canary", 7],
}


@pytest.mark.parametrize(("path", "raw"), [(path, raw) for path, raws in WRONG.items() for raw in raws])
def test_a_wrong_key_is_named_by_its_path(path, raw):
    found, text = refused(json.dumps(raw))
    assert found == path
    assert text.startswith(f"config.json: {path}: " if path else "config.json: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"canary": {"percentage": NaN}}',
        b'{"kafka": {"x": Infinity}}',
        b'{"canary": {"percentage": 1e999}}',
        b'{"training": {"versions": {"v1": {"alpha": 1e999}}}}',
        rb'{"canary": {"salt": "\ud800"}}',
        b'{"canary": {"percentage": ' + b"9" * 5_000 + b"}}",
    ],
    ids=lambda text: text[:40],
)
def test_what_is_not_json_is_refused_in_one_line(text):
    path, message = refused(text)
    assert path == ""
    assert message.startswith("config.json: not JSON: ")


@given(text=st.binary(max_size=40) | st.text(max_size=40))
def test_whatever_a_file_holds_is_a_configuration_or_refused(text):
    with contextlib.suppress(BadConfig):
        config.parse(text)


def test_an_empty_object_is_the_defaults():
    assert config.parse("{}").config == config.parse(json.dumps(config.defaults())).config == config.Config()


def test_the_defaults_are_the_contracts():
    defaults = config.parse("{}").config
    assert defaults.canary == config.Canary(stable="v1", candidate="v2", percentage=10, unit="user", salt="2026-11")
    assert defaults.serving.deadline_ms == 60_000


def test_the_defaults_satisfy_the_schema_and_the_schema_describes_every_key():
    schema = config.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(config.defaults(), schema)
    undescribed = [
        f"{name}.{key}"
        for name, part in schema["$defs"].items()
        for key, value in part.get("properties", {}).items()
        if key != "algorithm"  # the word that tells recipes apart: their description has it
        and "description" not in value
        and "$ref" not in value
        and "allOf" not in value
        and "anyOf" not in value
    ]
    assert undescribed == []


TOGETHER = [
    WRONG["topics.watch-event"][0],
    WRONG["topics.watch-events"][-1],
    WRONG["events.rating_min"][0],
    WRONG["training.next"][0],
    WRONG["release.margins"][0],
    WRONG["release.steps"][0],
]


@pytest.mark.parametrize("raw", [raw for raws in WRONG.values() for raw in raws if raw not in TOGETHER])
def test_the_schema_refuses_what_the_parser_refuses_of_a_single_key(raw):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(raw, config.schema())


# -- the digest -----------------------------------------------------------------------------------

SOME = {
    "canary": {"stable": "v1", "candidate": None, "percentage": 12.5, "salt": "né"},
    "kafka": {"security.protocol": "SSL"},
    "serving": {"deadline_ms": 5, "batch_size": 7},
    "topics": {"watch-events": "w", "movielog": "m"},
}


def shuffled(value, order):
    if not isinstance(value, dict):
        return value
    return {
        key: shuffled(value[key], order)
        for key in sorted(value, key=lambda key: hashlib.md5(order + key.encode()).digest())
    }


@given(order=st.binary(max_size=8), indent=st.none() | st.integers(0, 4), ascii_=st.booleans())
def test_the_digest_ignores_key_order_and_layout(order, indent, ascii_):
    text = json.dumps(shuffled(SOME, order), indent=indent, ensure_ascii=ascii_)
    assert config.parse(text).sha256 == config.parse(json.dumps(SOME)).sha256


@given(kafka=st.dictionaries(st.text(max_size=8), st.text(max_size=8) | st.integers(0, 9) | st.booleans(), max_size=3))
def test_the_digest_ignores_kafka(kafka):
    assert config.parse(json.dumps({**SOME, "kafka": kafka})).sha256 == config.parse(json.dumps(SOME)).sha256
    assert "kafka" not in json.loads(config.parse(json.dumps({**SOME, "kafka": kafka})).text)


def test_the_digest_is_that_of_canonical_json_and_no_secret_is_in_it():
    applied = config.parse(json.dumps(SOME))
    assert applied.sha256 == hashlib.sha256(applied.text.encode()).hexdigest()
    assert json.loads(applied.text) == {key: value for key, value in SOME.items() if key != "kafka"}
    assert config.parse(applied.text).sha256 == applied.sha256  # what is kept for replay names itself


@pytest.mark.parametrize(
    "change", [{"canary": {"percentage": 11}}, {"topics": {"movielog": "x"}}, {"simulator": {"rate": 3}}]
)
def test_any_other_change_changes_the_digest(change):
    assert config.parse(json.dumps(change)).sha256 != config.parse("{}").sha256


# -- names ----------------------------------------------------------------------------------------


def test_topics_go_by_their_configured_names():
    applied = config.parse(json.dumps({"topics": {"watch-events": "prod.watch"}}))
    assert applied.topic("watch-events") == "prod.watch"
    assert {applied.topic(name) for name in TOPICS} == {"prod.watch", *TOPICS} - {"watch-events"}


def test_two_topics_may_swap_their_names():
    swapped = {"topics": {"watch-events": "rating-events", "rating-events": "watch-events"}}
    assert config.parse(json.dumps(swapped)).topic("watch-events") == "rating-events"


def test_groups_begin_with_the_configured_prefix():
    assert config.parse("{}").group("requests") == "canarec-requests"
    assert config.parse('{"group_prefix": "prod"}').group("requests") == "prod-requests"
