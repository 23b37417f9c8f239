"""The triggers' state as it was committed: the last record of ``<task>.triggers``.

Other stages build a lost state anew by replaying their inputs (`streams.restore`), which is right
where it does not hang on how topics took turns. What triggers decide does: whether a drift or an
answer was read first decides whether an event is published. A replay in another order would come to
a state that published something else, and publish it again. So the state is a record in the very
transaction that holds the decisions and the inputs' offsets.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import OffsetSpec

from streams.transport.messages import BoundedConsumer
from streams.triggers.pointer import ends

log = logging.getLogger(__name__)

T = TypeVar("T")
"""What a state is read as."""
Last = Callable[[Callable[[bytes], Any]], Any]
"""`last_record` of some topic: given how to read a state, what it reads; None without one."""

TIMEOUT_S = 60.0
"""Longer than a transaction that was left open lasts."""
LOOK = 64
"""Offsets at the end that are read first: records, and the markers of their transactions."""


def last_record(client: Mapping[str, Any], topic: str, read: Callable[[bytes], T]) -> T | None:
    """What `read` gives of the last committed record of a topic's only partition that it can read;
    None where there is none. Those that it cannot read are told of: only Weir writes there.

    A transaction that is being decided is waited for: the worker before may have committed its
    offsets a moment ago, and the marker that shows its records is on its way. Raises
    KafkaException and TimeoutError where the broker does not answer.
    """
    (end,) = ends(client, topic, 1, committed=False)
    (begin,) = ends(client, topic, 1, spec=OffsetSpec.earliest())
    consumer = BoundedConsumer(
        {
            "log_level": 0,
            **client,
            "group.id": "weir-triggers-state",  # librdkafka wants one; assign() never joins it
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    try:
        look = LOOK
        while True:
            start = max(begin, end - look)
            found = last_readable(_read(consumer, topic, start, end), read)
            if found is not None or start == begin:
                return found
            look *= 16
    finally:
        consumer.close()


def state_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The state that a record holds as JSON. ValueError where it is no JSON object."""
    state = json.loads(record["state"])
    if not isinstance(state, dict):
        raise ValueError(f"the state is {record['state'][:40]!r}")
    return state


def last_readable(values: Sequence[bytes], read: Callable[[bytes], T]) -> T | None:
    """What `read` gives of the last of some values that it can read; None where there is none."""
    for value in reversed(values):
        try:
            return read(value)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
            log.warning("a state that is not Weir's is left out: %r", error)
    return None


def _read(consumer: Consumer, topic: str, start: int, end: int) -> list[bytes]:
    """The values between two offsets; returns when the position has passed the end."""
    found: list[bytes] = []
    if start >= end:
        return found
    place = TopicPartition(topic, 0, start)
    consumer.assign([place])
    reached, deadline = start, time.monotonic() + TIMEOUT_S
    while True:
        for message in consumer.consume(500, 0.1):
            error = message.error()
            if error is None:
                if message.offset() < end and message.value() is not None:
                    found.append(message.value())
            elif error.code() == error._PARTITION_EOF:
                # Where compaction emptied the last batch nothing else tells of the end.
                reached = message.offset()
            elif error.fatal():  # the others pass
                raise KafkaException(error)
        # A position passes the markers of transactions too, which no record tells of.
        (position,) = consumer.position([place])
        if max(reached, position.offset) >= end:
            return found
        if time.monotonic() > deadline:
            raise TimeoutError(f"{topic} could not be read up to {end} within {TIMEOUT_S:g} s")
