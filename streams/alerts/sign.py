"""One sign: what a record or a look says about one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "drift", "metric", "dead-letters", "lag", "refused", "rollback", "abuse", "crash-loop"
]
Severity = Literal["info", "warning", "critical"]
State = Literal["bad", "well", "happened"]

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")
"""The most urgent last."""


@dataclass(frozen=True, kw_only=True)
class Sign:
    """What is known of ``about`` now.

    state: ``bad`` begins an episode or goes on with it, ``well`` speaks for its end, ``happened``
    has no end. at_ms: when it was seen, milliseconds since 1970 UTC of the clock by which records
    are stored. origin: the record that says so, ``topic/partition/offset``; empty for a look.
    event_time: where the evidence ends in event time. version: the model version concerned.
    evidence: id of the record with the evidence. findings: of an episode of drift, as
    `streams.alerts.episodes` writes them. title is one line, message says what to do.
    """

    kind: Kind
    about: str
    state: State
    at_ms: int
    severity: Severity = "warning"
    title: str = ""
    message: str = ""
    evidence: str | None = None
    version: str = ""
    origin: str = ""
    event_time: int | None = None
    findings: str = ""


def worse(one: Severity, other: Severity) -> bool:
    """Whether ``one`` is more urgent than ``other``."""
    return SEVERITIES.index(one) > SEVERITIES.index(other)
