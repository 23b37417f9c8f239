"""Following one small topic from its beginning, in a thread of its own, off the stream."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from schemas.topics import BY_NAME
from streams.transport.messages import BoundedConsumer

log = logging.getLogger(__name__)

WAIT_S = 0.2  # how long a look waits for a record; stopping waits for it at most


class Follower(ABC):
    """Reads partition 0 of ``<task>.<name>`` and goes on reading; no group is joined.

    client: librdkafka's connection settings. lost: what is logged where it can no longer be
    followed. config: further settings of the consumer.
    """

    def __init__(
        self, task: str, name: str, client: Mapping[str, Any], lost: str, **config: Any
    ) -> None:
        self._topic = BY_NAME[name].topic(task)
        self._lost = lost
        self._caught_up = threading.Event()
        self._stopping = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=f"weir-{name}", daemon=True)
        self._config = {
            **client,
            "group.id": f"{task}-{name}",  # never joined: partitions are assigned
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            **config,
        }

    def start(self, timeout_s: float = 60.0) -> None:
        """Read what is there, so that a worker serves by all that was known before its start.

        Raises TimeoutError where the topic cannot be read in time.
        """
        self._thread.start()
        if not self._caught_up.wait(timeout_s):
            raise TimeoutError(f"{self._topic} could not be read within {timeout_s} s")
        if self._failed is not None:
            raise self._failed

    def stop(self) -> None:
        """End."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    @abstractmethod
    def _take(self, consumer: Consumer) -> None:
        """Wait up to `WAIT_S` for records and take them in; at the end set ``_caught_up``."""

    def _still_followed(self) -> None:
        """Raise where it no longer is: the worker ends, and starts again."""
        if self._failed is not None:
            raise RuntimeError(f"{self._topic} can no longer be followed") from self._failed

    @staticmethod
    def _is_end(error: KafkaError) -> bool:
        """Whether an error says that there is no more for now; what passes by itself is logged."""
        if error.code() == KafkaError._PARTITION_EOF:
            return True
        if error.fatal():
            raise KafkaException(error)
        log.warning("the broker answers with an error, which passes: %s", error)
        return False

    def _run(self) -> None:
        consumer = BoundedConsumer(self._config)
        try:
            consumer.assign([TopicPartition(self._topic, 0, 0)])
            while not self._stopping.is_set():
                self._take(consumer)
        except Exception as error:
            log.exception(self._lost)
            self._failed = error
        finally:
            self._caught_up.set()
            consumer.close()
