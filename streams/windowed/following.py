"""Follows ``<task>.features``, so that serving looks up what the stream knows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer
from prometheus_client import Counter

from schemas.codec import Codec
from schemas.columns import Columns, constant
from streams.transport.follower import WAIT_S, Follower
from streams.windowed.definition import Definition
from streams.windowed.table import AS_OF, Snapshot, Table

log = logging.getLogger(__name__)

CELLS = Counter("weir_features_cells", "Sums of windowed features that were taken in")

_AT_ONCE = 5_000


class FollowingFeatures(Follower):
    """Keeps a `Table` up to date in a thread; what is served is its last snapshot."""

    def __init__(
        self, task_name: str, definition: Definition, codec: Codec, client: Mapping[str, Any]
    ) -> None:
        super().__init__(
            task_name,
            "features",
            client,
            "windowed features can no longer be followed",
            **{"fetch.wait.max.ms": 50},
        )
        self._definition = definition
        self._codec = codec
        self._table = Table(definition)
        self._snapshot: Snapshot = self._table.snapshot()

    def columns(self, requests: Columns, n: int) -> Columns:
        """The windowed features of n requests as of now.

        Raises where the topic can no longer be followed: the worker ends, and starts again.
        """
        if not self._definition:
            return {AS_OF: constant("", n)}
        self._still_followed()
        return self._snapshot.columns(requests, n)

    def start(self, timeout_s: float = 600.0) -> None:
        """Read what is there, so that a worker serves by all that was known before its start.

        Raises TimeoutError where the topic cannot be read in time.
        """
        if self._definition:
            super().start(timeout_s)

    def _take(self, consumer: Consumer) -> None:
        """Wait for records, take all that are there, and show them to serving."""
        messages = consumer.consume(1, WAIT_S)
        messages += consumer.consume(_AT_ONCE, 0.0) if messages else []
        values: list[bytes] = []
        end = False
        for message in messages:
            error = message.error()
            if error is None:
                if message.value() is not None:  # a cell that left; the table lets go by itself
                    values.append(message.value())
            elif self._is_end(error):
                end = True
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
