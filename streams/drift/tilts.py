"""Levels of numbers: whether bins that have an order are filled more from one end than they were.

The bins' shares p are tilted along the bins' normal scores z (mean 0, variance 1 under p): with
shares in proportion to p exp(δ z) a normal number's mean is higher by δ standard deviations. The
log likelihood ratio of the tilts δ₀ + step and δ₀ gains on average only where the level has moved
by more than δ₀, what is tolerated: it rises with the score, so its mean exponential is at most 1
for whatever is stochastically below the tilt δ₀ (Lehmann and Romano 2005, section 3.4). One
direction needs far fewer records than a change of any kind; wild values count as their bin does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

STEPS: Floats = np.array([0.1, 0.2, 0.4, 0.8])
"""Beyond what is tolerated, in standard deviations: small shifts and large ones."""
LEAST_RECORDS = 1e-6  # a mean of none is 0
MOST_SCORE = 8.0
"""Standard deviations: a bin that the reference has hardly any records in counts for no more."""


class Tilts:
    """Of m distributions, those of them that are ``ordered``; the others gain nothing.

    shares: (slots, m, bins), 0 where there is no such bin. shift: δ₀.
    """

    def __init__(self, shares: Floats, ordered: Mask, shift: float) -> None:
        self.shift = shift
        self.scores = np.where(ordered[:, None], _scores(shares.mean(0)), 0.0)
        to = np.concatenate([shift + STEPS, -shift - STEPS, [shift, -shift]])
        self._weights = np.exp(self.scores[:, :, None] * to)
        self._by = np.concatenate([STEPS, -STEPS])
        self._cost = self._costs(shares[0]) if len(shares) == 1 else None

    def gains(self, x: Floats, p: Floats) -> Floats:
        """(m, 2 len(STEPS)) log likelihood ratios, rises first, of counts x where shares are p."""
        cost = self._costs(p) if self._cost is None else self._cost
        moved = (x * self.scores).sum(1, keepdims=True)
        gained: Floats = moved * self._by - x.sum(1, keepdims=True) * cost
        return gained

    def moved(self, seen: npt.NDArray[Any], usual: npt.NDArray[Any]) -> Floats:
        """(m,) standard deviations between the levels of two tables of counts."""
        means = [
            (counts * self.scores).sum(1) / np.maximum(counts.sum(1), LEAST_RECORDS)
            for counts in (seen, usual)
        ]
        apart: Floats = means[0] - means[1]
        return apart

    def _costs(self, p: Floats) -> Floats:
        loads = np.log(np.maximum((p[:, None, :] @ self._weights)[:, 0], 1e-300))
        half = len(STEPS)
        tolerated = np.repeat(loads[:, -2:], half, axis=1)
        costs: Floats = loads[:, :-2] - tolerated
        return costs


def _scores(p: Floats) -> Floats:
    """(m, bins): of each the normal deviate in its middle, as deviations from their mean."""
    upto = np.cumsum(p, axis=1)
    middle = np.clip(upto - p / 2, 1e-9, 1 - 1e-9)
    z = np.where(p > 0, ndtri(middle), 0.0)
    z = np.where(p > 0, z - (p * z).sum(1, keepdims=True), 0.0)
    variance = (p * z**2).sum(1, keepdims=True)
    scaled = np.where(variance > 1e-12, z / np.sqrt(np.maximum(variance, 1e-12)), 0.0)
    scores: Floats = np.clip(scaled, -MOST_SCORE, MOST_SCORE)
    return scores
