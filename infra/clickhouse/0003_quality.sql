-- Each metric window once: its newest revision.
CREATE OR REPLACE VIEW metric_windows AS
SELECT
    window, window_start, window_end, version, role, segment, value, revision, computed_at,
    complete, predictions, deferred, rejected, outcomes, scored, share_deferred, share_labelled,
    base_rate, accuracy, precision, recall, f1, roc_auc, log_loss, brier, calibration_error,
    mae, rmse, r2
FROM metrics
ORDER BY revision DESC, _offset DESC
LIMIT 1 BY window, window_start, version, role, segment, value;

-- Each model version once: its newest role, and what it has answered.
CREATE OR REPLACE VIEW versions AS
SELECT
    m.version AS version, m.role AS role, m.changed_at AS changed_at, m.reason AS reason,
    m.event_id AS event_id, m.dataset_id AS dataset_id, m.rows AS rows,
    m.data_from AS data_from, m.data_to AS data_to, m.metrics AS metrics,
    m.replaces AS replaces, p.answers AS answers,
    p.first_answer AS first_answer, p.last_answer AS last_answer
FROM
(
    SELECT * FROM models ORDER BY _offset DESC LIMIT 1 BY version
) AS m
LEFT JOIN
(
    SELECT
        version,
        count() AS answers,
        min(predicted_at) AS first_answer,
        max(predicted_at) AS last_answer
    FROM predictions
    GROUP BY version
) AS p ON p.version = m.version
ORDER BY changed_at DESC;
