"""Latency as a consumer sees it: from a request's publication until its prediction is read.

A consumer of the committed predictions runs beside the replay and notes when each arrives. It
sees what any consumer of the answers would: the worker, its transaction, and the fetch.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import deque
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from schemas.topics import BY_NAME

TIMEOUT_S = 30.0
"""Longest wait for the broker at the start."""

RECENT = 5000
"""Latencies that `recent` looks at."""

WAIT_S = 0.1
"""Longest wait for a prediction before the watch sees that it is to end."""


class Watch:
    """Measures while it is entered: ``with Watch(...) as watch``; its methods are thread-safe."""

    def __init__(self, task: str, partitions: int, librdkafka: Mapping[str, Any]) -> None:
        self._topic = BY_NAME["predictions"].topic(task)
        self._partitions = partitions
        self._librdkafka = dict(librdkafka)
        self._waiting: dict[bytes, float] = {}
        self._all = array("d")
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._predictions = 0
        self._over = threading.Event()
        self._ready = threading.Event()

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

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
        self._thread.start()
        if not self._ready.wait(TIMEOUT_S):
            self._over.set()
            raise TimeoutError(
                f"the broker did not say within {TIMEOUT_S:g} s where {self._topic} ends"
            )
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
        consumer = Consumer(
            {
                "log_level": 0,
                **self._librdkafka,
                "group.id": "weir-watch",  # librdkafka wants one; assign() never joins it
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 100,
                "fetch.error.backoff.ms": 50,
            }
        )
        try:
            consumer.assign(self._ends(consumer))
            self._ready.set()
            while not self._over.is_set():
                # poll() returns with the first message; consume(n) would wait for n of them.
                first = consumer.poll(WAIT_S)
                if first is not None:
                    self._seen([first, *consumer.consume(RECENT, 0)], time.time())
        finally:
            consumer.close()

    def _ends(self, consumer: Consumer) -> list[TopicPartition]:
        """Where the predictions end now, so that none that comes later is missed."""
        ends = []
        deadline = time.monotonic() + TIMEOUT_S
        for number in range(self._partitions):
            where = TopicPartition(self._topic, number)
            while not self._over.is_set():
                try:
                    where.offset = consumer.get_watermark_offsets(where, timeout=TIMEOUT_S)[1]
                    break
                except KafkaException:  # such as a topic that was just made and has no leader
                    if time.monotonic() > deadline:
                        raise
                    self._over.wait(0.1)
            ends.append(where)
        return ends

    def _seen(self, messages: list[Message], at: float) -> None:
        for message in messages:
            if message.error() is not None:
                continue  # the client finds its broker again by itself
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
