"""The table of topics says what the contract says."""

import pytest

from models.topics import FOR_EVER, TOPICS

CONTRACT = {
    "in": {
        "movielog", "watch-events", "rating-events", "user-profiles", "movie-catalog", "recommendation-requests",
        "recommendation-feedback",
    },
    "out": {
        "recommendations", "provenance", "recommendation-quality", "feedback-loop-metrics", "fairness-metrics", "canary-events",
        "retraining-events", "dead-letters",
    },
}  # fmt: skip


@pytest.mark.parametrize("direction", ["in", "out"])
def test_the_contracts_topics_are_there_and_no_others(direction):
    assert {name for name, topic in TOPICS.items() if topic.direction == direction} == CONTRACT[direction]


def test_each_topic_stands_under_its_own_name():
    assert all(topic.name == name for name, topic in TOPICS.items())


@pytest.mark.parametrize("name", ["watch-events", "rating-events"])
def test_events_are_kept_for_ever(name):
    assert TOPICS[name].settings()["retention.ms"] == "-1"
    assert TOPICS[name].retention_ms == FOR_EVER


@pytest.mark.parametrize("name", ["user-profiles", "movie-catalog"])
def test_profiles_and_catalogue_are_compacted_and_have_no_retention(name):
    assert TOPICS[name].settings()["cleanup.policy"] == "compact"
    assert "retention.ms" not in TOPICS[name].settings()


@pytest.mark.parametrize("name", ["recommendations", "provenance", "canarec-answered"])
def test_an_answer_finds_the_partition_with_its_requests_number(name):
    assert TOPICS[name].partitions == TOPICS["recommendation-requests"].partitions


def test_the_brokers_clock_stamps_every_message():
    assert {topic.settings()["message.timestamp.type"] for topic in TOPICS.values()} == {"LogAppendTime"}


def test_answered_ids_are_kept_longer_than_any_window_that_can_be_configured():
    from models import config

    longest = config.schema()["$defs"]["Serving"]["properties"]["repeat_window_hours"]["maximum"]
    assert TOPICS["canarec-answered"].retention_ms >= longest * 3_600_000
