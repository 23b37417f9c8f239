"""What the page asks of ClickHouse: one task's database, its tables named like the topics.

The view `metric_windows` says the same as WINDOWS, but sorts the whole table before a condition
on it can help; asked every second, the condition must come first.
"""

import json

from schemas.records import Kind, template
from schemas.topics import BY_NAME

_METRICS, _PREDICTIONS, _REQUESTS, _OUTCOMES, _DRIFTS, _DECISIONS, _SHADOWS = (
    BY_NAME[name].table
    for name in (
        *("metrics", "predictions", "requests", "outcomes", "drifts", "decisions"),
        "shadows",
    )
)

_MEASURES = ", ".join(
    field["name"]
    for field in json.loads(template("metric"))["fields"]
    if field["type"] in ("double", ["null", "double"])
)
"""Every real number that a metric record has: metrics, their bounds, estimates and their bounds."""

WINDOWS = f"""
    SELECT toUnixTimestamp64Milli(start) AS window_start, toUnixTimestamp64Milli(end) AS window_end,
           version, role, complete, predictions, deferred, rejected, outcomes, scored, {_MEASURES}
    FROM (
        SELECT window_start AS start, window_end AS end, *
        FROM {_METRICS}
        WHERE window = {{window:String}} AND segment = {{segment:String}}
          AND value = {{value:String}}
        ORDER BY revision DESC, _offset DESC
        LIMIT 1 BY start, version, role
    )
    ORDER BY end DESC, version, role
    LIMIT 3000
"""
"""The newest revision of each window of a kind and segment, the newest windows first."""

_BY_KIND: dict[Kind, dict[str, str]] = {
    "binary": {
        "roc_auc": "arrayROCAUC(groupArray({of}_p), groupArray(toUInt8(truth)))",
        "accuracy": "avg({of}_answer = truth)",
        "log_loss": "avg(-log(greatest(if(truth, {of}_p, 1 - {of}_p), 1e-15)))",
        "brier": "avg(pow({of}_p - toFloat64(truth), 2))",
    },
    "multiclass": {"accuracy": "avg({of}_answer = truth)"},
    "regression": {
        "mae": "avg(abs({of}_answer - truth))",
        "rmse": "sqrt(avg(pow({of}_answer - truth, 2)))",
    },
}


def beside(kind: Kind) -> str:
    """Shadow versions beside the versions that answered, on the requests that both answered.

    A row a window and shadow version: its metrics, and with ``answering_`` before their names those
    of the answers that were given. Parameters: length and every, of the window, in milliseconds.
    """
    measures = ", ".join(
        f"{text.format(of=of)} AS {prefix}{name}"
        for of, prefix in (("shadow", ""), ("given", "answering_"))
        for name, text in _BY_KIND[kind].items()
    )
    return f"""
    SELECT start AS window_start, start + {{length:Int64}} AS window_end, version,
           'shadow' AS role, true AS complete, count() AS scored, {measures}
    FROM (
        SELECT s.version AS version, o.truth AS truth, s.answer AS shadow_answer,
               s.probability AS shadow_p, o.answer AS given_answer, o.probability AS given_p,
               arrayJoin(range(toUInt32(intDiv({{length:Int64}}, {{every:Int64}})))) AS slide,
               (intDiv(toUnixTimestamp64Milli(o.event_time), {{every:Int64}}) - slide)
                   * {{every:Int64}} AS start
        FROM {_SHADOWS} AS s INNER JOIN labelled AS o ON s.request_id = o.request_id
        WHERE s.status = 'answered' AND o.status = 'answered'
    )
    GROUP BY start, version
    ORDER BY window_end DESC, version
    LIMIT 3000
"""


TOOK_OVER = f"""
    SELECT version, toUnixTimestamp64Milli(min(event_time)) AS event_time
    FROM {_PREDICTIONS}
    WHERE role = 'champion' AND version != ''
    GROUP BY version
    ORDER BY event_time
"""
"""From which event time on each version answered as champion."""

SEGMENTS = f"""
    SELECT segment, arraySort(groupUniqArray(200)(value)) AS values
    FROM {_METRICS}
    WHERE segment != ''
    GROUP BY segment
    ORDER BY segment
"""

SYSTEM = """
    SELECT toUnixTimestamp64Milli(at) AS t, process, restarts, cpu, memory_mb, records_per_s,
           p50_ms, p99_ms, errors, dead_letters, lag
    FROM system_metrics
    WHERE at > now() - INTERVAL 30 MINUTE
    ORDER BY at, process
    LIMIT 5000
"""
"""What each process did and cost, window by window of some seconds, oldest first."""

DRIFTS = f"""
    SELECT drift_id, toUnixTimestamp64Milli(detected_at) AS found, kind, subject, feature, version,
           role, toUnixTimestamp64Milli(since) AS changed, effect, hurts, alerting, message
    FROM {_DRIFTS}
    ORDER BY found DESC, _offset DESC
    LIMIT 200
"""
"""The newest drifts, the newest first."""

DRIFT = f"""
    SELECT drift_id, toUnixTimestamp64Milli(detected_at) AS found, kind, subject, feature, version,
           role, toUnixTimestamp64Milli(since) AS changed, effect, hurts, alerting, message,
           detector, statistic, value, threshold, p_value, e_value,
           toUnixTimestamp64Milli(window_from) AS begins, toUnixTimestamp64Milli(window_to) AS ends,
           window_size, reference, reference_size, evidence
    FROM {_DRIFTS}
    WHERE drift_id = {{id:String}}
    ORDER BY _offset DESC
    LIMIT 1
"""
"""All that is known of one."""

DECISIONS = f"""
    SELECT decision_id, toUnixTimestamp64Milli(decided_at) AS decided, action, version, from_role,
           to_role, share, moves, reason, rule, champion, value, low, high, bound, outcomes,
           changed_by
    FROM {_DECISIONS}
    ORDER BY decided DESC, _offset DESC
    LIMIT 50
"""
"""The newest decisions about roles, the newest first."""

PAST_COLUMNS = ("t", "requests", "predictions", "outcomes", "p50", "p99")

PAST = f"""
    SELECT toUInt32(at) AS t, sum(requests) AS requests, sum(predictions) AS predictions,
           sum(outcomes) AS outcomes, max(p50) AS p50, max(p99) AS p99
    FROM (
        SELECT toUnixTimestamp(_timestamp) AS at, count() AS requests, 0 AS predictions,
               0 AS outcomes, NULL AS p50, NULL AS p99
        FROM {_REQUESTS}
        WHERE _timestamp >= fromUnixTimestamp({{from:Int64}})
          AND _timestamp < fromUnixTimestamp({{to:Int64}})
        GROUP BY at
        UNION ALL
        SELECT toUnixTimestamp(predicted_at) AS at, 0, count(), 0,
               toNullable(quantile(0.5)(ms)), toNullable(quantile(0.99)(ms))
        FROM (
            SELECT predicted_at,
                   greatest(0, `timings.wait_us` + `timings.decode_us` + `timings.validate_us`
                               + `timings.gate_us` + `timings.infer_us`) / 1000 AS ms
            FROM {_PREDICTIONS}
            WHERE predicted_at >= fromUnixTimestamp({{from:Int64}})
              AND predicted_at < fromUnixTimestamp({{to:Int64}})
        )
        GROUP BY at
        UNION ALL
        SELECT toUnixTimestamp(joined_at) AS at, 0, 0, count(), NULL, NULL
        FROM {_OUTCOMES}
        WHERE joined_at >= fromUnixTimestamp({{from:Int64}})
          AND joined_at < fromUnixTimestamp({{to:Int64}}) AND label != 'weak'
        GROUP BY at
    )
    GROUP BY t
    ORDER BY t WITH FILL TO {{to:Int64}}
"""
"""The live charts' columns, a row a second, from the first second in which something came."""
