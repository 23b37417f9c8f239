"""Seasons: what is usual at an hour of the day, on a day of the week (UTC)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

HOUR_MS = 3_600_000
HOURS, DAYS = 24, 7
_THURSDAY = 3  # 1 January 1970, counted from Monday
SHRINK = 20.0
"""Rows that the shares of all seasons count for in those of one: a thin slot has no shape of its
own."""


def slots(seasonality: Sequence[str]) -> int:
    """How many there are."""
    hours = HOURS if "hour_of_day" in seasonality else 1
    return hours * (DAYS if "day_of_week" in seasonality else 1)


def slot_of(times_ms: Rows, seasonality: Sequence[str]) -> Rows:
    """The slot of each time."""
    hour = times_ms // HOUR_MS
    at = np.zeros(len(times_ms), np.int64)
    if "day_of_week" in seasonality:
        at = (hour // HOURS + _THURSDAY) % DAYS
    if "hour_of_day" in seasonality:
        at = at * HOURS + hour % HOURS
    return at


def shares_of(codes: Rows, bins: int, at: Rows, count: int) -> Floats:
    """(slots, bins) shares of rows' bins by slot, drawn towards those of all slots."""
    seen = np.bincount(at * bins + codes, minlength=count * bins).reshape(count, bins)
    usual = np.bincount(codes, minlength=bins) / max(len(codes), 1)
    total: Floats = (seen + SHRINK * usual) / (seen.sum(1, keepdims=True) + SHRINK)
    return total
