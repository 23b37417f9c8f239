"""What a person is told of a jump, and the record of it."""

from __future__ import annotations

import hashlib
import math
from typing import Any

from streams.drift.finding import Finding
from streams.volume.counts import BUCKET_MS
from streams.volume.detector import Change, Jump

DETECTOR = "shiryaev_roberts"


def finding(change: Change, version: str) -> Finding:
    """A change as a finding of the kind ``volume``; version: that answered then."""
    jump = change.jump
    return Finding(
        detector=DETECTOR,
        kind="volume",
        subject=change.client,
        version=version,
        statistic=jump.statistic,
        value=jump.evidence,
        threshold=jump.threshold,
        e_value=math.exp(min(jump.evidence, 700.0)),
        since=jump.since * BUCKET_MS,
        window_from=jump.since * BUCKET_MS,
        window_to=(change.bucket + 1) * BUCKET_MS,
        window_size=int(jump.requests),
        reference_size=int(jump.reference),
        effect=effect(change),
    )


def record(change: Change, version: str, role: str, task: str, now_ms: int) -> dict[str, Any]:
    """The ``drifts`` record of a change. Its end is recorded too, as one that is not alerting."""
    found = finding(change, version)
    whose = f"client {change.client}" if change.client else "all requests"
    text = "|".join((task, "volume", change.client, change.state, str(change.bucket)))
    return {
        "drift_id": hashlib.sha256(text.encode()).hexdigest()[:16],
        "detected_at": now_ms,
        "kind": found.kind,
        "feature": None,
        "version": found.version,
        "statistic": found.statistic,
        "value": found.value,
        "threshold": found.threshold,
        "p_value": None,
        "window_from": found.window_from,
        "window_to": found.window_to,
        "window_size": found.window_size,
        "reference": f"the {whose if change.client else 'stream'}'s own past",
        "message": f"{whose}: {found.effect}",
        "detector": found.detector,
        "subject": found.subject,
        "role": role,
        "since": found.since,
        "e_value": found.e_value,
        "reference_size": found.reference_size,
        "effect": found.effect,
        "hurts": None,
        "alerting": change.state != "over",
        "evidence": "",
    }


def effect(change: Change) -> str:
    """How much it is, beside the usual."""
    jump = change.jump
    now, usual = _figures(jump)
    times = f"{_value(jump) / max(_usual(jump), 1e-9):.1f} times the usual {usual}"
    if change.state == "over":
        return f"as usual again, after {now} for {_span(jump.seconds)}"
    return f"{now} for {_span(jump.seconds)}, {times}"


def _figures(jump: Jump) -> tuple[str, str]:
    if jump.statistic == "requests":
        return f"{_value(jump):.3g} requests a second", f"{_usual(jump):.3g}"
    return f"{_value(jump):.1%} held back by the gate", f"{_usual(jump):.1%}"


def _value(jump: Jump) -> float:
    if jump.statistic == "requests":
        return jump.requests / jump.seconds
    return jump.held / max(jump.requests, 1.0)


def _usual(jump: Jump) -> float:
    if jump.statistic == "requests":
        return jump.usual * jump.exposure / jump.seconds
    return jump.usual


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"
