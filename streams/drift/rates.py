"""CUSUMs of rates: errors among labels, nulls among values.

Page's CUSUM (1954) of the likelihood ratio between a rate p and the rate with log odds higher by
θ, one for each θ of a grid:

    S ← max(0, S + θ k − Σ ln(1 + p (exp(θ) − 1)))

over steps of n trials with k hits. It is an e-detector (Shin, Ramdas and Rinaldo 2023, section 3):
where the rate is p or less, its mean run to a threshold h is exp(h) at least, and asymptotically
exp(h) / (I ζ²), with I the divergence of the two rates and ζ what overshoot takes away (Siegmund
1985, chapter X; Tartakovsky, Nikiforov and Basseville 2014, section 8.2). `threshold` uses that.
A step of many trials looks less often than after each, so its runs are longer, not shorter.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit

Floats = npt.NDArray[np.float64]

OVERSHOOT = 1.0
"""−ln ζ² by θ √(p (1 − p)): 1.166 for normal increments; less here, so that runs are longer."""
LEAST_RATE = 1e-6


def load(rate: Floats, theta: Floats) -> Floats:
    """ln E exp(θ X) of a trial X of that rate."""
    logs: Floats = np.log1p(rate * np.expm1(theta))
    return logs


def divergence(rate: Floats, theta: Floats) -> Floats:
    """Divergence (nats a trial) of the rate with log odds higher by θ from this one."""
    other = expit(logit(rate) + theta)
    apart: Floats = theta * other - load(rate, theta)
    return apart


def threshold(every: Floats, rate: Floats, theta: Floats) -> Floats:
    """Of a CUSUM whose false alarms are ``every`` trials apart on average, for a known rate."""
    overshoot = OVERSHOOT * np.abs(theta) * np.sqrt(rate * (1 - rate))
    return np.maximum(np.log(every * divergence(rate, theta)) - overshoot, 1.0)


def for_unknown(known: Floats, error: Floats, theta: Floats) -> Floats:
    """The threshold where log odds are known to a standard error only; infinite where too little.

    With log odds off by ε a CUSUM runs exp(h (1 − 2 ε / θ)) instead of exp(h) (its increments'
    exponent, to first order). Averaged over ε ~ N(0, error²), false alarms stay as many where
    h = known + 2 h² error² / θ²; there is such an h where error ≤ θ / √(8 known).
    """
    c = 2 * (error / theta) ** 2
    room = 1 - 4 * c * known
    with np.errstate(invalid="ignore", divide="ignore"):
        h = np.where(c > 0, (1 - np.sqrt(np.maximum(room, 0))) / (2 * c), known)
    return np.where(room > 0, h, np.inf)


def paths(start: Floats, increments: Floats) -> Floats:
    """CUSUMs over steps along the first axis, from ``start``."""
    sums = start + np.cumsum(increments, axis=0)
    values: Floats = sums - np.minimum(np.minimum.accumulate(sums, axis=0), 0.0)
    return values
