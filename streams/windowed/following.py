"""Follows ``<task>.features``, so that serving looks up what the stream knows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client import Counter

from schemas.codec import Codec
from schemas.columns import Columns, constant
from schemas.topics import BY_NAME
from streams.windowed.definition import Definition
from streams.windowed.table import AS_OF, Snapshot, Table

log = logging.getLogger(__name__)

CELLS = Counter("weir_features_cells", "Sums of windowed features that were taken in")

_AT_ONCE = 5_000
_WAIT_S = 0.2


class FollowingFeatures:
    """Keeps a `Table` up to date in a thread; what is served is its last snapshot."""

    def __init__(
        self, task_name: str, definition: Definition, codec: Codec, client: Mapping[str, Any]
    ) -> None:
        self._topic = BY_NAME["features"].topic(task_name)
        self._definition = definition
        self._codec = codec
        self._table = Table(definition)
        self._snapshot: Snapshot = self._table.snapshot()
        self._caught_up = threading.Event()
        self._stopping = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="weir-features", daemon=True)
        self._config = {
            **client,
            "group.id": f"{task_name}-features",  # never joined: partitions are assigned
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "fetch.wait.max.ms": 50,
        }

    def columns(self, requests: Columns, n: int) -> Columns:
        """The windowed features of n requests as of now.

        Raises where the topic can no longer be followed: the worker ends, and starts again.
        """
        if not self._definition:
            return {AS_OF: constant("", n)}
        if self._failed is not None:
            raise RuntimeError(f"{self._topic} can no longer be followed") from self._failed
        return self._snapshot.columns(requests, n)

    def start(self, timeout_s: float = 600.0) -> None:
        """Read what is there, so that a worker serves by all that was known before its start.

        Raises TimeoutError where the topic cannot be read in time.
        """
        if not self._definition:
            return
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

    def _run(self) -> None:
        consumer = Consumer(self._config)
        try:
            consumer.assign([TopicPartition(self._topic, 0, 0)])
            while not self._stopping.is_set():
                self._take(consumer)
        except Exception as error:
            log.exception("windowed features can no longer be followed")
            self._failed = error
        finally:
            self._caught_up.set()
            consumer.close()

    def _take(self, consumer: Consumer) -> None:
        """Wait for records, take all that are there, and show them to serving."""
        messages = consumer.consume(1, _WAIT_S)
        messages += consumer.consume(_AT_ONCE, 0.0) if messages else []
        values: list[bytes] = []
        end = False
        for message in messages:
            error = message.error()
            if error is None:
                if message.value() is not None:  # a cell that left; the table lets go by itself
                    values.append(message.value())
            elif error.code() == error._PARTITION_EOF:
                end = True
            elif error.fatal():
                raise KafkaException(error)
            else:
                log.warning("the broker answers with an error, which passes: %s", error)
        if values:
            CELLS.inc(len(values))
            decoded = self._codec.decode(values)
            for failure in decoded.failures:
                # Only Weir writes here, and this is not Weir's.
                log.error("a record of %s is left out: %s", self._topic, failure.message)
            self._table.take(decoded.columns)
        if self._table.changed and (end or self._caught_up.is_set()):
            self._snapshot = self._table.snapshot()
        if end:
            self._caught_up.set()
