"""Latency as a consumer sees it: from a request's publication until its prediction is read.

A consumer of the committed predictions runs beside the replay and notes when each arrives. It
sees what any consumer of the answers would: the worker, its transaction, and the fetch.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from confluent_kafka import Message

from schemas.topics import BY_NAME
from services.demo.tail import Tail

RECENT = 5000
"""Latencies that `recent` looks at."""


class Watch(Tail):
    """Measures while it is entered: ``with Watch(...) as watch``; its methods are thread-safe."""

    def __init__(self, task: str, partitions: int, librdkafka: Mapping[str, Any]) -> None:
        super().__init__("watch", librdkafka, fetch_wait_ms=100)
        self._topic = BY_NAME["predictions"].topic(task)
        self._partitions = partitions
        self._waiting: dict[bytes, float] = {}
        self._all = array("d")
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._predictions = 0

    def published(self, ids: list[bytes], at: float) -> None:
        """Requests that are being published at a time (``time.time()``)."""
        self._waiting.update(dict.fromkeys(ids, at))

    @property
    def predictions(self) -> int:
        """Predictions seen so far, whoever asked."""
        return self._predictions

    @property
    def waiting(self) -> int:
        """Published requests whose prediction was not seen yet."""
        return len(self._waiting)

    def latency_ms(self) -> dict[str, float | None]:
        """``p50`` and ``p99`` of all requests so far; None before the first answer."""
        return _percentiles(np.frombuffer(self._all, np.float64).copy() if self._all else [])

    def recent_ms(self) -> dict[str, float | None]:
        """The same of the last 5,000 answers."""
        return _percentiles(list(self._recent))

    def _places(self) -> Mapping[tuple[str, int], bool]:
        return dict.fromkeys([(self._topic, n) for n in range(self._partitions)], False)

    def _taken(self, messages: Sequence[Message], at: float) -> None:
        for message in messages:
            self._predictions += 1
            since = self._waiting.pop(message.key(), None)
            if since is not None:
                latency = (at - since) * 1000
                self._all.append(latency)
                self._recent.append(latency)


def _percentiles(values: Any) -> dict[str, float | None]:
    if not len(values):
        return {"p50": None, "p99": None}
    p50, p99 = np.percentile(values, [50, 99])
    return {"p50": round(float(p50), 2), "p99": round(float(p99), 2)}
