"""The console's own metrics, for Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

STREAMS = Gauge("weir_console_streams", "Open pages that are told of every second.")
QUERIES = Counter("weir_console_queries", "Questions asked of ClickHouse.", ["view", "result"])
QUERY_SECONDS = Histogram("weir_console_query_seconds", "How long ClickHouse took.", ["view"])
