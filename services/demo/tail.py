"""A consumer in a thread of its own, beside the replay: reads topics from their ends on."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import structlog
from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)

from streams.transport.messages import BoundedConsumer

TIMEOUT_S = 30.0
"""Longest wait for the broker at the start."""

WAIT_S = 0.1
"""Longest wait for a record before the thread sees that it is to end."""

AT_ONCE = 5_000
"""Most records that are taken at once."""


log = structlog.get_logger(__name__)


class Tail(ABC):
    """Reads committed records while it is entered: ``with ... as tail``."""

    def __init__(self, name: str, librdkafka: Mapping[str, Any], fetch_wait_ms: int) -> None:
        """name: of the thread. fetch_wait_ms: how long a fetch waits for a record."""
        self._name = name
        self._config = {
            "log_level": 0,
            **librdkafka,
            "group.id": f"weir-{name}",  # librdkafka wants one; assign() never joins it
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "fetch.wait.max.ms": fetch_wait_ms,
            "fetch.error.backoff.ms": 50,
        }
        self._over = threading.Event()
        self._ready = threading.Event()
        self.failure: BaseException | None = None
        """What ended the thread, if anything did."""

    @abstractmethod
    def _places(self) -> Mapping[tuple[str, int], bool]:
        """The partitions to read, and whether from their beginning: else from their ends now."""

    @abstractmethod
    def _taken(self, messages: Sequence[Message], at: float) -> None:
        """Records that have come, at a time (``time.time()``)."""

    def _looked(self) -> None:
        """Do what is to be done after each look for records, whether any came or not."""
        return

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        if not self._ready.wait(TIMEOUT_S) or self.failure is not None:
            self._over.set()
            topics = ", ".join(sorted({topic for topic, _ in self._places()}))
            raise TimeoutError(
                f"the broker did not say within {TIMEOUT_S:g} s where {topics} end"
            ) from self.failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        consumer = BoundedConsumer(self._config)
        try:
            consumer.assign(self._starts(consumer))
            self._ready.set()
            while not self._over.is_set():
                # poll() returns with the first message; consume(n) would wait for n of them.
                first = consumer.poll(WAIT_S)
                if first is not None:
                    messages = [first, *consumer.consume(AT_ONCE, 0)]
                    self._taken([m for m in messages if not _is_event(m)], time.time())
                self._looked()
        except Exception as error:
            log.exception("topics are not read on", reader=self._name)
            self.failure = error
        finally:
            self._ready.set()
            consumer.close()

    def _starts(self, consumer: Consumer) -> list[TopicPartition]:
        """Where to begin, so that no record that comes later is missed."""
        starts = []
        deadline = time.monotonic() + TIMEOUT_S
        for (topic, number), from_beginning in self._places().items():
            where = TopicPartition(topic, number, OFFSET_BEGINNING)
            while not from_beginning and not self._over.is_set():
                try:
                    where.offset = consumer.get_watermark_offsets(where, timeout=TIMEOUT_S)[1]
                    break
                except KafkaException:  # such as a topic that was just made and has no leader
                    if time.monotonic() > deadline:
                        raise
                    self._over.wait(0.1)
            starts.append(where)
        return starts


def _is_event(message: Message) -> bool:
    """Whether it is no record. The client finds its broker again by itself."""
    error = message.error()
    if error is not None and error.code() != KafkaError._PARTITION_EOF and error.fatal():
        raise KafkaException(error)
    return error is not None
