"""How alike records of one time are: what makes a thousand of them worth fewer.

Records of one hour share the weather; their counts vary more from block to block of time than
independent ones would. The ratio of both variances (Pearson's statistic by its degrees of freedom;
Rao and Scott 1981 call it the design effect) divides all log likelihood ratios.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

BLOCKS = (640, 320, 160, 80, 40, 20)
"""Blocks, in order of time, that the reference is parted in; what varies slowly shows in few."""
LEAST_EXPECTED = 5.0
"""Records that a cell is expected to have in a block: below it the statistic is no chi-square."""
SURE = 4.0
"""Standard deviations from 1 for the ratio not to be chance, with some hundred looked at."""


def blocks_of(n: int, count: int) -> Rows:
    """The number of each row's block."""
    return np.arange(n) * count // max(n, 1)


def of_shares(codes: Rows, bins: int, expected: Floats | None = None) -> float:
    """The ratio of bins that n rows in order of time are in (codes from 0), 1 or more.

    expected: (n, bins) probabilities of each row, where there are seasons; else the rows' shares.
    """
    n = len(codes)
    if n == 0 or bins < 2:
        return 1.0
    total = np.bincount(codes, minlength=bins).astype(np.float64)
    used = total > 0

    def ratio(count: int) -> tuple[float, float]:
        block = blocks_of(n, count)
        seen = np.bincount(block * bins + codes, minlength=count * bins).reshape(count, bins)
        if expected is None:
            usual = np.bincount(block, minlength=count)[:, None] * (total / n)
        else:
            usual = np.zeros((count, bins))
            np.add.at(usual, block, expected)
        kept = used & (usual.mean(0) >= LEAST_EXPECTED)
        if kept.sum() < 1:
            return 1.0, np.inf
        # Without the bins that are too rare, what is left is no longer all: no degree is lost.
        whole = bool((kept == used).all())
        degrees = (count - 1) * (int(kept.sum()) - 1 if whole else int(kept.sum()))
        part = total[kept] / n
        scale = 1.0 if whole else 1.0 / float(np.mean(1 - part))
        chi = (((seen - usual) ** 2)[:, kept] / np.maximum(usual[:, kept], 1e-12)).sum() * scale
        return float(chi / max(degrees, 1)), float(np.sqrt(2 / max(degrees, 1)))

    return _largest(n, ratio)


def of_errors(wrong: Floats, expected: Floats) -> float:
    """The same of errors, 0 or 1, in order of time, given the probability of each."""
    n = len(wrong)
    level = wrong.mean() / max(float(expected.mean()), 1e-12) if n else 1.0
    p = np.clip(expected * level, 1e-6, 1 - 1e-6)

    def ratio(count: int) -> tuple[float, float]:
        block = blocks_of(n, count)
        gap = np.bincount(block, wrong - p, minlength=count)
        variance = np.bincount(block, p * (1 - p), minlength=count)
        if variance.mean() < LEAST_EXPECTED:
            return 1.0, np.inf
        return float((gap**2 / np.maximum(variance, 1e-12)).sum() / (count - 1)), float(
            np.sqrt(2 / (count - 1))
        )

    return _largest(n, ratio)


def _largest(n: int, ratio: Callable[[int], tuple[float, float]]) -> float:
    found = 1.0
    for count in BLOCKS:
        if n >= 2 * count:
            value, deviation = ratio(count)
            if value - 1 > SURE * deviation:
                found = max(found, value)
    return found
