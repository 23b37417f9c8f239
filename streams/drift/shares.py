"""E-detectors of shares: whether bins are filled otherwise than the reference says.

A CUSUM of likelihood ratios q / p*, where q is what the last records suggest (learned from records
before those it is applied to) and p* the distribution nearest to q, in Kullback-Leibler
divergence, of all within a total variation of ``tolerance`` of the reference. That is Huber's
(1965) censored likelihood ratio, the reverse information projection (Grünwald, de Heide and Koolen
2024): its mean is at most 1 for every distribution within the tolerance. So a change that does not
matter is no drift however many records tell of it, and the reference's own sampling error is part
of the tolerance. The CUSUM of such e-values is an e-detector (Shin, Ramdas and Rinaldo 2023): its
mean run to a threshold h is exp(h) steps at least.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.drift.packing import packed, unpacked

Floats = npt.NDArray[np.float64]

HORIZONS: Floats = np.array([300.0, 3_000.0, 30_000.0])
"""Records that q remembers: the first sees large shifts soon, the last one small shifts at all."""
MIDDLE = 1  # of them: tells whether a shift has gone
PRIOR = 0.5
"""Records, by bin, that the reference counts for in q."""
FADES = 20.0
"""Horizons in which a CUSUM that nothing feeds is forgotten."""
_ARRAYS = ("s", "recent", "usual", "window", "window_usual", "since", "latched")


class Shares:
    """m distributions of up to ``width`` bins, each by every horizon.

    tolerance, inflation: (m,). threshold: of every CUSUM.
    """

    def __init__(self, width: int, tolerance: Floats, inflation: Floats, threshold: float) -> None:
        m, j = len(tolerance), len(HORIZONS)
        self.tolerance, self.threshold = tolerance, threshold
        self._inflation = inflation
        self._horizons = HORIZONS * inflation[:, None]
        self.s = np.zeros((m, j))
        self.recent = np.zeros((m, j, width), np.float32)
        self.usual = np.zeros((m, j, width), np.float32)
        self.window = np.zeros((m, j, width), np.float32)
        self.window_usual = np.zeros((m, j, width), np.float32)
        self.since = np.full((m, j), -1, np.int64)
        self.latched = np.zeros(m, bool)

    def look(self, x: Floats, usual: Floats, first: npt.NDArray[np.int64]) -> list[int]:
        """Take in (m, width) counts and those that were usual; rows that shifted.

        first: (m,) event times (ms) that what is looked at begins at.
        """
        n = x.sum(1)
        p = usual / np.maximum(usual.sum(1, keepdims=True), 1e-300)
        q = self._suggested(p)
        gain = np.zeros_like(self.s)
        # All others gain nothing; where nothing drifts few are out.
        rows, j = np.nonzero(total_variation(q, p[:, None, :]) > self.tolerance[:, None])
        if len(rows):
            ratios = log_ratios(q[rows, j], p[rows], self.tolerance[rows])
            gain[rows, j] = (x[rows] * ratios).sum(-1) / self._inflation[rows]
        fade = np.exp(-n[:, None] / self._horizons)
        before = self.s
        self.s = np.maximum(before * np.exp(-n[:, None] / (FADES * self._horizons)) + gain, 0.0)
        self.since = np.where((before <= 0) & (self.s > 0), first[:, None], self.since)
        on = self.s > 0
        both = ((self.recent, self.window, x), (self.usual, self.window_usual, usual))
        for recent, window, new in both:
            recent *= fade[..., None].astype(np.float32)
            recent += new[:, None, :]
            window += new[:, None, :]
            window[~on] = 0.0
        self._unlatch()
        return np.flatnonzero((self.s >= self.threshold).any(1) & ~self.latched).tolist()

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
            back = self.latched & (far <= self.tolerance)
            self.latched &= ~back
            self.s[back] = 0.0

    def told(self, row: int) -> tuple[float, int, Floats, Floats]:
        """Value, start (ms), counts and usual counts of the window in which ``row`` shifted; what
        was before it is forgotten."""
        j = int(np.argmax(self.s[row]))
        value, since = float(self.s[row, j]), int(self.since[row, j])
        window, usual = self.window[row, j].copy(), self.window_usual[row, j].copy()
        self.recent[row], self.usual[row] = window, usual
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
