"""Reads topics for people: what is there now, and what comes; committed records only.

confluent-kafka, not kafka-python: it is imported in 40 ms instead of 400, and a command is waited
for.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from services.command.output import CommandError, note
from services.deployment import answers
from streams.transport.messages import BoundedConsumer, headers_of
from streams.unreadable import Unreadable

if TYPE_CHECKING:  # NumPy: not for every command
    from schemas.codec import Codec

TIMEOUT_S = 30.0
"""Longest wait for the broker's answer to a question about a topic."""
_PASSING = (KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.LEADER_NOT_AVAILABLE)

BATCH = 1000

PASSING = (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)
"""Errors that the client gets over by itself when the broker is back."""


@dataclass(frozen=True)
class Stored:
    """A record as it lies in a topic; ``time`` is its Kafka timestamp in milliseconds."""

    topic: str
    partition: int
    offset: int
    time: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...] = ()


@contextmanager
def reader(kafka: Mapping[str, Any]) -> Iterator[Consumer]:
    """A consumer in no group: it commits nothing and takes no partition from anybody.

    CommandError, at once, where nothing listens at the broker's address.
    """
    if not answers(kafka["bootstrap.servers"]):
        raise CommandError(
            f"no Kafka broker answers on {kafka['bootstrap.servers']}. Is the system running? "
            "`weir status` tells, `weir up` starts it."
        )
    consumer = BoundedConsumer(
        {
            **kafka,
            "group.id": "weir-command",  # librdkafka wants one; assign() never joins it
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 50,
            "reconnect.backoff.max.ms": 500,
        }
    )
    try:
        yield consumer
    finally:
        consumer.close()


def partitions(consumer: Consumer, topic: str) -> list[int]:
    """The partitions of a topic. CommandError where it or the broker is not there."""
    try:
        found = consumer.list_topics(topic, timeout=TIMEOUT_S).topics[topic]
    except KafkaException as error:
        raise unreachable(error) from error
    if found.error is not None:
        raise CommandError(f"there is no topic {topic} yet: start the system with `weir up`")
    return sorted(found.partitions)


def unreachable(error: KafkaException) -> CommandError:
    """The broker does not answer, said to a person."""
    return CommandError(
        f"the Kafka broker does not answer: {error.args[0].str()}. `weir status` tells how it is."
    )


def ends(consumer: Consumer, topics: Sequence[str]) -> dict[str, dict[int, tuple[int, int]]]:
    """First and next offset of every partition, for the topics that exist.

    The next offset is the last stable one: the end for those who read committed records.
    """
    try:
        existing = consumer.list_topics(timeout=TIMEOUT_S).topics
        return {
            topic: {
                number: _ends_of(consumer, TopicPartition(topic, number))
                for number in sorted(existing[topic].partitions)
            }
            for topic in topics
            if topic in existing
        }
    except KafkaException as error:
        raise unreachable(error) from error


def _ends_of(consumer: Consumer, where: TopicPartition) -> tuple[int, int]:
    """First and next offset of a partition; a new one has its leader only after a moment."""
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            first, following = consumer.get_watermark_offsets(where, TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() not in _PASSING or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        else:
            return first, following


def read_all(consumer: Consumer, topic: str, of: Sequence[int]) -> Iterator[Stored]:
    """Every committed record that is in these partitions now, each partition in order."""
    yield from read_from(consumer, {(topic, number): OFFSET_BEGINNING for number in of})


def read_from(
    consumer: Consumer,
    starts: Mapping[tuple[str, int], int],
    ends: Mapping[tuple[str, int], int] | None = None,
) -> Iterator[Stored]:
    """Every committed record from an offset of each topic and partition to its end.

    ``ends``: next offsets that are known already: where records come faster than they are read
    nothing else would be the end. Without them it is where a partition ends when it is reached.
    """
    consumer.assign([TopicPartition(*place, offset) for place, offset in starts.items()])
    ends = ends or {}
    left = set(starts)
    while left:
        messages = _next(consumer, TIMEOUT_S)
        if not messages:
            topics = ", ".join(sorted({topic for topic, _ in left}))
            raise CommandError(
                f"the broker gave nothing of {topics} for {TIMEOUT_S:g} s; try again"
            )
        yield from _records(messages)
        for message in messages:
            place = (message.topic(), message.partition())
            last = place in ends and message.offset() >= ends[place] - 1
            if last or _is_end(message):
                left.discard(place)
    consumer.unassign()


def follow(
    consumer: Consumer, topic: str, start: Mapping[int, int] | Sequence[int]
) -> Iterator[Stored | None]:
    """Committed records for ever; None each time that none came for a moment.

    ``start`` gives the offset to begin at for each partition; a sequence of partitions begins at
    their beginnings.
    """
    if not isinstance(start, Mapping):
        start = dict.fromkeys(start, OFFSET_BEGINNING)
    consumer.assign([TopicPartition(topic, number, offset) for number, offset in start.items()])
    while True:
        messages = _next(consumer, 0.2)
        yield from _records(messages)
        if not messages:
            yield None


def _next(consumer: Consumer, timeout_s: float) -> list[Message]:
    """What has come, as soon as something has: consume() alone would wait for a full batch."""
    first = consumer.poll(timeout_s)
    return [] if first is None else [first, *consumer.consume(BATCH, timeout=0)]


def _records(messages: Sequence[Message]) -> Iterator[Stored]:
    for message in messages:
        error = message.error()
        if error is None:
            yield _stored(message)
        elif not (_is_end(message) or error.retriable() or error.code() in PASSING):
            raise KafkaException(error)


def _is_end(message: Message) -> bool:
    """Whether it is no record but the news that a partition has been read to its end."""
    error = message.error()
    return error is not None and error.code() == KafkaError._PARTITION_EOF


def _stored(message: Message) -> Stored:
    (headers,) = headers_of([message])
    return Stored(
        topic=message.topic(),
        partition=message.partition(),
        offset=message.offset(),
        time=message.timestamp()[1],
        key=message.key(),
        value=message.value(),
        headers=tuple(headers or ()),
    )


def partition_of(key: bytes, count: int) -> int:
    """The partition that Java's default partitioner gives a key: murmur2, sign bit off."""
    return (murmur2(key) & 0x7FFF_FFFF) % count


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2, as an unsigned number (org.apache.kafka.common.utils.Utils)."""
    multiplier, mask = 0x5BD1E995, 0xFFFF_FFFF
    hash_ = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for at in range(0, whole, 4):
        block = int.from_bytes(data[at : at + 4], "little") * multiplier & mask
        block = (block ^ block >> 24) * multiplier & mask
        hash_ = (hash_ * multiplier & mask) ^ block
    if rest := data[whole:]:
        hash_ = (hash_ ^ int.from_bytes(rest, "little")) * multiplier & mask
    hash_ = (hash_ ^ hash_ >> 13) * multiplier & mask
    return hash_ ^ hash_ >> 15


def readable(stored: Iterable[Stored], codec: Codec) -> Iterator[tuple[Stored, dict[str, Any]]]:
    """The records among those that are stored; where there is what cannot be read, a note says."""
    unreadable = Unreadable(note)
    for each in stored:
        place = each.topic, each.partition, each.offset
        if (record := unreadable.read(codec, each.value, place)) is not None:
            yield each, record
