"""What triggers decide."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Retrain:
    """An event to publish. at: event time in milliseconds since 1970 UTC.

    policy: the trigger's name. trigger: what kind of condition held (schedule, labels, metric,
    estimate, drift). champion: the version in service, empty before the first.
    data_from, data_to: event times to train on, from inclusive and to exclusive; None: all.
    evidence: figures in words by the kind of condition. ids: of drifts' records, and keys of
    metrics'.
    """

    event_id: str
    policy: str
    trigger: str
    episode: str
    champion: str
    at: int
    reason: str
    data_from: int | None
    data_to: int | None
    evidence: dict[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A trigger whose conditions hold and that publishes nothing. why: the kind of reason.

    event_id: the refusal's own. The other fields are as those of `Retrain`.
    """

    event_id: str
    policy: str
    trigger: str
    episode: str
    champion: str
    at: int
    why: str
    reason: str
    evidence: dict[str, str] = field(default_factory=dict)
    ids: tuple[str, ...] = ()
