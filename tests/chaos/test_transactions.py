"""Killed, stopped and asleep between a transaction's produce and its commit; time-outs that are none; transactional requesters."""

import os
import random
import signal
import time
import uuid

import psutil
from confluent_kafka import KafkaException

AT = 30  # transactions of answers, about a second
MESSAGES = 3  # in a transaction of requests


def killed(point):
    def killed_in_a_transaction(faulty, requests):
        """Started again under the same name."""
        faulty.staff(1)
        odd = faulty.start_odd(f"kill-{point}", AT)
        assert odd.wait(60) == -signal.SIGKILL
        requests.fault(f"killed, {point}", aim_s=5)
        faulty.staff(2)
        requests.flow(1)

    killed_in_a_transaction.__name__ += f"_{point}"
    return killed_in_a_transaction


def neighbour_ends_it(faulty, requests):
    """What a dead worker left open is ended by whoever gets its partitions."""
    faulty.staff(1)
    odd = faulty.start_odd("kill-offsets", AT)
    assert odd.wait(60) == -signal.SIGKILL
    requests.fault("killed for good, offsets", aim_s=8)
    requests.flow(7)


def stopped(point):
    def stopped_in_a_transaction(faulty, requests):
        """The broker ends it; who comes back is fenced, and back or gone."""
        (neighbour,) = faulty.staff(1)
        odd = faulty.start_odd(f"stop-{point}", AT)
        faulty.wait(lambda: psutil.Process(odd.pid).status() == psutil.STATUS_STOPPED, "a stopped worker")
        requests.fault(f"stopped, {point}", aim_s=8)
        requests.flow(8)
        requests.calm()
        requests.fault("continued", aim_s=3)
        os.kill(odd.pid, signal.SIGCONT)
        requests.flow(2)
        requests.calm()
        if odd.poll() is None:
            requests.fault("the stopped one alone", aim_s=2)
            neighbour.terminate()
            assert neighbour.wait(10) == 0
            requests.flow(1.5)
            requests.calm()
        assert odd.poll() in (None, 70)

    stopped_in_a_transaction.__name__ += f"_{point}"
    return stopped_in_a_transaction


def struck(faulty, what):
    """An odd worker that lives on and has struck itself, and another one."""
    faulty.staff(1)
    odd = faulty.start_odd(what, AT)
    faulty.wait(lambda: "strikes itself" in faulty.log_of(odd), "a worker that strikes itself")
    return odd


def timed_out(faulty, requests):
    """A worker that is alive, but slower inside its transaction than the broker allows."""
    odd = struck(faulty, "sleep-offsets")
    requests.fault("transaction timed out", aim_s=9)
    requests.flow(7)
    requests.calm()
    assert faulty.logged("session closed", worker=name_of(faulty, odd))


def offsets_hang(faulty, requests):
    """librdkafka does not come back in time: the call is left behind, the worker goes on, and nothing comes of it when it does."""
    odd = struck(faulty, "hang")
    requests.fault("sending offsets hangs", aim_s=6)
    requests.flow(6)
    faulty.wait(lambda: "came back" in faulty.log_of(odd), "the call to come back")
    requests.flow(1)
    requests.calm()
    closed = faulty.logged("session closed", worker=name_of(faulty, odd))
    assert any("did not come back" in entry["why"] for entry in closed)
    assert odd.poll() is None


def lied_to(faulty, requests):
    """Commits that "time out", behind each a coordinator that answers from the past: nothing is answered again or skipped."""
    faulty.staff(1)
    odd = faulty.start_odd("lies", AT)
    requests.fault("lies", aim_s=3)
    faulty.wait(lambda: faulty.log_of(odd).count("lies") >= 4, "four lies")
    requests.calm()
    assert faulty.logged("the coordinator answers from the past", worker=name_of(faulty, odd))


def name_of(faulty, odd):
    """A worker's name, as its log has it."""
    return next(e["worker"] for e in faulty.logged("assigned") if f'"{e["worker"]}"' in faulty.log_of(odd))


PRODUCED, OFFSETS, COMMIT = map(killed, ("produced", "offsets", "commit"))
STOPPED_IN_COMMIT = stopped("commit")

SHORT = [PRODUCED, OFFSETS, COMMIT, STOPPED_IN_COMMIT, timed_out, offsets_hang, lied_to]
FULL = {
    PRODUCED: 4,
    OFFSETS: 4,
    COMMIT: 4,
    neighbour_ends_it: 2,
    STOPPED_IN_COMMIT: 3,
    stopped("produced"): 1,
    stopped("offsets"): 1,
    timed_out: 2,
    offsets_hang: 3,
    lied_to: 4,
}


def test_what_happens_in_a_transaction_loses_and_doubles_nothing(faulty, traffic, faults):
    faulty.staff(1)
    with traffic(faulty) as requests:
        for fault in faults:
            requests.flow(random.uniform(0.2, 0.5))
            fault(faulty, requests)
            requests.calm()
            for odd in faulty.odd:
                if odd.poll() is None:
                    odd.terminate()
                    assert odd.wait(10) == 0
        faulty.staff(1)  # whoever was alone may have ended with the last fault
        requests.finish("one worker and an odd one")


def in_transactions(requests, made, topic):
    """A sender of requests in small transactions, of which every fifth is taken back.

    librdkafka's `abort_transaction` races with its own registration of partitions: the broker may answer INVALID_TXN_STATE, which is
    fatal. Then, as any application must, it goes on with another producer under the same id.
    """

    def end(producer, waiting, taken_back):
        try:
            if taken_back:
                producer.abort_transaction(30)
                return producer
            requests.sent.update(dict.fromkeys(waiting, time.monotonic()))
            producer.commit_transaction(30)
        except KafkaException as error:
            if not error.args[0].fatal():
                raise
            return made()
        requests.acknowledge(waiting)
        return producer

    def send(stop):
        producer, waiting, done = made(), [], 0
        for count in requests.paced(stop, lambda: time.sleep(0.001)):
            if not waiting:
                producer.begin_transaction()
            waiting.append(uuid.uuid4().hex)
            user = f"u{count % 40}"
            producer.produce(topic, requests.question(waiting[-1], user), user)
            if len(waiting) == MESSAGES:
                done += 1
                producer, waiting = end(producer, waiting, done % 5 == 0), []
        if waiting:
            end(producer, waiting, True)

    return send


def test_a_transactional_requester_causes_no_storm(faulty, traffic, long):
    """Each transaction's marker is a hole in the offsets, each one taken back a larger one: neither is a reason to read again."""
    faulty.staff(2)
    topic = faulty.applied.topic("recommendation-requests")

    def made():
        producer = faulty.cluster.producer(transactional_id=f"{faulty.prefix}requester", linger_ms=0)
        producer.init_transactions(30)
        return producer

    requests = traffic(faulty)
    requests.sender = in_transactions(requests, made, topic)
    with requests:
        requests.fault("all the time", aim_s=1)
        requests.flow(40 if long else 4)
        requests.calm()
        transactions = len(requests.acked) // MESSAGES
        closed = len(faulty.logged("session closed"))
        requests.finish(f"a transactional requester, {transactions} transactions, {closed} sessions closed")
    assert closed <= 1, f"{closed} sessions closed in {transactions} transactions"
