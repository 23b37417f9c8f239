-- Each metric window once: its newest revision, with the bounds of confidence (95 %) of its metrics.
CREATE OR REPLACE VIEW metric_windows AS
SELECT
    window, window_start, window_end, version, role, segment, value, revision, computed_at,
    complete, predictions, deferred, rejected, outcomes, scored, weight, since,
    share_deferred, share_deferred_low, share_deferred_high, share_labelled,
    base_rate, base_rate_low, base_rate_high, accuracy, accuracy_low, accuracy_high,
    precision, precision_low, precision_high, recall, recall_low, recall_high,
    f1, f1_low, f1_high, roc_auc, roc_auc_low, roc_auc_high,
    log_loss, log_loss_low, log_loss_high, brier, brier_low, brier_high, calibration_error,
    mae, mae_low, mae_high, rmse, rmse_low, rmse_high, r2
FROM metrics
ORDER BY revision DESC, _offset DESC
LIMIT 1 BY window, window_start, version, role, segment, value;
