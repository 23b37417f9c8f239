-- How many records were set aside, by reason: late truths (late-truth) among them.
CREATE OR REPLACE VIEW set_aside AS
SELECT reason, stage, topic, count() AS records, max(failed_at) AS last_at
FROM dead_letters
GROUP BY reason, stage, topic
ORDER BY records DESC;
