"""Workers are paused for longer than their session, and told to end in every way: fenced, back, or gone; never half alive."""

import json
import os
import random
import signal
import time

from tests.waiting import is_gone

PAUSE_S = 8  # a session is 6


def machine_paused(faulty, requests):
    workers = faulty.staff(2)
    paused = workers.pop(random.randrange(2))
    requests.fault("machine paused", aim_s=8)
    faulty.signal(paused, signal.SIGSTOP)
    requests.flow(PAUSE_S)
    requests.fault("machine continued", aim_s=3)
    faulty.signal(paused, signal.SIGCONT)
    requests.flow(2)
    requests.calm()
    answers_alone(faulty, requests, paused, workers)


def child_paused(faulty, requests):
    workers = faulty.staff(2)
    paused = workers.pop(random.randrange(2))
    child = faulty.child_of(paused)
    requests.fault("child paused", aim_s=8)
    os.kill(child, signal.SIGSTOP)
    requests.flow(PAUSE_S)
    requests.fault("child continued", aim_s=3)
    os.kill(child, signal.SIGCONT)
    requests.flow(2)
    requests.calm()
    answers_alone(faulty, requests, paused, workers)


def only_worker_paused(faulty, requests):
    (worker,) = faulty.staff(1)
    requests.calm()
    requests.fault("the only worker paused")
    faulty.signal(worker, signal.SIGSTOP)
    requests.flow(PAUSE_S)
    faulty.signal(worker, signal.SIGCONT)


def thrown_out(faulty, requests):
    """Somebody has its place in the group, as when a broker that hung gets two requests of one member to join: its standby goes on."""
    (worker,) = faulty.staff(1)
    requests.calm()
    requests.fault("thrown out of the group", aim_s=8)
    name = next(json.loads(line)["worker"] for line in faulty.log_of(worker).splitlines() if '"worker starts"' in line)
    usurper = faulty.cluster.consumer(
        group_id=faulty.applied.group("requests"), group_instance_id=name, session_timeout_ms=6_000
    )
    usurper.subscribe([faulty.applied.topic("recommendation-requests")])
    faulty.wait(lambda: usurper.poll(0.1) or usurper.assignment(), "the place")
    usurper.close()  # and does not leave: a static member
    requests.flow(2)
    requests.calm()
    assert faulty.logged("worker died, another one takes over", worker=name, exit_code=70)


def answers_alone(faulty, requests, worker, others):
    requests.fault("the paused one alone", aim_s=2)
    for other in others:
        ends(other, other.terminate)
    requests.flow(1.5)
    requests.calm()
    assert worker.poll() is None, faulty.log_of(worker)


def terminated(faulty, requests):
    worker = random.choice(faulty.staff(2))
    requests.fault("SIGTERM", aim_s=1)
    ends(worker, worker.terminate)
    requests.flow(1)


def terminated_while_joining(faulty, requests):
    """Its group knows of it, and it does not know its group yet."""
    faulty.staff(1)
    joining = faulty.start_worker()
    faulty.wait(lambda: "worker answers" in faulty.log_of(joining), "a worker that is about to join")
    time.sleep(random.uniform(0.02, 0.3))
    requests.fault("SIGTERM while joining", aim_s=1)
    ends(joining, joining.terminate)
    requests.flow(1)


def group_terminated(faulty, requests):
    worker = random.choice(faulty.staff(2))
    requests.fault("SIGTERM for the group", aim_s=1)
    ends(worker, lambda: faulty.signal(worker, signal.SIGTERM))
    requests.flow(1)


def group_interrupted_twice(faulty, requests):
    """Ctrl-C, twice within a second: once."""
    worker = random.choice(faulty.staff(2))
    requests.fault("Ctrl-C twice", aim_s=1)

    def interrupt():
        faulty.signal(worker, signal.SIGINT)
        time.sleep(0.2)
        faulty.signal(worker, signal.SIGINT)

    ends(worker, interrupt)
    requests.flow(1)


def ends(worker, tell):
    """Cleanly, within 5 seconds."""
    begun = time.monotonic()
    tell()
    assert worker.wait(10) == 0
    assert time.monotonic() - begun < 5


def terminated_again(faulty, requests):
    """It cannot end, since its child is stopped; a second signal a second later ends both at once."""
    worker = random.choice(faulty.staff(2))
    child = faulty.child_of(worker)
    requests.fault("SIGTERM twice", aim_s=8)
    os.kill(child, signal.SIGSTOP)
    worker.terminate()
    faulty.wait(lambda: waits_for(child, signal.SIGTERM), "the first one to be passed on")
    time.sleep(1.2)
    assert worker.poll() is None
    begun = time.monotonic()
    worker.terminate()
    assert worker.wait(5) != 0
    assert time.monotonic() - begun < 1
    faulty.wait(lambda: is_gone(child), "the child's end")


def waits_for(pid, number):
    """Whether a process, a stopped one, has been sent a signal and has not seen it yet."""
    with open(f"/proc/{pid}/status") as status:
        pending = next(line for line in status if line.startswith("ShdPnd:"))
    return bool(int(pending.split()[1], 16) >> (number - 1) & 1)


SHORT = [
    child_paused,
    machine_paused,
    thrown_out,
    terminated,
    group_terminated,
    group_interrupted_twice,
    terminated_again,
]
FULL = {
    child_paused: 3,
    machine_paused: 3,
    only_worker_paused: 2,
    thrown_out: 3,
    terminated: 5,
    terminated_while_joining: 8,
    group_terminated: 5,
    group_interrupted_twice: 5,
    terminated_again: 2,
}


def test_paused_and_stopped_workers_lose_and_double_nothing(faulty, traffic, faults):
    faulty.staff(2)
    with traffic(faulty) as requests:
        for fault in faults:
            requests.flow(random.uniform(0.5, 1.5))
            fault(faulty, requests)
            requests.calm()
        requests.finish("2 workers")
