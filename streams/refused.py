"""Dead letters read, their originals found, and published again: untouched, to the same partition, a limited number of times.

What was published again is known from the topics themselves: the messages' headers name their dead letter (`models.dead_letters`).
So a replay that is killed goes on where it was when it is run again, from whatever machine.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition

from models import dead_letters
from models.config import Applied
from models.dead_letters import Header, Letter, Place
from models.errors import BadArtifact, BadMessage, CanarecError
from models.events import Source
from streams import clients
from streams.clients import Cluster
from streams.messages import headers as headers_of
from streams.messages import kafka_ms, offset, partition

AT_ONCE = 500  # some of them are megabytes
ANY_SIZE = 1_000_000_000  # librdkafka's limit: the topic has the last word
DELIVERY_S = 60


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which dead letters. `topic`: the one that the message was refused in, by Kafka's name; times are Kafka's."""

    reason: str | None = None
    topic: str | None = None
    since_ms: int | None = None
    until_ms: int | None = None
    places: Collection[Place] = ()

    def has(self, letter: Letter) -> bool:
        return (
            self.reason in (None, letter.reason)
            and self.topic in (None, letter.source.topic)
            and (self.since_ms is None or letter.at_ms >= self.since_ms)
            and (self.until_ms is None or letter.at_ms < self.until_ms)
            and (not self.places or letter.place in self.places)
        )


@dataclass(frozen=True, slots=True)
class Found:
    """The letters that were wanted, oldest first, and what of their lines of descent the topic knows."""

    letters: list[Letter]
    replays: dict[Place, int]  # by the line's first letter
    begun_ms: dict[Place, int]  # when that one was refused
    strangers: int  # messages of the topic that are no dead letters


@dataclass(frozen=True, slots=True)
class Step:
    """What becomes of one letter: it is the `replays`th time that its bytes are published again, or `refused` says why not."""

    letter: Letter
    replays: int
    refused: str | None


def find(cluster: Cluster, applied: Applied, wanted: Wanted) -> Found:
    """All wanted dead letters that the topic still has."""
    letters, replays, begun, strangers = [], dict[Place, int](), dict[Place, int](), 0
    for message in _of_topic(cluster, applied.topic("dead-letters")):
        try:
            letter = _letter(message)
        except BadMessage:
            strangers += 1
            continue
        if not letter.whole and wanted.has(letter):
            letter = _with_descent(cluster, letter)
        replays[letter.root] = max(replays.get(letter.root, 0), letter.replays)
        begun[letter.root] = min(begun.get(letter.root, letter.at_ms), letter.at_ms)
        if wanted.has(letter):
            letters.append(letter)
    letters.sort(key=lambda each: (each.at_ms, each.place))
    return Found(letters, replays, begun, strangers)


def at(cluster: Cluster, applied: Applied, place: Place) -> tuple[Letter, Message] | None:
    """The dead letter of a place; None where the topic has none there. CanarecError where what is there is no dead letter."""
    message = _message(cluster, applied.topic("dead-letters"), *place)
    if message is None:
        return None
    try:
        return _letter(message), message
    except BadMessage as error:
        raise CanarecError(f"{applied.topic('dead-letters')} {place}: {error}") from None


def original(
    cluster: Cluster, letter: Letter, message: Message
) -> tuple[bytes | None, bytes | None, tuple[Header, ...]]:
    """Key, value and headers of the refused message; where the dead letter left them out, they are read at the source place.

    BadArtifact where that does not hold the message any more.
    """
    if letter.complete:
        return letter.key, dead_letters.payload(message.value()), letter.headers
    where = letter.source
    found = _message(cluster, where.topic, where.partition, where.offset)
    if found is None:
        raise BadArtifact(f"the payload was left out, and {_told(where)} is gone from its topic")
    if not dead_letters.is_original(letter, found.value()):
        raise BadArtifact(f"the payload was left out, and {_told(where)} is another message by now")
    return found.key(), found.value(), tuple(headers_of(found))


def plan(
    cluster: Cluster, applied: Applied, found: Found, *, limit: int, named: bool, looking: Callable[[str], None]
) -> list[Step]:
    """What to do with each of these letters. The topics are read from the first refusal on for what was published again already."""
    topics = {applied.topic(name) for name in dead_letters.REPLAYABLE}
    published = _published(cluster, found, topics, looking)
    steps = []
    for letter in found.letters:
        replays = max(found.replays.get(letter.root, 0), published.get(letter.root, 0))
        why = dead_letters.refusal(letter, replays, limit, topics, named=named)
        if why is None:
            published[letter.root] = (
                replays + 1
            )  # a line of descent goes on once, also where two of its letters are named
        steps.append(Step(letter, replays + (why is None), why))
    return steps


def replay(cluster: Cluster, applied: Applied, steps: Sequence[Step], done: Callable[[int], None]) -> list[Step]:
    """Publishes what the plan says, in the order of the refusals. Gives the steps that could not be done, with the reason.

    Every other one is acknowledged by all replicas when it returns.
    """
    todo = [step for step in steps if step.refused is None]
    if not todo:
        return []
    impossible: list[Step] = []
    # without transactions: nobody's open transaction may hold up those who read these topics
    producer = cluster.producer(linger_ms=5, message_max_bytes=ANY_SIZE)
    places = {step.letter.source.topic: set[int]() for step in todo}
    for name in places:
        places[name] = set(clients.partitions(producer, name))
    for number, (step, message) in enumerate(_with_messages(cluster, applied, todo), 1):
        try:
            _produce(cluster, producer, places, step, message, impossible)
        except (BadArtifact, BadMessage) as error:
            impossible.append(Step(step.letter, step.replays, str(error)))
        done(number)
    if producer.flush(DELIVERY_S):
        raise CanarecError(f"{len(producer)} messages are not acknowledged yet: run it again to see which")
    return impossible


def _produce(
    cluster: Cluster,
    producer: Producer,
    places: Mapping[str, Collection[int]],
    step: Step,
    message: Message | None,
    impossible: list[Step],
) -> None:
    letter, where = step.letter, step.letter.source
    if message is None:
        raise BadArtifact("the dead letter is gone from its topic")
    if where.partition not in places[where.topic]:
        raise BadArtifact(f"{where.topic} has no partition {where.partition} any more")
    key, value, headers = original(cluster, letter, message)

    def delivered(error: KafkaError | None, _: Message) -> None:
        if error is not None:
            impossible.append(Step(letter, step.replays, error.str()))

    headed = dead_letters.descended(headers, letter.root, step.replays)
    while True:
        try:
            producer.produce(where.topic, value, key, where.partition, on_delivery=delivered, headers=headed)
            break
        except BufferError:
            producer.poll(0.5)
        except KafkaException as error:  # larger than a message may be, for instance
            raise BadArtifact(error.args[0].str()) from None
    producer.poll(0)


def _with_messages(cluster: Cluster, applied: Applied, steps: Sequence[Step]) -> Iterator[tuple[Step, Message | None]]:
    """Each step with its dead letter, read again: the payloads of all would not fit the memory."""
    by_place = {step.letter.place: step for step in steps}
    name, ranges = applied.topic("dead-letters"), dict[tuple[str, int], tuple[int, int]]()
    for place in by_place:
        first, after = ranges.get((name, place.partition), (place.offset, place.offset + 1))
        ranges[name, place.partition] = (min(first, place.offset), max(after, place.offset + 1))
    for some in clients.messages(cluster, ranges, at_once=AT_ONCE):
        for message in sorted(some, key=kafka_ms):
            step = by_place.pop(Place(partition(message), offset(message)), None)
            if step is not None:
                yield step, message
    yield from ((step, None) for step in by_place.values())


def _published(
    cluster: Cluster, found: Found, topics: Collection[str], looking: Callable[[str], None]
) -> dict[Place, int]:
    """How often the bytes of each line of descent were published again, by the messages' own headers."""
    since: dict[str, int] = {}
    for letter in found.letters:
        name, begun = letter.source.topic, found.begun_ms[letter.root]
        if name in topics:
            since[name] = min(since.get(name, begun), begun)
    replays: dict[Place, int] = {}
    for name, at_ms in since.items():
        looking(name)
        for message in _since(cluster, name, at_ms):
            count, origin = dead_letters.descent(headers_of(message))
            if origin is not None:
                replays[origin] = max(replays.get(origin, 0), count)
    return replays


def _since(cluster: Cluster, name: str, at_ms: int) -> Iterator[Message]:
    """All of a topic that Kafka took from this time on."""
    consumer = cluster.consumer()
    try:
        ranges = clients.whole(consumer, [name])
        asked = [TopicPartition(*place, at_ms) for place in ranges]
        for found in consumer.offsets_for_times(asked, timeout=30) if asked else []:
            first, after = ranges[found.topic, found.partition]
            # an end of −1: nothing is as new as this
            ranges[found.topic, found.partition] = (max(first, found.offset) if found.offset >= 0 else after, after)
    finally:
        consumer.close()
    yield from _flat(clients.messages(cluster, ranges, at_once=AT_ONCE))


def _of_topic(cluster: Cluster, name: str) -> Iterator[Message]:
    consumer = cluster.consumer()
    try:
        ranges = clients.whole(consumer, [name])
    finally:
        consumer.close()
    yield from _flat(clients.messages(cluster, ranges, at_once=AT_ONCE))


def _message(cluster: Cluster, name: str, number: int, where: int) -> Message | None:
    """The message of a place; None where there is none, or none any more."""
    consumer = cluster.consumer()
    try:
        if number not in clients.partitions(consumer, name):
            return None
        first, after = clients.watermarks(consumer, name, number)
    finally:
        consumer.close()
    if not first <= where < after:
        return None
    for message in _flat(clients.messages(cluster, {(name, number): (where, where + 1)}, at_once=1)):
        if offset(message) == where:
            return message
    return None


def _flat(batches: Iterable[list[Message]]) -> Iterator[Message]:
    for batch in batches:
        yield from batch


def _letter(message: Message) -> Letter:
    place = Place(partition(message), offset(message))
    return dead_letters.read(place, kafka_ms(message), message.key(), message.value(), headers_of(message))


def _with_descent(cluster: Cluster, letter: Letter) -> Letter:
    """A letter that left its message out, with what the message's headers say of earlier replays."""
    where = letter.source
    found = _message(cluster, where.topic, where.partition, where.offset)
    replays, origin = dead_letters.descent(headers_of(found) if found is not None else ())
    return msgspec.structs.replace(letter, replays=replays, origin=origin)


def _told(where: Source) -> str:
    return f"{where.topic} {where.partition}:{where.offset}"
