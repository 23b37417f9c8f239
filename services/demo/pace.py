"""How fast the replay goes: event time, and how far it may be ahead of the worker."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from confluent_kafka import KafkaException

DAY_MS = 86_400_000

TICK_S = 0.01
"""Longest wait between two looks at the clock: at a day a second, 14 minutes of event time."""

STEP = 512
"""Most events that are sent between two looks at what else is to do."""

STALL_S = 1.0
"""What was missed by a longer stop (a worker or broker that was away) is not caught up at once."""

LOOK_S = 0.05
"""Shortest time between two looks at the worker's backlog."""

MAX_AHEAD = 5000
"""Records that the worker may be behind: two to five days of event time, so that truths that it
has not read yet are not past the label horizon (7 days) by the predictions that it has read.
Time runs 86,400 times faster here: an outage of 10 s would be one of 10 days."""


class Clock:
    """Event time: runs ``speed`` days a second, and waits for events that could not be sent."""

    def __init__(self, start_ms: float, speed: float) -> None:
        self._now_ms, self._speed = start_ms, speed
        self._seen = time.monotonic()

    def now_ms(self, next_ms: float) -> float:
        """Event time now; ``next_ms`` is that of the first event that was not sent yet."""
        now = time.monotonic()
        passed, self._seen = now - self._seen, now
        if passed > 0:
            most_ms = next_ms + STALL_S * self._speed * DAY_MS
            self._now_ms = min(self._now_ms + passed * self._speed * DAY_MS, most_ms)
        return self._now_ms


class Room:
    """How many events may be published before the worker has to catch up."""

    def __init__(self, backlog: Callable[[], int] | None, max_ahead: int) -> None:
        self._backlog, self._max_ahead = backlog, max_ahead
        self._free, self._looked = 0, -math.inf

    def free(self) -> int:
        """Events that may be published now; not positive while the worker is too far behind."""
        if self._backlog is None:
            return STEP
        now = time.monotonic()
        if 2 * self._free < self._max_ahead and now - self._looked >= LOOK_S:
            try:
                self._free = self._max_ahead - self._backlog()
            except KafkaException:  # the broker is away
                self._free = 0
            self._looked = now
        return self._free

    def take(self, events: int) -> None:
        """Events that were published."""
        self._free -= events
