"""The table of who may do what: topics that exist, nothing twice, nothing that canarec never does."""

import pytest

from models import acls
from models.config import parse
from models.errors import UsageError
from models.topics import TOPICS

APPLIED = parse('{"topics": {"movielog": "movielog7"}, "group_prefix": "team7"}')


@pytest.mark.parametrize("part", acls.PARTS.values(), ids=acls.PARTS)
def test_a_part_names_topics_of_the_contract(part):
    assert {name for name, _ in part.operations()} <= TOPICS.keys()


@pytest.mark.parametrize("part", acls.PARTS)
def test_nothing_is_granted_twice(part):
    found = acls.grants(part, APPLIED, "someone")
    assert len(found) == len(set(found))


def test_every_topic_has_somebody_who_writes_it_and_somebody_who_reads_it():
    assert {name for part in acls.PARTS.values() for name in part.writes} == TOPICS.keys()
    assert {name for part in acls.PARTS.values() for name in part.reads} == TOPICS.keys()


def test_only_one_part_makes_topics():
    assert [part.name for part in acls.PARTS.values() if part.makes] == ["topics"]


def test_names_are_those_of_the_configuration():
    found = acls.grants("worker", APPLIED, "someone")
    assert acls.Grant("topic", "movielog7", False, "read") in found
    assert acls.Grant("group", "team7-requests", False, "read") in found
    assert acls.Grant("transactional_id", "team7-requests-", True, "write") in found


def test_a_service_of_ones_own_has_groups_of_its_own_name():
    assert acls.Grant("group", "shop", True, "read") in acls.grants("requester", APPLIED, "shop")


def test_a_part_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(UsageError, match="expected topics, worker, api"):
        acls.grants("workers", APPLIED, "someone")
