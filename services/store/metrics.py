"""What the store tells Prometheus."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from services.store.engine import Answer
from services.store.rights import Role
from services.store.turns import Turns


class Metrics:
    """Calls by role and error code, their duration, rows read and written, the line."""

    def __init__(self, turns: Mapping[Role, Turns]) -> None:
        self._registry = CollectorRegistry()
        self._calls = Counter(
            "weir_store_calls",
            "Calls, by ClickHouse's error code (0: answered).",
            ["role", "code"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "weir_store_call_seconds",
            "From the request to the answer's first byte, waiting included.",
            ["role"],
            registry=self._registry,
        )
        self._read = Counter("weir_store_rows_read", "Rows read.", registry=self._registry)
        self._written = Counter("weir_store_rows_written", "Rows written.", registry=self._registry)
        running = Gauge("weir_store_running", "Calls now.", ["role"], registry=self._registry)
        waiting = Gauge("weir_store_waiting", "In line.", ["role"], registry=self._registry)
        for role, turn in turns.items():
            running.labels(role).set_function(lambda turn=turn: turn.running)
            waiting.labels(role).set_function(lambda turn=turn: turn.waiting)

    def done(self, role: Role, code: int, seconds: float) -> None:
        """Count one call."""
        self._calls.labels(role, str(code)).inc()
        self._seconds.labels(role).observe(seconds)

    def rows(self, answer: Answer) -> None:
        """Count what it moved."""
        self._read.inc(answer.read_rows)
        self._written.inc(answer.written_rows)

    def exposition(self) -> tuple[bytes, str]:
        """The page, and its content type."""
        return generate_latest(self._registry), CONTENT_TYPE_LATEST
