"""Workers are killed, alone and together, join and leave; a repeated id is known to whoever comes after."""

import os
import random
import signal

from confluent_kafka.admin import NewPartitions

from models.topics import PARTITIONS


def child_killed(faulty, requests):
    workers = faulty.staff(2)
    requests.fault("child killed", aim_s=3)
    os.kill(faulty.child_of(random.choice(workers)), signal.SIGKILL)
    requests.flow(2)


def killed_and_started_again(faulty, requests):
    workers = faulty.staff(2)
    requests.fault("worker killed and started again", aim_s=5)
    faulty.kill(random.choice(workers))
    faulty.staff(2)
    requests.flow(1)


def lost(faulty, requests):
    """Its session must end first. Repeats come meanwhile and after that."""
    workers = faulty.staff(2)
    ids = asked_once(faulty, requests)
    requests.flow(1)  # by another partition a repeat is known when the first answer is a second old
    requests.fault("machine lost", aim_s=8)
    faulty.kill(random.choice(workers))
    repeated(faulty, ids)
    requests.flow(7)
    requests.calm()
    repeated(faulty, ids)


def all_killed(faulty, requests):
    workers = faulty.staff(2)
    requests.fault("all killed and started again")
    for worker in workers:
        faulty.kill(worker)
    faulty.staff(2)
    requests.flow(1)


def one_joins_one_leaves(faulty, requests):
    (old,) = faulty.staff(1)
    ids = asked_once(faulty, requests)
    requests.calm()
    requests.fault("one joins", aim_s=1)
    faulty.staff(2)
    requests.flow(1.5)
    repeated(faulty, ids)
    requests.calm()
    requests.fault("one leaves", aim_s=1)
    old.terminate()
    assert old.wait(10) == 0
    repeated(faulty, ids)
    requests.flow(2)


def more_than_partitions_come_and_go(faulty, requests):
    (stays, *others) = faulty.staff(PARTITIONS + 1)
    requests.flow(2)
    requests.calm()
    requests.fault("four of five leave at once", aim_s=2)
    for worker in others:
        worker.terminate()
    assert [worker.wait(15) for worker in others] == [0] * PARTITIONS
    assert faulty.running() == [stays]
    requests.flow(2)


SHORT = [child_killed, killed_and_started_again, lost, one_joins_one_leaves, all_killed]
FULL = {
    child_killed: 10,
    killed_and_started_again: 10,
    lost: 5,
    one_joins_one_leaves: 5,
    all_killed: 5,
    more_than_partitions_come_and_go: 1,
}


def asked_once(faulty, requests):
    """A request in each partition, answered."""
    ids = [faulty.request("u1", partition=number) for number in range(PARTITIONS)]
    faulty.flush()
    requests.answers_to(ids)
    return ids


def repeated(faulty, ids):
    """The same requests again, by their own partitions and by others."""
    for number, one in enumerate(ids):
        faulty.request("u1", one, partition=number)
        faulty.request("u1", one, partition=(number + 1) % PARTITIONS)
        faulty.request("u2", one, partition=(number + 2) % PARTITIONS)  # another question: a dead letter
    faulty.flush()


def test_two_workers_lose_and_double_nothing(faulty, traffic, faults):
    faulty.staff(2)
    with traffic(faulty) as requests:
        for fault in faults:
            requests.flow(random.uniform(0.5, 2))
            fault(faulty, requests)
            requests.calm()
        requests.finish("2 workers")
    letters = {letter["reason"] for _, letter in faulty.all_messages("dead-letters")}
    assert letters == ({"conflicting_repeat"} if lost in faults or one_joins_one_leaves in faults else set())


def test_a_single_worker_with_8_partitions(install, traffic, long):
    faulty = install()
    faulty.publish_world()
    names = ("recommendation-requests", "recommendations", "provenance", "canarec-answered")
    admin = faulty.cluster.admin()
    for grown in admin.create_partitions([NewPartitions(faulty.applied.topic(name), 8) for name in names]).values():
        grown.result(30)
    (worker,) = faulty.staff(1)
    with traffic(faulty) as requests:
        for _ in range(5 if long else 1):
            requests.flow(random.uniform(0.5, 2))
            requests.fault("child killed", aim_s=3)
            os.kill(faulty.child_of(worker), signal.SIGKILL)
            requests.flow(1)
            requests.calm()
        requests.finish("a single worker with 8 partitions")
    assert {got[0][1]["source"]["partition"] for got in requests.answers.values()} == set(range(8))
