"""`canarec doctor` on real topics: missing ones, other settings, too few partitions; and an installation that is whole."""

import json

import pytest
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

from models.errors import CanarecError
from models.topics import TOPICS
from streams import topics
from streams.cli import main
from streams.clients import Cluster
from streams.doctor import examine
from streams.home import Home
from tests.waiting import wait_for


@pytest.fixture
def cluster(kafka):
    return Cluster(kafka)


@pytest.fixture
def home(tmp_path, unique):
    """A home whose topics are this test's own, not made yet."""
    (tmp_path / "config.json").write_text(json.dumps({"topics": {name: unique + name for name in TOPICS}}))
    return Home(tmp_path)


def checks(home, cluster, name):
    return [check for check in examine(home, cluster.bootstrap_servers) if check.name == name]


def test_topics_that_are_as_the_table_says_are_ok(home, cluster):
    topics.ensure(cluster, home.load())
    assert [check.verdict for check in checks(home, cluster, "kafka")] == ["ok"]
    assert [check.verdict for check in checks(home, cluster, "topics")] == ["ok"]


def test_missing_topics_are_warned_of(home, cluster):
    (check,) = checks(home, cluster, "topics")
    assert check.verdict == "warn"
    assert check.found.startswith("missing: ")
    assert home.load().topic("watch-events") in check.found


def test_another_setting_is_warned_of_and_not_changed(home, cluster):
    applied = home.load()
    topics.ensure(cluster, applied)
    resource = ConfigResource(ResourceType.TOPIC, applied.topic("watch-events"))
    resource.add_incremental_config(ConfigEntry("retention.ms", "1000", incremental_operation=AlterConfigOpType.SET))
    admin = cluster.admin()
    admin.incremental_alter_configs([resource])[resource].result(10)
    value = lambda: admin.describe_configs([resource])[resource].result(10)["retention.ms"].value  # noqa: E731
    wait_for(lambda: value() == "1000", "the broker to know of it: its controller did a moment before", 30)
    for _ in range(2):
        (check,) = checks(home, cluster, "topics")
        assert check.verdict == "warn"
        assert f"{applied.topic('watch-events')}: retention.ms is 1000, expected -1" in check.found


def test_fewer_partitions_for_answers_than_for_requests_is_a_failure(home, cluster):
    applied = home.load()
    few = applied.topic("recommendations")
    admin = cluster.admin()
    admin.create_topics([NewTopic(few, 2, config=TOPICS["recommendations"].settings())])[few].result(10)
    with pytest.raises(CanarecError, match="has 2 partitions"):  # no worker starts on it
        topics.ensure(cluster, applied)
    (check,) = checks(home, cluster, "topics")
    assert check.verdict == "fail"
    assert f"{few}: partitions is 2, expected at least {TOPICS['recommendation-requests'].partitions}" in check.found


def test_the_command_ends_with_1_only_where_something_failed(home, cluster, capsys):
    topics.ensure(cluster, home.load())
    arguments = ["doctor", "--home", str(home.path), "--bootstrap-servers", cluster.bootstrap_servers]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert not ended.value.code, capsys.readouterr().out
    home.config.write_text('{"canary": {"percentage": 200}}')
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    assert "fail  configuration: config.json: canary.percentage" in capsys.readouterr().out
