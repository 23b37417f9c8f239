"""Levels that may not be passed: shares of nulls and of unknown names, the errors expected.

`rates` CUSUMs against a level that is given, not learned: what the reference had, its sampling
error, and what is tolerated above it. Hits may be fractions (expected errors): whatever lies
between 0 and 1 has a load of at most that of a hit or none of the same mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.drift import rates
from streams.drift.packing import packed, unpacked

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

MEMORY = 3_000.0
"""Trials that the present rate is of, for whether a level that was passed is kept again."""
SIGMAS = 3.0
LEAST, MOST = 1e-4, 0.95
_ARRAYS = ("s", "trials", "hits", "since", "recent_trials", "recent_hits", "latched")


@dataclass(frozen=True)
class Passed:
    """Monitor ``row`` passed its level, by ``trials`` and ``hits`` since a time (ms)."""

    row: int
    value: float
    threshold: float
    trials: float
    hits: float
    since: int


def level(rate: Floats, size: Floats, tolerance: float, inflation: Floats) -> Floats:
    """What may not be passed, given the reference's rate of ``size`` trials."""
    n = np.maximum(size, 1.0) / inflation
    error = SIGMAS * np.sqrt(rate * (1 - rate) / n) + SIGMAS**2 / n
    return np.clip(rate + error + tolerance, LEAST, MOST)


class Levels:
    """m monitors. every: trials between two false alarms of each. levels, inflation: (m,)."""

    def __init__(self, every: float, levels: Floats, inflation: Floats) -> None:
        j, m = len(rates.GRID), len(levels)
        self.levels, self._inflation = levels, inflation
        rate = np.repeat(levels[:, None], 2 * j, axis=1)
        of_each = np.array(every * j)
        self._thresholds = rates.threshold(of_each, rate)[:, :j]
        self._loads = rates.load(levels[:, None], rates.GRID)
        self.s = np.zeros((m, j))
        self.trials, self.hits = np.zeros((m, j)), np.zeros((m, j))
        self.since = np.zeros((m, j), np.int64)  # says nothing where s is 0
        self.recent_trials, self.recent_hits = np.zeros(m), np.zeros(m)
        self.latched = np.zeros(m, bool)

    def update(self, n: Floats, k: Floats, first: int) -> list[Passed]:
        """Take in (m,) trials and hits, of records from ``first`` (ms) on."""
        gain = (k[:, None] * rates.GRID - n[:, None] * self._loads) / self._inflation[:, None]
        begun = (self.s <= 0) & (gain > 0)
        self.since = np.where(begun, first, self.since)
        self.s = np.maximum(self.s + gain, 0.0)
        on = self.s > 0
        self.trials = np.where(on, self.trials + n[:, None], 0.0)
        self.hits = np.where(on, self.hits + k[:, None], 0.0)
        fade = np.exp(-n / (MEMORY * self._inflation))
        self.recent_trials = self.recent_trials * fade + n
        self.recent_hits = self.recent_hits * fade + k
        if self.latched.any():
            back = self.latched & (self.recent_hits <= self.levels * self.recent_trials)
            self.latched &= ~back
            self.s[back] = 0.0
        over = self.s >= self._thresholds
        if not over.any():
            return []
        return [
            self._passed(row, over[row])
            for row in np.flatnonzero(over.any(1) & ~self.latched).tolist()
        ]

    def _passed(self, row: int, over: Any) -> Passed:
        j = int(np.argmax(np.where(over, self.s[row] - self._thresholds[row], -1.0)))
        told = Passed(
            int(row), float(self.s[row, j]), float(self._thresholds[row, j]),
            float(self.trials[row, j]), float(self.hits[row, j]), int(self.since[row, j]),
        )  # fmt: skip
        self.recent_trials[row], self.recent_hits[row] = told.trials, told.hits
        self.latched[row] = True
        self.s[row] = 0.0
        return told

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        return packed({name: getattr(self, name) for name in _ARRAYS})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of as many monitors."""
        for name in _ARRAYS:
            setattr(self, name, unpacked(state, name, getattr(self, name)))
