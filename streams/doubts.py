"""Probabilities of classes as odds that the likeliest is wrong."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SURE = 1e-4
"""A network's sums may leave 0 to 1, where there are no odds."""


def doubts(given: Floats) -> Floats:
    """The log odds that the likeliest answer is wrong, (n,).

    given: P(true), (n,), or P by class, (n, k), as a network gives them (`streams.layers`).
    """
    right = np.maximum(given, 1 - given) if given.ndim == 1 else given.max(axis=1)
    right = np.clip(right, SURE, 1 - SURE)
    found: Floats = np.log1p(-right) - np.log(right)
    return found
