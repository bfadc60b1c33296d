"""What a running installation puts into its topics is what docs/asyncapi.yaml says of them, to the last message."""

import json
import subprocess

import pytest
from jsonschema import Draft7Validator
from jsonschema.exceptions import best_match

from models.topics import TOPICS
from streams.cli import asyncapi, main, reference
from streams.worker import child_command

WRITTEN = [name for name, topic in TOPICS.items() if topic.direction == "out"]
READ = [name for name, topic in TOPICS.items() if topic.direction == "in" and name in reference.FIELDS]


@pytest.fixture(scope="module")
def busy(installations):
    """Topics that all hold something: simulated users, a refused request, a changed split, a verdict, a training that was not due."""
    settings = {
        "metrics": {"windows_s": [1, 3], "horizon_s": 1, "lateness_s": 0.5},
        "release": {"look_every_s": 0.5, "shadow_share": 1},
    }
    with installations(**settings) as shop:
        shop.publish_world()
        shop.start_worker()
        shop.ask("u1")
        at = ["--home", str(shop.home.path), "--bootstrap-servers", shop.cluster.bootstrap_servers]
        shop.publish("recommendation-requests", {"request_id": "r", "user_id": "u1", "n": 0})
        shop.publish("recommendation-requests", b"\xff\x00")
        shop.publish("user-profiles", None, "u1")
        shop.flush()
        main(["canary", "set", "60", "--why", "a test", *at])
        (shop.home.path / "config.json").write_text(
            json.dumps({**json.loads(shop.home.config.read_bytes()), "serving": {"batch_size": 0}})
        )
        shop.wait(lambda: events(shop, "configuration_refused"), "a refused configuration")
        shop.configure(exploration={"share": 1}, exposure={"share": 0.2})
        simulated(shop, "--rate", "60", "--for", "3", "--newcomers", "0.3")
        simulated(shop, "--rate", "20", "--for", "1", "--movielog")
        main(["scheduler", "--once", *at])
        main(["retrain", "--if-due", *at])
        shop.wait(lambda: events(shop, "verdict"), "a verdict")
        for topic in (*WRITTEN, *READ):  # windows without feedback come before those with quality
            shop.wait(lambda topic=topic: shop.committed(topic), f"something in {topic}")
        yield shop


def events(shop, kind):
    return [event for event in shop.committed("canary-events") if event["event"] == kind]


def simulated(shop, *arguments):
    command = child_command("simulate", shop.home, shop.cluster.bootstrap_servers, "--quiet", *arguments)
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("topic", [*WRITTEN, *READ])
def test_every_message_is_as_the_document_says(busy, topic):
    validator = Draft7Validator(asyncapi.payload(topic))
    values = [value for message, value in busy.all_messages(topic) if message.value() is not None]
    if topic == "recommendation-requests":
        values = [value for value in values if isinstance(value, dict) and value.get("n") != 0]  # the refused ones
    assert values
    found = [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
        for value in values
        if (error := best_match(validator.iter_errors(value))) is not None
    ]
    assert found == []


@pytest.mark.parametrize("topic", WRITTEN)
def test_no_field_is_written_that_the_document_does_not_name(busy, topic):
    named = {field.name for field in reference.FIELDS[topic]}
    if topic == "canary-events":
        named |= set(asyncapi.VERDICT)
    assert {name for value in busy.everything(topic) for name in value} <= named


@pytest.mark.parametrize("topic", WRITTEN)
def test_every_message_names_its_schema_in_a_header(busy, topic):
    headers = [dict(message.headers() or ()) for message, _ in busy.all_messages(topic)]
    assert {header.get("schema") for header in headers} == {b"1"}


def test_topics_are_as_the_document_says(busy):
    admin = busy.cluster.admin()
    there = admin.list_topics(timeout=10).topics
    for name, channel in asyncapi.document()["channels"].items():
        assert len(there[busy.applied.topic(name)].partitions) == channel["bindings"]["kafka"]["partitions"]


def test_keys_are_what_the_document_says(busy):
    for message, value in busy.all_messages("recommendations"):
        assert message.key() == (None if value["user_id"] is None else value["user_id"].encode())
