"""Shares of inputs, answers, scores and truths: an e-detector a distribution and horizon.

Looked at every `STEP` records: the work is the same however many they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from streams.drift import shares, words
from streams.drift.counts import NEVER, Counts
from streams.drift.finding import Finding, Kind
from streams.drift.policy import Drift
from streams.drift.reference import Block, Reference

Floats = npt.NDArray[np.float64]

STEP = 256
"""Records between two looks at least."""
PRIOR = 0.5
"""Records that the reference counts for in what the last ones suggest, by bin."""
FADES = 20.0
"""Horizons in which a CUSUM that nothing feeds is forgotten."""
MOST_TOLERANCE = 0.9
_EMPTY = 0.5  # records that a bin counts for which the reference had none in


class Inputs:
    """Detectors of all blocks of the reference, side by side in arrays.

    every: records between two false alarms of all together.
    """

    def __init__(self, reference: Reference, policy: Drift, every: float) -> None:
        self._reference = reference
        self._blocks = reference.blocks
        self._starts = reference.starts
        self._on = np.array([block.kind in policy.kinds for block in self._blocks], bool)
        m, j = len(self._blocks), len(shares.HORIZONS)
        width = max((block.bins for block in self._blocks), default=1)
        self._p = np.zeros((m, width))
        for at, block in enumerate(self._blocks):
            floored = np.maximum(block.shares, _EMPTY / max(block.size, 1))
            self._p[at, : block.bins] = floored / floored.sum()
        size = np.array([block.size * (1 - block.missing) for block in self._blocks])
        self._inflation = np.array([block.inflation for block in self._blocks])
        error = shares.sampling_error(self._p, size / self._inflation)
        self._tolerance = np.minimum(policy.tolerance + error, MOST_TOLERANCE)
        self._horizons = shares.HORIZONS * self._inflation[:, None]
        # exp(h) looks at least, of STEP records at least, for each of m · j CUSUMs.
        self._threshold = float(np.log(max(every * m * j / STEP, 2.0)))
        self._cells = np.zeros((m, width))
        self._records = 0
        self._last = NEVER
        self.s = np.zeros((m, j))
        self.recent = np.zeros((m, j, width))
        self.window = np.zeros((m, j, width))
        self.since = np.full((m, j), NEVER, np.int64)
        self.latched = np.zeros(m, bool)

    def update(self, counts: Counts) -> list[Finding]:
        """Take in a batch; what is found, at most once every `STEP` records."""
        for at, block in enumerate(self._blocks):
            start = self._starts[at]
            self._cells[at, : block.bins] += counts.cells[start : start + block.bins]
        self._records += counts.records
        self.since[self.since == NEVER] = counts.first
        self._last = max(self._last, counts.last)
        if max(self._records, self._cells.sum(1).max(initial=0)) < STEP:
            return []
        found = self._look(counts)
        self._cells[:] = 0
        self._records = 0
        return found

    def _look(self, counts: Counts) -> list[Finding]:
        x, p = self._cells, self._p
        n = x.sum(1)
        prior = PRIOR * np.count_nonzero(p, axis=1)[:, None, None] * p[:, None, :]
        guess = self.recent / self._inflation[:, None, None] + prior
        q = guess / guess.sum(-1, keepdims=True)
        ratios = shares.log_ratios(
            q,
            np.broadcast_to(p[:, None, :], q.shape),
            np.broadcast_to(self._tolerance[:, None], q.shape[:2]),
        )
        gain = (x[:, None, :] * ratios).sum(-1) / self._inflation[:, None]
        decay = np.exp(-n[:, None] / self._horizons)
        s = np.maximum(self.s * np.exp(-n[:, None] / (FADES * self._horizons)) + gain, 0.0)
        reset = s <= 0
        self.window = np.where(reset[..., None], 0.0, self.window + x[:, None, :])
        self.since = np.where(reset, counts.last, self.since)
        self.recent = self.recent * decay[..., None] + x[:, None, :]
        self.s = s
        self._unlatch()
        over = (s >= self._threshold).any(1) & self._on & ~self.latched
        return [self._finding(at, counts) for at in np.flatnonzero(over).tolist()]

    def _unlatch(self) -> None:
        """A shift that was told of is told of again once it has gone."""
        if self.latched.any():
            middle = self.recent[:, 1]
            n = middle.sum(1, keepdims=True)
            far = shares.total_variation(middle / np.maximum(n, 1), self._p)
            back = self.latched & (far <= self._tolerance)
            self.latched &= ~back
            self.s[back] = 0.0

    def _finding(self, at: int, counts: Counts) -> Finding:
        block, j = self._blocks[at], int(np.argmax(self.s[at]))
        value = float(self.s[at, j])
        window = self.window[at, j, : block.bins]
        size = float(window.sum())
        seen = (window / max(size, 1.0)).tolist()
        since = int(self.since[at, j])
        # What was before is forgotten: whether the shift goes is told by what came since it came.
        self.recent[at] = self.window[at, j]
        self.latched[at] = True
        self.s[at] = 0.0
        self.window[at] = 0.0
        return Finding(
            detector="e-detector",
            kind=_KIND[block.kind],
            subject=block.subject,
            version=self._reference.version,
            statistic="log likelihood ratio of the shares",
            value=value,
            threshold=self._threshold,
            since=since,
            window_from=since,
            window_to=counts.last,
            window_size=round(size),
            reference_size=block.size,
            effect=_effect(block, seen),
            distributions=_drawn(block, seen),
        )

    def state(self) -> dict[str, Any]:
        """As JSON data."""
        arrays = {name: getattr(self, name).tolist() for name in _ARRAYS}
        return {**arrays, "cells": self._cells.tolist(), "records": self._records,
                "last": self._last}  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state of the same reference."""
        for name in _ARRAYS:
            mine = getattr(self, name)
            setattr(self, name, np.array(state[name], mine.dtype).reshape(mine.shape))
        self._cells = np.array(state["cells"], np.float64).reshape(self._cells.shape)
        self._records, self._last = int(state["records"]), int(state["last"])


_ARRAYS = ("s", "recent", "window", "since", "latched")
_KIND: Mapping[str, Kind] = {
    "data": "data",
    "prediction": "prediction",
    "score": "score",
    "target": "target",
}


def _effect(block: Block, seen: list[float]) -> str:
    before = block.shares.tolist()
    if block.names is not None:
        return words.shares(block.names, before, seen)
    low, high = _median(block, before), _median(block, seen)
    return words.numbers(f"median of {block.subject}", block.unit, low, high)


def _median(block: Block, given: list[float]) -> float:
    """By interpolation in its bin; in the outer ones, which have no end, the nearest edge."""
    total = np.cumsum(given)
    at = int(np.searchsorted(total, 0.5))
    edges = block.edges
    if at == 0 or at >= len(edges):
        return float(edges[min(at, len(edges) - 1)]) if len(edges) else 0.0
    inside = (0.5 - total[at - 1]) / max(given[at], 1e-12)
    return float(edges[at - 1] + inside * (edges[at] - edges[at - 1]))


def _drawn(block: Block, seen: list[float]) -> dict[str, Any]:
    bins: dict[str, Any] = (
        {"names": list(block.names)} if block.names is not None else {"edges": block.edges.tolist()}
    )
    return {**bins, "unit": block.unit, "reference": block.shares.tolist(), "window": seen}
