"""Confidence sequences: intervals for a mean that hold at all times at once.

However often one looks, and whenever one stops, the probability that the interval ever leaves out
the mean is at most alpha. Both follow from count, sum and sum of squares, which commute: the order
of batches, and their cut, change nothing.

`bounded` holds for any number of observations (Howard, Ramdas, McAuliffe and Sekhon 2021,
"Time-uniform, nonparametric, nonasymptotic confidence sequences", Ann. Statist. 49, Theorem 4): of
observations x >= -c with conditional means m, exp(l·sum(x - m) - psi(l)·sum(x²)) is a
supermartingale that begins at 1 for every 0 <= l < 1/c, where psi(l) = (-log(1 - cl) - cl)/c²;
that is Fan, Grama and Liu's (2015) inequality with 0 as the predicted value, which differences of
losses are near. A mixture of it over a grid of l (their section 3) passes 1/alpha with probability
alpha at most (Ville 1939), and where it does is the bound.

`asymptotic` needs no bound and holds in the limit (Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas
2021, "Time-uniform central limit theory and asymptotic confidence sequences", one-sided form).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

_GRID = 0.8 * 2.0 ** -np.arange(15)
"""Values of l·c: the best one for a sum of squares V is about sqrt(2 log(1/alpha) / V), so these
serve sums of squares from 5 to 10⁹; beyond, the bound still holds and is wider."""
_PSI = -np.log1p(-_GRID) - _GRID
_ENOUGH = 1e-9


class Moments(NamedTuple):
    """Of n observations their sum and the sum of their squares."""

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0

    @property
    def mean(self) -> float:
        """Their mean; 0 where there are none."""
        return self.total / self.n if self.n > 0 else 0.0

    def plus(self, other: Moments, sign: float = 1.0) -> Moments:
        """These and others together; sign −1: of the others' negatives."""
        n, total, squares = other
        return Moments(self.n + n, self.total + sign * total, self.squares + squares)


def bounded(moments: Moments, alpha: float, c: float) -> float:
    """Half the width of the sequence for a mean of values in [-c, c], on either side.

    The mean is above ``moments.mean - bounded(…)`` at all times with probability 1 - alpha, and
    below ``moments.mean + bounded(…)`` with the same.
    """
    if moments.n <= 0:
        return math.inf
    variance = max(moments.squares, 0.0) / c**2
    limit = math.log(len(_GRID) / alpha)
    # Where one value of l alone passes the limit the mixture has passed it: the least of those is
    # an upper bound, and Newton's steps on the convex logarithm of the mixture go down from there.
    x = float(((limit + _PSI * variance) / _GRID).min())
    for _ in range(100):
        logs = _GRID * x - _PSI * variance
        top = float(logs.max())
        parts = np.exp(logs - top)
        size = float(parts.sum())
        step = (top + math.log(size) - limit) / (float((parts * _GRID).sum()) / size)
        x -= step
        if abs(step) < _ENOUGH * max(1.0, x):
            break
    return c * x / moments.n


def asymptotic(moments: Moments, alpha: float, tuned: float) -> float:
    """As `bounded`, of values without a bound, in the limit. tuned: the number of observations
    for which it is about narrowest."""
    if moments.n < 2:
        return math.inf
    n = moments.n
    variance = max(moments.squares / n - moments.mean**2, 0.0)
    weight = (-2 * math.log(alpha) + math.log(1 - 2 * math.log(alpha))) / tuned
    grown = n * weight + 1
    width = 2 * grown / (n * n * weight) * math.log(1 + math.sqrt(grown) / (2 * alpha))
    return math.sqrt(variance * width)
