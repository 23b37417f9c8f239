-- Values of any topic that its schema could not read: kept as they came, with the reason.
CREATE TABLE IF NOT EXISTS undecodable
(
    _topic       LowCardinality(String)  COMMENT 'Topic without the task''s name.',
    _partition   Int32                   COMMENT 'Partition it came from.',
    _offset      Int64                   COMMENT 'Its offset there.',
    _timestamp   DateTime64(3, 'UTC')    COMMENT 'Its Kafka timestamp.',
    _key         String                  COMMENT 'Its key, empty where it had none.',
    _traceparent String                  COMMENT 'W3C trace context, empty where it had none.',
    reason       LowCardinality(String)  COMMENT 'Reason as a code: empty, undecodable, unknown-schema.',
    message      String                  COMMENT 'Reason in words.',
    value        Nullable(String)        COMMENT 'The bytes, null where it had none; hex(value) shows them.',
    _sink        UInt64                  COMMENT 'The sink that wrote the row.'
)
ENGINE = ReplacingMergeTree
ORDER BY (_topic, _partition, _offset)
SETTINGS non_replicated_deduplication_window = 1000;
