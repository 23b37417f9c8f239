"""E-detectors of shares: whether bins are filled otherwise than the reference says.

A CUSUM of likelihood ratios q / p*, where q is what the last records suggest (learned from records
before those it is applied to) and p* the distribution nearest to q, in Kullback-Leibler
divergence, of all within a total variation of ``tolerance`` of the reference. That is Huber's
(1965) censored likelihood ratio, the reverse information projection (Grünwald, de Heide and Koolen
2024): its mean is at most 1 for every distribution within the tolerance. So a change that does not
matter is no drift however many records tell of it, and the reference's own sampling error is part
of the tolerance. The CUSUM of such e-values is an e-detector (Shin, Ramdas and Rinaldo 2023): its
mean run to a threshold h is exp(h) steps at least.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

HORIZONS: Floats = np.array([300.0, 3_000.0, 30_000.0])
"""Records that q remembers: the first sees large shifts soon, the last one small shifts at all."""


def log_ratios(q: Floats, p: Floats, tolerance: Floats) -> Floats:
    """ln q / p* of each bin; 0 in all where q is within the tolerance.

    q, p: (..., bins), positive where there is such a bin and both 0 where not; tolerance: (...).
    """
    ratio = np.divide(q, p, out=np.ones_like(q), where=p > 0)
    order = np.argsort(ratio, axis=-1)
    up = np.take_along_axis(q, order, -1)
    down = np.take_along_axis(p, order, -1)
    t = tolerance[..., None]
    # From below: bins with a ratio under `low` give up the tolerated mass together, those with one
    # over `high` take it.
    below_q, below_p = np.cumsum(up, -1), np.cumsum(down, -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        low = np.where(below_p > t, below_q / (below_p - t), np.inf).min(-1, keepdims=True)
        above_q = np.cumsum(up[..., ::-1], -1)
        above_p = np.cumsum(down[..., ::-1], -1)
        high = (above_q / (above_p + t)).max(-1, keepdims=True)
    censored = np.clip(ratio, low, high)
    inside = low >= high
    return np.where(inside | (p <= 0), 0.0, np.log(np.where(inside, 1.0, censored)))


def sampling_error(p: Floats, size: Floats) -> Floats:
    """Total variation that shares p (..., bins) of ``size`` records are hardly further off than:
    the mean and three standard deviations of it at most."""
    n = np.maximum(size, 1.0)
    mean = 0.5 * np.sqrt(2 * p * (1 - p) / np.pi / n[..., None]).sum(-1)
    # One record of n moves the total variation by 1/n at most (McDiarmid 1989).
    error: Floats = mean + 1.5 / np.sqrt(n)
    return error


def total_variation(q: Floats, p: Floats) -> Floats:
    """Half the sum of absolute differences, over the last axis."""
    far: Floats = 0.5 * np.abs(q - p).sum(-1)
    return far
