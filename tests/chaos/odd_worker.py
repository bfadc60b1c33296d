"""A worker of the real parts, but for one thing that goes wrong in it.

    python odd_worker.py HOME BOOTSTRAP_SERVERS PORT WHAT [ARGUMENT]

WHAT                     goes wrong
kill-produced N          in its N-th transaction of answers: SIGKILL once the broker has the answers, before the offsets are sent
kill-offsets N           … before the commit
kill-commit N            … a moment after the commit was sent
stop-… N                 the same with SIGSTOP: somebody else must continue it
sleep-… N                the same with a sleep for longer than a transaction may last
hang N                   in its N-th transaction of answers: sending the offsets comes back late, whatever its time-out
lies N                   every N-th transaction "times out": in turns it did commit, and it did not; and for a second after that
                         the coordinator answers with offsets of long ago
model N                  the model raises for whoever has watched exactly N movies
records USER             making the answer of this user raises, always
parse USER               reading the requests of this user raises, always

Production knows nothing of this: the classes that it takes from elsewhere are others here.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import confluent_kafka
import numpy as np
from confluent_kafka import KafkaError, KafkaException

import models.answer
from models import wire
from models.recommenders.als import Als
from streams import clients, logs, worker
from streams.home import Home
from streams.names import claim
from streams.standby import Turn

LONGER_THAN_A_TRANSACTION_S = 7
LONG_AGO = 400  # messages
LIES_S = 1.0


def strike(deed):
    print("strikes itself", file=sys.stderr, flush=True)
    if deed == "sleep":
        time.sleep(LONGER_THAN_A_TRANSACTION_S)
    else:
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[deed])


class Producer(confluent_kafka.Producer):
    """Counts the transactions of answers, over all producers of this process."""

    count = 0

    def __init__(self, settings, **named):
        super().__init__(settings, **named)
        self._answers = "requests" in settings.get("transactional.id", "")

    def begin_transaction(self):
        super().begin_transaction()
        Producer.count += self._answers


def dying(deed, point, at):
    class Dying(Producer):
        def send_offsets_to_transaction(self, *arguments):
            self._strike("produced")
            super().send_offsets_to_transaction(*arguments)
            self._strike("offsets")

        def commit_transaction(self, *arguments):
            if self._answers and Producer.count == at and point == "commit":
                threading.Timer(0.001, strike, [deed]).start()
            super().commit_transaction(*arguments)

        def _strike(self, here):
            if self._answers and Producer.count == at and here == point:
                self.flush(5)  # the broker has the answers: an open transaction, not an empty one
                strike(deed)

    clients.Producer = Dying


def hanging(at):
    class Hanging(Producer):
        def send_offsets_to_transaction(self, *arguments):
            if self._answers and Producer.count == at:
                print("strikes itself", file=sys.stderr, flush=True)
                time.sleep(LONGER_THAN_A_TRANSACTION_S)
                try:
                    super().send_offsets_to_transaction(*arguments)
                finally:
                    print("came back", file=sys.stderr, flush=True)
            else:
                super().send_offsets_to_transaction(*arguments)

    clients.Producer = Hanging


def lying(every):
    class Lying(Producer):
        def commit_transaction(self, *arguments):
            lie, truth = divmod(Producer.count, every)
            if not self._answers or truth or not lie:
                super().commit_transaction(*arguments)
                return
            self.flush(5)
            if lie % 2:
                super().commit_transaction(*arguments)
            print("lies", file=sys.stderr, flush=True)
            Forgetful.until = time.monotonic() + LIES_S
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT))

    class Forgetful(confluent_kafka.Consumer):
        until = 0.0

        def __init__(self, settings, **named):
            super().__init__(settings, **named)
            self._requests = settings["group.id"].endswith("requests")

        def committed(self, *arguments, **named):
            found = super().committed(*arguments, **named)
            left = Forgetful.until - time.monotonic()
            if self._requests and left > 0:  # it loads: less and less long ago; and of one partition it knows nothing
                for one in found:
                    one.offset = max(0, one.offset - int(LONG_AGO * left)) if one.partition else -1001
            return found

    clients.Producer, clients.Consumer = Lying, Forgetful


def model_that_raises(length):
    real = Als.users

    def users(self, histories):
        if (np.diff(histories.indptr) == length).any():
            raise ArithmeticError(f"no user has watched {length} movies")
        return real(self, histories)

    Als.users = users


def records_that_raise(user):
    real = models.answer.records

    def records(decision, *rest):
        if decision.question.request.user_id == user:
            raise RuntimeError(f"nothing can be written for {user}")
        return real(decision, *rest)

    models.answer.records = records


def parsing_that_raises(user):
    real = wire.request

    def request(value):
        found = real(value)
        if found.user_id == user:
            raise RuntimeError(f"nothing can be read of {user}")
        return found

    wire.request = request


def go_wrong(what, argument):
    deed, _, point = what.partition("-")
    if point:
        dying(deed, point, int(argument))
    elif what == "hang":
        hanging(int(argument))
    elif what == "lies":
        lying(int(argument))
    elif what == "model":
        model_that_raises(int(argument))
    else:
        {"records": records_that_raise, "parse": parsing_that_raises}[what](argument)


if __name__ == "__main__":
    logs.configure(level="info")
    home, servers, port, what, argument = Home(Path(sys.argv[1])), *sys.argv[2:6]
    home.prepare()
    go_wrong(what, argument)  # before the modules are imported that take these names
    sys.exit(worker.run(home, servers, claim(home.workers).name, int(port), Turn()))
