"""Whom to throttle: follow ``<task>.throttles``; serving looks its batches' clients up in it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from confluent_kafka import Consumer
from prometheus_client import Gauge

from schemas.codec import Codec
from schemas.columns import Column
from streams.transport.follower import WAIT_S, Follower
from streams.unreadable import Unreadable, place_of

log = logging.getLogger(__name__)

THROTTLED = Gauge("weir_clients_throttled", "Clients whose requests are not answered as usual")

LEASE_MS = 600_000
"""A throttle that is not renewed for so long is over: where the stage that decides does not work,
nobody is kept out for ever. By the worker's clock."""


@dataclass(frozen=True, slots=True)
class Throttle:
    """What becomes of a client's requests, and why."""

    action: str
    reason: str
    decided_at: int


@dataclass(frozen=True)
class Throttles:
    """By client."""

    by_client: Mapping[str, Throttle]

    def rows(self, entity: Column, now_ms: int) -> dict[str, npt.NDArray[np.int64]]:
        """Rows of a batch whose clients are throttled, by client.

        A look at each different client of the batch, and at none where nobody is throttled.
        """
        live = {c: t for c, t in self.by_client.items() if now_ms - t.decided_at < LEASE_MS}
        if not live:
            return {}
        codes, names = pd.factorize(entity.values)
        if entity.valid is not None:
            codes = np.where(entity.valid, codes, -1)
        return {
            str(name): np.flatnonzero(codes == code)
            for code, name in enumerate(names)
            if name in live and (codes == code).any()
        }

    def told(self, key: bytes | None, value: bytes | None, codec: Codec) -> Throttles:
        """Who is throttled after a record of the topic; a null ends its client's throttle.

        Clients whose throttle is over, or too old, are let go: as many are kept as are throttled.
        ValueError where it is no record of Weir's.
        """
        if value is None:
            gone = (key or b"").decode(errors="replace")
            return Throttles({c: t for c, t in self.by_client.items() if c != gone})
        record = codec.read(value)
        client, at = record["client"], record["decided_at"]
        kept = {c: t for c, t in self.by_client.items() if at - t.decided_at < LEASE_MS}
        kept.pop(client, None)
        if record["action"] != "none":
            kept[client] = Throttle(record["action"], record["reason"], at)
        return Throttles(kept)


NOBODY = Throttles({})


class FollowingThrottles(Follower):
    """Follows the topic in a thread; `current` is what the next batch is served by."""

    def __init__(self, task: str, codec: Codec, client: Mapping[str, Any]) -> None:
        super().__init__(task, "throttles", client, "throttles can no longer be followed")
        self._codec = codec
        self._current = NOBODY
        self._unreadable = Unreadable(log.warning)

    def current(self) -> Throttles:
        """Who is throttled now.

        Raises where the topic can no longer be followed: the worker ends, and starts again.
        """
        self._still_followed()
        return self._current

    def _take(self, consumer: Consumer) -> None:
        message = consumer.poll(WAIT_S)
        if message is None:
            return
        error = message.error()
        if error is None:
            self._decide(message)
        elif self._is_end(error):
            self._caught_up.set()

    def _decide(self, message: Any) -> None:
        before = self._current
        try:
            self._current = before.told(message.key(), message.value(), self._codec)
        except ValueError as error:
            self._unreadable.leave_out(place_of(message), error)
            return
        for client in before.by_client.keys() - self._current.by_client.keys():
            log.info("client %r is answered again", client)
        for client in self._current.by_client.keys() - before.by_client.keys():
            log.warning("client %r: %s", client, self._current.by_client[client].reason)
        THROTTLED.set(len(self._current.by_client))
