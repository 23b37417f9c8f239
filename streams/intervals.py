"""Confidence intervals of the metrics: how far chance alone may have moved each, at 95 %.

Every function takes counts, or sums that add up as the metrics' own do, and gives (low, high), or
None where nothing can be said. A count may be a real number: of weighted labels it is the number
of equal ones that would tell as much (Kish 1965, Survey Sampling, 11.7: (Σw)² / Σw²).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]

Z = 1.959963984540054
"""The normal quantile of 95 %, two-sided."""
_TAIL = 0.975
_LEAST_SPREAD = 1e-10
"""A variance that is this small beside the mean of the squares cannot be told from rounding."""


def share(part: float, of: float) -> Interval | None:
    """Of a share: Wilson's score interval (Wilson 1927; recommended for all n by Brown, Cai and
    DasGupta 2001, Interval Estimation for a Binomial Proportion, 5)."""
    if of <= 0:
        return None
    p, z2 = min(max(part / of, 0.0), 1.0), Z * Z
    middle = (p + z2 / (2 * of)) / (1 + z2 / of)
    half = Z / (1 + z2 / of) * math.sqrt(p * (1 - p) / of + z2 / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def f1(tp: float, fp: float, fn: float) -> Interval | None:
    """Of F1: Wilson's interval of F* = tp / (tp + fp + fn), of which F1 = 2 F* / (1 + F*) is a
    monotone function (Hand, Christen and Kirielle 2021, F*: an interpretable transformation of
    the F-measure)."""
    found = share(tp, tp + fp + fn)
    return None if found is None else (_f1_of(found[0]), _f1_of(found[1]))


def _f1_of(star: float) -> float:
    return 2 * star / (1 + star)


def mean_of(parts: Sequence[tuple[float, Interval]]) -> Interval | None:
    """Of the mean of independent estimates, each with its own interval: MOVER (Zou and Donner
    2008, Construction of confidence limits about effect measures, equation 3)."""
    if not parts:
        return None
    middle = math.fsum(value for value, _ in parts)
    below = math.sqrt(math.fsum((value - low) ** 2 for value, (low, _) in parts))
    above = math.sqrt(math.fsum((high - value) ** 2 for value, (_, high) in parts))
    return (middle - below) / len(parts), (middle + above) / len(parts)


def mean(total: float, squares: float, n: float, units: float | None = None) -> Interval | None:
    """Of a mean: Student's, from the sum and the sum of squares.

    n: how many there are, two at least. units: what to divide the sums by, where it is not n
    (sums of weighted values: the sum of the weights).
    """
    units = n if units is None else units
    if n < 2 or units <= 0:
        return None
    middle, mean_square = total / units, squares / units
    spread = max(mean_square - middle * middle, 0.0)
    if spread <= mean_square * _LEAST_SPREAD:
        spread = 0.0
    half = float(stdtrit(n - 1, _TAIL)) * math.sqrt(spread / (n - 1))
    return middle - half, middle + half


def positive_mean(
    total: float, squares: float, n: float, units: float | None = None
) -> Interval | None:
    """Of a mean of values that are never negative, such as losses: the same on the scale of
    logarithms (the delta method), since small samples of a skewed loss have skewed means."""
    found = mean(total, squares, n, units)
    if found is None:
        return None
    middle = (found[0] + found[1]) / 2
    if middle <= 0:
        return None
    ratio = math.exp(min((found[1] - middle) / middle, 700.0))
    return middle / ratio, middle * ratio


def area(positives: Floats, negatives: Floats, n: float | None = None) -> Interval | None:
    """Of the area under the ROC curve, from counts by cell of a grid of scores, lowest first.

    The variance is DeLong's (DeLong, DeLong and Clarke-Pearson 1988), exact for scores that are
    rounded to the grid. The interval is taken on log-odds, which keeps it within 0 and 1 (Pepe
    2003, The Statistical Evaluation of Medical Tests, 5.2.3), with Student's quantile for the
    smaller class. Where all scores are on their side, DeLong's variance is 0 and says nothing:
    then it is Hanley and McNeil's, as of Newcombe 2006 (Part 2, method 5).

    n: of weighted counts, the number of equal ones that would tell as much.
    """
    p, q = float(positives.sum()), float(negatives.sum())
    if p <= 0 or q <= 0:
        return None
    scale = 1.0 if n is None else n / (p + q)
    m, k = p * scale, q * scale
    if min(m, k) < 2:
        return None
    # The share of the other class that each score has on its right side; ties count one half.
    below = (np.cumsum(negatives) - negatives / 2) / q
    above = 1 - (np.cumsum(positives) - positives / 2) / p
    found = float((positives * below).sum() / p)
    of_p = float((positives * (below - found) ** 2).sum() / p) / (m - 1)
    of_q = float((negatives * (above - found) ** 2).sum() / q) / (k - 1)
    if found <= _LEAST_SPREAD or found >= 1 - _LEAST_SPREAD:
        return _extreme_area(round(found), m, k)
    odds = math.log(found / (1 - found))
    half = float(stdtrit(min(m, k) - 1, _TAIL)) * math.sqrt(of_p + of_q) / (found * (1 - found))
    return _share_of(odds - half), _share_of(odds + half)


def _share_of(log_odds: float) -> float:
    return 1 / (1 + math.exp(-min(max(log_odds, -700.0), 700.0)))


def _extreme_area(found: int, m: float, k: float) -> Interval:
    """All areas that chance turns into 0 or 1 often enough, by bisection."""

    def too_far(off: float) -> bool:
        """Whether an area this far from the one found is outside."""
        more = (m + k) / 2 - 1
        spread = off * (1 - off) * (1 + more * ((1 - off) / (2 - off) + off / (1 + off)))
        return off * off > Z * Z * spread / (m * k)

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if too_far(middle) else (middle, high)
    return (1 - low, 1.0) if found == 1 else (0.0, low)
