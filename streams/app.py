"""Wiring: builds a worker's Faust app from its parts. Nothing is decided here.

Faust runs the agents, on in-memory channels. Its own Kafka client does not take part: an exception in an agent, a record
that it cannot decompress or a rebalance would lose events or end the worker (docs/decisions/0002).
"""

import asyncio
import concurrent.futures
import gc
import os
import sys
import threading
from collections.abc import Callable

import faust
import structlog
from confluent_kafka import KafkaException
from faust.app.base import BootStrategy

from models.config import Applied, Config
from streams import metrics
from streams.agents.events import Events
from streams.agents.movielog import Movielog
from streams.agents.requests import Requests
from streams.clients import Cluster
from streams.clock import BrokerClock
from streams.exactly_once import FATAL_EXIT, ExactlyOnce
from streams.histories import Known
from streams.home import Home
from streams.notices import Notices
from streams.outcomes import LiveOutcomes
from streams.reload import LOOK_EVERY_S, Worlds
from streams.standby import ANSWERS, START_ANEW_EXIT, WARM, Turn

log = structlog.get_logger()

KEEP_EVERY_S = 1.0
SHOW_EVERY_S = 5.0


class WithoutItsOwnKafka(BootStrategy):
    """Agents and timers, and no client of Faust's."""

    enable_kafka = False
    enable_web = False


class Worker(faust.App):
    """A Faust app that knows how to start and stop the parts that Faust does not."""

    BootStrategy = WithoutItsOwnKafka
    parts: "Parts"

    async def on_start(self) -> None:
        await super().on_start()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self.parts.catch_up)
        self.add_future(self.parts.keep_house())
        self.add_future(self.parts.keep_worlds())
        await loop.run_in_executor(None, self.parts.turn.answer.wait)
        if not self.parts.ending:  # stopped while the topics were being read, or while it stood by
            self.parts.start(loop)

    async def on_stop(self) -> None:
        self.parts.turn.give_up()
        await asyncio.get_running_loop().run_in_executor(None, self.parts.stop)
        await super().on_stop()


class Parts:
    """The parts of one worker, in the order in which they start."""

    requests_of: type[Requests] = Requests

    def __init__(
        self, home: Home, cluster: Cluster, applied: Applied, name: str, turn: Turn, on_fatal: Callable[[], None]
    ) -> None:
        self.turn, self._answers = turn, False
        self.known = Known(cluster, applied, home.snapshots / name, on_fatal=on_fatal)
        self.outcomes = LiveOutcomes(cluster, applied, self.known, on_fatal=on_fatal)
        self._make_worlds: Callable[[], Worlds] = lambda: Worlds(home, applied, self.known)
        self.notices = Notices(home, cluster, applied, name)
        clock = BrokerClock()
        self.requests = self.requests_of(
            cluster, applied, self.known, self.outcomes, name=name, clock=clock, on_fatal=on_fatal
        )
        answered = self.requests.answered.knows
        self.events = Events(cluster, applied, self.known, answered, name=name, clock=clock, on_fatal=on_fatal)
        self.movielog = Movielog(cluster, applied, self.known, name=name, clock=clock, on_fatal=on_fatal)
        self.pipes = (self.requests.pipe, self.events.pipe, self.movielog.pipe)
        self.ending, self._house, self._looking = False, threading.Lock(), threading.Lock()
        self.clean = True

    def declare(self, app: faust.App) -> None:
        for agents in (self.requests, self.events, self.movielog):
            agents.declare(app)

    def catch_up(self) -> None:
        """Reads what the topics hold, loads the models: only then may this worker answer."""
        self.requests.answered.tail.start()
        self.outcomes.tail.start()
        self.known.catch_up()
        self.requests.answered.tail.catch_up()
        self.requests.worlds = self._make_worlds()
        self.turn.tell(WARM)

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Its turn: what was read is up to date, the rest takes a moment."""
        for pipe in self.pipes:
            pipe.start(loop)
        gc.freeze()  # what lives as long as the process need not be looked at again and again
        self._answers = True
        metrics.READY.set(1)
        self.turn.tell(ANSWERS)
        log.info("worker answers", users=self.known.histories.users, interactions=self.known.histories.n_interactions)

    async def keep_house(self) -> None:
        """Gauges and snapshots, beside the answers."""
        loop, shown = asyncio.get_running_loop(), 0.0
        while not self.ending:
            await asyncio.sleep(KEEP_EVERY_S)
            await loop.run_in_executor(None, self._keep, loop.time() - shown > SHOW_EVERY_S)
            if loop.time() - shown > SHOW_EVERY_S:
                shown = loop.time()

    async def keep_worlds(self) -> None:
        """New Worlds, which must not wait for a snapshot to be written or for a broker that is away."""
        loop = asyncio.get_running_loop()
        while not self.ending:
            await asyncio.sleep(LOOK_EVERY_S)
            await loop.run_in_executor(None, self._look)

    def _look(self) -> None:
        with self._looking:
            if self.ending:
                return
            worlds = self.requests.worlds
            if worlds.refresh():
                self._apply(worlds.current.applied.config)
            if self._answers:
                self.notices.tell(worlds.standing())
                if found := self.requests.shadow.due(worlds.current.applied):
                    self.notices.tell_of_shadow(*found)

    def _keep(self, show: bool) -> None:
        with self._house:
            if self.ending:
                return
            self._same_topics()
            if show and self._answers:
                self._show()

    def _same_topics(self) -> None:
        """A topic that was made anew, or got partitions, is read by a new start: this one would serve old histories as fresh,
        and take what it knows of the old requests for the new ones'.
        """
        try:
            why = self.known.event_topics.why_not() or self.requests.answered.topics.why_not()
        except (KafkaException, TimeoutError):
            return  # the brokers are away: the barrier says so to each request
        if why:
            log.critical("starting again", why=why)
            os._exit(START_ANEW_EXIT)

    def _apply(self, config: Config) -> None:
        """What a new configuration changes beside the World."""
        self.known.wait_s = config.serving.freshness_wait_ms / 1000
        self.requests.pipe.batch_size = config.serving.batch_size
        self.requests.answered.resize(config.serving)
        self.outcomes.configure(config.metrics)

    def _show(self) -> None:
        self.outcomes.show()
        self.events.show()
        for pipe in self.pipes:
            for topic, lag in pipe.lag.items():
                metrics.LAG.labels(topic).set(lag)
        self.known.show()
        self.known.save_if_worth()

    def stop(self) -> None:
        """Each batch in flight ends and commits; then the readers."""
        self.ending = True
        with self._house, self._looking, concurrent.futures.ThreadPoolExecutor(len(self.pipes)) as pool:
            clean = list(pool.map(ExactlyOnce.stop, self.pipes))
        for tail in (self.known.tail, self.outcomes.tail, self.requests.answered.tail):
            tail.stop()
        self.notices.close()
        self.clean = all(clean)
        log.info("worker stopped", clean=self.clean)


def build_app(
    home: Home, cluster: Cluster, applied: Applied, name: str, parts: type[Parts] = Parts, *, turn: Turn | None = None
) -> Worker:
    """A worker's app, of these parts; without a `turn` it answers at once. The topics must exist (`streams.topics.ensure`)."""
    sys.setswitchinterval(0.0005)  # short turns: a thread that waits for Kafka must not wait for the interpreter
    app = Worker(
        applied.group("reference"),
        store="memory://",
        datadir=str(home.artifacts / "faust"),  # by default Faust makes a folder wherever the worker was started
        autodiscover=False,
        topic_disable_leader=True,
        web_enabled=False,
        stream_wait_empty=False,
    )
    app.parts = parts(home, cluster, applied, name, turn or Turn(), on_fatal=lambda: os._exit(FATAL_EXIT))
    app.parts.declare(app)
    return app
