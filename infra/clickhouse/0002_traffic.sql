-- Requests answered, by minute of the worker's clock.
CREATE OR REPLACE VIEW throughput AS
SELECT
    toStartOfMinute(predicted_at) AS minute,
    count() AS requests,
    countIf(status = 'answered') AS answered,
    countIf(status = 'deferred') AS held_back,
    countIf(status = 'rejected') AS refused,
    held_back / greatest(answered + held_back, 1) AS share_deferred,
    requests / 60 AS requests_per_second
FROM predictions
GROUP BY minute
ORDER BY minute;

-- From a request's Kafka timestamp to its answer, and where the time went, by minute.
CREATE OR REPLACE VIEW latency AS
SELECT
    toStartOfMinute(predicted_at) AS minute,
    count() AS requests,
    quantile(0.5)(total_ms) AS p50_ms,
    quantile(0.9)(total_ms) AS p90_ms,
    quantile(0.99)(total_ms) AS p99_ms,
    max(total_ms) AS max_ms,
    avg(timings.wait_us) / 1000 AS wait_ms,
    avg(timings.decode_us) / 1000 AS decode_ms,
    avg(timings.validate_us) / 1000 AS validate_ms,
    avg(timings.gate_us) / 1000 AS gate_ms,
    avg(timings.infer_us) / 1000 AS infer_ms,
    avg(timings.batch_size) AS batch_size
FROM
(
    SELECT
        *,
        (timings.wait_us + timings.decode_us + timings.validate_us + timings.gate_us
            + timings.infer_us) / 1000 AS total_ms
    FROM predictions
)
GROUP BY minute
ORDER BY minute;
