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

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from services.demo.timeline import TOPICS, Timeline
from streams.partitioner import partitions_of
from streams.transport.messages import BoundedConsumer, headers_of

MARK: list[tuple[str, bytes]] = [("weir.replay", b"1")]
"""The header of every record that the replay publishes."""

TIMEOUT_S = 30.0
"""Longest wait for an answer of the broker."""

RETRY_S = 0.1

FIRST_LOOK = 100
"""Records at a partition's end that are read first; each further look reads ten times more."""


Partition = tuple[str, int]
Ends = dict[Partition, tuple[int, int]]


class ReplayError(RuntimeError):
    """The replay cannot go on; the message says why and what to do."""


class Published:
    """Which events are in the topics already, known from the last of each partition.

    A partition receives its events in order and without a gap, so its last event says all:
    those up to it are there, those after it are not.
    """

    def __init__(self, timeline: Timeline, last: Sequence[Sequence[int]]) -> None:
        """``last[kind][partition]``: position of the last event there, -1 where none is."""
        self.start = min((min(each) for each in last), default=-1) + 1
        self.stop = max((max(each) for each in last), default=-1) + 1
        """All before ``start`` is published, nothing from ``stop`` on; between, some is."""
        self._between = np.zeros(max(0, self.stop - self.start), bool)
        for kind, ends in enumerate(last):
            at = self.start + np.flatnonzero(timeline.kinds[self.start : self.stop] == kind)
            keys = [timeline.keys[row] for row in timeline.rows[at]]
            there = at <= np.asarray(ends)[partitions_of(keys, len(ends))]
            self._between[at[there] - self.start] = True

    def __contains__(self, position: int) -> bool:
        if position < self.start or position >= self.stop:
            return position < self.start
        return bool(self._between[position - self.start])


def published(
    timeline: Timeline, task: str, partitions: int, librdkafka: Mapping[str, Any]
) -> Published:
    """What the topics hold of the timeline. ReplayError where they no longer tell."""
    where = [(f"{task}.{name}", number) for name in TOPICS for number in range(partitions)]
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        try:
            keys = _last_keys(where, librdkafka)
            break
        except KafkaException as error:  # such as a topic that was just made and has no leader
            if time.monotonic() > deadline:
                raise ReplayError(
                    f"the topics of {task} cannot be read: {error.args[0].str()}; is the broker "
                    "running and are the topics created (weir status)?"
                ) from error
            time.sleep(RETRY_S)
    last: list[list[int]] = []
    for kind, name in enumerate(TOPICS):
        position_of = timeline.positions(kind)
        found = [keys.get((f"{task}.{name}", number)) for number in range(partitions)]
        unknown = [key.decode() for key in found if key is not None and key not in position_of]
        if unknown:
            raise ReplayError(
                f"{task}.{name} ends with {', '.join(unknown)}, which this demo's data does not "
                "hold: another version wrote it; start in another home (WEIR_HOME)"
            )
        last.append([-1 if key is None else position_of[key] for key in found])
    return Published(timeline, last)


def _last_keys(where: Sequence[Partition], librdkafka: Mapping[str, Any]) -> dict[Partition, bytes]:
    """Key of the replay's last record in each partition where it published any."""
    consumer = BoundedConsumer(
        {
            "log_level": 0,
            **librdkafka,
            "group.id": "weir-replay",  # librdkafka wants one; assign() never joins it
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 10,
        }
    )
    try:
        return _last_marked(consumer, _settled_ends(consumer, where))
    finally:
        consumer.close()


def _settled_ends(consumer: Consumer, where: Sequence[Partition]) -> Ends:
    """First and next offset of every partition, when two answers agree."""

    def ask() -> Ends:
        return {
            each: consumer.get_watermark_offsets(TopicPartition(*each), timeout=TIMEOUT_S)
            for each in where
        }

    ends = ask()
    while (again := ask()) != ends:
        ends = again
    return ends


def _last_marked(consumer: Consumer, ends: Ends) -> dict[Partition, bytes]:
    """The same, given the ends: looks at the last records of all partitions at once, then
    further back where none was the replay's.
    """
    found: dict[Partition, bytes] = {}
    upto = {each: high for each, (low, high) in ends.items() if high > low}
    look = FIRST_LOOK
    while upto:
        start = {each: max(ends[each][0], high - look) for each, high in upto.items()}
        found |= _scan(consumer, start, upto)
        upto = {e: at for e, at in start.items() if e not in found and at > ends[e][0]}
        look *= 10
    for (topic, number), (low, _) in ends.items():
        if low > 0 and (topic, number) not in found:
            raise ReplayError(
                f"{topic} [{number}] keeps nothing of the replay any more (retention), so nobody "
                "can say where it stopped; start afresh in another home (WEIR_HOME)"
            )
    return found


def _scan(
    consumer: Consumer, start: Mapping[Partition, int], upto: Mapping[Partition, int]
) -> dict[Partition, bytes]:
    """Key of the last marked record of each partition, from one offset up to another."""
    found: dict[Partition, bytes] = {}
    reading = set(start)
    consumer.assign([TopicPartition(*each, at) for each, at in start.items()])
    while reading:
        message = consumer.poll(TIMEOUT_S)
        if message is None:
            raise ReplayError(f"the broker did not send the ends of {start} in {TIMEOUT_S:.0f} s")
        error, each = message.error(), (message.topic(), message.partition())
        if error is not None and error.code() != KafkaError._PARTITION_EOF:
            raise KafkaException(error)
        offset = upto[each] if error is not None else message.offset()
        if error is None and offset < upto[each] and MARK[0] in (headers_of([message])[0] or ()):
            found[each] = message.key()
        if offset + 1 >= upto[each]:
            reading.discard(each)
    return found
