-- What each process did in a window of some seconds and what it cost: written by the sink, kept for
-- thirty days.
CREATE TABLE IF NOT EXISTS system_metrics
(
    at            DateTime64(3, 'UTC')   COMMENT 'End of the window, in the clock of the sink.',
    seconds       Float64                COMMENT 'How long the window was.',
    process       LowCardinality(String) COMMENT 'Name of the process: worker, sink, store, ...',
    pid           Int64                  COMMENT 'Its id.',
    restarts      Int64                  COMMENT 'How often its supervisor has started it again.',
    cpu           Float64                COMMENT 'Processors in use.',
    memory_mb     Float64                COMMENT 'Resident memory in megabytes.',
    records_per_s Nullable(Float64)      COMMENT 'Its own work: answers of the worker, rows of the sink and the store.',
    p50_ms        Nullable(Float64)      COMMENT 'Half of the pieces of its work (a batch of requests, an insert, a call) took less.',
    p99_ms        Nullable(Float64)      COMMENT 'One in a hundred took longer.',
    errors        Int64                  COMMENT 'What went wrong and was counted, in the window.',
    dead_letters  Int64                  COMMENT 'Records set aside in the window.',
    lag           Nullable(Int64)        COMMENT 'Records that its consumer group has yet to read.'
)
ENGINE = MergeTree
ORDER BY (process, at)
TTL toDateTime(at) + INTERVAL 30 DAY;
