"""Where the replay goes on after any stop: the topics themselves say it.

Nothing else could: whatever is written beside the topics is older or newer than they are when
the process is killed. The producer is idempotent, so what a partition of ``requests`` or
``truth`` holds of the replay is the beginning of what it is meant to hold: in order, without a
gap, nothing twice. The last event of the replay in each partition therefore says which events
are there. The replay marks its records with a header, so that requests of others in the same
topics (``weir send``) do not count; the key says which flight it is.

One thing the topics cannot tell: what a killed run had handed to the operating system and the
broker has not appended yet, at most five batches of one connection, which the broker takes in
turn with the questions of the new run. So the ends are asked for until two answers agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from services.demo.timeline import TOPICS, Timeline

MARK: list[tuple[str, bytes]] = [("weir.replay", b"1")]
"""The header of every record that the replay publishes."""

TIMEOUT_S = 30.0
"""Longest wait for an answer of the broker."""

FIRST_LOOK = 100
"""Records at a partition's end that are read first; each further look reads ten times more."""


class ReplayError(RuntimeError):
    """The replay cannot go on; the message says why and what to do."""


def published(
    timeline: Timeline, task: str, partitions: int, librdkafka: Mapping[str, Any]
) -> Published:
    """What the topics hold of the timeline. ReplayError where they no longer tell."""
    consumer = Consumer(
        {
            **librdkafka,
            "group.id": "weir-replay",  # librdkafka wants one; assign() never joins it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
        }
    )
    try:
        last: list[list[int]] = []
        for kind, name in enumerate(TOPICS):
            position_of = timeline.positions(kind)
            last.append([])
            for number in range(partitions):
                key = _last_marked(consumer, f"{task}.{name}", number)
                if key is not None and key not in position_of:
                    raise ReplayError(
                        f"{task}.{name} ends with {key.decode()}, which is not in the data of "
                        "this demo: another version wrote it; start in another home (WEIR_HOME)"
                    )
                last[-1].append(-1 if key is None else position_of[key])
        return Published(timeline, last)
    except KafkaException as error:
        raise ReplayError(
            f"the topics of {task} cannot be read: {error.args[0].str()}; is the broker running "
            "and are the topics created (weir status)?"
        ) from error
    finally:
        consumer.close()


def _last_marked(consumer: Consumer, topic: str, number: int) -> bytes | None:
    """Key of the replay's last record in a partition, None where it published nothing there."""
    low, high = _settled_ends(consumer, topic, number)
    upto, look = high, FIRST_LOOK
    while upto > low:
        start = max(low, upto - look)
        found = _scan(consumer, TopicPartition(topic, number, start), upto)
        if found is not None:
            return found
        upto, look = start, look * 10
    if low > 0:
        raise ReplayError(
            f"{topic} [{number}] keeps nothing of the replay any more (retention), so nobody "
            "can say where it stopped; start afresh in another home (WEIR_HOME)"
        )
    return None


def _settled_ends(consumer: Consumer, topic: str, number: int) -> tuple[int, int]:
    """First and next offset, when two answers agree."""
    where = TopicPartition(topic, number)
    ends: tuple[int, int] = consumer.get_watermark_offsets(where, timeout=TIMEOUT_S)
    while True:
        again: tuple[int, int] = consumer.get_watermark_offsets(where, timeout=TIMEOUT_S)
        if again == ends:
            return ends
        ends = again


def _scan(consumer: Consumer, start: TopicPartition, upto: int) -> bytes | None:
    """Key of the last marked record from an offset up to another."""
    consumer.assign([start])
    found: bytes | None = None
    while True:
        message = consumer.poll(TIMEOUT_S)
        if message is None:
            raise ReplayError(f"the broker did not send {start.topic} within {TIMEOUT_S:.0f} s")
        error = message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:
                return found
            raise KafkaException(error)
        if message.offset() >= upto:
            return found
        if MARK[0] in (message.headers() or ()):
            found = message.key()


def murmur2(key: bytes) -> int:
    """Kafka's hash of a key, 32 bits (org.apache.kafka.common.utils.Utils.murmur2)."""
    mask, m = 0xFFFF_FFFF, 0x5BD1_E995
    h = 0x9747_B28C ^ len(key)
    whole = len(key) & ~3
    for at in range(0, whole, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    if whole < len(key):
        h = (h ^ int.from_bytes(key[whole:], "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key."""
    return (murmur2(key) & 0x7FFF_FFFF) % partitions


class Published:
    """Which events are in the topics already, known from the last of each partition.

    A partition receives its events in order and without a gap, so its last event says all:
    those up to it are there, those after it are not.
    """

    def __init__(self, timeline: Timeline, last: Sequence[Sequence[int]]) -> None:
        """``last[kind][partition]``: position of the last event there, -1 where none is."""
        self._timeline = timeline
        self._last = last
        self.start = min((min(each) for each in last), default=-1) + 1
        self.stop = max((max(each) for each in last), default=-1) + 1
        """All before ``start`` is published, nothing from ``stop`` on; between, some is."""

    def __contains__(self, position: int) -> bool:
        if position < self.start or position >= self.stop:
            return position < self.start
        last = self._last[self._timeline.kinds[position]]
        key = self._timeline.keys[self._timeline.rows[position]]
        return bool(position <= last[partition(key, len(last))])
