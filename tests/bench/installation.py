"""canarec as it is measured: a broker, a home with two models, workers, all in a temporary folder. Nothing of it is switched off."""

import argparse
import gc
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import psutil
import scipy.sparse as sp

from models.config import parse
from models.recommenders import popular, store
from models.recommenders.als import Als
from models.recommenders.base import Recommender, Rows
from streams import logs, processes, summary, topics
from streams.broker import Broker
from streams.clients import Cluster
from streams.home import Home
from streams.worker import child_command, free_port
from tests.bench import workload
from tests.bench.load import Load

REGULARIZATION, ALPHA = 0.01, 1.0
RECIPE: dict[str, int | float | str] = {
    "algorithm": "als",
    "factors": workload.FACTORS,
    "regularization": REGULARIZATION,
    "alpha": ALPHA,
    "iterations": 5,
}
VERSIONS = {"v1": 0, "v2": 1}  # seeds
SETTLED_CORES = 0.3
READY_S = 900
WATCHED = b'{"user_id":"%d","movie_id":"%d","minute":90,"timestamp":%d}'
RATED = b'{"user_id":"%d","movie_id":"%d","rating":4.5,"timestamp":%d}'
LONG_AGO = 1_700_000_000


class Worker:
    """`canarec worker`, supervised, as an operator starts it."""

    def __init__(self, home: Home, brokers: str, *arguments: str) -> None:
        self.port = free_port(0)
        self.log = home.path / f"worker-{self.port}.log"
        with self.log.open("wb") as log:
            command = child_command("worker", home, brokers, "--metrics-port", str(self.port), *arguments)
            self.started = time.perf_counter()
            self.process = processes.start(command, stdout=log, stderr=log)
        self._supervisor = psutil.Process(self.process.pid)

    def scrape(self) -> summary.Scrape | None:
        return summary.scrape(f"http://127.0.0.1:{self.port}/metrics")

    def wait_until_it_answers(self) -> float:
        """Seconds since the start of the process."""
        self._wait(lambda: (found := self.scrape()) is not None and found.ready)
        return time.perf_counter() - self.started

    def wait_until_settled(self) -> None:
        """Until only requests give it work: what the topics held is read and judged, and whoever stands by is ready, too."""
        self.wait_until_it_answers()
        quiet = 0
        while quiet < 3:
            busy, found = self._cores(1.0), self.scrape()
            done = found is not None and bool(found.interactions) and not found.lag
            quiet = quiet + 1 if done and busy < SETTLED_CORES else 0
            self._check()

    def answering(self) -> psutil.Process:
        """The process that answers: not its supervisor, and not one that stands by."""
        for child in self._supervisor.children():
            ports = {found.laddr.port for found in child.net_connections("tcp") if found.status == psutil.CONN_LISTEN}
            if self.port in ports:
                return child
        raise RuntimeError(f"no process serves the metrics of the worker: {self.log}")

    def memory_mb(self) -> dict[str, float]:
        """Resident now and at most, of the process that answers; `standing_by`: of the others beside it, if there are any."""
        answering = self.answering()
        others = [
            child
            for child in self._supervisor.children()
            if child.pid != answering.pid and "--scribe" not in child.cmdline()  # it writes the provenance CSV
        ]
        status = Path(f"/proc/{answering.pid}/status").read_text().splitlines()  # Linux
        peak_kib = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        return {
            "resident": answering.memory_info().rss / 1e6,
            "peak": peak_kib * 1024 / 1e6,
            "standing_by": sum(other.memory_info().rss for other in others) / 1e6,
        }

    def stop(self) -> None:
        processes.stop(self.process, 15)

    def _cores(self, seconds: float) -> float:
        before, begun = self._cpu(), time.monotonic()
        time.sleep(seconds)
        return (self._cpu() - before) / (time.monotonic() - begun)

    def _cpu(self) -> float:
        total = 0.0
        for process in (self._supervisor, *self._supervisor.children(recursive=True)):
            try:
                total += sum(process.cpu_times()[:2])
            except psutil.NoSuchProcess:
                continue
        return total

    def _wait(self, until: Callable[[], bool]) -> None:
        patience = time.monotonic() + READY_S
        while not until():
            self._check()
            if time.monotonic() > patience:
                raise RuntimeError(f"the worker does not answer within {READY_S} s: {self._last_words()}")
            time.sleep(0.1)

    def _check(self) -> None:
        if self.process.poll() is not None or "worker died" in self.log.read_text(errors="replace"):
            raise RuntimeError(f"the worker died: {self._last_words()}")

    def _last_words(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


class Installation:
    """A home on a broker of its own. Used as a context manager by `installation`."""

    def __init__(self, home: Home, broker: Broker, stack: ExitStack, worker_arguments: Sequence[str]) -> None:
        self.home, self.broker, self._stack, self._worker_arguments = home, broker, stack, worker_arguments
        self.brokers = broker.bootstrap_servers
        self.cluster = Cluster(self.brokers)
        home.prepare()
        self.applied = parse(home.config.read_bytes())
        topics.ensure(self.cluster, self.applied)

    def store_model(self, version: str, recommender: Recommender, popularity: np.ndarray) -> None:
        """One version, of movies that are called by their numbers."""
        described = store.Metadata(
            model_id=f"als-{workload.FACTORS}",
            model_version=version,
            training_method={**RECIPE, "seed": VERSIONS[version]},
            data_version={"md5": "bench", "offsets": {}},
            evaluation={},
            dvc_ref=None,
            code_version="bench",
            created_at="1970-01-01T00:00:00Z",
            files={},
        )
        store.write(self.home.models, recommender, tuple(map(str, range(recommender.n_movies))), popularity, described)

    def train(self, drawn: sp.csr_matrix) -> None:
        """Both versions, of these interactions."""
        rows, movies = Rows(drawn.indptr, drawn.indices, drawn.data), drawn.shape[1]
        for version, seed in VERSIONS.items():
            self.store_model(version, Als.fit(rows, movies, RECIPE, seed), popular.counts(rows, movies))

    def draw_factors(self, movies: int) -> None:
        """Both versions with factors drawn at random: every movie alike, which is the worst case for the n best."""
        for version, seed in VERSIONS.items():
            factors = np.random.default_rng(seed).normal(0, 0.1, (movies, workload.FACTORS)).astype(np.float32)
            exact = factors.astype(np.float64)
            gramian = exact.T @ exact + REGULARIZATION * np.eye(workload.FACTORS)
            model = Als(factors, gramian, ALPHA, np.ones(movies, np.float32))
            self.store_model(version, model, np.ones(movies, np.int64))

    def publish(self, drawn: sp.csr_matrix, *, at: int = LONG_AGO, ratings: bool = False) -> int:
        """The interactions as watch events, with `ratings` every other one as a rating; how many."""
        producer = self.cluster.producer(linger_ms=20, queue_buffering_max_messages=1_000_000)
        indptr, movies = drawn.indptr.tolist(), drawn.indices
        for user in range(drawn.shape[0]):
            for place, movie in enumerate(movies[indptr[user] : indptr[user + 1]].tolist()):
                rated = ratings and place & 1
                topic, form = ("rating-events", RATED) if rated else ("watch-events", WATCHED)
                while True:
                    try:
                        producer.produce(topic, form % (user, movie, at), str(user))
                        break
                    except BufferError:
                        producer.poll(0.1)
            producer.poll(0)
        if producer.flush(300):
            raise RuntimeError("the histories could not be published")
        return int(drawn.nnz)

    def start_worker(self, *arguments: str) -> Worker:
        """It is stopped with the installation, if not before."""
        worker = Worker(self.home, self.brokers, *self._worker_arguments, *arguments)
        self._stack.callback(worker.stop)
        return worker

    def load(self, users: int = workload.USERS) -> Load:
        return Load(self.brokers, "recommendation-requests", "recommendations", users)


def worker_argument(parser: argparse.ArgumentParser) -> None:
    """`--worker`, for every benchmark."""
    parser.add_argument(
        "--worker",
        type=shlex.split,
        default=[],
        metavar="ARGUMENTS",
        help="more arguments of `canarec worker`, as one text",
    )


@contextmanager
def installation(worker_arguments: Sequence[str]) -> Iterator[Installation]:
    """With a broker of its own; everything is gone at the end."""
    logs.configure(level="error")
    gc.disable()  # a pause of the client would count as a contestant's; what it makes has no cycles
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # nothing stays behind
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="canarec-bench-")))
        broker = stack.enter_context(Broker(folder / "kafka", port=0, for_hours=True))
        yield Installation(Home(folder / "home"), broker, stack, worker_arguments)
