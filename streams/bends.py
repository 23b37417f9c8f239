"""Numbers as inputs of a network: each as how far it is across each of a few stretches.

Between two neighbouring knots a column goes from 0 to 1 and stays there: what is linear in these
columns bends at the knots, and is level beyond the outer ones, as trees are. A network of numbers
as they are follows a slope on beyond all that it has seen.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, TransformerMixin

Floats = npt.NDArray[np.float64]

KNOTS = (0.01, 0.2, 0.4, 0.6, 0.8, 0.99)
"""Quantiles of the rows that it is fitted on."""


class Bends(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """(n, d) numbers to (n, 5 d + d): across each stretch, 0 to 1; then whether it is missing.

    low_, width_: (d, 5) float64, where stretches begin and how wide they are; 0 where two knots
    are the same number.
    """

    def fit(self, frame: Any, target: Any = None) -> Self:
        """Knots at quantiles of each column, missing values left out."""
        values = np.asarray(frame, np.float64)
        knots = np.zeros((values.shape[1], len(KNOTS)))
        for at, column in enumerate(values.T):
            known = column[~np.isnan(column)]
            if len(known):
                knots[at] = np.quantile(known, KNOTS)
        self.low_: Floats = np.ascontiguousarray(knots[:, :-1])
        self.width_: Floats = np.diff(knots, axis=1)
        return self

    def transform(self, frame: Any) -> Floats:
        """The columns of some rows, float64."""
        values = np.asarray(frame, np.float64)
        n, missing = len(values), np.isnan(values)
        across = self.clipped(np.where(missing, 0.0, values)) - self.low_.ravel()
        width = self.width_.ravel()
        across = np.divide(across, width, out=np.zeros_like(across), where=width > 0)
        across.reshape(n, *self.low_.shape)[missing] = 0.0
        return np.concatenate([across, missing.astype(np.float64)], axis=1)

    def clipped(self, values: Floats) -> Floats:
        """Each number kept within each of its stretches, (n, 5 d)."""
        low = self.low_
        kept = np.clip(values[:, :, None], low, low + self.width_)
        found: Floats = kept.reshape(len(values), -1)
        return found
