"""Concept drift: whether labels show more errors than the reference, or than before.

A `rates` CUSUM for each θ of ``±GRID``, on labels whose errors were expected with probability e:
what the model's own score says of it counts as no surprise (`counts.expected_errors`). The level
is not taken from the reference alone, whose rows are few: the log odds of all e are moved by what
the reference and the labels before the CUSUM's last reset say together, and the threshold allows
for how well that is known. Small changes are looked for once it is known well enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from streams.drift import rates
from streams.drift.counts import GRID

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

THETAS: Floats = np.concatenate([GRID, -GRID])
UP_SHARE = 0.9
"""Of the false alarms, how many may be of more errors; the rest are of fewer."""
_CLIP = 1e-6


@dataclass(frozen=True, eq=False)
class Alarm:
    """Of monitor ``row``: the CUSUM of θ passed its threshold.

    labels, errors, expected: since its last reset, the change point's estimate. before: the error
    rate up to there, of ``known`` labels, the reference's included.
    """

    row: int
    theta: float
    value: float
    threshold: float
    labels: int
    errors: float
    expected: float
    before: float
    known: int


class Concept:
    """CUSUMs of m monitors: one for all labels, or one a segment.

    every: (m,) labels between two false alarms of each. base: (m, 3) labels, errors and expected
    errors of the reference. inflation: labels that are worth one independent one.
    """

    def __init__(self, every: Floats, base: Floats, inflation: float = 1.0) -> None:
        m, j = len(every), len(THETAS)
        shares = np.where(THETAS > 0, UP_SHARE, 1 - UP_SHARE) / len(GRID)
        self._every = every[:, None] / shares
        self._inflation = inflation
        self.s = np.zeros((m, j))
        self.known = np.repeat(base[:, None, :], j, axis=1)
        self.pending = np.zeros((m, j, 3))

    def update(self, n: Floats, k: Floats, e: Floats, loads: Floats | None = None) -> list[Alarm]:
        """Take in steps: (steps, m) labels, errors, expected errors; (steps, m, grid) loads."""
        steps = np.stack([n, k, e], axis=-1)
        level, error = self._level()
        mean = np.clip(e / np.maximum(n, 1), _CLIP, 1 - _CLIP)[:, :, None]
        moved = expit(logit(mean) + level)
        cost = n[:, :, None] * rates.load(moved, THETAS)
        if loads is not None:
            # Labels of a step differ in e; ln is concave, so the mean's load alone is more.
            up = slice(0, len(GRID))
            exact = np.maximum(n[:, :, None] * rates.load(mean, THETAS[up]), 1e-300)
            cost[:, :, up] *= np.minimum(loads / exact, 1.0)
        gains = (k[:, :, None] * THETAS - cost) / self._inflation
        rate = np.clip(self._rate(), _CLIP, 1 - _CLIP)
        limits = rates.for_unknown(
            rates.threshold(self._every, rate, THETAS), error, np.abs(THETAS)
        )
        alarms: list[Alarm] = []
        at = 0
        while at < len(gains):
            values = rates.paths(self.s, gains[at:])
            crossed: Mask = np.asarray(values >= limits)
            if not crossed.any():
                self._settle(steps[at:], values)
                break
            # Up to the first step in which one crosses; a change begins anew after it.
            end = int(np.argmax(crossed.any(axis=(1, 2)))) + 1
            self._settle(steps[at : at + end], values[:end])
            hit: Any = crossed[end - 1]
            alarms += [
                self._alarm(row, limits[row], hit[row])
                for row in np.flatnonzero(hit.any(axis=1)).tolist()
            ]
            at += end
        return alarms

    def _level(self) -> tuple[Floats, Floats]:
        """Log odds to add to the expected ones, (m, J), and their standard error."""
        n, k, e = np.moveaxis(self.known, -1, 0)
        n = np.maximum(n, 1.0)
        p, q = np.clip((k + 0.5) / (n + 1), _CLIP, 1 - _CLIP), np.clip(e / n, _CLIP, 1 - _CLIP)
        error = np.sqrt(self._inflation / np.maximum(n * p * (1 - p), 1e-9))
        return logit(p) - logit(q), error

    def _rate(self) -> Floats:
        n, k, _ = np.moveaxis(self.known, -1, 0)
        rate: Floats = (k + 0.5) / (n + 1)
        return rate

    def _settle(self, steps: Floats, values: Floats) -> None:
        """Labels up to each CUSUM's last reset become part of what is known."""
        # The last step at which the running minimum was set: where the value is 0.
        zero: Any = values <= 0
        any_zero = zero.any(axis=0)
        last = len(values) - 1 - np.argmax(zero[::-1], axis=0)
        sums = np.cumsum(steps, axis=0)
        rows: Any = np.arange(steps.shape[1])[:, None]
        upto = sums[last, rows]
        total = sums[-1][:, None, :]
        settled = np.where(any_zero[..., None], self.pending + upto, 0.0)
        self.known += settled
        self.pending = np.where(any_zero[..., None], total - upto, self.pending + total)
        self.s = values[-1].copy()

    def _alarm(self, row: int, limits: Floats, hit: Any) -> Alarm:
        j = int(np.argmax(np.where(hit, self.s[row] - limits, -1)))
        value = float(self.s[row, j])
        n, k, e = self.pending[row, j].tolist()
        known = self.known[row, j].copy()
        before = float((known[1] + 0.5) / (known[0] + 1))
        # What came since is the new level; the reference's is left behind.
        self.known[row] = self.pending[row, j]
        self.pending[row] = 0.0
        self.s[row] = 0.0
        return Alarm(
            int(row), float(THETAS[j]), value, float(limits[j]),
            round(n), k, e, before, round(known[0]),
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        return {
            "s": self.s.tolist(),
            "known": self.known.tolist(),
            "pending": self.pending.tolist(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of as many monitors."""
        self.s = np.array(state["s"], np.float64)
        self.known = np.array(state["known"], np.float64)
        self.pending = np.array(state["pending"], np.float64)
