"""E-detectors of shares: whether bins are filled otherwise than the reference says.

A CUSUM of likelihood ratios q / p*, where q is what the last records suggest (learned from records
before those it is applied to) and p* the distribution nearest to q, in Kullback-Leibler
divergence, of all within a total variation of ``tolerance`` of the reference. That is Huber's
(1965) censored likelihood ratio, the reverse information projection (Grünwald, de Heide and Koolen
2024): its mean is at most 1 for every distribution within the tolerance. So a change that does not
matter is no drift however many records tell of it, and the reference's own sampling error is part
of the tolerance. The CUSUM of such e-values is an e-detector (Shin, Ramdas and Rinaldo 2023): its
mean run to a threshold h is exp(h) steps at least.

Where bins have an order, q is fixed as well: the reference tilted, and p* tilted by what is
tolerated of the level (`tilts`). There the reference's sampling error is no part of what is
tolerated; integrated out, it leaves the CUSUM times n / (n + m), n records of the reference and m
since the CUSUM's last reset (`concept` does the same).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.drift.packing import packed, unpacked
from streams.drift.tilts import STEPS, Tilts

Floats = npt.NDArray[np.float64]

HORIZONS: Floats = np.array([300.0, 3_000.0, 30_000.0])
"""Records that q remembers: the first sees large shifts soon, the last one small shifts at all."""
MIDDLE = 1  # of them: tells whether a shift has gone
PRIOR = 0.5
"""Records, by bin, that the reference counts for in q."""
FADES = 20.0
"""Horizons in which a CUSUM that nothing feeds is forgotten."""
COLUMNS = len(HORIZONS) + 2 * len(STEPS)
"""CUSUMs of each distribution: any change by every horizon, rises and falls of the level."""
POOLED = 2.0
"""A CUSUM of the level begins anew after so many times the records of the reference: what has not
passed by then never will."""
GONE = 0.5
"""A level that was told of has gone when no more than this share of its shift is left."""
_ARRAYS = ("s", "recent", "usual", "window", "window_usual", "since", "latched", "shifted")


class Shares:
    """m distributions of up to ``width`` bins, each by every horizon and tilt.

    tolerance, inflation: (m,). threshold: of every CUSUM. tilts: of the same distributions. sizes:
    (m,) records of the reference.
    """

    def __init__(
        self, tolerance: Floats, inflation: Floats, threshold: float, tilts: Tilts, sizes: Floats
    ) -> None:
        (m, width), j = tilts.scores.shape, len(HORIZONS)
        self.tolerance, self.threshold = tolerance, threshold
        self._tilts, self._sizes = tilts, np.maximum(sizes, 1.0)
        self._inflation = inflation
        self._horizons = HORIZONS * inflation[:, None]
        self.s = np.zeros((m, COLUMNS))
        self.recent = np.zeros((m, j, width), np.float32)
        self.usual = np.zeros((m, j, width), np.float32)
        self.window = np.zeros((m, COLUMNS, width), np.float32)
        self.window_usual = np.zeros((m, COLUMNS, width), np.float32)
        self.since = np.zeros((m, COLUMNS), np.int64)  # says nothing where s is 0
        self.latched = np.zeros(m, bool)
        self.shifted = np.zeros(m)  # standard deviations of the level, when it was told of

    def look(self, x: Floats, usual: Floats, first: npt.NDArray[np.int64]) -> list[int]:
        """Take in (m, width) counts and those that were usual; rows that shifted.

        first: (m,) event times (ms) that what is looked at begins at.
        """
        n, j = x.sum(1), len(HORIZONS)
        p = usual / np.maximum(usual.sum(1, keepdims=True), 1e-300)
        before = self.s
        self.s = before + self._gains(x, p)
        self.s[:, :j] -= before[:, :j] * -np.expm1(-n[:, None] / (FADES * self._horizons))
        np.maximum(self.s, 0.0, out=self.s)
        self.since = np.where((before <= 0) & (self.s > 0), first[:, None], self.since)
        self._remember(x, usual, n, before)
        self._unlatch()
        passed = np.unique(np.nonzero(self.s >= self.threshold)[0])
        return [at for at in passed.tolist() if not self.latched[at] and self._passes(at)]

    def _gains(self, x: Floats, p: Floats) -> Floats:
        q = self._suggested(p)
        gains = np.zeros_like(self.s)
        gains[:, len(HORIZONS) :] = self._tilts.gains(x, p)
        # All others gain nothing; where nothing drifts few are out.
        rows, j = np.nonzero(total_variation(q, p[:, None, :]) > self.tolerance[:, None])
        if len(rows):
            ratios = log_ratios(q[rows, j], p[rows], self.tolerance[rows])
            gains[rows, j] = (x[rows] * ratios).sum(-1)
        gains /= self._inflation[:, None]
        return gains

    def _remember(self, x: Floats, usual: Floats, n: Floats, before: Floats) -> None:
        """Counts by horizon, and since each CUSUM's last reset, where it is above 0."""
        fade = np.exp(-n[:, None] / self._horizons)[..., None].astype(np.float32)
        rows, columns = np.nonzero(self.s)
        off = np.nonzero((before > 0) & (self.s <= 0))
        both = ((self.recent, self.window, x), (self.usual, self.window_usual, usual))
        for recent, window, new in both:
            recent *= fade
            recent += new[:, None, :]
            window[off] = 0.0
            window[rows, columns] += new[rows]
        of_level = columns >= len(HORIZONS)
        rows, columns = rows[of_level], columns[of_level]
        stuck = self.window[rows, columns].sum(-1) > POOLED * self._sizes[rows]
        if stuck.any():
            rows, columns = rows[stuck], columns[stuck]
            self.s[rows, columns] = 0.0
            self.window[rows, columns] = self.window_usual[rows, columns] = 0.0

    def _told(self, row: int) -> Floats:
        """What must pass the threshold: CUSUMs, those of the level as far as they may be told."""
        told: Floats = self.s[row].copy()
        since = self.window[row, len(HORIZONS) :].sum(-1, dtype=np.float64)
        told[len(HORIZONS) :] *= self._sizes[row] / (self._sizes[row] + since)
        return told

    def _passes(self, row: int) -> bool:
        return bool(self._told(row).max() >= self.threshold)

    def _suggested(self, p: Floats) -> Floats:
        """q (m, horizons, bins): the reference, bins weighed by how their counts exceed it.

        The weight is by what was usual when they came, so that the hour of the day is none.
        """
        bins = np.count_nonzero(p, axis=1)[:, None, None]
        prior = PRIOR * bins * p[:, None, :] * self._inflation[:, None, None]
        seen, expected = self.recent + prior, self.usual + prior
        q = p[:, None, :] * np.divide(
            seen, expected, out=np.zeros_like(prior + seen), where=expected > 0
        )
        total = q.sum(-1, keepdims=True)
        suggested: Floats = q / np.where(total > 0, total, 1.0)
        return suggested

    def _unlatch(self) -> None:
        """A shift that was told of is told of again once it has gone and comes back."""
        if self.latched.any():
            seen, expected = self.recent[:, MIDDLE], self.usual[:, MIDDLE]
            n = np.maximum(seen.sum(1, keepdims=True), 1)
            far = total_variation(
                seen / n, expected / np.maximum(expected.sum(1, keepdims=True), 1)
            )
            moved = np.abs(self._tilts.moved(seen, expected))
            left = np.maximum(self._tilts.shift, GONE * self.shifted)
            back = self.latched & (far <= self.tolerance) & (moved <= left)
            self.latched &= ~back
            self.s[back] = 0.0
            self.window[back] = self.window_usual[back] = 0.0

    def told(self, row: int) -> tuple[float, int, Floats, Floats]:
        """Value, start (ms), counts and usual counts of the window in which ``row`` shifted; what
        was before it is forgotten."""
        values = self._told(row)
        j = int(np.argmax(values))
        value, since = float(values[j]), int(self.since[row, j])
        window, usual = self.window[row, j].copy(), self.window_usual[row, j].copy()
        self.recent[row], self.usual[row] = window, usual
        moved = self._tilts.moved(self.recent[:, MIDDLE], self.usual[:, MIDDLE])
        self.shifted[row] = abs(moved[row])
        self.window[row] = self.window_usual[row] = 0.0
        self.latched[row] = True
        self.s[row] = 0.0
        return value, since, window.astype(np.float64), usual.astype(np.float64)

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        return packed({name: getattr(self, name) for name in _ARRAYS})

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same distributions."""
        for name in _ARRAYS:
            setattr(self, name, unpacked(state, name, getattr(self, name)))


def log_ratios(q: Floats, p: Floats, tolerance: Floats) -> Floats:
    """ln q / p* of each bin; 0 in all where q is within the tolerance.

    q, p: (..., bins), positive where there is such a bin and both 0 where not; tolerance: (...).
    """
    ratio = np.divide(q, p, out=np.ones_like(q), where=p > 0)
    order = np.argsort(ratio, axis=-1)
    below_q = np.cumsum(np.take_along_axis(q, order, -1), -1)
    below_p = np.cumsum(np.take_along_axis(p, order, -1), -1)
    t = tolerance[..., None]
    # p* moves mass t from the bins whose ratio is the lowest to those with the highest, until the
    # ratio is the same in each of both groups: `low` and `high`.
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(below_p > t, below_q / (below_p - t), np.inf).min(-1, keepdims=True)
        above_q = 1.0 - np.concatenate([np.zeros_like(t), below_q[..., :-1]], -1)
        above_p = 1.0 - np.concatenate([np.zeros_like(t), below_p[..., :-1]], -1)
        high = (above_q / (above_p + t)).max(-1, keepdims=True)
    inside = (low >= high) | (p <= 0)
    found: Floats = np.where(inside, 0.0, np.log(np.where(inside, 1.0, np.clip(ratio, low, high))))
    return found


def sampling_error(p: Floats, size: Floats) -> Floats:
    """Total variation that shares p (..., bins) of ``size`` records are hardly further off than:
    its mean and three standard deviations at most."""
    n = np.maximum(size, 1.0)
    mean = 0.5 * np.sqrt(2 * p * (1 - p) / np.pi / n[..., None]).sum(-1)
    # One record of n moves the total variation by 1/n at most (McDiarmid 1989).
    error: Floats = mean + 1.5 / np.sqrt(n)
    return error


def total_variation(q: Floats, p: Floats) -> Floats:
    """Half the sum of absolute differences, over the last axis."""
    far: Floats = 0.5 * np.abs(q - p).sum(-1)
    return far
