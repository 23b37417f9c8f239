"""Inputs jointly: numbers that stay each as they were, and no longer go together as they did.

Histograms of one-dimensional projections, as sliced distances use them (Rabin et al. 2011): the
pairs of numbers that went together most in training, by what is left of one without the other, and
random mixtures of all. Each is one more distribution for the e-detectors, at the cost of one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

PAIRS = 8
MIXTURES = 8
REACH = 5.0
"""Standard deviations that a number counts for at most: wild ones must not carry the sum."""
LEAST_CORRELATION = 0.1


class Joint:
    """Projections of standardised numbers; missing ones are taken for the mean.

    names: the numbers, in order. means, deviations: (d,). weights: (k, d).
    """

    def __init__(
        self, names: Sequence[str], means: Floats, deviations: Floats, weights: Floats
    ) -> None:
        self.names = tuple(names)
        self._means, self._deviations = means[:, None], deviations[:, None]
        self._weights = weights

    def __call__(self, table: Floats) -> Floats:
        """(k, n) projections of a table (d, n) with NaN where a number is missing."""
        z = (table - self._means) / self._deviations
        np.clip(z, -REACH, REACH, out=z)
        np.nan_to_num(z, copy=False, nan=0.0)
        projected: Floats = self._weights @ z
        return projected

    def __len__(self) -> int:
        return len(self._weights)

    def parts(self, at: int) -> list[str]:
        """The numbers that a projection is of."""
        return [name for name, w in zip(self.names, self._weights[at], strict=True) if w]

    def words(self, at: int) -> str:
        """Which numbers a projection is of, for a person."""
        used = self.parts(at)
        return " and ".join(used) if len(used) == 2 else f"mixture {at} of {len(used)} numbers"

    def moments(self, at: int) -> tuple[float, float]:
        """Mean and standard deviation of a projection of independent standard normal numbers."""
        weights = self._weights[at] / self._deviations[:, 0]
        return float(-(weights * self._means[:, 0]).sum()), float(np.sqrt((weights**2).sum()))

    def plain(self) -> dict[str, Any]:
        """As JSON data; `of` is its inverse."""
        return {
            "names": list(self.names),
            "means": self._means[:, 0].tolist(),
            "deviations": self._deviations[:, 0].tolist(),
            "weights": self._weights.tolist(),
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Joint:
        """What `plain` made."""
        parts = (np.array(data[name], np.float64) for name in ("means", "deviations", "weights"))
        return cls(data["names"], *parts)


def fit_joint(names: Sequence[str], table: Floats) -> Joint | None:
    """Of a table (d, n) of training's numbers; None where fewer than two of them vary."""
    if not len(names):
        return None
    there = np.isfinite(table)
    n = np.maximum(there.sum(1), 1)
    filled = np.where(there, table, 0.0)
    means = filled.sum(1) / n
    deviations = np.sqrt((np.where(there, table - means[:, None], 0.0) ** 2).sum(1) / n)
    varies = np.flatnonzero(deviations > 1e-12)
    if len(varies) < 2:
        return None
    deviations = np.where(deviations > 1e-12, deviations, 1.0)
    plain = Joint(names, means, deviations, np.eye(len(names)))
    correlation: Any = np.corrcoef(plain(table)[varies])
    strength = np.abs(np.triu(np.nan_to_num(correlation), 1))
    weights = []
    for place in np.argsort(-strength, axis=None, kind="stable")[:PAIRS].tolist():
        i, j = divmod(place, len(varies))
        if strength[i, j] >= LEAST_CORRELATION:
            row = np.zeros(len(names))
            row[varies[i]], row[varies[j]] = 1.0, -np.sign(correlation[i, j])
            weights.append(row)
    draw = np.random.default_rng(0)  # any will do, and the same for the same training
    for _ in range(MIXTURES):
        row = np.zeros(len(names))
        row[varies] = draw.normal(size=len(varies)) / np.sqrt(len(varies))
        weights.append(row)
    return Joint(names, means, deviations, np.array(weights))
