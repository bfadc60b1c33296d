"""The way of a request, from its bytes to its answer:

    bytes → parse → barrier → World → split → histories → score in one batch per model → answers + records → one transaction

The consumer thread (`streams.exactly_once`) feeds batches; the agent hands all that waits to one scoring thread; what it
returns is committed together with the requests' offsets.
"""

import asyncio
import concurrent.futures
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import faust
import structlog
from confluent_kafka import Message, TopicPartition
from faust.types import StreamT

from models import repeats, wire
from models.answer import Decision, Question, check, decide, records, rejection
from models.config import Applied, Serving
from models.errors import BadMessage
from models.events import Request, Source
from models.world import World
from streams import metrics
from streams.channel import Batches
from streams.clients import Cluster
from streams.clock import BrokerClock
from streams.dead_letters import dead_letter, none_yet
from streams.exactly_once import Batch, ExactlyOnce
from streams.histories import Known
from streams.messages import Place, kafka_ms, offset, partition, source
from streams.outcomes import LiveOutcomes
from streams.reload import Worlds
from streams.shadow import Sample, Shadow, sample
from streams.tail import Followed, Tail, Unchanged
from streams.transactions import TOGETHER, Out

log = structlog.get_logger()

HOUR_MS = 3_600_000
PRODUCERS = 3
ENTRIES_AT_ONCE = 200  # 5,200 bytes


@dataclass(slots=True)
class Tally:
    """What is counted once the batch is committed: never before, since a batch may be read again."""

    answers: list[tuple[str, str, str, int]] = field(default_factory=list)
    """Model version, variant, outcome, the request's Kafka time."""
    repeated: int = 0
    decisions: list[Decision] = field(default_factory=list)
    sample: Sample | None = None  # for the shadow

    def add(self, other: "Tally") -> None:
        self.answers += other.answers
        self.repeated += other.repeated
        self.decisions += other.decisions


class Read(NamedTuple):
    """A message and what it says. Without a readable id it is not `asked`; `error`: no model may answer it."""

    message: Message
    request: Request | None
    request_id: str | None
    asked: repeats.Asked | None
    error: BadMessage | None


@dataclass(slots=True)
class Parsed:
    """What some batches hold: questions for a model, outputs for all else, ids to remember: (id, content, partition, offset)."""

    questions: list[tuple[Question, Message]] = field(default_factory=list)
    outputs: list[Out] = field(default_factory=list)
    entries: list[tuple[int, int, int, int]] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)


class Requests:
    """Answers requests. One for each worker."""

    def __init__(
        self,
        cluster: Cluster,
        applied: Applied,
        known: Known,
        outcomes: LiveOutcomes,
        *,
        name: str,
        clock: BrokerClock,
        on_fatal: Callable[[], None],
    ) -> None:
        self.known, self.outcomes, self.clock = known, outcomes, clock
        self.worlds: Worlds  # set once the histories have caught up
        self.topics = {
            name: applied.topic(name) for name in ("recommendations", "provenance", "dead-letters", "canarec-answered")
        }
        none_yet([applied.topic("recommendation-requests")])
        self.answered = Answered(cluster, applied, on_fatal=on_fatal)
        self.pool = concurrent.futures.ThreadPoolExecutor(1, "score")
        self.shadow = Shadow(self.pool)
        self.pipe = ExactlyOnce(
            cluster,
            group=applied.group("requests"),
            topics=[applied.topic("recommendation-requests")],
            name=name,
            batch_size=applied.config.serving.batch_size,
            outputs=list(self.topics.values()),
            clock=clock,
            producers=PRODUCERS,
            feed=lambda batch: self.channel.feed(batch),  # noqa: PLW0108 - the channel comes with the app
            consumed=known.ends,
            witness=self.answered.witness,
            committed=self._count,
            on_fatal=on_fatal,
        )

    def declare(self, app: faust.App) -> None:
        """The agent."""
        self.channel = channel = Batches(app)

        @app.agent(channel, name="requests")
        async def requests(stream: StreamT[Batch]) -> None:
            loop = asyncio.get_running_loop()
            async for batch in stream:
                # all that waits is scored in one call; what a closed session left behind is dropped, it is read again
                batches = [b for b in (batch, *channel.waiting()) if b.session.open]
                if batches and all(b.session is batches[-1].session for b in batches):
                    try:
                        outputs = await loop.run_in_executor(self.pool, self.answer, batches)
                    except Exception as error:  # noqa: BLE001 - logged, and read again
                        self.pipe.failed(batch.session, error)
                    else:
                        self.pipe.answered(batches, outputs)
                        if (tally := batches[0].tally) is not None and tally.sample is not None:
                            self.shadow.offer(tally.sample, idle=channel.queue.empty())

    def answer(self, batches: Sequence[Batch]) -> list[Out]:
        """Answers, records, dead letters and the memory of ids for the requests of some batches. Never raises for a request."""
        try:
            return self._answer(batches)
        except Exception:
            log.exception("a batch failed, its requests are answered one by one")
        outputs: list[Out] = []
        tally = Tally()
        for batch, message in [(b, m) for b in batches for m in b.messages]:
            alone = replace(batch, messages=[message])
            try:
                outputs += self._answer([alone])
            except Exception as error:  # whatever it is, it must not keep the others from their answers
                where = source(message)
                log.exception("a request cannot be answered", partition=where.partition, offset=where.offset)
                refused = BadMessage("internal_error", f"{type(error).__name__} while it was answered")
                outputs += self._answer([alone], refused)
            tally.add(alone.tally)
        batches[0].tally = tally
        return outputs

    def _answer(self, batches: Sequence[Batch], refused: BadMessage | None = None) -> list[Out]:
        """The same, where nothing unforeseen happens. `refused`: why none of them may be answered by a model."""
        world = self.worlds.current
        parsed = self._parse(batches, world, refused)
        questions, tally = [q for q, _ in parsed.questions], parsed.tally
        # the last batch's ends: they were asked for after its last request had been consumed
        behind = bool(questions) and not self.known.caught_up(batches[-1].context)
        cut = self.known.cut([q.request.user_id for q in questions], behind=behind)
        begun = time.perf_counter()
        tally.decisions = decide(questions, cut, world, self.clock.now_ms(), seconds=time.perf_counter)
        metrics.SCORING.observe(time.perf_counter() - begun)
        metrics.BATCH.observe(len(questions))
        now_ms = self.clock.now_ms()
        outputs = parsed.outputs
        for decision, (question, message) in zip(tally.decisions, parsed.questions, strict=True):
            if decision.failure:
                log.error(
                    "model failed",
                    request_id=question.request.request_id,
                    model_version=decision.version,
                    offset=question.source.offset,
                    partition=question.source.partition,
                    error=decision.failure,
                )
            both = self._both(records(decision, cut, world, now_ms), question.request.user_id, question.source)
            if all(map(self.pipe.fits, both)):
                outputs += both
                tally.answers.append((decision.version, decision.variant, decision.status, question.kafka_ms))
            else:
                size = max(len(out.value or b"") for out in both)
                outputs += self._refused(
                    message,
                    BadMessage("answer_too_large", f"an answer or record of {size} bytes: its topic takes less"),
                    question.request.request_id,
                    question.request.user_id,
                    world,
                    tally,
                )
        outputs += self._memory(batches, parsed.entries)
        tally.sample = sample(tally.decisions, cut, world)
        batches[0].tally = tally
        return outputs

    def _parse(self, batches: Sequence[Batch], world: World, refused: BadMessage | None) -> "Parsed":
        """What a model may answer; rejections and dead letters of the rest."""
        parsed = Parsed()
        read = [self._read(message, world, refused) for batch in batches for message in batch.messages]
        verdicts = iter(
            self.answered.judge([one.asked for one in read if one.asked is not None], batches[0].session.notes)
        )
        for message, request, request_id, asked, error in read:
            if asked is not None:
                if (verdict := next(verdicts)) != "new":
                    parsed.tally.repeated += verdict != "answered"
                    if verdict == "conflicting":
                        told = f"request_id {request_id!r} was answered for another question before"
                        parsed.outputs.append(self._dead(message, BadMessage("conflicting_repeat", told)))
                    continue
                parsed.entries.append(asked[:4])
            if error is None and request is not None:
                parsed.questions.append((Question(request, source(message), kafka_ms(message)), message))
                continue
            assert error is not None
            user_id = request.user_id if request else wire.readable_user_id(message.value())
            parsed.outputs += self._refused(message, error, request_id, user_id, world, parsed.tally)
        return parsed

    def _read(self, message: Message, world: World, refused: BadMessage | None) -> "Read":
        error, request, request_id, value = refused, None, None, message.value()
        named = (0, 0)
        try:
            request = wire.request(value)
            request_id, named = request.request_id, repeats.digest(request)
            if refused is None:
                check(request, world)
        except Exception as found:
            error = refused or (found if isinstance(found, BadMessage) else None)
            if error is None:
                raise  # unforeseen: it comes back alone, and refused
            if request is None:
                request_id = wire.readable_request_id(value)
                named = repeats.digest_unreadable(request_id or "", value or b"")
        asked = None
        if request_id is not None:
            at = kafka_ms(message) or self.clock.now_ms()
            asked = repeats.Asked(*named, partition(message), offset(message), at)
        return Read(message, request, request_id, asked, error)

    def _refused(
        self,
        message: Message,
        error: BadMessage,
        request_id: str | None,
        user_id: str | None,
        world: World,
        tally: "Tally",
    ) -> list[Out]:
        """A dead letter; where the request has a readable id, also an answer with the reason and its record."""
        outputs = [self._dead(message, error)]
        if request_id is not None:
            where, at = source(message), kafka_ms(message)
            offsets = self.known.cut([]).offsets
            both = rejection(request_id, user_id, where, at, error.reason, offsets, world, self.clock.now_ms())
            outputs += self._both(both, user_id, where)
            tally.answers.append(("none", "none", "rejected", at))
        return outputs

    def _dead(self, message: Message, error: BadMessage) -> Out:
        return dead_letter(self.topics["dead-letters"], message, error, self.pipe.fits)

    def _both(self, records: tuple[bytes, bytes], user_id: str | None, source: Source) -> tuple[Out, Out]:
        """An answer, to the partition with its request's number, where who asks by partition finds it; and its record."""
        key = user_id.encode() if user_id is not None else None
        answer, record = records
        return (
            Out(self.topics["recommendations"], answer, key, source.partition),
            Out(self.topics["provenance"], record, key, TOGETHER),
        )

    def _memory(self, batches: Sequence[Batch], entries: Sequence[tuple[int, int, int, int]]) -> list[Out]:
        """How far the partitions are answered, and which ids were."""
        positions = self.answered.positions()
        positions |= {partition(m): offset(m) + 1 for batch in batches for m in batch.messages}
        return [
            Out(
                self.topics["canarec-answered"],
                repeats.packed(self.answered.topic_number, positions, some),
                partition=TOGETHER,
            )
            for some in _chunks(entries)
        ]

    def _count(self, batches: Sequence[Batch]) -> None:
        now_ms = self.clock.now_ms()
        outcomes: Counter[tuple[str, str, str]] = Counter()
        latency = {variant: metrics.LATENCY.labels(variant) for variant in ("stable", "canary", "none")}
        for tally in (b.tally for b in batches if b.tally is not None):
            metrics.REPEATED.inc(tally.repeated)
            for version, variant, outcome, at in tally.answers:
                outcomes[version, variant, outcome] += 1
                latency[variant].observe(max(0, now_ms - at) / 1000)
            self.outcomes.answered(tally.decisions, now_ms)
            for decision in tally.decisions:
                if decision.status == "fallback" and decision.reason is not None:
                    metrics.FALLBACKS.labels(decision.version, decision.variant, decision.reason).inc()
        for labels, count in outcomes.items():
            metrics.REQUESTS.labels(*labels).inc(count)


class Answered:
    """Which ids were answered, by whichever worker: the tail of an internal topic that is written with the answers.

    Each message also says how far the partitions are answered: the witness against stale offsets.
    """

    def __init__(self, cluster: Cluster, applied: Applied, *, on_fatal: Callable[[], None]) -> None:
        serving = applied.config.serving
        self.topic, requests = applied.topic("canarec-answered"), applied.topic("recommendation-requests")
        self._window_ms = int(serving.repeat_window_hours * HOUR_MS)
        self._ids = serving.repeat_window_ids
        self.repeats = repeats.Repeats(self._ids, self._window_ms)
        self._next: dict[int, int] = {}  # of each request partition, as the last transaction left it
        self._cluster = cluster
        self.tail = Tail(
            cluster,
            {self.topic: Followed(self._parse, self._apply)},
            name="answered",
            starts=self._starts,
            at_leisure=True,  # what this worker is answering is noted at once, `pending`; others' ids come by here
            on_fatal=on_fatal,
        )
        self.topics = Unchanged(self.tail, (requests, self.topic))
        self.topics.why_not(timeout_s=30)
        self.topic_number = repeats.topic_number(self.topics.id(requests))
        self._strangers = 0

    def resize(self, serving: Serving) -> None:
        """Other windows, from now on; what was forgotten stays forgotten."""
        with self.tail.lock:
            self.repeats.capacity = serving.repeat_window_ids
            self.repeats.window_ms = int(serving.repeat_window_hours * HOUR_MS)

    def judge(self, asked: Sequence[repeats.Asked], pending: repeats.Pending) -> list[repeats.Verdict]:
        with self.tail.lock:
            return self.repeats.judge_all(asked, pending)

    def knows(self, ids: Sequence[int], now_ms: int) -> list[bool]:
        """Whether each of these (`repeats.named`) was answered within the repeat window, by whichever worker."""
        with self.tail.lock:
            return self.repeats.knows(ids, now_ms)

    def positions(self) -> dict[int, int]:
        """How far the request partitions are known to be answered: none but committed answers count.

        Those of other workers, too: a partition that nobody asks by has its witness in everybody's messages.
        """
        with self.tail.lock:
            return dict(self._next)

    def witness(self, places: Sequence[Place]) -> dict[Place, int]:
        """How far the partitions are answered. What a predecessor left open must have been ended before."""
        ends = self.tail.ends(committed=True).get(
            10
        )  # of all partitions: any of them may hold a predecessor's last words
        if not self.tail.wait(ends, time.monotonic() + 10):
            raise TimeoutError(f"{self.topic} cannot be read to its end")
        with self.tail.lock:
            return {place: self._next.get(place[1], 0) for place in places}

    def _starts(self, tail: Tail) -> dict[Place, int]:
        """No more messages than ids are remembered (nearly each holds one or more), none older than the window."""
        reader = self._cluster.consumer()
        try:
            since = int(time.time() * 1000) - self._window_ms
            asked = [TopicPartition(*place, since) for place in tail.places]
            starts = {}
            for found in reader.offsets_for_times(asked, timeout=30):
                high = reader.get_watermark_offsets(found, timeout=30)[1]
                # the last message is always read, however old: it says how far its worker's partitions are answered
                first = found.offset if 0 <= found.offset < high else high
                starts[found.topic, found.partition] = max(0, min(first, high - _LAST), high - self._ids)
            return starts
        finally:
            reader.close()

    def _parse(self, messages: list[Message]) -> list[tuple[int, dict[int, int], list[tuple[int, int, int, int]]]]:
        found = []
        for message in messages:
            told = repeats.unpacked(message.value() or b"", self.topic_number)
            if told is not None:
                found.append((kafka_ms(message), *told))
            elif not self._strangers:
                self._strangers += 1
                log.warning(
                    "left out: of another life of the requests' topic, or another hand's",
                    topic=self.topic,
                    partition=partition(message),
                    offset=offset(message),
                )
        return found

    def _apply(self, found: list[tuple[int, dict[int, int], list[tuple[int, int, int, int]]]]) -> None:
        for at, positions, entries in found:
            for number, next_offset in positions.items():
                self._next[number] = max(self._next.get(number, 0), next_offset)
            self.repeats.remember_all(entries, at)


def _chunks(entries: Sequence[tuple[int, int, int, int]]) -> Iterable[Sequence[tuple[int, int, int, int]]]:
    """So many at a time that any topic takes them; once nothing where there are none."""
    return (entries[at : at + ENTRIES_AT_ONCE] for at in range(0, max(1, len(entries)), ENTRIES_AT_ONCE))


_LAST = 64  # control records and aborted messages take offsets too
