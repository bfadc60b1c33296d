"""Whatever the user sets reaches every client; the environment wins over config.json, and both over ours."""

import json
import logging

import pytest

from models.errors import BadConfig
from streams.clients import Cluster, NoBroker
from streams.home import Home


def test_the_environment_wins_over_the_file():
    environment = {"CANAREC_KAFKA_SASL_PASSWORD": "secret", "CANAREC_KAFKA_ACKS": "1", "KAFKA_ACKS": "0", "HOME": "/"}
    cluster = Cluster.of("host:9092", {"acks": "all", "client.rack": "a"}, environment)
    assert cluster.properties == {"acks": "1", "client.rack": "a", "sasl.password": "secret"}


def test_the_users_properties_win_over_ours_and_reach_every_kind_of_client():
    settings = Cluster.of("host:9092", {"reconnect.backoff.ms": 7}, {}).settings(linger_ms=5)
    assert (settings["bootstrap.servers"], settings["linger.ms"], settings["reconnect.backoff.ms"]) == (
        "host:9092",
        5,
        7,
    )


def test_where_no_broker_answers_one_line_says_so():
    with pytest.raises(NoBroker, match=r"no Kafka broker answers at 127\.0\.0\.1:1 .*--bootstrap-servers") as error:
        Cluster("127.0.0.1:1").check(0.5)
    assert "\n" not in str(error.value)


def test_the_line_suggests_the_broker_that_would_answer_there():
    with pytest.raises(NoBroker, match="start one with `canarec broker --port 1`"):
        Cluster("127.0.0.1:1").check(0.1)
    with pytest.raises(NoBroker) as elsewhere:
        Cluster("kafka.invalid:9092").check(0.1)
    assert "canarec broker" not in str(elsewhere.value)


def test_a_check_that_fails_logs_nothing(caplog):
    with caplog.at_level(logging.DEBUG), pytest.raises(NoBroker):
        Cluster("127.0.0.1:1").check(0.5)
    assert not caplog.records


@pytest.mark.parametrize("kind", ["admin", "consumer", "producer", "check"])
@pytest.mark.parametrize(
    ("properties", "path"),
    [
        ({"no.such.property": 1}, "kafka.no.such.property: "),
        ({"socket.timeout.ms": "soon"}, "kafka.socket.timeout.ms: "),
        ({"security.protocol": "SASL_PLAINTEXT", "sasl.mechanisms": "PLAIN"}, "kafka: .*sasl.username"),
    ],
)
def test_a_property_that_librdkafka_does_not_take_is_a_wrong_configuration(kind, properties, path):
    with pytest.raises(BadConfig, match=path):
        getattr(Cluster("127.0.0.1:1", properties), kind)()


def test_clients_are_called_after_the_group_prefix(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"group_prefix": "shop"}))
    assert Home(tmp_path).cluster("host:9092").settings()["client.id"] == "shop"
    assert Cluster("host:9092").settings()["client.id"] == "canarec"
