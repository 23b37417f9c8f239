"""Which finding of an episode is most likely the cause of the others, and the episode in words."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from schemas.moments import minute_text

PERFORMANCE = frozenset({"concept", "estimate"})
"""Kinds whose detectors look at the performance itself: what they find of it is certain."""
LISTED_LINES = 6
"""Findings that a message names one by one."""
MANY = 3
"""From so many inputs on a title counts them: one name would not be the cause."""
SHORTEST_DOUBT_MS = 3_600_000
LONGEST_DOUBT_MS = 7 * 24 * 3_600_000
"""Uncertainty of a change point: as long as its detector took to be sure of it, within these."""

_ORDER = {
    "schema": 0,
    "skew": 1,
    "data": 1,
    "prediction": 2,
    "score": 2,
    "estimate": 2,
    "target": 3,
    "concept": 4,
}
_SEGMENT = 5
_OF_INPUTS = (0, 1)


@dataclass(frozen=True, kw_only=True)
class Member:
    """A finding of drift as part of an episode: the newest of its kind and subject.

    began, begins: the change point of the first and of the newest one; found: where the newest
    one's evidence ends. All milliseconds since 1970 UTC, in event time. size: total variation
    distance between reference and window, 0 to 1. degraded: whether performance suffers; None:
    not known. alerting: whether the policy of drift lets a person hear of it. seen: how often it
    was found.
    """

    drift_id: str
    kind: str
    subject: str
    began: int
    begins: int
    found: int
    size: float
    degraded: bool | None
    alerting: bool
    effect: str
    message: str
    seen: int = 1

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> Member:
        """From a decoded ``drifts`` record."""
        found = int(record["window_to"])
        begins = int(record["window_from"] if record["since"] is None else record["since"])
        return cls(
            drift_id=record["drift_id"],
            kind=record["kind"],
            subject=record["subject"],
            began=begins,
            begins=begins,
            found=max(begins, found),
            size=distance_of(record["evidence"]),
            degraded=record["hurts"],
            alerting=record["alerting"],
            effect=record["effect"],
            message=record["message"],
        )

    @classmethod
    def of_plain(cls, facts: Mapping[str, Any]) -> Member:
        """From `plain`; fields that a later Weir may add are left out."""
        return cls(**{f.name: facts[f.name] for f in fields(cls) if f.name in facts})

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)

    @property
    def key(self) -> tuple[str, str]:
        """What it is of: findings of one key in one episode are one member."""
        return (self.kind, self.subject)

    @property
    def order(self) -> int:
        """Its place in the order of causes: lower ones cause higher ones."""
        return _SEGMENT if self.of_segment else _ORDER.get(self.kind, 2)

    @property
    def of_segment(self) -> bool:
        """Whether it tells of a segment's errors only."""
        return self.kind == "concept" and bool(self.subject)

    @property
    def doubt_ms(self) -> int:
        """How far its change point may be off."""
        return min(max(self.found - self.begins, SHORTEST_DOUBT_MS), LONGEST_DOUBT_MS)

    @property
    def about(self) -> str:
        """``data drift of distance``."""
        return f"{self.kind} drift" + (f" of {self.subject}" if self.subject else "")


def distance_of(evidence: str) -> float:
    """Total variation distance of the distributions that a drift record holds; 0 where none."""
    try:
        drawn = json.loads(evidence or "{}")
        pairs = zip(drawn.get("reference") or [], drawn.get("window") or [], strict=False)
        distance = 0.5 * sum(abs(float(before) - float(now)) for before, now in pairs)
    except (ValueError, TypeError, AttributeError):
        return 0.0
    return min(distance, 1.0) if math.isfinite(distance) else 0.0


def ranked(members: Iterable[Member]) -> list[Member]:
    """The most likely cause first, then the others by effect.

    The cause is the member that comes first in the order of causes (schema, inputs, scores and
    answers, truths, errors, errors of segments), and among equals the one with the largest effect.
    One that began surely later than the performance fell is not its cause.
    """
    found = list(members)
    if not found:
        return []
    fell = min((m.began + m.doubt_ms for m in found if hurting(m)), default=None)
    early = [m for m in found if fell is None or m.began - m.doubt_ms <= fell]
    cause = min(early or found, key=lambda m: (m.order, " and " in m.subject, -m.size, m.began))
    rest = sorted((m for m in found if m is not cause), key=lambda m: (-m.size, m.order, m.began))
    return [cause, *rest]


def hurting(member: Member) -> bool:
    """Whether it says for certain that the performance suffers."""
    return member.kind in PERFORMANCE and member.degraded is True


def title(members: Sequence[Member]) -> str:
    """One line; members as `ranked` has them."""
    cause, *rest = members
    same = [m for m in members if m.kind == cause.kind and " and " not in m.subject]
    if cause.order in _OF_INPUTS and len(same) >= MANY:
        begin = f"{cause.kind} drift of {len(same)} inputs, {cause.subject} the most"
        rest = [m for m in members if m not in same]
    else:
        begin = cause.about
    if any(hurting(m) for m in rest):
        begin += ", and performance suffers"
    elif rest:
        begin += f", and {len(rest)} more"
    return begin


def message(members: Sequence[Member]) -> str:
    """What was found, a line a finding, the cause first; members as `ranked` has them."""
    cause, *rest = members
    if not rest:
        return cause.message
    lines = [
        f"Most likely cause: {cause.message}",
        f"With it, the largest effect first ({len(rest)}):",
    ]
    lines += [f"- {m.about} since {minute_text(m.begins)}: {m.effect}" for m in rest[:LISTED_LINES]]
    if len(rest) > LISTED_LINES:
        lines.append(f"… and {len(rest) - LISTED_LINES} more")
    return "\n".join(lines)
