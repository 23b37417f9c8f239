"""Concept drift: whether labels show more errors than the reference, or than before.

A `rates` CUSUM for each θ of ``±GRID``, on labels whose errors were expected with probability e:
what the model's own score says of it counts as no surprise (`counts.expected_errors`). The level
is not taken from the reference alone, whose rows are few: the log odds of all e are moved by what
the reference and the n labels before the CUSUM's last reset say together. How well that is known is
part of the test: with the level integrated out over what these n say of it, the log likelihood
ratio of the m labels since is the CUSUM times n / (n + m) (to second order in θ). That is what must
pass the threshold, and it stays small however long a level that was a little off feeds the CUSUM.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

from streams.drift import rates
from streams.drift.packing import packed, unpacked
from streams.drift.rates import GRID, THETAS

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

RENEWED = 64
"""Labels after which the level is learned anew; within fewer it hardly moves."""
RENEWED_SHARE = 0.01
"""The same, of the labels that are known, where that is more."""
UP_SHARE = 0.9
"""Of the false alarms, how many may be of more errors; the rest are of fewer."""
WEIGHTS = np.array([1, 4, 16, 22, 31, 19, 4, 2, 1], np.float64) / 100
"""Of the false alarms, how many each of GRID may give. A jump from 10 to 30 % takes 100 labels and
5 more for another nat; so most are for what takes longer."""
TOGETHER = 1.6
"""By how much the CUSUMs of a monitor have fewer false alarms than the sum of each one's: several
pass at once. Measured at levels of 1 to 40 %: 1.6 to 2.7, the more the larger the steps."""
POOLED = 2.0
"""A CUSUM that goes on for so many times the labels known before begins anew, and its labels are
part of what is known: what has not passed by then never will."""
HELD_TO = 0.5
"""Log odds: while the level is no further from what scores foresee, a harder input is expected to
err the more; 1 further, scores are taken to say nothing any more."""
_CLIP = 1e-6
_UNSET = -1  # in `since`: no label has come since the CUSUM began anew
_ARRAYS = ("s", "known", "pending", "since", "level", "usual", "limits", "_new", "_due")


@dataclass(frozen=True)
class Alarm:
    """Of monitor ``row``: the CUSUM of θ passed its threshold.

    labels, errors, usual: since its last reset, the change point's estimate (``since``, ms), and
    the errors that were to be expected of them. known: labels before, the reference's included.
    """

    row: int
    theta: float
    value: float
    threshold: float
    labels: int
    errors: float
    usual: float
    since: int
    known: int


class Concept:
    """CUSUMs of m monitors: one for all labels, or one a segment.

    every: (m,) labels between two false alarms of each. base: (m, 3) labels, errors and expected
    errors of the reference. inflation: labels that are worth one independent one.
    """

    def __init__(self, every: Floats, base: Floats, inflation: float = 1.0) -> None:
        m, j = len(every), len(THETAS)
        shares = np.concatenate([UP_SHARE * WEIGHTS, (1 - UP_SHARE) * WEIGHTS])
        self._every = every[:, None] / shares / TOGETHER
        self._inflation = inflation
        self.s = np.zeros((m, j))
        self.known = np.repeat(base[:, None, :].astype(np.float64), j, axis=1)
        self.pending = np.zeros((m, j, 3))
        self.since = np.full((m, j), _UNSET, np.int64)
        self._new, self._due = np.zeros(m), np.zeros(m)
        # Log odds of the known labels' errors, and of those that were expected of them.
        self.level = self.usual = self.limits = np.zeros((m, j))
        self._renew()

    def update(
        self,
        n: Floats,
        k: Floats,
        e: Floats,
        loads: Floats | None = None,
        times: tuple[int, int] = (0, 0),
    ) -> list[Alarm]:
        """Take in steps: (steps, m) labels, errors, expected errors; (steps, m, grid) loads.

        times: event times (ms) of the first label and the last; only alarms tell of them.
        """
        steps = np.stack([n, k, e], axis=-1)
        self._new += n.sum(axis=0)
        if (self._new >= self._due).any():
            self._renew()
        gains = self._gains(n, k, e, loads)
        when = np.linspace(*times, len(steps) + 1).astype(np.int64)
        alarms: list[Alarm] = []
        at = 0
        while at < len(gains):
            values = rates.paths(self.s, gains[at:])
            told = values * self._shrunk(values, n[at:])
            crossed: Mask = np.asarray(told >= self.limits)
            if not crossed.any():
                self._settle(steps[at:], values, when[at:])
                break
            # Up to the first step in which one crosses; a change begins anew after it.
            end = int(np.argmax(crossed.any(axis=(1, 2)))) + 1
            self._settle(steps[at : at + end], values[:end], when[at:])
            hit: Any = crossed[end - 1]
            alarms += [
                self._alarm(row, hit[row], told[end - 1, row])
                for row in np.flatnonzero(hit.any(1)).tolist()
            ]
            self._renew()
            at += end
        return alarms

    def _shrunk(self, values: Floats, n: Floats) -> Floats:
        """Of CUSUMs over steps the share of labels that came before the last reset."""
        since = self.pending[..., 0] + np.cumsum(n, axis=0)[:, :, None]
        settled = np.maximum.accumulate(np.where(values <= 0, since, 0.0), axis=0)
        known = self.known[..., 0]
        share: Floats = (known + settled) / np.maximum(known + since, 1.0)
        return share

    def _gains(self, n: Floats, k: Floats, e: Floats, loads: Floats | None) -> Floats:
        mean = np.clip(e / np.maximum(n, 1), _CLIP, 1 - _CLIP)[:, :, None]
        foreseen = self._foreseen()
        odds = self.level + foreseen * (logit(mean) - self.usual)
        cost = n[:, :, None] * rates.load(expit(odds), THETAS)
        if loads is not None:
            # Labels of a step differ in e; ln is concave, so the mean's load alone is more.
            up = slice(0, len(GRID))
            of_mean = np.maximum(n[:, :, None] * rates.load(mean, THETAS[up]), 1e-300)
            less = np.maximum(1 - loads / of_mean, 0.0)
            cost[:, :, up] *= 1 - less * foreseen[:, up]
        gains: Floats = (k[:, :, None] * THETAS - cost) / self._inflation
        return gains

    def _foreseen(self) -> Floats:
        """How much of what scores say of the log odds is believed, 0 to 1."""
        return np.clip(1 + HELD_TO - np.abs(self.level - self.usual), 0.0, 1.0)

    def _renew(self) -> None:
        """Levels and thresholds by what is known by now."""
        stuck = self.pending[..., 0] > POOLED * self.known[..., 0]
        if stuck.any():
            self.known[stuck] += self.pending[stuck]
            self.pending[stuck] = 0.0
            self.s[stuck] = 0.0
            self.since[stuck] = _UNSET
        n, k, e = np.moveaxis(self.known, -1, 0)
        n = np.maximum(n, 1.0)
        p, q = np.clip((k + 0.5) / (n + 1), _CLIP, 1 - _CLIP), np.clip(e / n, _CLIP, 1 - _CLIP)
        self.level, self.usual = logit(p), logit(q)
        self.limits = rates.threshold(self._every, p)
        self._new[:] = 0.0
        self._due = np.maximum(RENEWED, RENEWED_SHARE * n.min(axis=1))

    def _settle(self, steps: Floats, values: Floats, when: npt.NDArray[np.int64]) -> None:
        """Labels up to each CUSUM's last reset become part of what is known."""
        zero: Any = values <= 0
        reset = zero.any(axis=0)
        last = len(values) - 1 - np.argmax(zero[::-1], axis=0)
        sums = np.cumsum(steps, axis=0)
        rows: Any = np.arange(steps.shape[1])[:, None]
        upto = sums[last, rows]
        total = sums[-1][:, None, :]
        self.known += np.where(reset[..., None], self.pending + upto, 0.0)
        self.pending = np.where(reset[..., None], total - upto, self.pending + total)
        begun = np.where(self.since == _UNSET, when[0], self.since)
        self.since = np.where(reset, when[last + 1], begun)
        self.s = values[-1].copy()

    def _alarm(self, row: int, hit: Any, values: Floats) -> Alarm:
        j = int(np.argmax(np.where(hit, values - self.limits[row], -1.0)))
        n, k, e = self.pending[row, j].tolist()
        mean = np.clip(e / max(n, 1.0), _CLIP, 1 - _CLIP)
        foreseen = self._foreseen()[row, j] * (logit(mean) - self.usual[row, j])
        told = Alarm(
            row, float(THETAS[j]), float(values[j]), float(self.limits[row, j]), round(n), k,
            n * float(expit(self.level[row, j] + foreseen)), int(self.since[row, j]),
            round(float(self.known[row, j, 0])),
        )  # fmt: skip
        # What came since is the new level; the one before is left behind.
        self.known[row] = self.pending[row, j]
        self.pending[row] = 0.0
        self.s[row] = 0.0
        self.since[row] = _UNSET
        return told

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        return packed({name: getattr(self, name) for name in _ARRAYS})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of as many monitors."""
        for name in _ARRAYS:
            setattr(self, name, unpacked(state, name, getattr(self, name)))
