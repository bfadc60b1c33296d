"""Whatever the user sets reaches every client; the environment wins over config.json, and both over ours."""

import pytest

from streams.clients import Cluster, NoBroker


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
