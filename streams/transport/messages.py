"""Records as librdkafka hands them out, whoever wrote them: what no setting of a client forgives.

A producer decides the names of headers, how far a batch unpacks, and everything else in it; a
broker checks little of that. What is here costs such a record, or its batch, itself alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from operator import methodcaller
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from prometheus_client import Counter

Headers = list[tuple[str, bytes]]

log = logging.getLogger(__name__)

HEADERS_LOST = Counter("weir_headers_lost", "Records whose headers no client can read")
BATCHES_LOST = Counter(
    "weir_batches_left_out",
    "Batches of records that cannot be unpacked or unpack too far",
    ["topic"],
)

BOUNDS: Mapping[str, Any] = {
    # What a fetch brings unpacks to a thousand times as much at worst (gzip), in memory, before
    # anybody can look at it. A batch that is larger than this comes alone.
    "fetch.max.bytes": 1 << 20,
    "fetch.message.max.bytes": 1 << 20,
    # librdkafka unpacks zstd no further. It guesses how far that is, and may give up at a third of
    # this: kafka-python has to give up there as well (`streams.transport.batches`).
    "receive.message.max.bytes": 64 << 20,
}
"""Settings of every consumer that reads what others may write."""

UNREADABLE = (KafkaError._BAD_COMPRESSION, KafkaError._BAD_MSG)
"""Errors in place of a batch: left to itself librdkafka asks for it for ever."""
SILENT_S = 30.0
"""Longest wait for the broker to say where the next batch begins."""


_ask = methodcaller("headers")


def headers_of(messages: Iterable[Message]) -> list[Headers | None]:
    """The headers of records; None without any, or where a name of one is not UTF-8.

    To be asked once: of such a name confluent-kafka gives a broken object the second time. The
    first time it returns one with an exception set, which a call of Python's own may overlook, and
    whoever comes next has to bear; `map` looks.
    """
    found: list[Headers | None] = []
    rest = map(_ask, messages)
    while True:
        try:
            found.extend(rest)
        except (SystemError, UnicodeError):
            HEADERS_LOST.inc()
            found.append(None)
        else:
            return found


class BoundedConsumer(Consumer):
    """librdkafka's consumer, which passes batches that it cannot unpack: they are left out.

    config: as `Consumer` takes it; `BOUNDS` are added.
    """

    def __init__(self, config: Mapping[str, Any], **more: Any) -> None:
        super().__init__({**BOUNDS, **config}, **more)
        self._client = dict(config)

    def poll(self, timeout: float = -1.0) -> Message | None:
        """As `Consumer.poll`."""
        while True:
            message = super().poll(timeout)
            if message is None or not self._passed(message):
                return message

    def consume(self, num_messages: int = 1, timeout: float = -1.0) -> list[Message]:
        """As `Consumer.consume`; perhaps fewer."""
        messages: list[Message] = super().consume(num_messages, timeout)
        if any(map(Message.error, messages)):
            return [message for message in messages if not self._passed(message)]
        return messages

    def _passed(self, message: Message) -> bool:
        """Whether a message stood for a batch that cannot be read, which is passed now.

        Raises TimeoutError where the broker does not say where the next one begins.
        """
        error, offset = message.error(), message.offset()
        if error is None or error.code() not in UNREADABLE or offset is None or offset < 0:
            return False
        topic, partition = message.topic(), message.partition()
        next_ = _next_batch(self._client, topic, partition, offset)
        log.warning(
            "%s[%d]: the records from offset %d to %d are left out: %s",
            *(topic, partition, offset, next_ - 1, error),
        )
        BATCHES_LOST.labels(topic).inc()
        self.seek(TopicPartition(topic, partition, next_))
        return True


def _next_batch(client: Mapping[str, Any], topic: str, partition: int, offset: int) -> int:
    """Where the batch after that of an offset begins: kafka-python shows it without unpacking."""
    from kafka import TopicPartition as Place  # 400 ms, for what hardly ever happens

    from streams.settings import in_words_of_kafka_python
    from streams.transport.batches import reader

    place = Place(topic, partition)
    consumer = reader(
        **in_words_of_kafka_python(client),
        group_id=None,
        check_crcs=False,
        # A batch at a time: the broker sends one where none is so small.
        fetch_max_bytes=1,
        max_partition_fetch_bytes=1,
        max_poll_records=1 << 30,
    )
    try:
        consumer.assign([place])
        consumer.seek(place, offset)
        deadline = time.monotonic() + SILENT_S
        while time.monotonic() < deadline:
            for records in consumer.poll(timeout_ms=200).values():
                first, last = records[0].offset, records[-1].offset
                return int(first if first > offset else last + 1)
            if (position := int(consumer.position(place))) > offset:
                return position
    finally:
        consumer.close()
    raise TimeoutError(f"the broker does not say what follows offset {offset} of {place}")
