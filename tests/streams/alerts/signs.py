"""Signs and records for tests."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from streams.alerts.sign import SEVERITIES, Sign

KINDS = ("drift", "metric", "dead-letters", "lag", "refused", "rollback", "abuse", "crash-loop")

FOUND = '[{"kind": "data", "subject": "distance"}]'


def sign(at_ms: int = 0, **changes: Any) -> Sign:
    given: dict[str, Any] = {
        "kind": "drift",
        "about": "data drift of distance",
        "state": "bad",
        "at_ms": at_ms,
        "title": "data drift of distance",
        "message": "distance is longer than it was",
        "evidence": "d1",
        "origin": f"t.drifts/0/{at_ms}",
    }
    return Sign(**(given | changes))


@st.composite
def histories(draw: st.DrawFn) -> list[Sign | int]:
    """Signs of a few things and looks at the clock, in the order of time."""
    now, steps = 0, []
    for _ in range(draw(st.integers(1, 60))):
        now += draw(st.sampled_from([1, 1_000, 60_000, 700_000, 3_600_000, 30_000_000]))
        if draw(st.integers(0, 3)) == 0:
            steps.append(now)
            continue
        kind = draw(st.sampled_from(KINDS))
        states = ("happened",) if kind in ("refused", "rollback") else ("bad", "bad", "well")
        if kind == "abuse":
            states = ("bad",)
        steps.append(
            sign(
                now,
                kind=kind,
                about=draw(st.sampled_from("ab")),
                state=draw(st.sampled_from(states)),
                severity=draw(st.sampled_from(SEVERITIES)),
                findings=draw(st.sampled_from(["", FOUND])) if kind == "drift" else "",
            )
        )
    return steps


def metric(**changes: Any) -> dict[str, Any]:
    return {
        "window": "tumbling_1d",
        "window_start": 0,
        "window_end": 86_400_000,
        "version": "v1",
        "role": "champion",
        "segment": "",
        "value": "",
        "complete": True,
        "scored": 1_000,
        "accuracy": 0.8,
        "accuracy_low": 0.78,
        "accuracy_high": 0.82,
        "log_loss": 0.5,
        "log_loss_low": 0.48,
        "log_loss_high": 0.52,
        "r2": None,
        "estimated_accuracy": 0.79,
        "estimated_accuracy_low": 0.77,
        "estimated_accuracy_high": 0.81,
        "estimate_trusted": True,
        "calibration_error": 0.1,
    } | changes


def drift(**changes: Any) -> dict[str, Any]:
    return {
        "drift_id": "d1",
        "kind": "data",
        "feature": "distance",
        "subject": "distance",
        "version": "v1",
        "role": "champion",
        "since": 4_000,
        "window_from": 4_000,
        "window_to": 5_000,
        "message": "distance is 300 miles longer than in training",
        "effect": "median of distance 300 mi higher",
        "evidence": '{"reference": [0.5, 0.5], "window": [0.1, 0.9]}',
        "hurts": None,
        "alerting": True,
    } | changes
