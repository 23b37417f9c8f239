"""Follows ``<task>.features``, so that serving looks up what the stream knows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import Consumer, Message
from prometheus_client import Counter

from schemas.codec import Codec
from schemas.columns import Columns, constant
from streams.transport.follower import WAIT_S, Follower
from streams.unreadable import Unreadable, place_of
from streams.windowed.definition import Definition
from streams.windowed.table import AS_OF, Snapshot, Table, as_text

log = logging.getLogger(__name__)

UPDATES = Counter("weir_feature_updates", "Records of sums of windowed features taken in")

_AT_ONCE = 1_000


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
        self._passed_over = 0
        self._unreadable = Unreadable(log.warning)
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

    def progress(self) -> dict[str, str]:
        """How far what is served has come, for whoever looks at the worker; any thread may ask.

        By source, as predictions say it: ``features_as_of``, the offsets that count, and
        ``features_until``, the newest time of what counted (ms since 1970; empty: nothing yet).
        """
        if not self._definition:
            return {}
        now = self._snapshot
        until = ("" if time is None else str(time) for time in now.reached)
        return {AS_OF: as_text(now.as_of), "features_until": ",".join(until)}

    def _take(self, consumer: Consumer) -> None:
        """Wait for records, take all that are there, and show them to serving."""
        messages = consumer.consume(1, WAIT_S)
        messages += consumer.consume(_AT_ONCE, 0.0) if messages else []
        end = False
        for message in messages:
            error = message.error()
            if error is None:
                self._read(message)
            elif self._is_end(error):
                end = True
        if self._table.changed and (end or self._caught_up.is_set()):
            self._snapshot = self._table.snapshot()
        if end and not self._caught_up.is_set():
            if self._passed_over:
                log.info(
                    "%d records of %s are of an earlier version of Weir and are passed over",
                    self._passed_over,
                    self._topic,
                )
            self._caught_up.set()

    def _read(self, message: Message) -> None:
        """Take a record in; what cannot be read has no part in what is served."""
        try:
            record = self._codec.read(message.value())
            self._table.take(record)
        except ValueError as error:
            if not self._caught_up.is_set():
                # A deployment that is older than this version: records a sum, and of sums that
                # left. Their sums are made anew from the topics.
                self._passed_over += 1
            else:
                self._unreadable.leave_out(place_of(message), error)
            return
        UPDATES.inc()
