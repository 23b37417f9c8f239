"""Topics and offsets, as the service reads them: it is assigned all of them and is in no group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from streams.settings import Settings
from streams.transport.batches import reader

SILENT_S = 30.0
"""Longest time without progress while a topic is read to an offset."""
POLL_MS = 500


class ReadError(RuntimeError):
    """A topic could not be read to where it is known to reach."""


def consumer(settings: Settings, group: str | None = None) -> KafkaConsumer:
    """A consumer of committed records. group: where it keeps how far it has come."""
    return reader(
        **settings.kafka_python(),
        group_id=group,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
    )


def read_between(
    consumer: KafkaConsumer, place: TopicPartition, begin: int, end: int
) -> Iterator[Any]:
    """The records from one offset to before another. Raises ReadError, kafka-python's errors."""
    consumer.assign([place])
    if begin <= 0:
        consumer.seek_to_beginning(place)
    else:
        consumer.seek(place, begin)
    moved_at = time.monotonic()
    while (at := consumer.position(place)) < end:
        for records in consumer.poll(timeout_ms=POLL_MS).values():
            yield from (record for record in records if record.offset < end)
        if consumer.position(place) > at:
            moved_at = time.monotonic()
        elif time.monotonic() - moved_at > SILENT_S:
            raise ReadError(f"{place.topic} could not be read up to offset {end}")
