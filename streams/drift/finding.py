"""A finding: one statement of drift with its evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal[
    "data",
    "target",
    "prediction",
    "score",
    "concept",
    "estimate",
    "schema",
    "skew",
    "volume",
]
KINDS: tuple[Kind, ...] = (
    "data",
    "target",
    "prediction",
    "score",
    "concept",
    "estimate",
    "schema",
    "skew",
    "volume",
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What drifted, since when, by how much, and how sure that is.

    detector: which method found it. kind: `data` an input's distribution, `target` the truths',
        `prediction` the answers', `score` the model's or the gate's scores', `concept` the errors
        on labels, `estimate` the performance expected without labels, `schema` nulls and names
        that training did not have, `skew` an input that was another from the version's first
        record on, `volume` rates of requests.
    subject: the input's name, ``segment=value``, or "" for the whole.
    statistic, value, threshold: what was compared; found where value ≥ threshold.
    e_value: evidence against no drift, at any time of looking; it is at most 1 on average where
        there is none. p_value: where the method has one.
    since: the change point's estimate. window_from, window_to: event times of what was looked at
        since then. All milliseconds since 1970 UTC, None where no event time is known: of refused
        requests, which may be all there are.
    window_size, reference_size: records (labels) of both.
    effect: what changed, in words with units.
    hurts: True where the performance, realised or estimated, suffers by more than the task
        tolerates; False where it does not; None where nothing tells.
    distributions: JSON data to draw both again: ``edges`` (of numbers) or ``names`` of the bins,
        ``reference`` and ``window`` shares.
    """

    detector: str
    kind: Kind
    subject: str
    version: str
    statistic: str
    value: float
    threshold: float
    e_value: float | None = None
    p_value: float | None = None
    since: int | None
    window_from: int | None
    window_to: int | None
    window_size: int
    reference_size: int
    effect: str
    hurts: bool | None = None
    distributions: Mapping[str, Any] = field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)
