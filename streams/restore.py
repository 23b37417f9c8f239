"""Bring a stage's state up to the committed offsets by replaying its inputs.

No changelog topic is needed: a stage's state is a function of which inputs it has seen, not of
the order in which topics took turns, and the inputs are kept in Kafka for longer than the state
lives. So the inputs between the state's offsets and the committed ones are read again and their
outputs, which are committed already, are thrown away.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition

from streams.store import Store
from streams.transport.batch import RecordBatch, columns_of
from streams.transport.messages import BoundedConsumer

log = logging.getLogger(__name__)

TIMEOUT_S = 60.0  # without one record for this long the broker is taken to be gone


def replay(
    client: Mapping[str, Any],
    store: Store,
    topics: Iterable[str],
    partition: int,
    committed: Mapping[str, int],
    apply: Callable[[RecordBatch], Any],
) -> int:
    """Replay each topic's partition from the store's offset to the committed one.

    committed: by topic the committed offset, −1 where nothing is committed (the state is then
    to be empty). apply: changes the store for one batch and returns nothing of use; it seals
    and writes. Returns how many records were replayed.
    """
    wanted: dict[str, tuple[int, int]] = {}
    for topic in topics:
        end = max(committed.get(topic, -1), 0)
        start = store.offsets.get(topic, 0)
        if start > end:
            raise RuntimeError(
                f"the state in {store.folder} is at offset {start} of {topic} partition "
                f"{partition}, and the group's committed offset is {end}: the topic or the group "
                "was made anew; remove the folder to build the state from the topics"
            )
        if start < end:
            wanted[topic] = (start, end)
    if not wanted:
        return 0
    consumer = BoundedConsumer(
        {
            **client,
            "group.id": "weir-restore",
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": False,
        }
    )
    try:
        return _read(consumer, wanted, partition, apply)
    finally:
        consumer.close()


def _read(
    consumer: Consumer,
    wanted: Mapping[str, tuple[int, int]],
    partition: int,
    apply: Callable[[RecordBatch], Any],
) -> int:
    ends: dict[str, int] = {}
    starts = []
    for topic, (start, end) in wanted.items():
        low, _ = consumer.get_watermark_offsets(TopicPartition(topic, partition), TIMEOUT_S)
        if max(start, low) < end:
            ends[topic] = end
            starts.append(TopicPartition(topic, partition, max(start, low)))
    if not starts:
        return 0
    consumer.assign(starts)
    replayed = 0
    heard = time.monotonic()
    while ends:
        messages = consumer.consume(2000, 0.05)  # it waits for all of them
        if messages:
            heard = time.monotonic()
        elif time.monotonic() - heard > TIMEOUT_S:
            raise TimeoutError(f"no records to replay for {TIMEOUT_S} s; still missing: {ends}")
        for message in messages:
            if message.error() is not None:
                raise KafkaException(message.error())
        for batch in columns_of(messages, 0):
            wanted_part = _before(batch, ends.get(batch.topic, 0))
            if len(wanted_part):
                apply(wanted_part)
                replayed += len(wanted_part)
        # A position passes the markers of transactions too, which no record tells of.
        for tp in consumer.position([TopicPartition(topic, partition) for topic in ends]):
            if tp.offset >= ends[tp.topic]:
                del ends[tp.topic]
    log.info("replayed %d records of partition %d", replayed, partition)
    return replayed


def _before(batch: RecordBatch, end: int) -> RecordBatch:
    n = int((batch.offsets < end).sum())
    if n == len(batch):
        return batch
    return RecordBatch(
        batch.topic,
        batch.partition,
        batch.offsets[:n],
        batch.timestamps[:n],
        batch.keys[:n],
        batch.values[:n],
        {i: h for i, h in batch.headers.items() if i < n},
        batch.generation,
    )
