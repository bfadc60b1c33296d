"""`canarec topics acls` without a broker: lines that Kafka's own tool takes, by the configuration's names; and calls that cannot be meant."""

import json
import shlex
from itertools import pairwise

import pytest

from models import acls
from models.config import parse
from streams.cli import main


@pytest.fixture
def home(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"topics": {"movielog": "movielog7"}, "group_prefix": "team7"}))
    return tmp_path


def printed(capsys, home, *words):
    main(["topics", "acls", *words, "--home", str(home), "--bootstrap-servers", "kafka:9093"])
    return [shlex.split(line) for line in capsys.readouterr().out.splitlines()]


def test_a_line_is_a_call_of_kafka_s_tool(home, capsys):
    for words in printed(capsys, home):
        assert words[:3] == ["kafka-acls.sh", "--bootstrap-server", "kafka:9093"]
        assert {"--add", "--force"} <= set(words)


def test_the_lines_say_what_the_table_says(home, capsys):
    found = set()
    for words in printed(capsys, home, "worker"):
        options = dict(pairwise(words))
        for resource in ("topic", "group", "transactional-id"):
            for option, name in pairwise(words):
                if option == f"--{resource}":
                    prefixed = options.get("--resource-pattern-type") == "prefixed"
                    found.add((options["--allow-principal"], resource, name, prefixed, options["--operation"]))
    assert ("User:canarec-worker", "topic", "movielog7", False, "Read") in found
    assert ("User:canarec-worker", "topic", "provenance", False, "DescribeConfigs") in found
    assert ("User:canarec-worker", "group", "team7-requests", False, "Read") in found
    assert ("User:canarec-worker", "transactional-id", "team7-requests-", True, "Write") in found
    applied = parse((home / "config.json").read_bytes())
    assert len(found) == len(acls.grants("worker", applied, "canarec-worker"))


def test_a_principal_of_ones_own_is_taken(home, capsys):
    lines = printed(capsys, home, "requester", "--principal", "shop")
    assert all("User:shop" in words for words in lines)
    assert any(("--group", "shop") in pairwise(words) for words in lines)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("workers",), "there is no part 'workers': expected topics, worker, api"),
        (("--principal", "shop"), "--principal is for one PART"),
    ],
)
def test_a_call_that_cannot_be_meant_is_refused(home, capsys, words, said):
    with pytest.raises(SystemExit) as ended:
        printed(capsys, home, *words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
