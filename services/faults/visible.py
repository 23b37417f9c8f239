"""What a consumer of committed predictions sees, and when."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import TopicPartition

from schemas.topics import BY_NAME
from streams.transport.messages import BoundedConsumer

WAIT_S = 0.1
"""Longest wait for a prediction before the thread sees that it is to end."""
MOST = 5000


class Visible:
    """A thread that reads the predictions of ``r<n>``; use as a context manager.

    newest: by partition the highest request number seen. count: predictions seen, of any kind.
    waited: by request, seconds from its publication until its first prediction was seen (0: not).
    """

    def __init__(
        self,
        task: str,
        partitions: int,
        librdkafka: Mapping[str, Any],
        published_at: npt.NDArray[np.float64],
    ) -> None:
        self.newest = [-1] * partitions
        self.count = 0
        self.waited: npt.NDArray[np.float64] = np.zeros(len(published_at))
        self._published_at = published_at
        self._topic = BY_NAME["predictions"].topic(task)
        self._librdkafka = dict(librdkafka)
        self._over = threading.Event()
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="visible", daemon=True)

    def __enter__(self) -> Visible:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def wait_for(self, request: int, timeout_s: float) -> bool:
        """Return when every partition shows a prediction of ``request`` or a later one."""
        with self._change:
            return self._change.wait_for(lambda: min(self.newest) >= request, timeout_s)

    def longest_wait_s(self, start: int, stop: int) -> float:
        """The longest that one of these requests waited for its prediction."""
        return float(self.waited[start:stop].max(initial=0.0))

    def latency_ms(self) -> dict[str, float | None]:
        """Publish to visible, over the whole load and its faults."""
        seen = self.waited[self.waited > 0] * 1000
        names = {"p50": 50, "p99": 99, "p999": 99.9, "max": 100}
        return {
            name: round(float(np.percentile(seen, q)), 1) if len(seen) else None
            for name, q in names.items()
        }

    def _run(self) -> None:
        consumer = BoundedConsumer(
            {
                "log_level": 0,
                **self._librdkafka,
                "group.id": "weir-faults-visible",  # librdkafka wants one; assign() never joins it
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "fetch.wait.max.ms": 50,
                "fetch.error.backoff.ms": 20,
                "reconnect.backoff.ms": 20,
                "reconnect.backoff.max.ms": 200,
            }
        )
        try:
            consumer.assign([TopicPartition(self._topic, p, 0) for p in range(len(self.newest))])
            while not self._over.is_set():
                # poll() returns with the first message; consume(n) would wait for n of them.
                first = consumer.poll(WAIT_S)
                if first is not None:
                    self._see([first, *consumer.consume(MOST, 0)], time.time())
        finally:
            consumer.close()

    def _see(self, messages: list[Any], now: float) -> None:
        with self._change:
            for message in messages:
                if message.error() is not None:
                    continue  # the client finds its broker again by itself
                self.count += 1
                key = message.key() or b""
                if key[:1] == b"r":
                    n = int(key[1:])
                    self.newest[message.partition()] = max(self.newest[message.partition()], n)
                    if not self.waited[n]:
                        self.waited[n] = now - self._published_at[n]
            self._change.notify_all()
