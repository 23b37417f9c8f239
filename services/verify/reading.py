"""Reads topics back whole, as a consumer of committed records."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from streams.transport.messages import BoundedConsumer

AT_ONCE = 10_000
QUIET_S = 60.0
"""Longest silence of the broker while there is more to read."""

Place = tuple[str, int]
"""Topic and partition."""


class ReadError(RuntimeError):
    """The topics cannot be read; the message says why."""


def ends(
    kafka: Mapping[str, Any], places: Sequence[Place], latest: bool = True
) -> dict[Place, int]:
    """Where each partition ends for readers of committed records; or (latest=False) begins."""
    spec = OffsetSpec.latest() if latest else OffsetSpec.earliest()
    asked = {TopicPartition(*place): spec for place in places}
    client = AdminClient(dict(kafka))  # answers come while it lives
    try:
        answers = client.list_offsets(
            asked, isolation_level=IsolationLevel.READ_COMMITTED, request_timeout=QUIET_S
        )
        return {(p.topic, p.partition): f.result().offset for p, f in answers.items()}
    except KafkaException as error:
        raise ReadError(f"the broker does not tell: {error.args[0].str()}") from error


Values = tuple[Place, list[bytes | None]]
"""Values of committed records of one partition, in order."""
Records = tuple[Place, list[int], list[bytes | None]]
"""Offsets and values of committed records of one partition, in order."""


def read(kafka: Mapping[str, Any], places: Sequence[Place]) -> Iterator[Values]:
    """As `read_records`, without the offsets."""
    for place, _, values in read_records(kafka, places):
        yield place, values


def read_records(kafka: Mapping[str, Any], places: Sequence[Place]) -> Iterator[Records]:
    """Everything that is in some partitions now; each in order, between them as they come.

    ReadError where the broker falls silent.
    """
    stops = ends(kafka, places)
    at = ends(kafka, places, latest=False)
    fresh = {place for place in places if at[place] < stops[place]}
    consumer = BoundedConsumer(
        {
            **kafka,
            "group.id": "weir-verify",  # librdkafka wants one; assign() never joins it
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
        }
    )
    try:
        consumer.assign([TopicPartition(*place, at[place]) for place in sorted(fresh)])
        heard = time.monotonic()
        while behind := [place for place in fresh if at[place] < stops[place]]:
            messages = consumer.consume(AT_ONCE, 0.05)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > QUIET_S:
                said = ", ".join(f"{topic} [{number}]" for topic, number in behind)
                raise ReadError(f"the broker sends no more of {said}")
            yield from _values(messages, at, stops)
    finally:
        consumer.close()


def _values(
    messages: Sequence[Any], at: dict[Place, int], stops: Mapping[Place, int]
) -> Iterator[Records]:
    found: defaultdict[Place, list[bytes | None]] = defaultdict(list)
    offsets: defaultdict[Place, list[int]] = defaultdict(list)
    for message in messages:
        place, error = (message.topic(), message.partition()), message.error()
        if error is None:
            if message.offset() < stops[place]:
                found[place].append(message.value())
                offsets[place].append(message.offset())
            at[place] = message.offset() + 1
        elif error.code() == KafkaError._PARTITION_EOF:
            at[place] = max(at[place], message.offset())
        elif error.fatal():
            raise ReadError(f"the topics cannot be read: {error.str()}")
    for place, values in found.items():
        yield place, offsets[place], values
