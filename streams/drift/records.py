"""A finding as a record of ``drifts``."""

from __future__ import annotations

import json
from typing import Any

from schemas.moments import minute_text
from streams.drift.finding import Finding

ANSWERING = ("champion", "canary", "candidate")
"""Roles whose answers somebody gets."""


def record(
    finding: Finding, drift_id: str, role: str, now_ms: int, stored_ms: int
) -> dict[str, Any]:
    """The record of a finding. role: the version's. now_ms: the worker's clock. stored_ms: when
    what showed it was stored: its window's end where no event time is known."""
    about = f"{finding.kind} drift" + (f" of {finding.subject}" if finding.subject else "")
    begun = " from the first request on, before any event time is known"
    if finding.since is not None:
        begun = f" since {minute_text(finding.since)}"
    to = stored_ms if finding.window_to is None else finding.window_to
    is_input = finding.kind in ("data", "skew", "schema") and bool(finding.subject)
    return {
        "drift_id": drift_id,
        "detected_at": now_ms,
        "kind": finding.kind,
        "feature": finding.subject if is_input else None,
        "version": finding.version,
        "statistic": finding.statistic,
        "value": finding.value,
        "threshold": finding.threshold,
        "p_value": finding.p_value,
        "window_from": to if finding.window_from is None else finding.window_from,
        "window_to": to,
        "window_size": finding.window_size,
        "reference": f"training data of {finding.version}",
        "message": f"{about}{begun}: {finding.effect}",
        "detector": finding.detector,
        "subject": finding.subject,
        "role": role,
        "since": finding.since,
        "e_value": finding.e_value,
        "reference_size": finding.reference_size,
        "effect": finding.effect,
        "hurts": finding.hurts,
        "alerting": is_alerting(finding, role),
        "evidence": json.dumps(finding.distributions) if finding.distributions else "",
    }


def is_alerting(finding: Finding, role: str) -> bool:
    """Whether a person is to hear of it: not where it does no harm, nor of a version whose
    answers nobody gets."""
    return role in ANSWERING and finding.hurts is not False
