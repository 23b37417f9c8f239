"""What triggers look at, as plain values. Times are milliseconds since 1970 UTC, event time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Measured:
    """A window's metrics: one version and role, all traffic or a segment.

    id: the record's key. revision: the highest of a key holds. watermark: how far event time had
    come, None where that is not told. classes: labels by class, empty where they are not counted.
    figures: metrics by name, with their bounds (``accuracy``, ``accuracy_low``, …) and estimates.
    trusted: whether nothing speaks against the estimates.
    """

    id: str
    window: str
    start: int
    end: int
    version: str
    role: str
    segment: str = ""
    value: str = ""
    revision: int = 0
    complete: bool = True
    watermark: int | None = None
    predictions: int = 0
    rejected: int = 0
    outcomes: int = 0
    scored: int = 0
    classes: Mapping[str, int] = field(default_factory=dict)
    figures: Mapping[str, float] = field(default_factory=dict)
    trusted: bool = True


@dataclass(frozen=True, slots=True)
class Drift:
    """A drift that was found. at: the end of the window that showed it. hurts: None is unknown."""

    id: str
    kind: str
    subject: str
    version: str
    at: int
    hurts: bool | None = None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of an event, or of a role: a version's record.

    metrics: the version's on held-out time.
    """

    event_id: str
    version: str
    role: str
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Asked:
    """A retrain event in the topic, or that one failed.

    policy: the trigger that published it, empty where a person or a program did.
    at: event time where it is told.
    """

    event_id: str
    policy: str = ""
    status: str = "asked"
    at: int | None = None


@dataclass(frozen=True, slots=True)
class Inputs:
    """What one batch tells."""

    metrics: Sequence[Measured] = ()
    drifts: Sequence[Drift] = ()
    answers: Sequence[Answer] = ()
    asked: Sequence[Asked] = ()
