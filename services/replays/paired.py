"""Two losses on the same rows: each one's mean, and their difference with an interval of 95 %.

Requests of one hour share weather, load and windowed features, so their differences are no
independent draws. The interval is that of a ratio of sums over stretches of time (Liang and Zeger
1986, Longitudinal data analysis using generalized linear models: the sandwich estimator for a
mean), with Student's quantile for their number: days where there are enough, else hours, else rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Floats = npt.NDArray[np.float64]

HOUR_MS = 3_600_000
LEAST_STRETCHES = 20
"""Fewer say too little of their own spread."""


@dataclass(eq=False)
class Paired:
    """The sums of a loss then and now, by hour."""

    _hours: dict[int, Floats] = field(default_factory=dict)
    _squares: float = 0.0

    def take(self, times_ms: npt.NDArray[np.int64], then: Floats, now: Floats) -> None:
        """More rows: their event times, and both losses, finite."""
        hours, at = np.unique(times_ms // HOUR_MS, return_inverse=True)
        sums = [np.bincount(at, values, len(hours)) for values in (np.ones(len(at)), then, now)]
        for hour, of_hour in zip(hours.tolist(), np.stack(sums, axis=1), strict=True):
            self._hours[hour] = self._hours.get(hour, np.zeros(3)) + of_hour
        self._squares += float(((now - then) ** 2).sum())

    def plain(self) -> dict[str, Any] | None:
        """Rows, both means, and now less then with its interval; None without rows."""
        if not self._hours:
            return None
        hours = np.array(list(self._hours))
        sums = np.array(list(self._hours.values()))
        n, then, now = sums.sum(axis=0).tolist()
        difference = (now - then) / n
        found = {"rows": int(n), "then": then / n, "now": now / n, "difference": difference}
        for unit, stretch in (("day", hours // 24), ("hour", hours)):
            _, at = np.unique(stretch, return_inverse=True)
            each = np.zeros((at.max() + 1, 3))
            np.add.at(each, at, sums)
            if len(each) >= LEAST_STRETCHES:
                off = each[:, 2] - each[:, 1] - difference * each[:, 0]
                spread = float((off**2).sum()) * len(each) / (len(each) - 1)
                return found | _interval(difference, spread / n**2, len(each), unit)
        if n < 2:
            return found | {"low": None, "high": None, "by": "row", "stretches": int(n)}
        spread = max(self._squares - n * difference**2, 0.0) / (n - 1)
        return found | _interval(difference, spread / n, int(n), "row")


def _interval(middle: float, variance: float, count: int, unit: str) -> dict[str, Any]:
    half = float(stdtrit(count - 1, 0.975)) * variance**0.5
    return {"low": middle - half, "high": middle + half, "by": unit, "stretches": count}
