"""The numbers at the head of the page, from the seconds that have passed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from services.console.live import Live, Second

RATE_S = 5
"""Rates are means over these last seconds: live, and still readable."""

LATENCY_S = 10
"""Quantiles are over the predictions of these last seconds."""

SHARE_S = 60
"""Shares are of the predictions of these last seconds."""


VERSIONS_MAX = 50
"""Versions whose shares are told: whoever writes predictions may name any number of them."""


@dataclass(frozen=True)
class Figures:
    """None: nothing to say yet. Rates per second, latencies in milliseconds, shares 0 to 1.

    `event_speed` is milliseconds of event time that pass in a second of ours.
    `by_version`: share of the last predictions that each version took part in.
    """

    requests_per_s: float
    predictions_per_s: float
    outcomes_per_s: float
    p50_ms: float | None
    p99_ms: float | None
    share_deferred: float | None
    share_rejected: float | None
    event_time: int | None
    event_speed: float | None
    by_version: dict[str, float]


def figures(live: Live, seconds: list[Second]) -> Figures:
    """The figures of now; `seconds` are the closed ones, oldest first."""
    recent = seconds[-RATE_S:]
    span = max(len(recent), 1)
    minute = seconds[-SHARE_S:]
    predictions = sum(second.predictions for second in minute)
    sampled = [s.sampled for s in seconds[-LATENCY_S:] if s.latencies]
    p50, p99 = (
        np.quantile(np.concatenate(sampled), [0.5, 0.99]).round(3).tolist()
        if sum(map(len, sampled))
        else (None, None)
    )
    versions = sum((second.versions for second in minute), Counter[str]())
    return Figures(
        requests_per_s=sum(second.requests for second in recent) / span,
        predictions_per_s=sum(second.predictions for second in recent) / span,
        outcomes_per_s=sum(second.outcomes for second in recent) / span,
        p50_ms=p50,
        p99_ms=p99,
        share_deferred=_share(sum(second.deferred for second in minute), predictions),
        share_rejected=_share(sum(second.rejected for second in minute), predictions),
        event_time=live.event_time,
        event_speed=_speed(seconds[-LATENCY_S:]),
        by_version={v: n / versions.total() for v, n in versions.most_common(VERSIONS_MAX)},
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _speed(seconds: list[Second]) -> float | None:
    """Event time that passed, by the time that it took; None where it cannot be told yet."""
    known = [(s.at, s.event_time) for s in seconds if s.event_time is not None]
    if len(known) < 2:
        return None
    (first_at, first), (last_at, last) = known[0], known[-1]
    return (last - first) / (last_at - first_at)
