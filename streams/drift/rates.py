"""CUSUMs of rates: errors among labels, nulls among values.

Page's CUSUM (1954) of the likelihood ratio between a rate p and the rate with log odds higher by
θ, one for each θ of a grid:

    S ← max(0, S + θ k − Σ ln(1 + p (exp(θ) − 1)))

over steps of n trials with k hits. It is an e-detector (Shin, Ramdas and Rinaldo 2023, section 3):
where the rate is p, its mean run to a threshold h is exp(h) trials at least, and for all but the
shortest runs exp(h) / (I ζ²), with I the divergence of the two rates and ζ the mean of exp(−o)
over the overshoot o (Siegmund 1985, chapter X; Tartakovsky, Nikiforov and Basseville 2014, section
8.2). `threshold` uses that, which leaves room that ln(run) does not: 3 to 5 of 16 nats at a run of
ten million. A step of many trials looks less often than after each, so its runs are longer.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

Floats = npt.NDArray[np.float64]

GRID: Floats = 0.1 * 1.5 ** np.arange(9, dtype=np.float64)
"""Rises of the log odds that are looked for: from 0.1 (10 % becomes 10.9 %) to 2.6 (59 %). Between
two of them a CUSUM loses at most a twentieth of its speed."""
THETAS: Floats = np.concatenate([GRID, -GRID])
"""Rises, then falls."""
_LOG_ODDS: Floats = np.arange(-7.0, 8.0)
# −ln ζ² by log odds of p (rows, −7 to 7) and θ of GRID: the mean run of 10⁷ by the integral
# equation of the CUSUM (Brook and Evans 1972, on a grid of 3,000 states or more) against
# exp(h) / I. tests/streams/drift/test_rates.py solves it again.
_OVERSHOOT: Floats = np.array(
    [
        [-0.027, 0.050, 0.126, 0.214, 0.332, 0.502, 0.751, 1.114, 1.635],
        [0.022, 0.079, 0.140, 0.220, 0.334, 0.503, 0.750, 1.112, 1.618],
        [0.047, 0.091, 0.145, 0.222, 0.334, 0.502, 0.747, 1.106, 1.610],
        [0.058, 0.095, 0.146, 0.222, 0.333, 0.499, 0.740, 1.090, 1.596],
        [0.061, 0.096, 0.145, 0.217, 0.325, 0.485, 0.721, 1.046, 1.474],
        [0.059, 0.090, 0.136, 0.204, 0.307, 0.461, 0.680, 1.047, 1.419],
        [0.050, 0.078, 0.124, 0.181, 0.275, 0.394, 0.558, 0.765, 1.007],
        [0.037, 0.062, 0.095, 0.136, 0.197, 0.276, 0.370, 0.515, 0.504],
        [0.014, 0.031, 0.051, 0.077, 0.107, 0.150, 0.193, 0.236, 0.364],
        [0.010, 0.016, 0.019, 0.032, 0.046, 0.062, 0.084, 0.099, 0.106],
        [0.001, 0.005, 0.009, 0.014, 0.020, 0.025, 0.030, 0.039, 0.044],
        [-0.007, -0.002, 0.002, 0.004, 0.007, 0.010, 0.013, 0.016, 0.020],
        [-0.021, -0.010, -0.004, -0.001, 0.002, 0.003, 0.005, 0.006, 0.006],
        [-0.049, -0.025, -0.012, -0.006, -0.002, -0.000, 0.001, 0.002, 0.002],
        [-0.094, -0.059, -0.030, -0.015, -0.008, -0.004, -0.002, -0.001, 0.000],
    ]
)


def load(rate: Floats, theta: Floats) -> Floats:
    """ln E exp(θ X) of a trial X of that rate."""
    logs: Floats = np.log1p(rate * np.expm1(theta))
    return logs


def divergence(rate: Floats, theta: Floats) -> Floats:
    """Divergence (nats a trial) of the rate with log odds higher by θ from this one."""
    other = expit(logit(rate) + theta)
    apart: Floats = theta * other - load(rate, theta)
    return apart


def threshold(every: Floats, rate: Floats) -> Floats:
    """Of CUSUMs for THETAS (last axis) whose false alarms are ``every`` trials apart on average.

    rate: (..., 18), known; every: the same or what broadcasts to it.
    """
    half = len(GRID)
    odds = logit(rate)
    # A fall of the rate is a rise of its complement.
    overshoot = np.concatenate(
        [_interpolated(odds[..., :half]), _interpolated(-odds[..., half:])], axis=-1
    )
    h: Floats = np.log(every * divergence(rate, THETAS)) - overshoot
    return np.maximum(h, 1.0)


def _interpolated(odds: Floats) -> Floats:
    at = np.clip(odds - _LOG_ODDS[0], 0.0, len(_LOG_ODDS) - 1.001)
    low = at.astype(np.int64)
    part = at - low
    j = np.arange(len(GRID))
    found: Floats = (1 - part) * _OVERSHOOT[low, j] + part * _OVERSHOOT[low + 1, j]
    return found


def paths(start: Floats, increments: Floats) -> Floats:
    """CUSUMs over steps along the first axis, from ``start``."""
    sums = start + np.cumsum(increments, axis=0)
    values: Floats = sums - np.minimum(np.minimum.accumulate(sums, axis=0), 0.0)
    return values
