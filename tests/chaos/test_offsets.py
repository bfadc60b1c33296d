"""The group's offsets are gone, or from the past, when workers start: the answers themselves are the witness.

What a coordinator answers to a worker that is running is in test_transactions.py (`lied_to`).
"""

import random

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition


def offsets_deleted(faulty, requests):
    stop(faulty)
    requests.fault("offsets deleted")
    delete(faulty)
    faulty.staff(2)


def workers_killed_offsets_deleted(faulty, requests):
    """The group is not empty before its members' sessions have ended."""
    requests.fault("killed, offsets deleted")
    for worker in faulty.running():
        faulty.kill(worker)
    delete(faulty)
    faulty.staff(2)


def offsets_set_back(faulty, requests):
    stop(faulty)
    requests.fault("offsets set back")
    set_to(faulty, [random.randrange(50) for _ in faulty.request_places()])
    faulty.staff(2)


def offsets_half_forgotten(faulty, requests):
    """Of some partitions the coordinator knows the truth, of others the beginning."""
    stop(faulty)
    requests.fault("offsets half forgotten")
    set_to(faulty, [0, None, 0, None])
    faulty.staff(2)


def stop(faulty):
    for worker in faulty.running():
        worker.terminate()
        assert worker.wait(10) == 0


def delete(faulty):
    admin = faulty.cluster.admin()
    faulty.insist(lambda: [gone.result() for gone in admin.delete_consumer_groups([faulty.group]).values()])


def set_to(faulty, offsets):
    """Another truth, of the partitions that have an offset here."""
    places = zip(faulty.request_places(), offsets, strict=True)
    past = [TopicPartition(place.topic, place.partition, offset) for place, offset in places if offset is not None]
    wanted = [ConsumerGroupTopicPartitions(faulty.group, past)]
    admin = faulty.cluster.admin()
    faulty.insist(lambda: [done.result() for done in admin.alter_consumer_group_offsets(wanted).values()])


SHORT = [offsets_deleted, offsets_half_forgotten]
FULL = {offsets_deleted: 2, workers_killed_offsets_deleted: 2, offsets_set_back: 2, offsets_half_forgotten: 2}


def test_lost_and_stale_offsets_lose_and_double_nothing(faulty, traffic, faults):
    faulty.staff(2)
    with traffic(faulty) as requests:
        for fault in faults:
            requests.flow(2)
            fault(faulty, requests)
            requests.calm()
        requests.finish("2 workers")
