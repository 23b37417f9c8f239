"""What the sink tells Prometheus."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

ROWS = Counter("weir_sink_rows", "Rows inserted", ["table"])
SECONDS = Histogram("weir_sink_insert_seconds", "Duration of an insert", ["table"])
RETRIES = Counter("weir_sink_retries", "Inserts that failed and were tried again", ["table"])
UNDECODABLE = Counter("weir_sink_undecodable", "Values that no schema reads", ["topic", "reason"])
MISSED = Counter("weir_sink_missed", "Records that Kafka deleted before they were read", ["topic"])
BUFFERED = Gauge("weir_sink_buffered", "Records read and not yet inserted")
LAG = Gauge("weir_sink_lag", "Records in the topic that are not yet inserted", ["topic"])
