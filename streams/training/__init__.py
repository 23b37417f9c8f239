"""From rows to a model version: pure, deterministic, without Kafka and ClickHouse."""
