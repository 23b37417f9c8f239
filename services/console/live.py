"""What the console counts as records pass: sums and latencies by second.

Knows neither Kafka nor a clock: it is told what came and when, so its tests need neither.
"""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from schemas.columns import Columns
from schemas.moments import bounded

KEPT_S = 600
"""Seconds that the charts reach back."""

TIMINGS = ("wait_us", "decode_us", "validate_us", "gate_us", "infer_us")
"""What a prediction's time from published to predicted is the sum of."""

LATENCIES_KEPT = 2_000
"""Latencies kept of one second: enough for its p99, whatever the rate."""

Latencies = npt.NDArray[np.float64]


@dataclass(slots=True)
class Second:
    """What came in one second of the console's clock; `latencies` in milliseconds."""

    at: int
    requests: int = 0
    predictions: int = 0
    deferred: int = 0
    rejected: int = 0
    outcomes: int = 0
    versions: Counter[str] = field(default_factory=Counter)
    latencies: list[Latencies] = field(default_factory=list)
    event_time: int | None = None
    """Newest event time (ms) seen by the end of this second."""

    @property
    def sampled(self) -> Latencies:
        """All latencies kept of this second."""
        return np.concatenate(self.latencies) if self.latencies else np.empty(0)


@dataclass
class Totals:
    """Counts since the console began to follow."""

    requests: int = 0
    predictions: int = 0
    deferred: int = 0
    rejected: int = 0
    outcomes: int = 0
    dead_letters: int = 0


class Live:
    """Sums by second, for one thread that adds and others that look.

    `begin_s`: the first second, of the clock that all later times are of (Unix time).
    """

    def __init__(self, begin_s: int) -> None:
        self._lock = threading.Lock()
        self._open = Second(begin_s)
        self._closed: deque[Second] = deque(maxlen=KEPT_S)
        self._event_time: int | None = None
        self.began_s = begin_s
        self.totals = Totals()

    def count(self, at_s: float, *, requests: int = 0, outcomes: int = 0) -> None:
        """Records that need no look inside."""
        with self._lock:
            second = self._advance(at_s)
            second.requests += requests
            second.outcomes += outcomes
            self.totals.requests += requests
            self.totals.outcomes += outcomes

    def count_dead_letters(self, n: int) -> None:
        """Dead letters that came since the console follows."""
        with self._lock:
            self.totals.dead_letters += n

    def predictions(self, at_s: float, columns: Columns, unread: int = 0) -> None:
        """Predictions, decoded; `unread` could not be, and count as predictions all the same."""
        statuses = Counter(columns["status"].values.tolist())
        versions = Counter(columns["version"].values.tolist())
        n = len(columns["status"])
        latencies = _sample(latencies_ms(columns)) if n else np.empty(0)
        # A rejected request's time may be anything; it does not move the clock of the page.
        times = columns["event_time"].values[columns["status"].values != "rejected"]
        with self._lock:
            second = self._advance(at_s)
            for counts in (second, self.totals):
                counts.predictions += n + unread
                counts.deferred += statuses["deferred"]
                counts.rejected += statuses["rejected"]
            second.versions.update(versions)
            if n and sum(map(len, second.latencies)) < LATENCIES_KEPT:
                second.latencies.append(latencies)
            if len(times):
                newest = bounded(int(times.max()))
                self._event_time = max(newest, self._event_time or newest)

    def seconds(self, now_s: float) -> list[Second]:
        """The closed seconds, oldest first; the one under way is left out."""
        with self._lock:
            self._advance(now_s)
            return list(self._closed)

    @property
    def event_time(self) -> int | None:
        """Newest event time (ms) seen, or None."""
        return self._event_time

    def _advance(self, now_s: float) -> Second:
        """Close the seconds that have passed; a clock set back stays in the open one."""
        now = int(now_s)
        # After a long sleep of the machine only what can be shown is filled in.
        if now - self._open.at > KEPT_S:
            self._open = Second(now - KEPT_S)
        while self._open.at < now:
            self._open.event_time = self._event_time
            self._closed.append(self._open)
            self._open = Second(self._open.at + 1)
        return self._open


def latencies_ms(columns: Columns) -> Latencies:
    """Milliseconds from published to predicted, one a prediction.

    The wait is a difference of two machines' clocks and may come out negative; such a one is 0.
    """
    total = sum(columns[f"timings.{name}"].values for name in TIMINGS)
    sums: Latencies = np.maximum(np.asarray(total, np.float64), 0.0) / 1000.0
    return sums


def _sample(latencies: Latencies) -> Latencies:
    """At most LATENCIES_KEPT of them, evenly spaced: a batch's order has no period."""
    step = -(-len(latencies) // LATENCIES_KEPT)
    return latencies[::step]


def points(seconds: list[Second]) -> dict[str, list[Any]]:
    """The live charts' columns: time (s), counts, latency quantiles (ms, null where none)."""
    quantiles = [
        np.quantile(second.sampled, [0.5, 0.99]).round(3).tolist()
        if second.latencies
        else [None, None]
        for second in seconds
    ]
    return {
        "t": [second.at for second in seconds],
        "requests": [second.requests for second in seconds],
        "predictions": [second.predictions for second in seconds],
        "outcomes": [second.outcomes for second in seconds],
        "p50": [p50 for p50, _ in quantiles],
        "p99": [p99 for _, p99 in quantiles],
    }
