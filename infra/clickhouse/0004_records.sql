-- The newest hundred records that were set aside.
CREATE OR REPLACE VIEW last_dead_letters AS
SELECT failed_at, topic, partition, offset, stage, reason, message, request_id, value
FROM dead_letters
ORDER BY failed_at DESC, _offset DESC
LIMIT 100;

-- What is known of a request, in order of time: SELECT * FROM trace WHERE request_id = '...'.
CREATE OR REPLACE VIEW trace AS
SELECT request_id, _timestamp AS at, 'request' AS record, _partition, _offset,
       concat('event time ', toString(event_time)) AS detail
FROM requests
UNION ALL
SELECT request_id, _timestamp AS at, 'prediction' AS record, _partition, _offset,
       concat(status, ': ', ifNull(toString(answer), 'no answer'),
              if(version = '', '', concat(' by ', version)),
              if(reason IS NULL, '', concat(', ', reason))) AS detail
FROM predictions
UNION ALL
SELECT request_id, _timestamp AS at, 'deferred' AS record, _partition, _offset,
       concat('gate score ', ifNull(toString(gate_score), 'none')) AS detail
FROM deferred
UNION ALL
SELECT request_id, _timestamp AS at, 'signal' AS record, _partition, _offset,
       concat(kind, ifNull(concat(' ', toString(value)), '')) AS detail
FROM signals
UNION ALL
SELECT request_id, _timestamp AS at, 'truth' AS record, _partition, _offset,
       concat(toString(truth), ' from ', source) AS detail
FROM truth
UNION ALL
SELECT request_id, _timestamp AS at, 'outcome' AS record, _partition, _offset,
       concat('truth ', toString(truth), ', answer ', ifNull(toString(answer), 'none'),
              ', revision ', toString(revision)) AS detail
FROM outcomes
UNION ALL
SELECT ifNull(request_id, '') AS request_id, _timestamp AS at, 'dead letter' AS record,
       _partition, _offset, concat(stage, ': ', reason, ', ', message) AS detail
FROM dead_letters;
