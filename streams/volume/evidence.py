"""How much counts speak for a jump.

A count is negative binomial: Poisson with the mean's own uncertainty and the client's burstiness.
Where no jump is, its mean is at most ``usual`` times what it was; a jump is one to ``rise`` times.
The ratio of the two likelihoods grows with the count, so for every mean up to ``usual`` times it is
1 at most on average (monotone likelihood ratio): an e-value. Shiryaev–Roberts adds them up over
time, R ← (1 + R) · L: R less the number of buckets is a supermartingale, so that without a jump it
takes at least A buckets on average until R reaches A (Pollak 1987; as e-detectors Shin, Ramdas and
Rinaldo 2023, arXiv:2203.03532, §2).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def log_ratio(counts: Floats, usual: Floats, rise: Floats, shape: Floats) -> Floats:
    """Log likelihood ratio of counts: mean ``rise`` against mean ``usual``, shape (n,) each.

    shape: of the negative binomial: its variance is mean + mean² / shape.
    """
    per_one = np.log(rise) - np.log(usual) + np.log(shape + usual) - np.log(shape + rise)
    ratio: Floats = counts * per_one + shape * (np.log(shape + usual) - np.log(shape + rise))
    return ratio


def log_share_ratio(held: Floats, n: Floats, share: Floats, usual: float, rise: float) -> Floats:
    """Log likelihood ratio of ``held`` in ``n``: odds ``rise`` times those of share, against
    ``usual`` times. Halved: what one client sends in a bucket is alike, so that it counts for less
    than as many independent requests (a ratio to the power of a half is an e-value still)."""
    p0, p1 = _odds_times(share, usual), _odds_times(share, rise)
    ratio: Floats = 0.5 * (
        held * (np.log(p1) - np.log(p0)) + (n - held) * (np.log1p(-p1) - np.log1p(-p0))
    )
    return ratio


def added(log_r: Floats, log_l: Floats) -> Floats:
    """One bucket more: log of (1 + R) · L."""
    found: Floats = np.logaddexp(0.0, log_r) + log_l
    return found


def passed(log_r: Floats, log_l: Floats, buckets: Floats) -> Floats:
    """Many buckets more, each with the same log_l below 0: log of R·Lᵍ + L + L² + … + Lᵍ."""
    some = buckets > 0
    log_l = np.where(some, np.minimum(log_l, -1e-12), -1.0)
    g = np.where(some, buckets, 1.0)
    series = log_l + np.log(-np.expm1(g * log_l)) - np.log(-np.expm1(log_l))
    found: Floats = np.where(some, np.logaddexp(log_r + g * log_l, series), log_r)
    return found


def _odds_times(share: Floats, times: float) -> Floats:
    odds = times * share / (1.0 - share)
    found: Floats = odds / (1.0 + odds)
    return found
